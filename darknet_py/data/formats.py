"""Data sets of other formats: COCO's instances JSON and Pascal VOC's folders, as rows of Darknet's labels."""
from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet_py.data.coco import category_name
from darknet_py.data.datafile import read_lines
from darknet_py.errors import DataError

UNKNOWN = -1                # the class of an object whose name is none of the names: reading the rows reports it
VOC_SETS = {"train": ("train", "trainval"), "valid": ("val", "test"), "difficult": ("val", "test")}
PROBES = 20                 # pictures that are looked for to find out where a data set keeps them


class Annotated(NamedTuple):
    """A picture of such a data set: rows is (K, 5) float32, or None where its annotation cannot be read."""
    image: str
    rows: np.ndarray | None
    where: str


def pick_base(names: Sequence[str], bases: Iterable[str | os.PathLike]) -> str:
    """The first folder that has one of the first names, else the first folder; absolute names need none."""
    folders = [os.fspath(base) for base in bases]
    probes = [name for name in names[:PROBES] if not os.path.isabs(name)]
    return next((base for base in folders if any(os.path.exists(os.path.join(base, name)) for name in probes)),
                folders[0])


def coco_names(path: str | os.PathLike) -> list[str]:
    """The categories of a COCO JSON by order of id."""
    return [name for _, name in coco_categories(path, read_coco_json(path))]


def read_coco(path: str | os.PathLike, names: Sequence[str] | None = None) -> list[Annotated]:
    """The pictures of a COCO instances JSON, in its order.

    Boxes are clipped to the picture, crowds are left out. Pictures are looked for in the JSON's folder and in images/,
    ../, ../images/, ../SET/ and ../images/SET/, where SET is train2017 for instances_train2017.json.

    Args:
        path: the JSON.
        names: the classes; categories that are none of them are left out. None: the categories by order of id. Of
            COCO's own names those that Darknet writes otherwise (sofa for couch) are known.

    Raises:
        DataError: no such JSON, or no category has one of the names.
    """
    data = read_coco_json(path)
    categories = [(number, category_name(name)) for number, name in coco_categories(path, data)]
    wanted = [name for _, name in categories] if names is None else list(map(category_name, names))
    classes = {number: wanted.index(name) for number, name in categories if name in wanted}
    if categories and not classes:
        raise DataError(f"{path}: no category is one of the names {wanted[:5]}; "
                        f"it has {[name for _, name in categories[:5]]}")
    try:
        images = data["images"]
        index = {image["id"]: number for number, image in enumerate(images)}
        objects = [(index[entry["image_id"]], classes[entry["category_id"]], *entry["bbox"])
                   for entry in data.get("annotations", [])
                   if entry["category_id"] in classes and entry["image_id"] in index and not entry.get("iscrowd", 0)]
        objects.sort(key=itemgetter(0))
        table = np.array(objects, np.float64).reshape(len(objects), 6)
        owner = table[:, 0].astype(np.int64)
        sizes = np.array([(image["width"], image["height"]) for image in images], np.float64).reshape(-1, 2)[owner]
        rows = np.concatenate([table[:, 1:2], _relative(table[:, 2:4], table[:, 2:4] + table[:, 4:], sizes)], 1)
        parts = np.split(rows.astype(np.float32), np.cumsum(np.bincount(owner, minlength=len(images)))[:-1])
        files = [str(image["file_name"]) for image in images]
        base = pick_base(files, _coco_folders(Path(path)))
        return [Annotated(os.path.join(base, file), part, f"{path}: image {image['id']}")
                for image, file, part in zip(images, files, parts, strict=True)] if images else []
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not COCO instances: {type(error).__name__} {error}") from None


