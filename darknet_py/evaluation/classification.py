"""Accuracy of a classifier on a data set: top-N, and of each class."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_py.data.classification import ClassifierPictures
from darknet_py.data.datafile import read_data, read_names
from darknet_py.data.dataset import find_near
from darknet_py.errors import DataError, Reason, printable
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.classifier import check_classes, class_probabilities, count_outputs, output_layer, tree_of
from darknet_py.inference.pipeline import BatchOutputs, Pipeline, Preprocessed
from darknet_py.layers.class_tree import Tree
from darknet_py.model.network import Network
from darknet_py.utils.distributed import World

MOST_IN_TABLE = 100     # classes, to have a line each


@dataclass(frozen=True, eq=False)
class ClassifierResult:
    """Accuracy of a classifier on pictures.

    Attributes:
        names: of the classes.
        labels: (N,) the true class of each picture that could be read; -1 where its path names none.
        ranks: (N,) how many classes got a higher probability than the true one.
        problems: with pictures, a line a kind.
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
                        batch: int | None = None, device: str | int | torch.device | None = None,
                        workers: int | None = None, world: World | None = None,
                        progress: Callable[[int, int], None] | None = None, backend: Backend | None = None
                        ) -> ClassifierResult:
    """Accuracy of a network on pictures whose classes are named in their paths.

    It works on a copy, so a network may be in the middle of its training: its mode, statistics, recurrent state and
    gradients stay as they are.

    Args:
        network: a classifier, on any device, folded or not.
        pictures: see ``ClassifierPictures``; their middle is taken. One that cannot be read is left out, one whose path
            names no class counts as wrong; ``problems`` says how many.
        leaves: the classes of a tree that may be predicted; None takes those that have no children.
        batch: pictures at a time; None takes the mini-batch of training.
        device: None takes the network's, "auto" a GPU where there is one.
        workers: threads that load pictures.
        world: processes that share the batches, each of the same pictures however many processes there are. All get the
            result.
        progress: called with how many pictures are done, and how many there are.
        backend: what runs the network, as ``Classifier.backend``; see ``evaluation.evaluate_map``.

    Raises:
        CfgError: the network finds boxes, or takes no images.
        DataError: another number of classes, no picture that can be read, or leaves that are not in the tree.
        DarknetError: the network gives something that is not a number.

    Darknet: validate_classifier_single.
    """
    count_outputs(network)
    check_classes(network, pictures.classes, pictures.source)
    tree, options, (_, height, width) = tree_of(network), network.options, network.input_shape
    allowed = leaves_in(tree, leaves)
    each = max(1, options.batch // options.subdivisions) if batch is None else batch
    backend = PyTorch.copy_of(network, device, [output_layer(network)]) if backend is None else backend
    count = len(pictures)
    batches = [range(first, min(first + each, count)) for first in range(0, count, each)]
    mine, size = (range(len(batches)), 1) if world is None else (world.shard(len(batches)), world.size)

    def load(number: int) -> Preprocessed:
        return Preprocessed(pictures.picture(number, width, height)[None], (number, pictures.label(number)))

    def rank(ran: BatchOutputs) -> list[_Ranked]:
        output, = ran.outputs
        scores = class_probabilities(output.flatten(1).float().cpu(), tree, allowed)
        of_batch = ranks(scores, torch.tensor([label for _, label in ran.contexts])).tolist()
        return [_Ranked(number, label, place, "")
                for (number, label), place in zip(ran.contexts, of_batch, strict=True)]

    def work() -> list[_Ranked]:
        pipeline = Pipeline(backend, load, rank, workers=workers, fresh=True, where=lambda number: (
            f"for the batch that starts with {pictures.paths[number]}"))
        ranked = []
        for number, one in pipeline.stream([batches[at] for at in mine], each):
            ranked.append(_Ranked(number, -1, None, str(one)) if isinstance(one, DataError) else one)
            if progress is not None and number + 1 == batches[number // each].stop:
                progress(min(count, (number // each + size) * each), count)
        return ranked

    parts = [work()] if world is None else world.gather(work)
    return _summed(sorted(one for part in parts for one in part), pictures)


class _Ranked(NamedTuple):
    """A picture's number, its true class and that class's rank (see ``ranks``), and the problem with the picture."""

    number: int
    label: int
    rank: int | None
    problem: str


def _summed(ranked: Sequence[_Ranked], pictures: ClassifierPictures) -> ClassifierResult:
    """The result of all pictures, in their order."""
    good = [one for one in ranked if one.rank is not None]
    broken = [one for one in ranked if one.rank is None]
    unlabelled = [one for one in good if one.label < 0]
    if not good:
        raise DataError(f"{pictures.source}: none of the {len(ranked)} pictures can be read; the first: "
                        f"{broken[0].problem}", Reason.UNREADABLE)
    problems = []
    if broken:
        problems.append(f"{len(broken)} of {len(ranked)} pictures cannot be read and are left out; the first: "
                        f"{broken[0].problem}")
    if unlabelled:
        problems.append(f"{len(unlabelled)} of {len(ranked)} pictures count as wrong, for their paths name no class; "
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


def leaves_in(tree: Tree | None, leaves: Sequence[str] | None) -> Tensor | None:
    """(classes,) bool of those that may be predicted; None without a tree, where all may. Darknet: change_leaves."""
    if tree is None:
        if leaves is not None:
            raise DataError("leaves= needs a network with a tree of classes (tree= in [softmax]), found none",
                            Reason.WRONG_TASK)
        return None
    if leaves is None:
        leaf = torch.ones(len(tree), dtype=torch.bool)
        leaf[tree.parent[tree.parent >= 0]] = False
        return leaf
    known = set(leaves)
    leaf = torch.tensor([name in known for name in tree.names])
    if not leaf.any():
        raise DataError(f"leaves= needs names of classes in the tree, found {len(leaves)} others", Reason.UNKNOWN_NAME)
    return leaf


def read_leaves(data: str | os.PathLike) -> list[str] | None:
    """Read the file of labels that ``leaves=`` of a .data file names, a line each; None without that entry.

    Raises:
        DataError: a file that cannot be read.
    """
    entries = read_data(data)
    return read_names(find_near(entries["leaves"], Path(data))) if "leaves" in entries else None
