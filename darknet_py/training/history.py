"""The history of a run: its losses, thinned out for curves, its scores, its pace, from the log and as it goes on."""
from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from darknet_py.utils.durations import duration

POINTS = 2000               # of a curve, up to twice as many
PACE = 100                  # iterations whose mean time tells how long the others will take


class Point(NamedTuple):
    """The figures of an iteration, named as in the log; those that an old log lacks are NaN."""

    iteration: int
    loss: float
    avg_loss: float
    rate: float
    seconds: float
    data_seconds: float
    images: float


class History:
    """Takes lines of the log, old and new.

    Args:
        last: the iteration that ends the run.
        iteration: how many are done already.

    Attributes:
        points: every ``stride``-th, so that a few thousand are kept.
        latest: the last one.
        scores: lines of measurements; values in [0, 1].
        measure: what these are called.
        seconds: of all iterations.
        pace: seconds, and seconds without data, of the latest iterations of this process.
        ended: whether the run goes on no more.

    One thread takes lines while others may read: lists are appended to or replaced, and what ``pace`` is, replaced.
    """

    def __init__(self, last: int, iteration: int = 0):
        self.last, self.iteration = last, iteration
        self.points: list[Point] = []
        self.stride = 1
        self.latest: Point | None = None
        self.scores: list[Mapping[str, Any]] = []
        self.measure, self.seconds, self.ended = "mAP", 0., False
        self.pace: tuple[tuple[float, float], ...] = ()

    def note(self, entry: Mapping[str, Any], new: bool = True) -> None:
        """A line of the log. new: of this process."""
        if "loss" in entry:
            point = Point(entry["iteration"], *(number(entry.get(name)) for name in Point._fields[1:]))
            self.latest = point
            self.seconds += 0 if math.isnan(point.seconds) else point.seconds
            if new:
                self.iteration = point.iteration
                self.pace = (*self.pace[1 - PACE:], (point.seconds, point.data_seconds))
            if point.iteration % self.stride == 0:
                self.points.append(point)
            if len(self.points) > 2 * POINTS:
                self.stride *= 2
                self.points = [point for point in self.points if point.iteration % self.stride == 0]
        elif "score" in entry:
            self.measure = str(entry.get("measure", self.measure))
            self.scores.append(entry)

    def snapshot(self) -> History:
        """A copy that stays as it is."""
        other = copy.copy(self)
        other.points, other.scores = list(self.points), list(self.scores)
        return other

    @property
    def average(self) -> float:
        """The running mean of the loss; NaN before the first."""
        return math.nan if self.latest is None else self.latest.avg_loss

    @property
    def left(self) -> float | None:
        """Seconds until the end; None before the first iteration."""
        pace = self.pace
        return (self.last - self.iteration) * sum(seconds for seconds, _ in pace) / len(pace) if pace else None

    def state(self) -> str:
        """How far the run has come, and how long it will take, or took."""
        if self.iteration >= self.last:
            return f"{self.iteration:,} iterations done in {duration(self.seconds)}, avg loss {self.average:.4g}"
        if self.ended:
            return (f"ended after iteration {self.iteration:,} of {self.last:,} and {duration(self.seconds)}, avg loss "
                    f"{self.average:.4g}")
        return (f"iteration {self.iteration:,} of {self.last:,}, avg loss {self.average:.4g}"
                + ("" if self.left is None else f", left {duration(self.left)}"))

    def title(self) -> str:
        """``state``, and with measurements a line of the last and the best one."""
        values = [number(entry["score"]) for entry in self.scores]
        return self.state() + (f"\n{self.measure} = {values[-1]:.2%}, best = {max(values):.2%}" if values else "")


def number(value: float | None) -> float:
    """A number of the log, where null stands for what is not finite."""
    return math.nan if value is None else value
