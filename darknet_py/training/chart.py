"""Charts of a run: loss and scores, the learning rate schedule, the trials of a search."""
from __future__ import annotations

import os
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from darknet_py.cfg.options import NetOptions
from darknet_py.data.image import read_image
from darknet_py.errors import DataError, Reason
from darknet_py.training.history import POINTS, History, Point, number
from darknet_py.training.schedule import learning_rate
from darknet_py.viz.figures import save_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EVERY = 100             # iterations between two drawings
SHARE = .01             # of the time may go into drawing
SLOWEST = 60.           # seconds after which a drawing is due even if the iterations are few
THEIRS, THEIR_MARGIN = (1000, 1000), 60         # pixels of Darknet's chart, and of what is left of and below its axes
SIZE, DOTS = (10, 7), 100                       # inches of ours, and pixels of an inch
OURS = (SIZE[0] * DOTS, SIZE[1] * DOTS)


class Chart:
    """Writes the curves of loss and score, now and then.

    Args:
        name: of the run; the picture is written to chart.png and chart_NAME.png.
        most: the loss above which the curve may leave the picture (max_chart_loss).
        folder: where the pictures go.
        before: curves of Darknet's, see ``read_chart``.

    Darknet: draw_train_chart, draw_train_loss.
    """

    def __init__(self, name: str, most: float = 20, folder: str | os.PathLike = ".", before: np.ndarray | None = None):
        self.most, self.before = most, before
        self.paths = (Path(folder, "chart.png"), Path(folder, f"chart_{name}.png"))
        self.drawn_at, self.drawn, self.cost = time.monotonic(), 0, 0.

    def due(self, iteration: int) -> bool:
        """Whether it is time to draw again: after some iterations or seconds, and for a small share of the time."""
        age = time.monotonic() - self.drawn_at
        return (iteration - self.drawn >= EVERY or age >= SLOWEST) and age * SHARE >= self.cost

    def draw(self, history: History) -> None:
        """Write the pictures.

        Raises:
            OSError: they cannot be written.
        """
        begin = time.monotonic()
        write_figure(plot_history(history, self.most, self.before), self.paths)
        self.drawn_at, self.drawn = time.monotonic(), history.iteration
        self.cost = self.drawn_at - begin


def read_chart(path: str | os.PathLike) -> np.ndarray | None:
    """The curves of a chart that Darknet drew, BGR (H, W, 3), over [0, max_batches] and [0, max_chart_loss]; None of
    one that we drew, whose curves are in the log.

    Raises:
        DataError: it cannot be read, or is neither.

    Darknet: draw_train_chart, -chart.
    """
    picture = read_image(path)
    height, width = picture.shape[:2]
    if (width, height) not in (THEIRS, OURS):
        raise DataError(f"{path}: expected a chart of a training, {THEIRS[0]} x {THEIRS[1]} pixels if Darknet drew it, "
                        f"found {width} x {height}", Reason.SHAPE_MISMATCH)
    return picture[:-THEIR_MARGIN, THEIR_MARGIN:] if (width, height) == THEIRS else None


def plot_history(history: History, most: float = 20, before: np.ndarray | None = None) -> Figure:
    """Draw loss and scores over the iterations; see ``Chart``."""
    figure, axes = _figure(history.title(), history.last)
    _draw_losses(axes, history.points, most)
    if before is not None:                          # its axes are what these are then
        axes.imshow(before[..., ::-1], extent=(0, history.last, 0, most), aspect="auto", alpha=.6)
        axes.set(xlim=(0, history.last), ylim=(0, most))
    if history.scores:
        _draw_scores(axes.twinx(), history)
    return figure


def _draw_losses(axes: Axes, points: Sequence[Point], most: float) -> None:
    iterations, losses, averages = ([point[at] for point in points] for at in range(3))
    finite = [value for value in averages if abs(value) < float("inf")]
    top = 1.1 * max(finite, default=most)
    if min(finite, default=0) < most:
        top = min(top, most)
    axes.set_ylim(0, top if top > 0 else 1)
    axes.set_ylabel("loss", color="tab:blue")
    axes.plot(iterations, losses, color="tab:blue", alpha=.25, linewidth=.7)
    axes.plot(iterations, averages, color="tab:blue", linewidth=1.5)


