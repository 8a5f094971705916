"""From image to class: cut out, run, sort. ``Classifier`` holds a network ready for it; and how often one is right."""
from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from darknet_py.cfg import Cfg
from darknet_py.data.ahead import ahead
from darknet_py.data.classification import ClassifierPictures
from darknet_py.data.crops import middle
from darknet_py.data.datafile import count_of, find_names, read_data, read_names
from darknet_py.data.dataset import find_near
from darknet_py.data.image import read_image, to_tensor
from darknet_py.detect import made_fast, not_numbers, with_channels
from darknet_py.errors import CfgError, DarknetError, DataError, printable
from darknet_py.layers.softmax import Trainer
from darknet_py.layers.tree import Tree
from darknet_py.network import Network, load_network
from darknet_py.world import World

MOST_IN_TABLE = 100     # classes, to have a line each


class Guess(NamedTuple):
    """A class that an image may have. ``parent``: its number, -1 for a root of the tree; None where there is none."""

    score: float
    label: int
    name: str
    parent: int | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """How likely one image's classes are.

    Attributes:
        scores: (classes,) float32. Down a tree they are no longer conditional: a parent's is the sum of its children's.
        names: of the classes.
        parents: of the classes in a tree, -1 for roots; None where there is none.
        path: of the image, where it came from a file.
    """

    scores: np.ndarray
    names: Sequence[str]
    parents: Sequence[int] | None = None
    path: str | None = None

    def top(self, k: int = 1) -> list[Guess]:
        """The k likeliest classes, the likeliest first; of equal ones that with the lower number. Darknet: top_k."""
        return [Guess(float(self.scores[label]), label, self.names[label],
                      None if self.parents is None else self.parents[label])
                for label in np.argsort(-self.scores, kind="stable")[:max(0, k)].tolist()]

    def __repr__(self) -> str:
        return "\n".join([self.path or "an image", *(f"  {guess.name} {guess.score:.1%}" for guess in self.top(5))])


class Classifier:
    """A network that names whole images, made fast for that: ``network`` is folded (see ``Network.fold``).

    Args:
        cfg: path of a .cfg file, or a parsed ``Cfg``.
        weights: path of a .weights file.
        names: path of a file with a class name a line, or the names themselves; None takes those of ``data`` (names=,
            else labels=), else looks beside the cfg and the weights, and takes class numbers in the end.
        data: path of a .data file.
        device: "auto" takes a GPU where there is one.

    Raises:
        CfgError, WeightsError, DataError: see ``load_network``; also for a network that finds boxes or takes no images,
            and where names or data have another number of classes.

    Darknet: predict_classifier.
    """

    def __init__(self, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike,
                 names: str | os.PathLike | Sequence[str] | None = None, *, data: str | os.PathLike | None = None,
                 device: str | torch.device = "auto"):
        self.network = made_fast(load_network(cfg, weights), device)
        classes = count_outputs(self.network)
        if data is not None:
            check_classes(self.network, count_of(data, read_data(data), "classes", classes), data)
        self.names = find_names(self.network.cfg.path, weights, classes, names, data)
        self.tree = tree_of(self.network)

    @overload
    def __call__(self, image: str | os.PathLike | np.ndarray) -> Prediction: ...    # type: ignore[overload-overlap]

    @overload
    def __call__(self, image: Sequence[str | os.PathLike | np.ndarray]) -> list[Prediction]: ...

    def __call__(self, image: str | os.PathLike | np.ndarray | Sequence) -> Prediction | list[Prediction]:
        """Name what is in the middle of an image.

        Args:
            image: a path; an array (H, W, 3) BGR or (H, W) grey, as OpenCV gives them; or a list of either, which
                runs as one batch.

        Returns:
            ``Prediction``, or for a list a list of them in the same order.

        Raises:
            DataError: an image that cannot be read.
            DarknetError: the network gives something that is not a number.
        """
        if isinstance(image, (str, os.PathLike, np.ndarray)):
            return self([image])[0]
        if not image:
            return []
        channels, height, width = self.network.input_shape
        paths = [None if isinstance(one, np.ndarray) else str(one) for one in image]
        x = torch.stack([middle(with_channels(to_tensor(
            one if isinstance(one, np.ndarray) else read_image(one, channels)), channels), width, height)
            for one in image])
        self.network.reset_state()
        scores = hierarchical(answer(self.network, x, paths[0] or "an image"), self.tree)
        parents = None if self.tree is None else self.tree.parent.tolist()
        return [Prediction(row, self.names, parents, path) for row, path in zip(scores.numpy(), paths, strict=True)]


