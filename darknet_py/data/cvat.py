"""CVAT's own XML, "CVAT for images": boxes, and the boxes around other shapes, as rows of Darknet's labels."""
from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from darknet_py.data.layout import (
    PROBES,
    UNKNOWN,
    Annotated,
    Layout,
    files_below,
    is_picture,
    pick_base,
    relative,
    split_word,
)
from darknet_py.data.voc import read_xml
from darknet_py.errors import DataError, Reason
from darknet_py.utils.files import check_regular

SHAPES = {"box", "ellipse", "polygon", "mask"}       # those that have an area
MOST_BYTES = 2 ** 29        # of an export
SNIFFED = 1024              # bytes that tell what an XML file is


def is_cvat(path: Path) -> bool:
    """Whether an XML file begins as CVAT's do."""
    try:
        check_regular(path)
        with open(path, "rb") as file:
            return re.search(rb"<annotations[\s>]", file.read(SNIFFED)) is not None
    except OSError:
        return False


def cvat_layout(path: Path) -> Layout:
    """An export. Its subsets Train and Validation (else Test) are splits.

    Raises:
        DataError: no such file, or one of something else.
    """
    root = _read(path)
    images = root.findall("image")
    found = [split_word(image.get("subset") or "") for image in images]
    splits = tuple(split for split in ("train", "valid", "test") if split in found)
    splits = splits if None not in found and "train" in splits and len(splits) > 1 else ()

    def names() -> list[str]:
        labels = [(entry.findtext("name") or "").strip() for entry in root.findall("meta//labels/label")]
        used = {shape.get("label") or "" for image in images for shape in image if shape.tag in SHAPES}
        return list(dict.fromkeys([*filter(None, labels), *sorted(used)]))

    def read(split: str, classes: Sequence[str] | None) -> list[Annotated]:
        numbers = {name: number for number, name in enumerate(names() if classes is None else classes)}
        chosen = [image for image, own in zip(images, found, strict=True) if not splits or own == split]
        paths = _pictures(path, chosen)
        return [Annotated(file, _rows(image, numbers, path), f"{path}: image {image.get('id')}", size=_size(image))
                for file, image in zip(paths, chosen, strict=True)]
    return Layout("CVAT for images", splits, names, read)


def _read(path: Path) -> ET.Element:
    root = read_xml(path, MOST_BYTES)
    if root is None or root.tag != "annotations":
        there = os.path.exists(path)
        raise DataError(f"{path}: expected an XML of CVAT for images" + (
            "; one of Pascal VOC belongs to a picture, give the folder of all" if root is not None
            and root.tag == "annotation" else ", found something else" if there else ", found no such file"),
                        Reason.WRONG_FORMAT if there else Reason.MISSING_FILE)
    if root.find("track") is not None and root.find("image") is None:
        raise DataError(f"{path}: is an export of CVAT for video, which has no pictures; export the task as CVAT for "
                        "images", Reason.UNSUPPORTED)
    return root


def _pictures(path: Path, images: Sequence[ET.Element]) -> list[str]:
    """Where the pictures are: by the XML or in images/, with a folder of their subset, or by name anywhere below."""
    names = [image.get("name") or "" for image in images]
    subsets = list(dict.fromkeys(image.get("subset") or "default" for image in images))
    near = [path.parent, path.parent / "images", path.parent.parent, path.parent.parent / "images"]
    bases = [pick_base([name for name, image in zip(names, images, strict=True)
                        if (image.get("subset") or "default") == subset],
                       [*near, *(folder / subset for folder in near)]) for subset in subsets]
    chosen = dict(zip(subsets, bases, strict=True))
    paths = [os.path.join(chosen[image.get("subset") or "default"], name)
             for name, image in zip(names, images, strict=True)]
    if paths and not any(map(os.path.exists, paths[:PROBES])):
        there = {file.name: str(file) for file in files_below(path.parent) if is_picture(file)}
        paths = [there.get(Path(name).name, file) for name, file in zip(names, paths, strict=True)]
    return paths


def _rows(image: ET.Element, classes: dict[str, int], path: Path) -> np.ndarray:
    """Rows (K, 5) of a picture's shapes; points and lines have no box."""
    try:
        size = np.array(_size(image))
        if not (size > 0).all():
            raise ValueError
        rows = [[classes.get(shape.get("label") or "", UNKNOWN), *box] for shape in image
                if (box := _box(shape)) is not None]
    except ValueError:
        raise DataError(f"{path}: image {image.get('id')}: expected width, height and shapes in numbers",
                        Reason.BAD_VALUE) from None
    table = np.array(rows, np.float64).reshape(-1, 5)
    table[:, 1:] = relative(table[:, 1:3], table[:, 3:], size)
    return table.astype(np.float32)


def _size(image: ET.Element) -> tuple[float, float]:
    return float(image.get("width") or ""), float(image.get("height") or "")


def _box(shape: ET.Element) -> tuple[float, float, float, float] | None:
    """Corners in pixels of the upright box around a shape."""
    def number(key: str) -> float:
        return float(shape.get(key) or "")

    if shape.tag not in SHAPES:
        return None
    if shape.tag == "polygon":
        points = np.array([point.split(",") for point in (shape.get("points") or "").split(";")], np.float64)
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return left, top, right, bottom
    if shape.tag == "mask":
        left, top = number("left"), number("top")
        return left, top, left + number("width"), top + number("height")
    if shape.tag == "box":
        x1, y1, x2, y2 = map(number, ("xtl", "ytl", "xbr", "ybr"))
        x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
    else:
        x, y, w, h = map(number, ("cx", "cy", "rx", "ry"))
    angle = math.radians(float(shape.get("rotation") or 0))
    if angle:                   # the corners of a box, the tangents of an ellipse
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        w, h = ((w * cos + h * sin, w * sin + h * cos) if shape.tag == "box" else
                (math.hypot(w * cos, h * sin), math.hypot(w * sin, h * cos)))
    return x - w, y - h, x + w, y + h
