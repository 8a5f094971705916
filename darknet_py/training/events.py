"""How to run a training, and what it tells as it goes."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from darknet_py.errors import DarknetError


class Score(NamedTuple):
    """How good a network is: ``value`` in [0, 1], what that is called, the whole report; other figures in [0, 1], and
    what all of it comes from."""

    value: float
    name: str
    text: str
    figures: Mapping[str, float] = {}
    source: Any = None


class Split(NamedTuple):
    """What is trained on, or measured on: how much of which ``unit`` there is, and names of classes with their numbers
    of objects, None where these were not counted."""

    name: str
    total: int
    unit: str = "pictures"
    objects: list[tuple[str, int]] | None = None


@dataclass(frozen=True)
class Started:
    """A run begins, or goes on.

    device: what computes, in words.
    splits: what it trains on, and what it is measured on, if it is.
    weights: where the weights come from, in words.
    iteration, last: the iterations that are done already, and the one that ends the run.
    epochs: passes through the data from iteration 1 to the last.
    images: of an iteration, in so many ``subdivisions``.
    size: (width, height) of the cfg; ``largest`` is what random= leads to.
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
    """One iteration is done. ``average`` is C's running mean of the loss, seconds are those of the whole iteration,
    of which ``waited`` went by without data."""

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
    """The network was evaluated."""

    iteration: int
    score: Score
    best: float
    is_best: bool


@dataclass(frozen=True)
class Saved:
    """A file was written."""

    path: Path


@dataclass(frozen=True)
class Note:
    """Something that the user should read."""

    text: str


Event = Started | Iteration | Scored | Saved | Note | Finished


@dataclass(frozen=True)
class Settings:
    """How to run. What to train stands in the cfg, on what in the .data file.

    clear: start at iteration 0 whatever the weights have seen, and do not go on from an earlier run; its files move to
        previous-N in the backup folder.
    evaluate: measure mAP (or a classifier's accuracy) now and then, and keep the best weights (-map).
    score_epochs: passes through the data between two measurements.
    patience: end the run when so many measurements in a row brought nothing better, which implies ``evaluate``; those
        before the first score above 0 do not count, and an equal score is none better. None: run to max_batches.
    iou_thresh, points, thresh: of the measurement, see ``evaluate_map``.
    device: "auto" takes a GPU where there is one.
    seed: of all that is random; None takes another one every time.
    workers: processes that load pictures; None: as many as there are idle cores, at most 8.
    amp: "off", "bf16" or "fp16" (mixed precision).
    statistics: "estimated": networks that are measured or saved have batch-norm statistics of their weights (see
        ``Statistics``); "running": those of C, which follow the weights slowly.
    compile: let torch.compile make the network faster; takes a while to begin.
    backup: the folder for weights; None: that of the .data file, else "backup".
    stop_after: end after so many iterations of the schedule as if that were all, for trials; None: max_batches.
    save: whether weights, the log and charts are written.
    charts: the folder for chart.png and chart_NAME.png; None for none.
    report: whether the log comes with NAME_report/, a page with pictures of the run.
    tensorboard: a folder for TensorBoard's events; None for none.
    """

    clear: bool = False
    evaluate: bool = False
    score_epochs: float = 4
    patience: int | None = None
    iou_thresh: float = .5
    points: int = 0
    thresh: float = .25
    device: str = "auto"
    seed: int | None = None
    workers: int | None = None
    amp: str = "off"
    statistics: str = "estimated"
    compile: bool = False
    backup: str | os.PathLike | None = None
    stop_after: int | None = None
    save: bool = True
    charts: str | os.PathLike | None = "."
    report: bool = True
    tensorboard: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        if self.patience is not None:
            if self.patience < 1:
                raise DarknetError(f"patience needs a number of measurements from 1 on, found {self.patience}")
            object.__setattr__(self, "evaluate", True)
