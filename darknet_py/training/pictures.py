"""Pictures of a run's report: labels, first mini-batches, predictions of the best weights."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from darknet_py.data.classification import ClassifierPictures
from darknet_py.data.dataset import Sample, read_rows
from darknet_py.data.image import read_image
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.evaluation.classification import ClassifierResult
from darknet_py.evaluation.plots import plain
from darknet_py.evaluation.predict import Predictions
from darknet_py.ops.boxes import cxcywh_to_xyxy
from darknet_py.utils.files import replacing
from darknet_py.viz.draw import draw_detections, grid, outline
from darknet_py.viz.figures import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_CELL, CELL = 320, 416         # pixels, the width of a picture in a row
SHOWN, COLUMNS = 12, 4              # pictures of a batch, or with predictions; pictures in a row
PATIENCE = 1.                       # seconds for reading labels; those of the pictures that are left are not counted
BARS = 30                           # classes with a bar of their own
BINS = 50                           # of a coordinate
GREY = (114, 114, 114)
WHITE = (255, 255, 255)


class Drawing(NamedTuple):
    """Pictures to be drawn.

    key: a later drawing replaces an earlier one of the same key.
    files: by name, the function that writes each to a path.
    once: existing files are not drawn again.
    """

    key: str
    files: dict[str, Callable[[Path], None]]
    once: bool = False


def batch_grid(batch: MiniBatch, names: Sequence[str]) -> np.ndarray:
    """The first pictures of a mini-batch, as the network sees them, with their boxes or classes; uint8 BGR (H, W, 3).
    """
    count = min(SHOWN, len(batch.images))
    return grid([labelled(batch, number, names, CELL) for number in range(count)], min(COLUMNS, count))


def draw_batch(batch: MiniBatch, names: Sequence[str], path: str | os.PathLike) -> None:
    """Write ``batch_grid``.

    Raises:
        OSError: it cannot be written.
    """
    write_jpeg(batch_grid(batch, names), path)


def labelled(batch: MiniBatch, number: int, names: Sequence[str], most: int | None = None) -> np.ndarray:
    """One picture of a mini-batch with its boxes, or framed in the colour of its class; uint8 BGR (H, W, 3). A small
    one is enlarged, so that names can be read; one wider than ``most`` pixels is made smaller."""
    x, truth = batch.images[number], batch.truth
    image = (x if x.dtype == torch.uint8 else (255 * x).round().byte()).numpy()[::-1].transpose(1, 2, 0)     # to BGR
    width = image.shape[1]
    scale = most / width if most is not None and width > most else max(1, round(LEAST_CELL / width))
    image = cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale,
                       interpolation=cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA)
    height, width = image.shape[:2]
    if not isinstance(truth, Truth):                        # of a classifier: the shares of the classes
        shares, labels = truth[number].clamp(min=0).topk(min(2, truth.shape[1]))
        text = ", ".join(f"{names[label]} {share:.0%}" for share, label in zip(shares, labels.tolist(), strict=True)
                         if share >= .1)
        return draw_detections(image, [[0, 0, width, height]], labels[:1], [1.], [], label_format=escaped(text))
    rows = truth.rows(number)
    corners = np.concatenate([rows[:, 1:3] - rows[:, 3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2], 1)
    return draw_detections(image, corners * (width, height, width, height), rows[:, 0], np.ones(len(rows)), names,
                           "{name}")


def draw_predictions(samples: Sequence[Sample], predictions: Predictions, names: Sequence[str], thresh: float,
                     path: str | os.PathLike) -> None:
    """Write a dozen of the validation pictures, evenly chosen from those with objects, with the detections of scores
    above ``thresh`` in colour, and the ground truth in white dashes.

    Raises:
        DataError, OSError: one cannot be read; it cannot be written.
    """
    found, objects = predictions.detections[0], predictions.objects
    known = np.unique(objects.images)
    chosen = known[np.linspace(0, len(known) - 1, min(SHOWN, len(known))).round().astype(int)]
    cells = []
    for number in chosen.tolist():
        image = read_image(samples[number].image)
        scale = CELL / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale,
                           interpolation=cv2.INTER_LINEAR if scale >= 1 else cv2.INTER_AREA)
        height, width = image.shape[:2]
        here, there = (found.images == number) & (found.scores > thresh), objects.images == number
        boxes, truths = (cxcywh_to_xyxy(torch.from_numpy(one)).numpy() * (width, height, width, height)
                         for one in (found.boxes[here], objects.boxes[there]))
        for box in truths.round().astype(int).tolist():
            outline(image, box, WHITE, True)
        cells.append(draw_detections(image, boxes, found.labels[here], found.scores[here], names))
    high, wide = (max(cell.shape[side] for cell in cells) for side in (0, 1))
    for at, cell in enumerate(cells):
        height, width = cell.shape[:2]
        top, left = (high - height) // 2, (wide - width) // 2
        cells[at] = cv2.copyMakeBorder(cell, top, high - height - top, left, wide - width - left, cv2.BORDER_CONSTANT,
                                       value=GREY)
    write_jpeg(grid(cells, min(COLUMNS, len(cells))), path)


def plot_labels(samples: Sequence[Sample], names: Sequence[str], path: str | os.PathLike) -> None:
    """Draw statistics of the training labels: objects of each class, a picture, positions and sizes. If there are too
    many to be read in a second, an arbitrary sample of them is drawn.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure
    parts, end = [], time.monotonic() + PATIENCE
    for number in np.random.default_rng(0).permutation(len(samples)).tolist():
        parts.append(read_rows(samples[number], len(names))[0])
        if time.monotonic() > end:
            break
    rows = np.concatenate(parts)
    pictures = f"{len(parts):,} training pictures" + (f" (of {len(samples):,})" if len(parts) < len(samples) else "")
    figure = Figure(figsize=(14, 10), dpi=100, layout="constrained")
    (classes, crowd), (places, sizes) = figure.subplots(2, 2)
    _bars(classes, np.bincount(rows[:, 0].astype(int), minlength=len(names)), names, "objects", "objects a class")
    counts = np.bincount([min(len(part), BINS) for part in parts])
    crowd.bar(range(len(counts)), counts, width=.9)
    _name(crowd, "objects a picture", "objects" + (f" ({BINS}: or more)" if len(counts) > BINS else ""), "pictures")
    for axes, columns, title, x, y in (
            (places, (1, 2), "centres", "x / width of the picture", "y / height of the picture"),
            (sizes, (3, 4), "sizes", "width / width of the picture", "height / height of the picture")):
        table = np.histogramdd(rows[:, columns].clip(0, 1), BINS, [(0, 1), (0, 1)])[0]
        image = axes.imshow(np.where(table > 0, table, np.nan).T, extent=(0, 1, 0, 1), origin="lower", cmap="viridis_r",
                            aspect="auto")
        figure.colorbar(image, ax=axes, label="objects")
        _name(axes, title, x, y)
    places.invert_yaxis()                               # as in a picture, down
    figure.suptitle(f"{len(rows):,} objects in {pictures}")
    write_figure(figure, [Path(path)])


