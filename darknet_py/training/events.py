"""How to run a training, and what it tells as it goes."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Score(NamedTuple):
    """How good a network is: ``value`` in [0, 1], what that is called, and the whole report."""

    value: float
    name: str
    text: str


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


Event = Iteration | Scored | Saved | Note


@dataclass(frozen=True)
class Settings:
    """How to run. What to train stands in the cfg, on what in the .data file.

    clear: start at iteration 0 whatever the weights have seen, and do not go on from an earlier run.
    evaluate: measure mAP (or a classifier's accuracy) now and then, and keep the best weights (-map).
    score_epochs: passes through the data between two measurements.
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
    tensorboard: a folder for TensorBoard's events; None for none.
    """

    clear: bool = False
    evaluate: bool = False
    score_epochs: float = 4
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
    tensorboard: str | os.PathLike | None = None
