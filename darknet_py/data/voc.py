"""Pascal VOC: folders as the devkit has them, and XML files beside pictures or in folders of their own."""
from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from darknet_py.data.datafile import read_lines
from darknet_py.data.image import read_image
from darknet_py.data.layout import PROBES, UNKNOWN, Annotated, Layout, find_folder, is_picture, relative
from darknet_py.errors import DataError, Reason
from darknet_py.utils.files import check_regular, read_regular

VOC_SETS = {"train": ("train", "trainval"), "valid": ("val", "test"), "difficult": ("val", "test")}
KINDS = {"annotation", "annotations", "xml", "xmls", "label", "labels", "image", "images", "img", "imgs", "picture",
         "pictures", "photos", "jpegimages"}        # folders that say what a file is, not which
MOST_BYTES = 2 ** 24        # of an annotation
SNIFFED = 1024              # bytes that tell what an XML file is


def voc_folders(folder: str | os.PathLike) -> list[Path]:
    """The VOC data sets in a folder: itself, or its VOC2007, VOC2012 ..., in VOCdevkit too; none where it is something
    else. Each has Annotations beside JPEGImages or ImageSets, in any case, or alone."""
    folder = Path(folder)
    if not os.path.isdir(folder):           # also for a name that no file system has, where glob fails
        return []
    if _is_devkit(folder):
        return [folder]
    return [part for pattern in ("VOC*", "VOCdevkit/VOC*") for part in sorted(folder.glob(pattern)) if _is_devkit(part)]


def _is_devkit(folder: Path) -> bool:
    if find_folder(folder, "Annotations") is None:
        return False
    if find_folder(folder, "JPEGImages", "ImageSets") is not None:
        return True
    return (folder / "Annotations").is_dir() and [path.name for path in folder.iterdir()] == ["Annotations"]


def voc_names(folder: str | os.PathLike) -> list[str]:
    """The names of all objects in a VOC folder, sorted, as the official 20 are."""
    return object_names(path for part in voc_folders(folder) for path in _annotations(part))


def object_names(paths: Iterable[Path]) -> list[str]:
    """The names of all objects in annotations, sorted."""
    roots = map(read_xml, paths)
    return sorted({_text(entry, "name") for root in roots if root is not None for entry in root.iter("object")})


def voc_splits(folder: str | os.PathLike) -> tuple[str, ...]:
    """Those of train and valid that all the lists of a VOC folder know."""
    parts = voc_folders(folder)
    return tuple(split for split in ("train", "valid") if parts and all(
        any((_lists(part) / f"{name}.txt").is_file() for name in VOC_SETS[split]) for part in parts))


def voc_layout(folder: Path) -> Layout | None:
    """A devkit's folders."""
    if not voc_folders(folder):
        return None
    return Layout("Pascal VOC", voc_splits(folder), lambda: voc_names(folder),
                  lambda split, names: read_voc(folder, split, names))


def read_voc(folder: str | os.PathLike, split: str = "train", names: Sequence[str] | None = None
             ) -> Iterator[Annotated]:
    """The pictures of a Pascal VOC folder.

    ImageSets/Main/train.txt (else trainval.txt) lists those of train, val.txt (else test.txt) those of valid; without
    such lists each annotation is a picture of train and valid. Objects marked difficult are left out, as the
    labels that Darknet's voc_label.py makes leave them out; the split difficult has those of valid, and only those.

    Args:
        folder: see voc_folders.
        split: train, valid or difficult.
        names: the classes; None: voc_names.
    """
    classes = {name: number for number, name in enumerate(voc_names(folder) if names is None else names)}
    for part in voc_folders(folder):
        annotations = find_folder(part, "Annotations") or part / "Annotations"
        images = find_folder(part, "JPEGImages", "images") or part / "JPEGImages"
        files = sorted(images.iterdir(), reverse=True) if images.is_dir() else []
        there = {path.stem: path for path in files if is_picture(path)}
        for name in _voc_set(part, split):
            path = annotations / f"{name}.xml"
            image = there.get(name, images / f"{name}.jpg")
            yield _annotated(path, image, classes, split == "difficult")


def loose_layout(folder: Path, files: Sequence[Path]) -> Layout | None:
    """Annotations of Pascal VOC anywhere in a folder, whose files are given: beside their pictures, or in a folder such
    as annotations/ where the pictures are in images/, or JPEGImages/ without a devkit's lists.

    An annotation belongs to the picture of its name in the same place but for such folders, else to the only one of
    its name, or of the name in <filename>.
    """
    paths = [path for path in files if path.suffix.lower() == ".xml"]
    if not any(map(is_annotation, paths[:PROBES])):
        return None

    def read(split: str, names: Sequence[str] | None) -> Iterator[Annotated]:
        classes = {name: number for number, name in enumerate(object_names(paths) if names is None else names)}
        placed, named = {}, defaultdict(list)
        for picture in reversed([path for path in files if is_picture(path)]):
            placed[_place(picture, folder)] = picture
            named[picture.stem].append(picture)
        for path in filter(is_annotation, paths):
            image = placed.get(_place(path, folder))
            if image is None and len(named[path.stem]) == 1:
                image = named[path.stem][0]
            if image is None and (root := read_xml(path)) is not None:
                others = named[Path(_text(root, "filename").replace("\\", "/")).stem]
                image = others[0] if len(others) == 1 else None
            yield _annotated(path, path.with_suffix(".jpg") if image is None else image, classes, False)
    return Layout("Pascal VOC annotations", (), lambda: object_names(filter(is_annotation, paths)), read)


