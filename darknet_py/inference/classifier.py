"""Image classification: centre crop, forward pass, classes by probability. ``Classifier`` holds a network for it."""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from darknet_py.cfg.language import Cfg
from darknet_py.data.classifier_augment import middle
from darknet_py.data.datafile import count_of, find_names, read_data
from darknet_py.data.given import as_uint8, decode
from darknet_py.data.image import resize
from darknet_py.errors import DataError, Reason
from darknet_py.inference.backends import open_backend
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.backends.pytorch import prepare_for_inference
from darknet_py.inference.info import ModelInfo, info_of
from darknet_py.inference.pipeline import MOST, BatchOutputs, Pipeline, Preprocessed, batched
from darknet_py.inference.preprocess import Image, as_list, batch_size, check_takes_images, checked, fitted, path_of
from darknet_py.layers import DetectionHead
from darknet_py.layers.class_tree import Tree
from darknet_py.layers.softmax import TrainingHead
from darknet_py.model.input_size import input_sides
from darknet_py.model.network import LazyNetwork, Network
from darknet_py.zoo.models import open_cfg, weights_for


class ClassScore(NamedTuple):
    """A class and its score for an image.

    score: in [0, 1].
    label: the number of the class, and name, its name.
    parent: the number of the class above it in a tree, -1 for a root; None without a tree.
    """

    score: float
    label: int
    name: str
    parent: int | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """Class probabilities of one image.

    Attributes:
        scores: (classes,) float32. In a tree they are unconditional: a parent's is the sum of its children's.
        names: of the classes.
        parents: of the classes in a tree, -1 for roots; None where there is none.
        path: of the image, where it came from a file.
    """

    scores: np.ndarray
    names: Sequence[str]
    parents: Sequence[int] | None = None
    path: str | None = None

    def top(self, k: int = 1) -> list[ClassScore]:
        """The k likeliest classes, the likeliest first; of equal ones that with the lower number. Darknet: top_k."""
        return [ClassScore(float(self.scores[label]), label, self.names[label],
                           None if self.parents is None else self.parents[label])
                for label in np.argsort(-self.scores, kind="stable")[:max(0, k)].tolist()]

    def __repr__(self) -> str:
        return "\n".join([self.path or "an image", *(f"  {one.name} {one.score:.1%}" for one in self.top(5))])


class Classified(NamedTuple):
    """An image's prediction, its share of the seconds in the backend, and (H, W, C) uint8 what was decoded or given."""

    prediction: Prediction
    seconds: float
    image: np.ndarray


