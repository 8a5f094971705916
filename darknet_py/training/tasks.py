"""What a network is trained for: where its mini-batches come from, and how good it is."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from darknet_py.boxes import Truth
from darknet_py.data.check import check_for_training
from darknet_py.data.dataset import Problem, class_names, read_samples
from darknet_py.data.loader import Loader, Plan
from darknet_py.errors import DataError
from darknet_py.evaluate import evaluate_map
from darknet_py.network import Network
from darknet_py.training.augmentation import augmentation_of, detecting_head
from darknet_py.training.engine import MiniBatch
from darknet_py.training.world import World

if TYPE_CHECKING:
    from darknet_py.training.run import Settings

MOST_WORKERS = 8
MOST_TOLD = 20          # problems of pictures and labels


class Score(NamedTuple):
    """How good a network is: ``value`` in [0, 1], what that is called, and the whole report."""

    value: float
    name: str
    text: str


class Task(Protocol):
    """What to train for.

    count: pictures to train on.
    random: range of sizes, ``random=``.
    notes: what to tell the user before training.
    waited: seconds without data so far.
    """

    count: int
    random: float
    notes: list[str]

    @property
    def waited(self) -> float: ...

    def batches(self, start: int, plan: Callable[[int], Plan]) -> Iterator[MiniBatch]:
        """This process's mini-batches from an iteration on, without end."""

    def new_problems(self) -> list[str]:
        """What was wrong with pictures and labels, each once."""

    def evaluate(self, network: Network) -> Score:
        """How good the network is now."""


class Detection:
    """Finding objects."""

    def __init__(self, data: str | os.PathLike, network: Network, settings: Settings, seed: int, world: World,
                 device: torch.device):
        self.settings, self.said = settings, 0
        head = detecting_head(network)
        self.random = head.options.random
        self.names = class_names(data) or [str(label) for label in range(head.classes)]
        if len(self.names) != head.classes:
            raise DataError(f"{data}: has {len(self.names)} names for a network of {head.classes} classes "
                            f"({network.cfg.path}, line {head.place.section.line})")
        samples = read_samples(data, "train", self.names)
        self.valid = read_samples(data, "valid", self.names) if settings.evaluate else []
        samples, problems = check_for_training(samples, head.classes)
        self.count, self.notes = len(samples), listed(problems)
        self.loader = Loader(samples, head.classes, augmentation_of(network), channels=network.input_shape.channels,
                             seed=seed, workers=workers(settings, world), rank=world.rank, world=world.size,
                             pin=device.type == "cuda")

    @property
    def waited(self) -> float:
        return self.loader.waited

    def batches(self, start: int, plan: Callable[[int], Plan]) -> Iterator[MiniBatch]:
        for batch in self.loader.batches(start, plan):
            yield MiniBatch(batch.images, Truth.stack(batch.rows), batch.names)

    def new_problems(self) -> list[str]:
        found = self.loader.problems[self.said:]
        self.said += len(found)
        return listed(found, MOST_TOLD - self.said + len(found))

    def evaluate(self, network: Network) -> Score:
        s = self.settings
        result = evaluate_map(network, self.valid, self.names, iou_thresh=s.iou_thresh, points=s.points,
                              thresh=s.thresh)
        return Score(result.map, f"mAP@{s.iou_thresh:.2f}", result.text())


def task_for(data: str | os.PathLike, network: Network, settings: Settings, seed: int, world: World,
             device: torch.device) -> Task:
    """The task that a network's heads are made for."""
    return Detection(data, network, settings, seed, world, device)


def listed(problems: Sequence[Problem], most: int = MOST_TOLD) -> list[str]:
    """The first problems as text, and how many there are more; darknet-py check shows all."""
    if len(problems) <= most:
        return [str(problem) for problem in problems]
    return [str(problem) for problem in problems[:most]] + (
        ["... and more such problems: darknet-py check lists all"] if most > 0 else [])


def workers(settings: Settings, world: World) -> int:
    """Processes that load pictures, for each that trains."""
    if settings.workers is not None:
        return settings.workers
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // world.size - 1)) \
        if hasattr(os, "sched_getaffinity") else 2