def _place(path: Path, folder: Path) -> tuple[str, ...]:
    """Where a file is, but for the folders that say what it is."""
    *between, _ = path.relative_to(folder).parts
    return (*(part for part in map(str.lower, between) if part not in KINDS), path.stem)


def _annotated(path: Path, image: Path, classes: dict[str, int], difficult: bool) -> Annotated:
    root = read_xml(path)
    rows = None if root is None else _voc_rows(root, classes, difficult, image)
    size = None if root is None or rows is None else _size(root)
    return Annotated(str(image), rows, str(path), str(path) if rows is None else None,
                     size=None if size is None or min(size) <= 0 else size)


def _size(root: ET.Element) -> tuple[float, float]:
    return float(_text(root, "size/width") or 0), float(_text(root, "size/height") or 0)


def _voc_set(folder: Path, split: str) -> list[str]:
    """The pictures' names in a split. Lists of one class have a second column, which says nothing about belonging."""
    lists = _lists(folder)
    for name in VOC_SETS[split]:
        if (lists / f"{name}.txt").is_file():
            return [line.split()[0] for line in read_lines(lists / f"{name}.txt") if line.strip()]
    if any(lists.glob("*.txt")) and not (lists / "default.txt").is_file():     # CVAT's list of all
        raise DataError(f"{lists}: expected {' or '.join(f'{name}.txt' for name in VOC_SETS[split])}",
                        Reason.MISSING_FILE)
    return sorted(path.stem for path in _annotations(folder))


def _lists(folder: Path) -> Path:
    sets = find_folder(folder, "ImageSets") or folder / "ImageSets"
    return find_folder(sets, "Main") or sets / "Main"


def _annotations(folder: Path) -> list[Path]:
    return sorted((find_folder(folder, "Annotations") or folder / "Annotations").glob("*.xml"))


def _voc_rows(root: ET.Element, classes: dict[str, int], difficult: bool, image: Path) -> np.ndarray | None:
    """Rows (K, 5) of the objects that are difficult, or that are not; None where a number is missing. The picture
    tells its size where the annotation does not."""
    rows = []
    try:
        size = np.array(_size(root))
        if not (size > 0).all():
            size = np.array(read_image(image).shape[1::-1], np.float64)
        for entry in root.iter("object"):
            if (_text(entry, "difficult") == "1") == difficult:
                rows.append([classes.get(_text(entry, "name"), UNKNOWN),
                             *(float(_text(entry, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))])
    except (ValueError, DataError):
        return None
    if not np.isfinite(size).all():
        return None
    table = np.array(rows, np.float64).reshape(-1, 5)
    # pixels count from 1; Darknet's own script moves the centre by 1 and takes xmax - xmin for the width
    table[:, 1:] = relative(table[:, 1:3] - 1, table[:, 3:] - 1, size)
    return table.astype(np.float32)


def annotation_text(filename: str, size: Sequence[int], names: Sequence[str], corners: np.ndarray, *, folder: str = "",
                    scores: Sequence[float] | None = None) -> str:
    """A picture's annotation as XML. Pixels are whole numbers and count from 1; a box has at least one, inside.

    Args:
        size: width and height in pixels.
        names: of the K objects.
        corners: (K, 4) left, top, right, bottom in pixels, from 0.
        scores: (K,) in [0, 1], written as <confidence>, which readers of the format pass over; None: there are none.
    """
    def add(parent: ET.Element, **texts: object) -> None:
        for key, text in texts.items():
            ET.SubElement(parent, key).text = str(text)

    root = ET.Element("annotation")
    add(root, folder=folder, filename=filename)
    width, height = size
    add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
    add(root, segmented=0)
    within = np.rint(corners.clip(0, [width, height] * 2)).astype(int).tolist()
    for number, (name, (x1, y1, x2, y2)) in enumerate(zip(names, within, strict=True)):
        entry = ET.SubElement(root, "object")
        add(entry, name=name, pose="Unspecified", truncated=0, difficult=0)
        if scores is not None:
            add(entry, confidence=f"{scores[number]:.6f}")
        x1, y1 = min(x1, width - 2), min(y1, height - 2)
        add(ET.SubElement(entry, "bndbox"), xmin=x1 + 1, ymin=y1 + 1, xmax=min(max(x2, x1 + 1) + 1, width),
            ymax=min(max(y2, y1 + 1) + 1, height))
    ET.indent(root)
    return ET.tostring(root, "unicode") + "\n"


def read_xml(path: Path, most: int = MOST_BYTES) -> ET.Element | None:
    """The root of an XML file; None where it cannot be read or has more bytes."""
    try:
        return ET.fromstring(read_regular(path, most))
    except (OSError, ET.ParseError, ValueError, LookupError):
        return None


def is_annotation(path: Path) -> bool:
    """Whether an XML file begins as those of Pascal VOC do."""
    try:
        check_regular(path)
        with open(path, "rb") as file:
            return re.search(rb"<annotation[\s>]", file.read(SNIFFED)) is not None
    except OSError:
        return False


def _text(entry: ET.Element, path: str) -> str:
    return (entry.findtext(path) or "").strip()