def plot_classes(pictures: ClassifierPictures, path: str | os.PathLike) -> None:
    """Draw how many training pictures a classifier has of each class. See ``plot_labels``."""
    counts, seen, end = np.zeros(pictures.classes + 1, np.int64), 0, time.monotonic() + PATIENCE
    for number in np.random.default_rng(0).permutation(len(pictures)).tolist():
        counts[pictures.label(number)] += 1
        seen += 1
        if time.monotonic() > end:
            break
    some = f" (of {len(pictures):,})" if seen < len(pictures) else ""
    _plot_bars(counts[:-1], pictures.names or [], "pictures", f"{seen:,} training pictures{some}", path)


def plot_accuracy(result: ClassifierResult, path: str | os.PathLike) -> None:
    """Draw the top-1 accuracy of each class that has pictures.

    Raises:
        OSError: it cannot be written.
    """
    known = np.unique(result.labels[result.labels >= 0])
    shares = np.array([(result.ranks[result.labels == label] < 1).mean() for label in known])
    _plot_bars(100 * shares, [result.names[label] for label in known], "%", f"top-1 accuracy, {result.top(1):.2%} of "
               f"{len(result):,} pictures", path)


def write_jpeg(image: np.ndarray, path: str | os.PathLike) -> None:
    """Write uint8 BGR (H, W, 3). Raises OSError if it cannot be written."""
    with replacing(path) as file:
        file.write(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def _plot_bars(values: np.ndarray, names: Sequence[str], unit: str, title: str, path: str | os.PathLike) -> None:
    from matplotlib.figure import Figure
    figure = Figure(figsize=(10, 2 + .25 * min(BARS, len(values))), dpi=100, layout="constrained")
    _bars(figure.add_subplot(), values, names, unit, title)
    write_figure(figure, [Path(path)])


def _bars(axes: Axes, values: np.ndarray, names: Sequence[str], unit: str, title: str) -> None:
    """A bar a class; if there are too many, of those with the most and with the least."""
    shown = np.arange(len(values))
    if len(values) > BARS:
        order = np.argsort(-values, kind="stable")
        shown = np.concatenate([order[:BARS // 2], order[-(BARS // 2):]])
        title += f", the {BARS // 2} with the most and the least of {len(values)}"
    words = [plain(names[label]) if label < len(names) else str(label) for label in shown.tolist()]
    bars = axes.barh(range(len(shown)), values[shown], color=[f"C{label % 10}" for label in shown.tolist()])
    axes.bar_label(bars, fmt="{:,.0f}" if unit != "%" else "{:.0f}", padding=3, fontsize=8)
    axes.set_yticks(range(len(shown)), words, fontsize=9 if len(shown) < 20 else 7)
    axes.invert_yaxis()
    axes.margins(x=.1)
    if unit == "%":
        axes.set_xlim(0, 105)
    _name(axes, title, unit, "")
    axes.grid(axis="y", visible=False)


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=.4)


def escaped(text: str) -> str:
    """A text with braces escaped for str.format."""
    return text.replace("{", "{{").replace("}", "}}")