def _draw_scores(axes: Axes, history: History) -> None:
    iterations = [entry["iteration"] for entry in history.scores]
    percent = [100 * number(entry["score"]) for entry in history.scores]
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"{history.measure} %", color="tab:red")
    axes.plot(iterations, percent, color="tab:red", linewidth=1.5, marker="o", markersize=3)
    best = max(range(len(percent)), key=percent.__getitem__)
    for index in {best, len(percent) - 1}:
        axes.annotate(f"{percent[index]:.1f} %", (iterations[index], percent[index]), color="tab:red",
                      xytext=(0, 6), textcoords="offset points", ha="right")


def plot_schedule(net: NetOptions, path: str | os.PathLike) -> None:
    """Draw the learning rate of every iteration.

    Args:
        net: the [net] section.
        path: of the picture; its extension says which kind.

    Raises:
        DataError: there are no iterations (max_batches=), or the picture cannot be written.
    """
    if net.max_batches < 1:
        raise DataError(f"[net] needs max_batches= of at least 1 for a schedule, found {net.max_batches}",
                        Reason.MISSING_KEY)
    iterations = _turns(net)
    figure, axes = _figure(f"policy={net.policy}  learning_rate={net.learning_rate:g}  burn_in={net.burn_in}",
                           net.max_batches)
    axes.set_ylabel("learning rate")
    line, marker = ("", ".") if net.policy == "random" else ("-", "")
    axes.plot(iterations, [learning_rate(net, iteration) for iteration in iterations], linestyle=line, marker=marker)
    axes.set_ylim(bottom=0)
    save_figure(figure, path)


def plot_trials(scores: Sequence[float], values: Mapping[str, Sequence[float]], logarithmic: Container[str],
                measure: str, path: str | os.PathLike) -> None:
    """Draw the scores of trials, and the score over each parameter.

    Args:
        scores: in [0, 1], of each trial in turn.
        values: of each parameter, by trial.
        logarithmic: parameters whose axis is.
        measure: what the scores are called.
        path: of the picture.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure
    percent, numbers = [100 * score for score in scores], range(1, len(scores) + 1)
    best = max(range(len(percent)), key=percent.__getitem__)
    columns = 4
    rows = 1 + -(-len(values) // columns)
    figure = Figure(figsize=(14, 3 * rows), dpi=100, layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    axes = figure.add_subplot(grid[0, :])
    axes.plot(numbers, percent, ".", color="tab:blue")
    axes.step(numbers, [max(percent[:number]) for number in numbers], where="post", color="tab:red", label="best")
    axes.set_xlabel("trial")
    axes.legend(loc="lower right")
    all_axes = [axes]
    for index, (name, taken) in enumerate(values.items(), columns):
        axes = figure.add_subplot(grid[index // columns, index % columns], sharey=all_axes[0])
        axes.set_xscale("log" if name in logarithmic else "linear")
        axes.scatter(taken, percent, c=list(numbers), s=14, cmap="viridis")        # later trials are lighter
        axes.plot(taken[best], percent[best], "*", color="tab:red", markersize=12)
        axes.set_xlabel(name)
        all_axes.append(axes)
    for axes in all_axes:
        axes.grid(alpha=.4)
    figure.supylabel(f"{measure} %")
    write_figure(figure, [Path(path)])


def _turns(net: NetOptions) -> list[int]:
    """Iterations, evenly spread, and those around the sudden changes of the rate."""
    turns = {1, net.max_batches, *range(1, net.max_batches + 1, max(1, net.max_batches // POINTS))}
    for turn in (net.burn_in, *net.steps):
        turns |= {turn - 1, turn, turn + 1}
    return sorted(turn for turn in turns if 1 <= turn <= net.max_batches)


def _figure(title: str, last: int) -> tuple[Figure, Axes]:
    """An empty picture over the iterations of a run, in no window."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=SIZE, dpi=DOTS)
    figure.subplots_adjust(.08, .08, .92, .91)      # to find these out takes longer than most of the drawing
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(f"iteration (max_batches={last})")
    axes.set_xlim(0, last)
    axes.grid(alpha=.4)
    return figure, axes

