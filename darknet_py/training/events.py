"""Events of a training run, which it yields to its caller: start, iteration, score, saved file, note, end."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Score(NamedTuple):
    """A score of a network: ``value`` in [0, 1], its name, the whole printout; other figures in [0, 1], and the results
    that they are computed from."""

    value: float
    name: str
    text: str
    figures: Mapping[str, float] = {}
    source: Any = None


class Split(NamedTuple):
    """A split of the data set: its size in which ``unit``, and class names with their numbers of objects, None where
    these were not counted."""

    name: str
    total: int
    unit: str = "pictures"
    objects: list[tuple[str, int]] | None = None


@dataclass(frozen=True)
class Started:
    """A run begins, or resumes.

    device: in words.
    splits: of training, and of evaluation, if there is one.
    weights: where the weights come from, in words.
    iteration, last: the iterations that are done already, and the one that ends the run.
    epochs: passes through the data from iteration 1 to the last.
    images: of an iteration, in so many ``subdivisions``.
    size: (width, height) of the cfg; ``largest`` the largest one with random=.
    backup: the folder for weights and the log; None where nothing is written.
    """

    device: str
    splits: list[Split]
    weights: str
    iteration: int
    last: int
    epochs: float
    images: int
    subdivisions: int
    size: tuple[int, int]
    largest: tuple[int, int]
    backup: Path | None


@dataclass(frozen=True)
class Finished:
    """A run has ended.

    iteration: the last one.
    seconds: that it took, from where it began or went on.
    score: the last measurement, None without one.
    best, best_at: the best score and the iteration of its weights, where that was measured and is known.
    stopped: why it ended before its last iteration, or None.
    weights: the file to use, the best ones or else the last; None where nothing is written.
    """

    iteration: int
    seconds: float
    score: Score | None
    best: float | None
    best_at: int | None
    stopped: str | None
    weights: Path | None


@dataclass(frozen=True)
class Iteration:
    """One iteration is done.

    iteration: its number, from 1; ``last`` the one that ends the run.
    loss: of the batch, as Darknet prints it; not finite where the iteration changed no weights.
    average: Darknet's running mean of the loss, .9 of the one before and .1 of this one.
    rate: of learning.
    seconds: of the whole iteration, and ``waited`` those of them spent waiting for data.
    images: that training has seen so far.
    hours_left: until the end, as Darknet estimates them.
    size: (width, height) of the input in this iteration.
    figures: means of the heads, such as "16 iou" (of layer 16), for logs.
    """

    iteration: int
    last: int
    loss: float
    average: float
    rate: float
    seconds: float
    waited: float
    images: int
    hours_left: float
    size: tuple[int, int]
    figures: dict[str, float]


@dataclass(frozen=True)
class Scored:
    """The network was evaluated.

    iteration: after which one.
    score: mAP or accuracy, with its printout and its other figures.
    best: the best value so far, in [0, 1]; ``is_best`` whether it is this one.
    """

    iteration: int
    score: Score
    best: float
    is_best: bool


@dataclass(frozen=True)
class Saved:
    """A file was written. path: of weights, a state, a chart or a page."""

    path: Path


@dataclass(frozen=True)
class Note:
    """A message for the user, such as a picture that cannot be read. text: a line, printed by the command line."""

    text: str


Event = Started | Iteration | Scored | Saved | Note | Finished