@dataclass(frozen=True, eq=False)
class ClassifierResult:
    """How often a classifier was right.

    Attributes:
        names: of the classes.
        labels: (N,) the right class of each picture that could be read; -1 where its path names none.
        ranks: (N,) how many classes the network took to be likelier than the right one.
        problems: what was wrong with pictures, a line a kind.
    """

    names: Sequence[str]
    labels: np.ndarray
    ranks: np.ndarray
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ranks)

    def top(self, k: int = 1) -> float:
        """The share of pictures whose class is among the k likeliest."""
        return float((self.ranks < k).mean())

    def text(self, k: int = 1) -> str:
        """A line a class, up to 100 of them, and Darknet's last line: the number of the last picture, from 0."""
        lines = []
        if len(self.names) <= MOST_IN_TABLE:
            width = max(map(len, (*self.names, "class")))
            lines.append(f" {'class':<{width}}  pictures   top 1" + (f"   top {k}" if k > 1 else ""))
            for label, name in enumerate(self.names):
                ranks = self.ranks[self.labels == label]
                shares = [f"{(ranks < n).mean():8.2%}" if len(ranks) else f"{'-':>8}" for n in sorted({1, k})]
                lines.append(f" {printable(name):<{width}}  {len(ranks):8d}{''.join(shares)}")
        one, several = (np.float32((self.ranks < n).sum()) / np.float32(len(self)) for n in (1, k))
        return "\n".join([*lines, f"{len(self) - 1}: top 1: {one:f}, top {k}: {several:f}\n"])