class Classifier:
    """A network that classifies images.

    Args:
        cfg: path of a .cfg file; a name of the zoo, such as "yolov4"; or a parsed ``Cfg``.
        weights: see ``Detector``.
        names: path of a file with a class name a line, or the names themselves; None takes those of ``data`` (names=,
            else labels=), else looks beside the cfg and the weights, and takes class numbers in the end.
        data: path of a .data file.
        crop: take the centre of the picture; else all of it, stretched. Darknet: demo_classifier does that.
        device, backend, precision, few, size: see ``Detector``.

    Raises:
        DarknetError: see ``backends.open_backend``.
        CfgError, WeightsError, DataError: see ``load_network``; also for a network that finds boxes or takes no images,
            and where names or data have another number of classes.

    Threads may share a classifier.

    Darknet: predict_classifier.
    """

    def __init__(self, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike | None = None,
                 names: str | os.PathLike | Sequence[str] | None = None, *, data: str | os.PathLike | None = None,
                 crop: bool = True, device: str | int | torch.device = "auto", backend: str = "auto",
                 precision: str = "float32", few: bool = False, size: int | str | Sequence[int] | None = None):
        cfg = open_cfg(cfg)
        width, height = input_sides(cfg, size)
        self._files = LazyNetwork(cfg, weights_for(cfg) if weights is None else weights, width=width, height=height)
        self.outline = outline = self._files.outline
        self.fit = middle if crop else resize
        classes = count_outputs(outline)
        if data is not None:
            check_classes(outline, count_of(data, read_data(data), "classes", classes), data)
        self.backend = open_backend(self._files, backend, precision, device, [output_layer(outline)], few)
        self.names = find_names(outline.cfg.path, self._files.weights, classes, names, data)
        self.tree = tree_of(outline)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info().line})"

    def info(self) -> ModelInfo:
        """Facts of the network and of what runs it: the size of its input, classes, FLOPs, backend ..."""
        return info_of("classification", self._files, self.backend, self.names)

    @property
    def network(self) -> Network:
        """The network, folded, see ``Detector.network``."""
        network = self._files.network
        return network if network.folded else prepare_for_inference(network)

    @overload
    def __call__(self, image: Image) -> Prediction: ...    # type: ignore[overload-overlap]

    @overload
    def __call__(self, image: Sequence[Image]) -> list[Prediction]: ...

    def __call__(self, image: Image | Sequence[Image]) -> Prediction | list[Prediction]:
        """Classify the centre crop of an image.

        Args:
            image: see ``Detector.__call__``.

        Returns:
            ``Prediction``, or for several a list of them in the same order.

        Raises:
            DataError: an image that cannot be read, floats beyond [0, 1], a folder without pictures.
            TypeError: something else than images; of a generator too, which ``stream`` takes.
            DarknetError: the network gives something that is not a number.
        """
        images, alone = as_list(image)
        predictions = []
        for _, one in self.stream(images, batch=batch_size(image, images), overlapped=len(images) > 1):
            if isinstance(one, DataError):
                raise one
            predictions.append(one.prediction)
        return predictions[0] if alone else predictions

    def stream(self, images: Iterable[Any], *, batch: int | None = 1, overlapped: bool = True
               ) -> Iterator[tuple[Image, Classified | DataError]]:
        """Classify any number of images, in order, while others are decoded.

        Args:
            images: see ``Detector.stream``.
            batch: images that run together; None: ``images`` gives lists, each of which does.
            overlapped: False takes an image only when the one before it is done.

        Returns:
            Each image and its prediction, or what is wrong with it.

        Raises:
            DarknetError: the network gives something that is not a number.
        """
        pipeline = Pipeline(self.backend, self._preprocess, self._postprocess, fresh=True, overlapped=overlapped,
                            where=lambda image: f"for {path_of(image) or 'an image'}")
        return pipeline.stream(images, MOST) if batch is None else pipeline.stream(
            batched(checked(images), max(1, batch)), batch)

    def _preprocess(self, image: Image) -> Preprocessed:
        shape = self.backend.shape
        array = decode(image, shape.channels)
        return Preprocessed(fitted(array, shape, self.fit)[None], (as_uint8(array), path_of(image)))

    def _postprocess(self, batch: BatchOutputs) -> list[Classified]:
        scores = class_probabilities(batch.outputs[0].flatten(1).float().cpu(), self.tree).numpy()
        parents = None if self.tree is None else self.tree.parent.tolist()
        return [Classified(Prediction(row, self.names, parents, path), batch.seconds / len(scores), array)
                for row, (array, path) in zip(scores, batch.contexts, strict=True)]


def output_layer(network: Network) -> int:
    """The index of the layer whose output is the network's: the last one that is not for training alone; -1 for the
    network's input.

    Darknet: get_network_output, which passes over [cost].
    """
    return max((index for index, layer in enumerate(network.layers) if not isinstance(layer, TrainingHead)), default=-1)


def network_output(backend: Backend, x: Tensor, source: str) -> Tensor:
    """(N, outputs) float32 output of a network for a batch, on the CPU.

    Args:
        backend: that gives the output of the ``output_layer`` alone.
        x: as ``Network.forward`` takes it, on any device.
        source: of x, in words, for the error.

    Raises:
        DarknetError: the output is not finite.

    Darknet: network_predict.
    """
    output, = backend.checked(x, f"for {source}")
    return output.flatten(1).float().cpu()


def class_probabilities(scores: Tensor, tree: Tree | None, allowed: Tensor | None = None) -> Tensor:
    """(N, classes) outputs of a network as unconditional probabilities of its classes.

    Args:
        allowed: (classes,) bool, False sets a class's probability to 0; None allows all.

    Darknet: hierarchy_predictions.
    """
    scores = scores if tree is None else tree.probabilities(scores)
    return scores if allowed is None else scores * allowed


def tree_of(network: Network) -> Tree | None:
    """The tree of classes of a classifier."""
    return getattr(network.layers[output_layer(network)], "tree", None)


def count_outputs(network: Network) -> int:
    """How many classes a classifier has.

    Raises:
        CfgError: the network finds boxes, or takes no images.
    """
    boxes = next((layer for layer in network.layers if isinstance(layer, DetectionHead)), None)
    if boxes is not None:
        raise boxes.place.error("finds boxes, so this network does not name whole pictures", reason=Reason.WRONG_TASK)
    check_takes_images(network)
    return network.layers[output_layer(network)].shape.size


def check_classes(network: Network, classes: int, source: object) -> None:
    """Raises:
        DataError: the network has another number of classes than ``source``.
    """
    layer = network.layers[output_layer(network)]
    if classes != layer.shape.size:
        raise DataError(f"{source}: has {classes} classes, the network {layer.shape.size} ({network.cfg.path}, line "
                        f"{layer.place.section.line})", Reason.WRONG_COUNT)