def _relative(low: np.ndarray, high: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Corners (K, 2) in pixels to (K, 4) centre and size relative to the picture, clipped to it."""
    with np.errstate(all="ignore"):
        low, high = np.clip(low, 0, size) / size, np.clip(high, 0, size) / size
    return np.concatenate([(low + high) / 2, high - low], 1)


def read_coco_json(path: str | os.PathLike) -> dict:
    """COCO's annotations as they are.

    Raises:
        DataError: no such file, no JSON, or no images in it.
    """
    try:
        data = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot read the file: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise DataError(f"{path}: expected COCO instances: an object with images, annotations and categories")
    return data


def coco_categories(path: str | os.PathLike, data: dict) -> list[tuple[int, str]]:
    """Id and name of the categories, by id."""
    try:
        return sorted((int(entry["id"]), str(entry["name"])) for entry in data["categories"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: expected COCO categories, each with id and name") from None


def _coco_folders(path: Path) -> list[Path]:
    folder, up = path.parent, path.parent / ".."
    name = path.stem.removeprefix("instances_")
    return [folder, folder / "images", up, up / "images", up / name, up / "images" / name, folder / name, Path()]


def voc_folders(folder: str | os.PathLike) -> list[Path]:
    """The VOC data sets in a folder: itself, or its VOC2007, VOC2012 ...; none where it is something else."""
    folder = Path(folder)
    if (folder / "Annotations").is_dir():
        return [folder]
    return sorted(found.parent for found in folder.glob("VOC*/Annotations"))


def voc_names(folder: str | os.PathLike) -> list[str]:
    """The names of all objects in a VOC folder, sorted, as the official 20 are."""
    found: set[str] = set()
    for part in voc_folders(folder):
        for path in (part / "Annotations").glob("*.xml"):
            root = _read_xml(path)
            found.update(_text(entry, "name") for entry in ([] if root is None else root.iter("object")))
    return sorted(found)


def read_voc(folder: str | os.PathLike, split: str = "train", names: Sequence[str] | None = None
             ) -> Iterator[Annotated]:
    """The pictures of a Pascal VOC folder.

    ImageSets/Main/train.txt (else trainval.txt) lists those of train, val.txt (else test.txt) those of valid; without
    such lists each annotation is a picture of train and valid. Objects marked difficult are left out, as the
    labels that Darknet's voc_label.py makes leave them out; the split difficult has those of valid, and only those.

    Args:
        folder: with Annotations and JPEGImages, or with such folders named VOC*.
        split: train, valid or difficult.
        names: the classes; None: voc_names.
    """
    classes = {name: number for number, name in enumerate(voc_names(folder) if names is None else names)}
    for part in voc_folders(folder):
        for name in _voc_set(part, split):
            path = part / "Annotations" / f"{name}.xml"
            root = _read_xml(path)
            file = f"{name}.jpg" if root is None else _text(root, "filename") or f"{name}.jpg"
            image = part / "JPEGImages" / (file if os.path.splitext(file)[0] == name else f"{name}.jpg")
            yield Annotated(str(image), None if root is None else _voc_rows(root, classes, split == "difficult"),
                            str(path))


def _voc_set(folder: Path, split: str) -> list[str]:
    """The pictures' names in a split. Lists of one class have a second column, which says nothing about belonging."""
    lists = folder / "ImageSets" / "Main"
    for name in VOC_SETS[split]:
        if (lists / f"{name}.txt").is_file():
            return [line.split()[0] for line in read_lines(lists / f"{name}.txt") if line.strip()]
    if any(lists.glob("*.txt")):
        raise DataError(f"{lists}: expected {' or '.join(f'{name}.txt' for name in VOC_SETS[split])}")
    return sorted(path.stem for path in (folder / "Annotations").glob("*.xml"))


def _voc_rows(root: ET.Element, classes: dict[str, int], difficult: bool) -> np.ndarray | None:
    """Rows (K, 5) of the objects that are difficult, or that are not; None where a number is missing."""
    rows = []
    try:
        size = np.array([float(_text(root, "size/width")), float(_text(root, "size/height"))])
        for entry in root.iter("object"):
            if (_text(entry, "difficult") == "1") == difficult:
                rows.append([classes.get(_text(entry, "name"), UNKNOWN),
                             *(float(_text(entry, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))])
    except ValueError:
        return None
    if not (size > 0).all():
        return None
    table = np.array(rows, np.float64).reshape(-1, 5)
    # pixels count from 1; Darknet's own script moves the centre by 1 and takes xmax - xmin for the width
    table[:, 1:] = _relative(table[:, 1:3] - 1, table[:, 3:] - 1, size)
    return table.astype(np.float32)


def _read_xml(path: Path) -> ET.Element | None:
    try:
        return ET.parse(path).getroot()
    except (OSError, ET.ParseError, ValueError):
        return None


def _text(entry: ET.Element, path: str) -> str:
    return (entry.findtext(path) or "").strip()