def evaluate_classifier(network: Network, pictures: ClassifierPictures, *, leaves: Sequence[str] | None = None,
                        batch: int | None = None, device: str | torch.device | None = None,
                        workers: int | None = None, world: World | None = None,
                        progress: Callable[[int, int], None] | None = None) -> ClassifierResult:
    """How often a network names pictures as their paths do.

    It works on a copy, so a network may be in the middle of its training: its mode, statistics, recurrent state and
    gradients stay as they are.

    Args:
        network: a classifier, on any device, folded or not.
        pictures: see ``ClassifierPictures``; their middle is taken. One that cannot be read is left out, one whose path
            names no class counts as wrong; ``problems`` says how many.
        leaves: of a tree's classes those that may be the answer; None takes those that have no children.
        batch: pictures at a time; None takes the mini-batch of training.
        device: None takes the network's, "auto" a GPU where there is one.
        workers: threads that load pictures.
        world: processes that share the batches, each of the same pictures however many processes there are. All get the
            result.
        progress: called with how many pictures are done, and how many there are.

    Raises:
        CfgError: the network finds boxes, or takes no images.
        DataError: another number of classes, no picture that can be read, or leaves that are not in the tree.
        DarknetError: the network gives something that is not a number.

    Darknet: validate_classifier_single.
    """
    count_outputs(network)
    check_classes(network, pictures.classes, pictures.source)
    tree, options, (_, height, width) = tree_of(network), network.options, network.input_shape
    answers = leaves_in(tree, leaves)
    each = max(1, options.batch // options.subdivisions) if batch is None else batch
    network, count = made_fast(copy.deepcopy(network).eval(), device), len(pictures)
    batches = [range(first, min(first + each, count)) for first in range(0, count, each)]
    mine, size = (range(len(batches)), 1) if world is None else (world.share(len(batches)), world.size)

    def load(number: int) -> tuple[int, Tensor | DataError]:
        try:
            return pictures.label(number), pictures.picture(number, width, height)
        except DataError as error:
            return -1, error

    def work() -> list[_Measured]:
        measured = []
        loaded = ahead(load, (number for at in mine for number in batches[at]), workers, 2 * each)
        for at in mine:
            ready = []
            for number, (label, x) in zip(batches[at], loaded, strict=False):
                if isinstance(x, DataError):
                    measured.append(_Measured(number, label, None, str(x)))
                else:
                    ready.append((number, label, x))
            if ready:
                network.reset_state()
                where = f"the batch that starts with {pictures.paths[ready[0][0]]}"
                scores = hierarchical(answer(network, torch.stack([x for _, _, x in ready]), where), tree, answers)
                labels = [label for _, label, _ in ready]
                measured += [_Measured(number, label, rank, "") for (number, label, _), rank in
                             zip(ready, ranks(scores, torch.tensor(labels)).tolist(), strict=True)]
            if progress is not None:
                progress(min(count, (at + size) * each), count)
        return measured

    parts = [work()] if world is None else world.each(work)
    return _summed(sorted(one for part in parts for one in part), pictures)


class _Measured(NamedTuple):
    """A picture's number, its class, how many classes were taken to be likelier, and what was wrong with it."""

    number: int
    label: int
    rank: int | None
    problem: str


def _summed(measured: Sequence[_Measured], pictures: ClassifierPictures) -> ClassifierResult:
    """All pictures, in their order."""
    good = [one for one in measured if one.rank is not None]
    broken = [one for one in measured if one.rank is None]
    unlabelled = [one for one in good if one.label < 0]
    if not good:
        raise DataError(f"{pictures.source}: none of the {len(measured)} pictures can be read; the first: "
                        f"{broken[0].problem}")
    problems = []
    if broken:
        problems.append(f"{len(broken)} of {len(measured)} pictures cannot be read and are left out; the first: "
                        f"{broken[0].problem}")
    if unlabelled:
        problems.append(f"{len(unlabelled)} of {len(measured)} pictures count as wrong, for their paths name no class; "
                        f"the first: {pictures.paths[unlabelled[0].number]}")
    names = [str(label) for label in range(pictures.classes)] if pictures.names is None else pictures.names
    return ClassifierResult(names, np.array([one.label for one in good]), np.array([one.rank for one in good]),
                            tuple(map(printable, problems)))


def ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the right one: those with higher scores, and those before it with the same.

    Args:
        scores: (N, classes).
        labels: (N,) class numbers; for those below 0 all classes come before.

    Darknet: top_k.
    """
    own = scores.gather(1, labels.clamp(min=0)[:, None])
    earlier = torch.arange(scores.shape[1]) < labels[:, None]
    return torch.where(labels < 0, scores.shape[1], ((scores > own) | ((scores == own) & earlier)).sum(1))


def answering(network: Network) -> int:
    """The layer whose output is a network's answer: the last that does more than train; -1 for the network's input.

    Darknet: get_network_output, which passes over [cost].
    """
    return max((index for index, layer in enumerate(network.layers) if not isinstance(layer, Trainer)), default=-1)


def answer(network: Network, x: Tensor, what: str) -> Tensor:
    """(N, outputs) float32 a network's answer to a batch, on the CPU.

    Args:
        x: as ``Network.forward`` takes it, on any device.
        what: x is, for the error.

    Raises:
        DarknetError: the answer is not numbers.

    Darknet: network_predict.
    """
    weight = next(network.parameters(), x)
    index = answering(network)
    with torch.inference_mode():
        output = network.output_of(x.to(weight.device, weight.dtype), index).flatten(1).float().cpu()
    if not output.isfinite().all():
        raise DarknetError(f"{not_numbers(network.layers[index], output)}, for {what}")
    return output


def hierarchical(scores: Tensor, tree: Tree | None, answers: Tensor | None = None) -> Tensor:
    """(N, classes) of a network as the probabilities of its classes; 0 for those that may not be the answer.

    Args:
        answers: (classes,) which may be; None for all.

    Darknet: hierarchy_predictions.
    """
    scores = scores if tree is None else tree.probabilities(scores)
    return scores if answers is None else scores * answers


def leaves_in(tree: Tree | None, leaves: Sequence[str] | None) -> Tensor | None:
    """(classes,) bool of those that may be an answer; None without a tree, for all may. Darknet: change_leaves."""
    if tree is None:
        if leaves is not None:
            raise DataError("leaves= needs a network with a tree of classes (tree= in [softmax]), found none")
        return None
    if leaves is None:
        leaf = torch.ones(len(tree), dtype=torch.bool)
        leaf[tree.parent[tree.parent >= 0]] = False
        return leaf
    known = set(leaves)
    leaf = torch.tensor([name in known for name in tree.names])
    if not leaf.any():
        raise DataError(f"leaves= needs names of classes in the tree, found {len(leaves)} others")
    return leaf


def read_leaves(data: str | os.PathLike) -> list[str] | None:
    """What ``leaves=`` of a .data file names; None where it has none.

    Raises:
        DataError: a file that cannot be read.
    """
    entries = read_data(data)
    return read_names(find_near(entries["leaves"], Path(data))) if "leaves" in entries else None


def tree_of(network: Network) -> Tree | None:
    """The tree of classes of a classifier."""
    return getattr(network.layers[answering(network)], "tree", None)


def count_outputs(network: Network) -> int:
    """How many classes a classifier has.

    Raises:
        CfgError: the network finds boxes, or takes no images.
    """
    boxes = next((layer for layer in network.layers if layer.detects), None)
    if boxes is not None:
        raise boxes.place.error("finds boxes, so this network does not name whole pictures")
    if network.input_shape.channels not in (1, 3):
        raise CfgError(f"takes no pictures: its input has {network.input_shape.channels} channels, expected 3 or 1",
                       network.cfg.path, network.cfg.sections[0].line)
    return network.layers[answering(network)].shape.size


def check_classes(network: Network, classes: int, source: object) -> None:
    """Raises:
        DataError: the network has another number of classes than ``source``.
    """
    layer = network.layers[answering(network)]
    if classes != layer.shape.size:
        raise DataError(f"{source}: has {classes} classes, the network {layer.shape.size} ({network.cfg.path}, line "
                        f"{layer.place.section.line})")
