"""Plots of an evaluation: precision over recall, F1 over the threshold, the confusion matrix."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from darknet_py.errors import printable
from darknet_py.viz.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 20              # classes with a line of their own
POINTS = 1000           # of a mean curve
WRITTEN = 30            # classes of a confusion matrix whose numbers are written in it


class ClassCurve(Protocol):
    """Detections of a class, by falling score."""

    @property
    def scores(self) -> np.ndarray: ...
    @property
    def objects(self) -> int: ...
    def precision(self) -> np.ndarray: ...
    def recall(self) -> np.ndarray: ...
    def f1(self) -> np.ndarray: ...


def plot_precision_recall(curves: Sequence[ClassCurve], names: Sequence[str], ap: Sequence[float],
                          path: str | os.PathLike) -> None:
    """Draw precision over recall of each class, made to fall as for average precision, and the mean of all.

    Args:
        curves, names, ap: of each class; the average precision in [0, 1]. Classes without objects are left out.
        path: of the picture.

    Raises:
        DataError: it cannot be written.
    """
    figure, axes = _square("recall", "precision", f"precision and recall, mAP {np.mean(ap):.2%}")
    grid, total, count = np.linspace(0, 1, POINTS), np.zeros(POINTS), 0
    for label, curve in enumerate(curves):
        if not curve.objects:
            continue
        precision, recall = (np.concatenate([[start], values]) for start, values in
                             ((1., curve.precision()), (0., curve.recall())))
        best = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, grid)
        total, count = total + np.append(best, 0)[at], count + 1
        axes.plot(np.append(recall, recall[-1]), np.append(best, 0), **_line(label, len(curves)),
                  label=f"{plain(names[label])} {ap[label]:.1%}")
    if count:
        axes.plot(grid, total / count, color="black", linewidth=2.5, label="mean")
    _legend(axes, len(curves))
    save_figure(figure, path)


def plot_f1(curves: Sequence[ClassCurve], names: Sequence[str], path: str | os.PathLike) -> None:
    """Draw F1 over the least score, of each class and of the mean, whose best threshold is marked. See
    ``plot_precision_recall`` for arguments and errors."""
    thresholds, mean = mean_f1(curves)
    best, at = best_f1(curves)
    figure, axes = _square("least score (-thresh)", "F1", f"F1 over the threshold: {best:.2f} at {at:.2f}")
    for label, curve in enumerate(curves):
        if curve.objects:
            axes.plot(thresholds, f1_at(curve, thresholds), **_line(label, len(curves)), label=plain(names[label]))
    axes.plot(thresholds, mean, color="black", linewidth=2.5, label="mean")
    axes.plot(at, best, "o", color="black")
    _legend(axes, len(curves))
    save_figure(figure, path)


def f1_at(curve: ClassCurve, thresholds: np.ndarray) -> np.ndarray:
    """F1 of the detections whose scores are above each threshold; 0 where there are none. (T,) -> (T,)"""
    above = np.searchsorted(-curve.scores.astype(np.float64), -thresholds)     # how many
    return np.append(0, curve.f1())[above]


def mean_f1(curves: Sequence[ClassCurve]) -> tuple[np.ndarray, np.ndarray]:
    """(T,) thresholds from 0 to 1, and (T,) the mean F1 of the classes that have objects."""
    thresholds = np.linspace(0, 1, POINTS + 1)
    values = [f1_at(curve, thresholds) for curve in curves if curve.objects]
    return thresholds, np.mean(values, 0) if values else np.zeros(len(thresholds))


def best_f1(curves: Sequence[ClassCurve]) -> tuple[float, float]:
    """The best mean F1, and the threshold that gives it."""
    thresholds, mean = mean_f1(curves)
    best = int(mean.argmax())
    return float(mean[best]), float(thresholds[best])


def plot_confusion(matrix: np.ndarray, names: Sequence[str], path: str | os.PathLike, title: str = "") -> None:
    """Draw a confusion matrix, coloured by each count's share of its row.

    Args:
        matrix: (C + 1, C + 1) counts; rows are objects, columns detections, the last of each are background.
        names: of the C classes.
        path: of the picture.

    Raises:
        DataError: it cannot be written.
    """
    from matplotlib.figure import Figure
    count = len(matrix)
    side = min(24, 4 + .5 * count)
    figure = Figure(figsize=(side + 1, side), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    share = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="part of the row", shrink=.8)
    if count <= WRITTEN + 1:
        for row, column in np.argwhere(matrix):
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=8,
                      color="white" if share[row, column] > .5 else "black")
    small = 9 if count <= WRITTEN + 1 else 6
    words = [*map(plain, names), "background"]
    axes.set_xticks(range(count), words, rotation=90, fontsize=small)
    axes.set_yticks(range(count), words, fontsize=small)
    axes.set_xlabel("detection")
    axes.set_ylabel("ground truth")
    axes.set_title(title)
    save_figure(figure, path)


def _square(x: str, y: str, title: str) -> tuple[Figure, Axes]:
    """An empty picture of two values in [0, 1]."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 7), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y, title=title, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=.4)
    return figure, axes


def _line(label: int, classes: int) -> dict:
    """The style of a class's line: thin and grey where there are too many classes to tell apart."""
    return {"color": f"C{label}", "linewidth": 1.2} if classes <= SHOWN else \
        {"color": "tab:gray", "linewidth": .6, "alpha": .5}


def _legend(axes: Axes, classes: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if classes > SHOWN:
        handles, labels = handles[-1:], labels[-1:]
    if handles:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)


def plain(name: str, most: int = 24) -> str:
    """A name for matplotlib: shortened, and with $ escaped, which would begin a formula."""
    name = printable(name)
    return (name if len(name) <= most else name[:most - 1] + "…").replace("$", r"\$")
