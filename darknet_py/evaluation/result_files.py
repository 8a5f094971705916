"""Files of detections in the formats of Pascal VOC, COCO, BDD100K, KITTI and ImageNet, for their evaluation tools."""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet_py.data.coco import category_ids
from darknet_py.errors import DataError, Reason, suggestion
from darknet_py.evaluation.coco_ap import clipped_boxes
from darknet_py.evaluation.matching import DetectionTable
from darknet_py.utils.files import write_file

DEFAULT_NAMES = {"voc": "comp4_det_test_", "coco": "coco_results", "bdd": "bdd_results", "kitti": "kitti_results",
                 "imagenet": "imagenet-detection"}       # by kind, as in C


class Line(NamedTuple):
    """A detection as a line of a file: the image's number in the list from 0, the class, the score, and left, top,
    right, bottom in pixels."""

    image: int
    label: int
    score: float
    box: list[float]


def write_results(kind: str, folder: str | os.PathLike, detections: DetectionTable, sizes: np.ndarray,
                  paths: Sequence[Path], names: Sequence[str], *, name: str | None = None,
                  images: Sequence[int] | None = None, categories: Sequence[int | None] | None = None) -> list[Path]:
    """Write detections in one of the formats.

    Args:
        kind: voc: a file a class, ``NAMEclass.txt``, with lines ``id score left top right bottom``, counted from 1.
            coco: ``NAME.json`` of image_id, category_id, bbox (left, top, width, height) and score. bdd: ``NAME.json``
            of name, category, bbox (corners) and score. kitti: ``NAME/data/id.txt`` an image. imagenet: ``NAME.txt``
            with lines ``image class score left top right bottom``, both numbered from 1.
        folder: is made where it is missing.
        detections: of ``paths``; boxes are cut off at the images' edges.
        sizes: (N, 2) height and width of the images in pixels.
        names: of the classes.
        name: of the files; None: as in C.
        images, categories: ids for coco; None: ``image_ids`` and ``category_ids``.

    Returns:
        The files, or of kitti their folder.

    Raises:
        DataError: an unknown kind, a class that cannot be part of a file's name, two images whose files would have one
            name, or files that cannot be written.

    Darknet: validate_detector and its printers. Unlike there, JSON stays JSON where nothing is found, and BDD's and
    KITTI's classes are those of ``names``, not C's fixed lists.
    """
    if kind not in DEFAULT_NAMES:
        raise DataError(f"eval= needs one of {', '.join(DEFAULT_NAMES)}, found {kind}"
                        + suggestion(kind, DEFAULT_NAMES), Reason.UNKNOWN_NAME)
    base = Path(folder, DEFAULT_NAMES[kind] if name is None else name)
    boxes = clipped_boxes(detections, sizes, first=int(kind == "voc"))
    columns = detections.images, detections.labels, detections.scores, boxes
    lines = list(map(Line, *(column.tolist() for column in columns)))
    stems = [path.stem for path in paths]
    if kind == "voc":
        return [_write(Path(f"{base}{label}.txt"), part) for label, part in zip(
            _file_names(names), _by_class(lines, stems, len(names)), strict=True)]
    if kind == "coco":
        images = image_ids(paths)[0] if images is None else images
        categories = list(category_ids(names)) if categories is None else categories
        return [_write(base.with_name(f"{base.name}.json"), _list(
            f'{{"image_id":{json.dumps(images[image])}, "category_id":{categories[label]}, "bbox":[{x:f}, {y:f}, '
            f'{right - x:f}, {bottom - y:f}], "score":{score:f}}}'
            for image, label, score, (x, y, right, bottom) in lines if categories[label] is not None))]
    if kind == "bdd":
        return [_write(base.with_name(f"{base.name}.json"), _list(
            f'\t{{\n\t\t"name":{json.dumps(stems[line.image])},\n\t\t"category":{json.dumps(names[line.label])},\n'
            f'\t\t"bbox":[{", ".join(f"{side:f}" for side in line.box)}],\n\t\t"score":{line.score:f}\n\t}}'
            for line in lines))]
    if kind == "imagenet":
        return [_write(base.with_name(f"{base.name}.txt"),
                       (f"{line.image + 1} {line.label + 1} {line.score:f} {_words(line.box)}\n" for line in lines))]
    twice = {stem for stem in stems if stems.count(stem) > 1} if len(set(stems)) < len(stems) else set()
    if twice:
        raise DataError(f"several images are called {min(twice)}, and KITTI's files are called after their images",
                        Reason.DUPLICATE)
    texts: list[list[str]] = [[] for _ in paths]
    for line in lines:
        texts[line.image].append(f"{names[line.label]} -1 -1 -10 {_words(line.box)} -1 -1 -1 -1000 -1000 -1000 -10 "
                                 f"{line.score:f}\n")
    for stem, text in zip(stems, texts, strict=True):
        _write(base / "data" / f"{stem}.txt", text)
    return [base / "data"]


def image_ids(paths: Sequence[Path]) -> tuple[list[int], str | None]:
    """COCO's number of each image: the last number in its file's name, as in COCO_val2014_000000000042.jpg.

    Returns:
        The ids, and why they are only the images' numbers in the list from 1, where names have no number or share one.

    Darknet: print_cocos, which takes a number at the name's start.
    """
    ids = [int(numbers[-1]) if (numbers := re.findall(r"\d+", path.stem)) else -1 for path in paths]
    if -1 in ids:
        why = f"{paths[ids.index(-1)]} has no number in its name"
    elif len(set(ids)) < len(ids):
        first: dict[int, Path] = {}
        path, number = next((path, number) for path, number in zip(paths, ids, strict=True)
                            if first.setdefault(number, path) != path or paths.count(path) > 1)
        why = f"{path} and {first[number]} have the same number {number} in their names"
    else:
        return ids, None
    return list(range(1, len(paths) + 1)), f"{why}, so image_id is the place in the list, from 1"


def _by_class(lines: Sequence[Line], stems: Sequence[str], classes: int) -> list[list[str]]:
    """Pascal VOC's lines of each class."""
    parts: list[list[str]] = [[] for _ in range(classes)]
    for image, label, score, box in lines:
        parts[label].append(f"{stems[image]} {score:f} {_words(box)}\n")
    return parts


def _file_names(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if "/" in name or "\0" in name or names.count(name) > 1:
            raise DataError(f"expected classes after which files can be called, found {name!r}"
                            f"{' twice' if names.count(name) > 1 else ''}", Reason.BAD_VALUE)
        yield name


def _list(entries: Iterator[str]) -> list[str]:
    """The text of a JSON list, an entry a line."""
    return ["[\n", ",\n".join(entries), "\n]\n"]


def _words(box: Sequence[float]) -> str:
    return " ".join(f"{side:f}" for side in box)


def _write(path: Path, text: Iterable[str]) -> Path:
    write_file(path, "".join(text).encode("utf-8", "surrogateescape"))
    return path
