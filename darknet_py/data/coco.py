"""COCO: instances JSONs as rows of Darknet's labels, and the 80 categories, six of which Darknet names otherwise."""
from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from darknet_py.data.datafile import with_slashes
from darknet_py.data.layout import PROBES, Annotated, Layout, is_picture, pick_base, relative, split_of
from darknet_py.errors import DataError, Reason, cause
from darknet_py.utils.files import check_regular, is_number, is_text, parse_json, read_regular, show_json

NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush")
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)       # ids that no object has
IDS = tuple(number for number in range(1, 91) if number not in UNUSED)
SNIFFED = 4096          # bytes of a JSON that tell what it is
OTHER_NAMES = {"motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant",
               "diningtable": "dining table", "tvmonitor": "tv"}


def category_name(name: str) -> str:
    """COCO's own name for a class."""
    return OTHER_NAMES.get(name, name)


def category_ids(names: Sequence[str]) -> list[int]:
    """The ids of classes: COCO's where the names are COCO's 80 in order, else 1, 2, 3 ...

    Darknet: coco_ids, which takes COCO's for any data set.
    """
    if tuple(map(category_name, names)) == NAMES:
        return list(IDS)
    return list(range(1, len(names) + 1))


def coco_names(path: str | os.PathLike) -> list[str]:
    """The categories of a COCO JSON by order of id."""
    return [name for _, name in _classes(path, read_coco_json(path))]


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
    categories = [(number, category_name(name)) for number, name in _classes(path, data)]
    selected = [name for _, name in categories] if names is None else list(map(category_name, names))
    classes = {number: selected.index(name) for number, name in categories if name in selected}
    if categories and not classes:
        raise DataError(f"{path}: no category is one of the names {selected[:5]}; "
                        f"it has {[name for _, name in categories[:5]]}", Reason.UNKNOWN_NAME)
    images = data["images"]
    index = {image["id"]: number for number, image in enumerate(images)}
    objects = [(index[entry["image_id"]], classes[entry["category_id"]], *entry["bbox"])
               for entry in data.get("annotations", [])
               if entry["category_id"] in classes and entry["image_id"] in index and not entry.get("iscrowd")]
    objects.sort(key=itemgetter(0))
    table = np.array(objects, np.float64).reshape(len(objects), 6)
    owner = table[:, 0].astype(np.int64)
    sizes = np.array([(image["width"], image["height"]) for image in images], np.float64).reshape(-1, 2)[owner]
    rows = np.concatenate([table[:, 1:2], relative(table[:, 2:4], table[:, 2:4] + table[:, 4:], sizes)], 1)
    parts = np.split(rows.astype(np.float32), np.cumsum(np.bincount(owner, minlength=len(images)))[:-1])
    folders = list(_coco_folders(Path(path)))
    files = [with_slashes(image["file_name"], folders) for image in images]
    base = pick_base(files, folders)
    return [Annotated(os.path.join(base, file), part, f"{path}: image {image['id']}",
                      size=(float(image["width"]), float(image["height"])))
            for image, file, part in zip(images, files, parts, strict=True)] if images else []


def coco_layout(path: Path, files: Sequence[Path] = ()) -> Layout | None:
    """A JSON, or those of a folder, whose files are given. They are splits where the names of all say which, as
    instances_train2017.json and valid/_annotations.coco.json do.
    """
    if path.suffix.lower() == ".json":
        return Layout("COCO", (), lambda: coco_names(path), lambda _, names: read_coco(path, names))
    jsons = coco_files(files)
    if not jsons:
        return None
    found = {file: split_of(file, path) for file in jsons}
    known = {split for split in found.values() if split is not None}
    splits = tuple(split for split in ("train", "valid", "test") if split in known)
    if None in found.values() or "train" not in splits or len(splits) == 1:
        splits = ()
    parts = {str(split): [file for file in jsons if found[file] == split] for split in splits}

    def names() -> list[str]:
        return list(dict.fromkeys(name for file in jsons for name in coco_names(file)))

    def read(split: str, classes: Sequence[str] | None) -> list[Annotated]:
        classes = names() if classes is None else classes
        pictures = [one for file in (parts.get(split, []) if splits else jsons) for one in read_coco(file, classes)]
        if not any(os.path.exists(one.image) for one in pictures[:PROBES]):
            there = {file.name: file for file in files if is_picture(file)}
            pictures = [one._replace(image=str(there.get(Path(one.image).name, one.image))) for one in pictures]
        return pictures
    return Layout("COCO", splits, names, read)


def coco_files(files: Sequence[Path]) -> list[Path]:
    """The JSONs of COCO's instances among files."""
    found = [file for file in files if file.suffix.lower() == ".json" and _looks_like_coco(file)]
    return [file for file in found if file.stem.startswith("instances_")] or found


