"""Object detection in images: ``Detector`` holds a network on a backend."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from darknet_py.cfg.language import Cfg
from darknet_py.data.datafile import find_names
from darknet_py.data.given import as_uint8, decode
from darknet_py.errors import DataError
from darknet_py.inference.backends import open_backend
from darknet_py.inference.backends.pytorch import prepare_for_inference
from darknet_py.inference.detections import Detections
from darknet_py.inference.info import ModelInfo, check_thresholds, info_of
from darknet_py.inference.pipeline import MOST, BatchOutputs, Pipeline, Preprocessed, batched
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.inference.preprocess import Image, as_inputs, as_list, batch_size, check_takes_images, checked, path_of
from darknet_py.inference.tiles import Tiling
from darknet_py.model.input_size import input_sides
from darknet_py.model.network import LazyNetwork, Network
from darknet_py.ops.boxes import cxcywh_to_xyxy
from darknet_py.zoo.models import open_cfg, weights_for

HIDDEN = "dont_show"            # classes whose names start so are not reported


class Frame(NamedTuple):
    """An image that went through a detector.

    detections: in it, see ``Detections``.
    image: (H, W, C) BGR or (H, W) grey uint8, as it was decoded, or the array that was given.
    seconds: its share of the backend's time for its batch.
    """

    detections: Detections
    image: np.ndarray
    seconds: float


class Detector:
    """A network that finds objects in images.

    Args:
        cfg: path of a .cfg file; a name of the zoo, such as "yolov4"; path of a model that ``convert`` (not with
            outputs="nms") or ``quantize`` made, .onnx, .xml, .torchscript or .pt2, which says all else in its metadata
            and runs as it is; or a parsed ``Cfg``.
        weights: path of a .weights, .safetensors or PyTorch file (``convert`` writes them), or of such a model. None:
            of a name the official weights (see ``zoo.models.official_weights``), of a model itself.
        names: path of a file with a class name a line, or the names themselves; None takes those of ``data``, else
            looks beside the cfg and the weights, and takes class numbers in the end.
        data: path of a .data file.
        thresh: scores must be above it, in [0, 1]. None: as the maker of a model that runs alone chose, else .25.
        nms: overlap above which the less confident box is suppressed, in [0, 1]; 0 keeps all. None: likewise, else .45.
        hier_thresh: the probability that a class of a tree must exceed, in [0, 1] (C fixes it at .5).
        max_candidates: the most boxes of a class and image that suppression looks at, the most confident ones; None, as
            in C: all. It bounds the time of a picture for a service.
        letterbox: keep the picture's proportions; None does as the cfg says (letter_box=).
        device: "auto", a GPU where there is one; "cpu"; "cuda"; "cuda:1" or 1, a GPU by its number; or a
            ``torch.device``.
        stateful: recurrent layers remember the images before, as those of a video (so does C's detector); else each
            batch begins anew.
        backend: the runtime: "pytorch", "compile", "ncnn", "openvino", "onnxruntime", "tensorrt", "torchscript",
            "torch.export"; "auto" takes the fastest at float32's accuracy (see ``backends.choose``).
        precision: what it computes in: "float32", "bfloat16", "float16"; "int8" of a model in int8.
        few: there will be few images, see ``backends.open_backend``.
        embeddings: hand out the embeddings of a network that has some (embedding_layer=), unless a model runs.
        size: of the network's input, instead of the cfg's: pixels of both sides, or width and height as (608, 416) or
            "608x416".
        tiles: columns and rows of tiles that pictures are cut into, "3x2" or (3, 2); those of a picture run as one
            batch with the whole, and their boxes are merged (see ``tiles.merge_tiles``). None: the whole alone.
        overlap: the part of a tile's width or height that neighbours share, from 0 to .9. An object that is smaller
            than what they share is complete in one of them.

    Attributes:
        tiling: None: pictures are not cut.
        backend: see ``Backend``.
        outline: the network, perhaps without its weights.

    Raises:
        CfgError, WeightsError, DataError: see ``load_network``; also for a network without a detection head, or
            a recurrent one with tiles.
        DarknetError: see ``backends.open_backend``, ``tiles.Tiling.of``; or a threshold outside of [0, 1].

    Threads may share a detector: calls and streams do not disturb each other, and the runtimes take them one after
    another or side by side. Recurrent networks are the exception, whose layers remember what the last call left: these
    need a detector for each thread. Processes cannot share one; each makes its own.
    """

    def __init__(self, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike | None = None,
                 names: str | os.PathLike | Sequence[str] | None = None, *, data: str | os.PathLike | None = None,
                 thresh: float | None = None, nms: float | None = None, hier_thresh: float = .5,
                 letterbox: bool | None = None, device: str | int | torch.device = "auto", backend: str = "auto",
                 precision: str = "float32", stateful: bool = False, max_candidates: int | None = None,
                 few: bool = False, embeddings: bool = False, size: int | str | Sequence[int] | None = None,
                 tiles: str | Sequence[int] | None = None, overlap: float = .2):
        check_thresholds(thresh=thresh, nms=nms, hier_thresh=hier_thresh)
        cfg = open_cfg(cfg)
        width, height = input_sides(cfg, size)
        self._files = LazyNetwork(cfg, weights_for(cfg) if weights is None else weights, width=width, height=height)
        self.outline = outline = self._files.outline
        more = {head.embedding_layer for head in outline.detection_heads if head.embedding_layer is not None}
        layers = (*outline.heads, *sorted(more)) if embeddings and more and self._files.model is None else None
        self.postprocess = PostProcessor.of(outline, layers)
        check_takes_images(outline)
        self.tiling = Tiling.of(tiles, overlap, outline)
        self.backend = open_backend(self._files, backend, precision, device, layers, few)
        self.names = find_names(outline.cfg.path, self._files.weights, self.postprocess.classes, names, data)
        chosen = (None, None) if cfg.stored is None else (cfg.stored.thresh, cfg.stored.nms)
        self.thresh, self.nms = (next(one for one in values if one is not None)
                                 for values in zip((thresh, nms), chosen, (.25, .45), strict=True))
        self.hier_thresh, self.stateful = hier_thresh, stateful
        if max_candidates is not None and max_candidates < 1:
            raise ValueError(f"max_candidates must be at least 1, got {max_candidates}")
        self.max_candidates = max_candidates
        self.letterbox = bool(outline.options.letter_box) if letterbox is None else letterbox

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info().line})"

    def info(self) -> ModelInfo:
        """Facts of the network and of what runs it: the size of its input, classes, FLOPs, backend, thresholds ..."""
        return info_of("detection", self._files, self.backend, self.names, thresh=self.thresh, nms=self.nms,
                       hier_thresh=self.hier_thresh, letterbox=self.letterbox)

    @property
    def model(self) -> Path | None:
        """The file of a model that runs in the place of weights."""
        return self._files.model

    @property
    def network(self) -> Network:
        """The network, folded (see ``Network.fold``); with the backend "pytorch" that which runs, on its device.

        Raises:
            WeightsError: there is only a model, without the weights.
        """
        network = self._files.network
        return network if network.folded else prepare_for_inference(network)

    @overload
    def __call__(self, image: Image, *, thresh: float | None = None,    # type: ignore[overload-overlap]
                 nms: float | None = None) -> Detections: ...

    @overload
    def __call__(self, image: Sequence[Image], *, thresh: float | None = None, nms: float | None = None
                 ) -> list[Detections]: ...

    def __call__(self, image: Image | Sequence[Image], *, thresh: float | None = None, nms: float | None = None
                 ) -> Detections | list[Detections]:
        """Find objects.

        Args:
            image: the path of a file; an URL of http or https; ``-``, the bytes of an image file on the standard input;
                an array (H, W, 3) BGR or (H, W) grey, as OpenCV gives them, uint8 or floats in [0, 1]; a PIL image, in
                any mode but F, which is turned upright as its EXIF says; a tensor (3, H, W) RGB, uint8 or floats in
                [0, 1]. Several: a list of these or a tensor (N, 3, H, W), which runs as one batch; a folder, a pattern
                such as ``photos/*.jpg``, or a .txt with a path a line, whose pictures run one by one. See
                ``data.given.decode``, ``data.lists.find_images``.
            thresh, nms: instead of the detector's own, for this call.

        Returns:
            ``Detections``, or for several a list of them in the same order. They hold the picture (see
            ``Detections.image``) where it was given alone, or is no file; others are read again when they are drawn.

        Raises:
            DataError: an image that cannot be read, floats beyond [0, 1], a folder without pictures.
            TypeError: something else than images; of a generator too, which ``stream`` takes.
            DarknetError: an output of the network is not finite, or a threshold outside of [0, 1].
        """
        images, alone = as_list(image)
        found = []
        batch = batch_size(image, images)
        for _, frame in self.stream(images, batch=batch, overlapped=len(images) > 1, thresh=thresh, nms=nms):
            if isinstance(frame, DataError):
                raise frame
            path = frame.detections.path
            keep = path is None or not os.path.isfile(path) or (alone and frame.image.shape[2:] == (3,))  # not grey
            found.append(replace(frame.detections, image=frame.image) if keep else frame.detections)
        return found[0] if alone else found

    def stream(self, images: Iterable[Any], *, batch: int | None = 1, overlapped: bool = True,
               thresh: float | None = None, nms: float | None = None,
               read: Callable[[Any], np.ndarray] | None = None) -> Iterator[tuple[Any, Frame | DataError]]:
        """Find objects in any number of images, in order, while others are decoded.

        Args:
            images: as for a call; or from any iterable, each item one image, taken as they are needed.
            batch: images that run together; None: ``images`` gives lists, each of which does.
            overlapped: False takes an image only when the one before it is done.
            thresh, nms: instead of the detector's own.
            read: gives the array of an image; then ``images`` may hold anything, whose ``str`` names it. It runs in
                several threads, and a DataError that it raises becomes the image's result.

        Returns:
            Each image and its ``Frame``, or what is wrong with it. The detections hold no pixels.

        Raises:
            DarknetError: an output of the network is not finite, or a threshold outside of [0, 1].
        """
        check_thresholds(thresh=thresh, nms=nms)
        load = self.preprocess if read is None else lambda image: self.preprocess(read(image))
        name = path_of if read is None else str
        postprocess = partial(self._postprocess, thresh=thresh, nms=nms)
        pipeline = Pipeline(self.backend, load, postprocess, fresh=not self.stateful,
                            where=lambda image: f"for {name(image) or 'an image'}", overlapped=overlapped)
        return pipeline.stream(images, MOST) if batch is None else pipeline.stream(
            batched(checked(images) if read is None else images, max(1, batch)), batch)

    def preprocess(self, image: Image) -> Preprocessed:
        """An image as the network's input; the context is the array (H, W, C) uint8 and the path.

        Raises:
            DataError: an image that cannot be read.
        """
        array = decode(image, self.backend.shape.channels)
        return Preprocessed(as_inputs(array, self.backend.shape, self.letterbox, self.tiling),
                            (as_uint8(array), path_of(image)))

    def find(self, outputs: Sequence[Tensor], images: Sequence[tuple[tuple[int, ...], str | None]],
             thresh: float | None = None, nms: float | None = None) -> list[Detections]:
        """Post-process what the backend gives for a batch.

        Args:
            outputs: of the backend, a tensor a head.
            images: (height, width) in pixels, and the path, of each.
            thresh, nms: None: the detector's own.
        """
        with torch.inference_mode():
            found = self.postprocess.find_boxes(outputs, [size for size, _ in images],
                                                self.thresh if thresh is None else thresh,
                                                self.nms if nms is None else nms, self.hier_thresh, self.letterbox,
                                                self.max_candidates, self.tiling)
            return [self._detections(*result, *image) for result, image in zip(found, images, strict=True)]

    def _postprocess(self, batch: BatchOutputs, thresh: float | None, nms: float | None) -> list[Frame]:
        found = self.find(batch.outputs, [(array.shape[:2], path) for array, path in batch.contexts], thresh, nms)
        return [Frame(one, array, batch.seconds / len(found))
                for one, (array, _) in zip(found, batch.contexts, strict=True)]

    def _detections(self, boxes: Tensor, scores: Tensor, image_size: tuple[int, ...], path: str | None) -> Detections:
        """(B, 4 + E) relative boxes and (B, C) scores -> the pairs above zero, the most confident first."""
        box, label = (scores > 0).nonzero().unbind(1)
        score = scores[box, label]
        shown = torch.tensor([not name.startswith(HIDDEN) for name in self.names])[label]
        order = score.argsort(descending=True, stable=True)
        order = order[shown[order]]
        height, width = image_size
        pixels = cxcywh_to_xyxy(boxes[:, :4]) * boxes.new_tensor([width, height, width, height])
        embeddings = boxes[box[order], 4:].numpy() if self.postprocess.embedding_size else None
        return Detections(pixels[box[order]].numpy(), score[order].numpy(), label[order].numpy(), self.names,
                          (height, width), path, order.numpy(), embeddings)
