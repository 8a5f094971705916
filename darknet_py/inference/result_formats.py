"""Detections as text in other tools' formats: CSV, Pascal VOC's annotations, tab-separated lines."""
from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from darknet_py.data.voc import annotation_text
from darknet_py.errors import printable
from darknet_py.utils.files import write_file

if TYPE_CHECKING:
    from darknet_py.inference.detections import Detection, Detections

COLUMNS = ("image", "label", "name", "score", "left", "top", "right", "bottom")


def to_csv(found: Detections | Sequence[Detections]) -> str:
    """Detections of one image or of several as CSV, a line each, by falling score in each image.

    Columns: image (the path, or what it was given as; empty where it came from no file), label (the number of the
    class), name, score in [0, 1], and left, top, right, bottom in pixels, which may reach beyond the image. Texts with
    commas, quotes or line feeds stand in quotes (RFC 4180); lines end with a line feed. The header is there also where
    nothing was found.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([path, one.label, one.name, f"{one.score:.6f}", *(f"{side:.2f}" for side in one.box.tolist())]
                     for path, one in _rows(found))
    return text.getvalue()


def to_lines(found: Detections | Sequence[Detections]) -> str:
    """Detections of one image or of several, a line each, by falling score in each image: image, name, score, left,
    top, right, bottom, with tabs between. What is not printable in a path or a name is escaped, as \\t."""
    return "".join("\t".join([printable(path), printable(one.name), f"{one.score:.6f}",
                              *(f"{side:.2f}" for side in one.box.tolist())]) + "\n" for path, one in _rows(found))


def to_voc(found: Detections) -> str:
    """Detections of one image as an annotation of Pascal VOC: XML.

    Each box once, with its likeliest class, cut off at the image's edges; boxes outside of it are left out. Pixels are
    whole numbers and count from 1, as in VOC. <confidence> is the score, which readers of the format pass over. What is
    not printable in a name is escaped, since XML cannot have it.
    """
    height, width = found.image_size
    boxes, first = np.unique(found.boxes.reshape(-1, 4), axis=0, return_index=True)     # the first has the best score
    inside = (boxes[:, 2:] > 0).all(1) & (boxes[:, :2] < (width, height)).all(1)
    best = found.select(np.sort(first[inside]))
    path = found.path or ""
    folder, filename = (os.path.basename(os.path.dirname(path)), os.path.basename(path))
    return annotation_text(printable(filename), (width, height), [printable(one.name) for one in best], best.boxes,
                           folder=printable(folder), scores=best.scores.tolist())


def write_to(path: str | os.PathLike | None, text: str) -> str:
    """The text, which is written to the path, too, if there is one."""
    if path is not None:
        write_file(Path(path), text.encode("utf-8", "backslashreplace"))
    return text


def _rows(found: Detections | Sequence[Detections]) -> Iterator[tuple[str, Detection]]:
    """Each detection with the path of its image, or an empty one."""
    from darknet_py.inference.detections import Detections
    for one in [found] if isinstance(found, Detections) else found:
        for detection in one:
            yield one.path or "", detection