def _looks_like_coco(path: Path) -> bool:
    """Whether a file begins as COCO's do; others may be a tool's settings, or polygons a picture."""
    try:
        check_regular(path)
        with open(path, "rb") as file:
            head = file.read(SNIFFED)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and any(
        b'"%s"' % key in head for key in (b"images", b"annotations", b"categories", b"info", b"licenses"))


def _classes(path: str | os.PathLike, data: dict) -> list[tuple[int, str]]:
    """The categories without unused supercategories, as some exports add one for the whole project."""
    categories = coco_categories(path, data)
    used = {entry["category_id"] for entry in data.get("annotations", [])}
    heads = {str(entry.get("supercategory")) for entry in data["categories"] if entry.get("name") != entry.get(
        "supercategory")}
    return [(number, name) for number, name in categories if number in used or name not in heads] or categories


class CocoJson(dict[str, Any]):
    """A parsed COCO JSON; unlike a plain dict it can be weakly referenced, for the cache of those in use."""


_PARSED: WeakValueDictionary[tuple[Any, ...], CocoJson] = WeakValueDictionary()


def read_coco_json(path: str | os.PathLike) -> CocoJson:
    """COCO's annotations as they are. A file is parsed once as long as its parsed form is in use.

    Raises:
        DataError: no such file, no JSON, no images in it, or something that is read is of another type.
    """
    try:
        facts = os.stat(path)
        key = os.path.realpath(path), facts.st_mtime_ns, facts.st_size
        if (known := _PARSED.get(key)) is not None:
            return known
        data = parse_json(read_regular(path))
    except OSError as error:
        raise DataError(f"{path}: cannot read the file: {cause(error)}", Reason.reading(error)) from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}", Reason.SYNTAX) from None
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise DataError(f"{path}: expected COCO instances: an object with images, annotations and categories",
                        Reason.WRONG_FORMAT)
    for kind, fields in _FIELDS.items():
        _check_entries(path, kind, data.get(kind, []), fields)
    if len({isinstance(image["id"], str) for image in data["images"]}) > 1:
        raise DataError(f"{path}: images: expected ids that are all numbers or all texts, found both", Reason.BAD_VALUE)
    _PARSED[key] = found = CocoJson(data)
    return found


def _check_entries(path: str | os.PathLike, kind: str, entries: object, fields: dict[str, _Field]) -> None:
    """Raises:
        DataError: something that is read of images, annotations or categories is of another type, or no number.
    """
    if not isinstance(entries, list):
        raise DataError(f"{path}: {kind}: expected a list, found {show_json(entries)}", Reason.WRONG_FORMAT)
    for number, entry in enumerate(entries):
        if type(entry) is not dict:
            raise DataError(f"{path}: {kind}[{number}]: expected an object, found {show_json(entry)}",
                            Reason.WRONG_FORMAT)
    for key, (expected, fits) in fields.items():
        for number, entry in enumerate(entries):
            if not fits(entry.get(key)):
                found = show_json(entry[key]) if key in entry else "none"
                raise DataError(f"{path}: {kind}[{number}]: {key}: expected {expected}, found {found}",
                                Reason.BAD_VALUE if key in entry else Reason.MISSING_KEY)


def _is_id(value: Any) -> bool:
    return type(value) is str or (is_number(value) and -math.inf < value < math.inf)


_Field = tuple[str, Callable[[Any], bool]]         # what is expected, and whether a value is that
_ID: _Field = "a number or a text", _is_id
_SIZE: _Field = "a number of pixels", lambda value: is_number(value) and 0 <= value < math.inf
_TEXT: _Field = "a text", is_text
# wrong boxes are not looked for here: reading the rows reports each
_FIELDS: dict[str, dict[str, _Field]] = {
    "images": {"id": _ID, "file_name": _TEXT, "width": _SIZE, "height": _SIZE},
    "annotations": {"image_id": _ID, "category_id": _ID,
                    "bbox": ("four numbers", lambda value: type(value) is list and len(value) == 4 and all(
                        map(is_number, value))),
                    "area": ("a number", lambda value: value is None or is_number(value)),
                    "iscrowd": ("0 or 1", lambda value: value is None or value in (0, 1))},
    "categories": {"id": ("a whole number", lambda value: is_number(value) and value % 1 == 0), "name": _TEXT}}


def coco_categories(path: str | os.PathLike, data: dict) -> list[tuple[int, str]]:
    """Id and name of the categories, by id."""
    try:
        return sorted((int(entry["id"]), entry["name"]) for entry in data["categories"])
    except KeyError:
        raise DataError(f"{path}: expected COCO categories, each with id and name", Reason.WRONG_FORMAT) from None


def _coco_folders(path: Path) -> list[Path]:
    folder, up = path.parent, path.parent / ".."
    name = path.stem.removeprefix("instances_")
    return [folder, folder / "images", up, up / "images", up / name, up / "images" / name, folder / name, Path()]
