"""A run's log as a table (results.csv) and as curves (results.png)."""
from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from darknet_py.evaluation.plots import plain
from darknet_py.utils.files import replacing
from darknet_py.viz.figures import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Entry = Mapping[str, Any]                           # a line of the log
ITERATION = ("iteration", "loss", "avg_loss", "rate", "seconds", "data_seconds", "images")
SCORE = ("score", "best", "measure")
FIGURES = {"precision": "precision", "recall": "recall", "f1": "F1", "average_iou": "average IoU", "top-5": "top-5"}
COLUMNS = 4             # curves side by side
WINDOW = 40             # parts of a curve; one of them is the window of its mean
HEADS = {                                           # what heads say: a title, and what it counts
    "iou": ("overlap with the objects", "average IoU"), "count": ("matches", "a mini-batch"),
    "class_loss": ("loss of the classes", "an image"), "iou_loss": ("loss of the boxes", "an image"),
    "total_loss": ("loss of the head", "an image"), "rewritten": ("matches that lost their place", "a mini-batch"),
    "boxes": ("objects", "a mini-batch"), "class": ("score of the right class", "mean"),
    "all_classes": ("score of all classes", "mean"), "objectness": ("objectness of objects", "mean"),
    "no_object": ("objectness of everything", "mean"), "recall": ("objects overlapped by more than .5", "share"),
    "accuracy": ("views taken for the same", "share")}
STEEP = 30              # times the least loss, from which on the axis of the loss is logarithmic


def write_table(entries: Iterable[Entry], columns: Sequence[str], path: str | os.PathLike, every: int = 1
                ) -> list[Entry]:
    """Write a CSV file: a line an iteration, with the scores of those after which the network was measured.

    Args:
        entries: of the log, in its order.
        columns: names of figures that stand in the log beside those of every run.
        path: of the file; numbers stand in it as in the log, what is not a number is empty.
        every: interval of the rows to return.

    Returns:
        Each ``every``-th row, and all with a score.

    Raises:
        OSError: it cannot be written.
    """
    kept: list[Entry] = []
    names = [*ITERATION, *(name for name in columns if name not in (*ITERATION, *SCORE)), *SCORE]
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        rows = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
        rows.writeheader()
        for row in merged(entries):
            rows.writerow(row)
            if row["iteration"] % every == 0 or "score" in row:
                kept.append(row)
        text.detach()
    return kept


def merged(entries: Iterable[Entry]) -> Iterator[Entry]:
    """A row an iteration: the log has a line for it, and one more if the network was measured."""
    row: dict[str, Any] | None = None
    for entry in entries:
        if row is not None and row["iteration"] != entry["iteration"]:
            yield row
            row = None
        row = {**({} if row is None else row), **entry}
    if row is not None:
        yield row


def plot_results(rows: Sequence[Entry], title: str, path: str | os.PathLike) -> None:
    """Draw losses, scores, learning rate, seconds and the heads' figures over the iterations.

    Args:
        rows: as ``write_table`` returns them.
        title: of the picture.
        path: of the picture.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure
    heads: dict[str, list[str]] = {}                                    # "iou": ["16 iou", "23 iou"]
    for name in dict.fromkeys(name for row in rows for name in row if name.partition(" ")[0].isdecimal()):
        heads.setdefault(name.partition(" ")[2], []).append(name)
    scored = any("score" in row for row in rows)
    count = 3 + scored + len(heads)
    lines = -(-count // COLUMNS)
    width, height = 4 * min(count, COLUMNS), 3 * lines + .5
    figure = Figure(figsize=(width, height), dpi=100)
    # distances in inches; finding them out, as a layout engine does, takes longer than all the drawing
    figure.subplots_adjust(.6 / width, .5 / height, 1 - .2 / width, 1 - .7 / height, wspace=.25, hspace=.35)
    axes = iter(figure.subplots(lines, min(count, COLUMNS), squeeze=False).flat)
    _draw_loss(next(axes), rows)
    if scored:
        _draw_scores(next(axes), rows)
    _draw(next(axes), rows, {"rate": "rate"}, "learning rate", "")
    _draw(next(axes), rows, {"seconds": "in all", "data_seconds": "waiting for data"}, "time of an iteration",
          "seconds")
    for name, columns in heads.items():
        one = next(axes)
        _draw(one, rows, {column: f"layer {column.partition(' ')[0]}" for column in columns},
              *HEADS.get(name, (name, "")), smooth=True)
    for one in axes:
        one.set_visible(False)
    figure.suptitle(title, fontsize=11)
    write_figure(figure, [Path(path)])


def _draw_loss(axes: Axes, rows: Sequence[Entry]) -> None:
    at, values = _column(rows, "loss")
    axes.plot(at, values, color="tab:blue", alpha=.25, linewidth=.7, label="of the batch")
    at, values = _column(rows, "avg_loss")
    axes.plot(at, values, color="tab:blue", linewidth=1.5, label="mean")
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > STEEP * finite.min():
        axes.set_yscale("log")
    elif len(finite) and finite.max() > 0:
        axes.set_ylim(0, 1.1 * finite.max())
    _finish(axes, "loss", "loss")


def _draw_scores(axes: Axes, rows: Sequence[Entry]) -> None:
    scored = [row for row in rows if "score" in row]
    names = {"score": plain(str(scored[-1]["measure"]))} | {
        name: words for name, words in FIGURES.items() if name in scored[-1]}
    for number, (name, words) in enumerate(names.items()):
        at, values = _column(scored, name)
        axes.plot(at, 100 * values, marker="o", markersize=3, label=words, color="tab:red" if number == 0 else
                  f"C{number + 3}", linewidth=1.8 if number == 0 else 1)
    axes.set_ylim(0, 102)
    _finish(axes, "validation", "%")


def _draw(axes: Axes, rows: Sequence[Entry], names: Mapping[str, str], title: str, unit: str, smooth: bool = False
          ) -> None:
    """Columns as lines; smooth: faint, with their means."""
    for number, (name, words) in enumerate(names.items()):
        at, values = _column(rows, name)
        if smooth:
            axes.plot(at, values, color=f"C{number}", alpha=.2, linewidth=.7)
        axes.plot(at, _smoothed(values) if smooth else values, color=f"C{number}", linewidth=1.3,
                  label=words if len(names) > 1 or smooth else None)
    if axes.dataLim.ymin >= 0:
        axes.set_ylim(bottom=0)
    _finish(axes, title, unit)


def _finish(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("iteration", fontsize=9)
    axes.set_ylabel(unit, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=.4)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _column(rows: Sequence[Entry], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(R,) iterations and (R,) values of the rows that have one; NaN where it is not a number."""
    pairs = [(row["iteration"], row[name]) for row in rows if name in row]
    table = np.array(pairs, np.float64).reshape(-1, 2)              # None becomes NaN
    return table[:, 0], np.where(np.isinf(table[:, 1]), np.nan, table[:, 1])


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Means over a window; what is not a number does not count."""
    width = max(1, len(values) // WINDOW)
    known = np.isfinite(values)
    sums, counts = (np.convolve(part, np.ones(width), "same") for part in (np.where(known, values, 0.), known * 1.))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
