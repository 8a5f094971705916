"""Data sets: which pictures there are, and the objects in each."""
from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet_py.data.datafile import (
    EXTENSIONS,
    MOST_LABELS,
    DataFile,
    bases,
    check_names,
    entries_of,
    find_label,
    label_path,
    plain_label_path,
    read_data,
    read_lines,
    read_names,
)
from darknet_py.data.formats import find_layout
from darknet_py.data.layout import PROBES, pick_base
from darknet_py.data.lists import read_list
from darknet_py.data.voc import voc_folders
from darknet_py.errors import DataError, Reason, locate, one_line, suggestion

SPLITS = ("train", "valid", "difficult")
OUTSIDE = 1e-3              # how far a box may reach over the picture's edge, relative, before there is a warning
NO_LISTS = (".cfg", ".weights", ".names")
LINE_FORMS = ("box", "polygon", "pose")     # of label lines; the others may be boxes too
NO_LABEL = "no label file: a picture without objects"
NO_ROWS = np.zeros((0, 5), np.float32)


class Sample(NamedTuple):
    """A picture and where its objects come from.

    rows is (K, 5) float32: class, centre x, centre y, width, height, relative to the picture. None: read the file
    label, whose lines have one of the LINE_FORMS. where says which line of which file named the picture. size: width
    and height in pixels that the annotation says, of which rows are parts.
    """
    image: Path
    label: Path | None
    rows: np.ndarray | None
    where: str
    form: str = "box"
    size: tuple[float, float] | None = None


class Problem(NamedTuple):
    """Something wrong in a file. line is 0 where the whole file is meant.

    error: a picture or an object is left out because of it; else it is only probably a mistake.
    """
    path: Path
    line: int
    message: str
    error: bool = True

    def __str__(self) -> str:
        return one_line(f"{locate(self.path, self.line or None)}: {self.message}")


class Objects(NamedTuple):
    """The objects of a sample: see ``read_rows``. lines: of each row in path, 0 where that is no file of lines."""
    rows: np.ndarray
    lines: list[int]
    path: Path
    problems: list[Problem]


def read_samples(source: str | os.PathLike, split: str = "train", names: Sequence[str] | None = None) -> list[Sample]:
    """The pictures of a data set, in order.

    Args:
        source: a .data file, whose entry for the split names any of the others; a list of pictures, a path a line
            (blank lines are skipped); a folder of pictures, with those in the folders below; a COCO instances JSON, a
            data.yaml, an XML of CVAT, or a folder with such a file or with Pascal VOC's: see formats.find_layout.
        split: train, valid or difficult. It chooses the entry of a .data file or a data.yaml and the list of a VOC
            folder. valid is train where a .data file has no entry for it, as in Darknet.
        names: the classes, for the formats that name them. None: those of the .data file, else the source's own.

    Returns:
        Samples whose pictures have not been looked at: 118,000 lines take two seconds. Relative paths of a .data file
        or a list are relative to the working directory, else to the file's folder, else to the folder above it: the
        first place that has one of the list's first 20 pictures, taken for all of them. In the same way the first
        pictures decide between the two rules for label files (see find_label); read_rows tries the other rule for a
        missing one.

    Raises:
        DataError: a source that cannot be read, or that names no pictures.

    Darknet: get_paths, the head of train_detector.
    """
    if split not in SPLITS:
        raise DataError(f"expected the split {', '.join(SPLITS)}, found {split}" + suggestion(split, SPLITS),
                        Reason.UNKNOWN_NAME)
    if Path(source).suffix == ".data":
        found = _read_entry(read_data(source), split, names)
    else:
        found = _read(Path(source), split, names)
    if not found and split != "difficult":
        entry = _entry(entries_of(source), split)
        raise DataError(f"{source}: {'' if entry is None else f'{split} = {entry} '}names no pictures to "
                        f"{'train on' if split == 'train' else 'validate on'}", Reason.EMPTY)
    return found


def class_names(source: str | os.PathLike) -> list[str] | None:
    """The names that come with a data set: a .data file's, a COCO JSON's categories, a VOC folder's, those of a
    classes.txt near label files; else None.

    Raises:
        DataError: a file that cannot be read.
    """
    path = Path(source)
    if path.suffix == ".data":
        entries = read_data(source)
        if (names := _names_entry(entries)) is not None:
            return names
        return class_names(source_of(entries, "train")) if "train" in entries else None
    layout = find_layout(path)
    names = None if layout is None else layout.names()
    return None if names is None else check_names(names, source)


def own_splits(source: str | os.PathLike) -> tuple[str, ...]:
    """Those of train, valid and test that a data set has of its own; none where nothing says which pictures are which.

    Raises:
        DataError: a file that cannot be read.
    """
    path = Path(source)
    if path.suffix == ".data":
        entries = read_data(source)
        return tuple(split for split in ("train", "valid") if split in entries)
    layout = find_layout(path)
    return () if layout is None else layout.splits


def coco_json(source: str | os.PathLike, split: str = "valid") -> Path | None:
    """The COCO JSON that a split's pictures come from, if they do."""
    path = Path(source)
    if path.suffix == ".data":
        entry = _entry(read_data(source), split)
        path = path if entry is None else source_of(read_data(source), split)
    return path if path.suffix == ".json" else None


def source_of(entries: DataFile, split: str) -> Path:
    """What a .data file, which has an entry for the split, names for it.

    Raises:
        DataError: that is a .data file itself.
    """
    entry = _entry(entries, split)
    assert entry is not None
    if Path(entry).suffix == ".data":
        raise DataError(f"{entries.path}: {split} = {entry}: expected a list of pictures, found another .data file",
                        Reason.WRONG_FORMAT)
    return find_near(entry, entries.path)


def find_near(name: str, file: Path) -> Path:
    """What an entry of a file means: relative to the working directory, else to its folder, else to the one above.

    Where nothing is there a first folder too many, as in CVAT's exports, is left out; else the first path is returned.
    """
    path, inside = Path(pick_base([name], bases(file)), name), _without_first(name, file)
    return inside if not os.path.exists(path) and os.path.exists(inside) else path


def read_rows(sample: Sample, classes: int) -> tuple[np.ndarray, list[Problem]]:
    """The objects of a sample.

    Returns:
        rows (K, 5) float32 in the file's order: class in [0, classes), centre x, centre y, width > 0, height > 0,
        relative. Boxes may reach over the picture's edges, with a centre outside: C clips them after augmentation. And
        what is wrong with the label file.

    Darknet: read_boxes, correct_boxes, fill_truth_detection. Left out: a class that is out of range (C keeps negative
    ones until the loss passes over them), a centre of (0, 0), a box wholly outside the picture, a size of 0 or less. A
    missing label file means no objects. Unlike C, a line ends a row: where one is not 5 numbers C takes the rest from
    the next line, or gives up the rest of the file (BUG), here that line is left out. NaN is left out too.
    """
    found = read_objects(sample, classes)
    return found.rows, found.problems


def read_objects(sample: Sample, classes: int) -> Objects:
    """``read_rows`` with the place of each row."""
    if sample.rows is not None:
        return _checked(sample.rows, [0] * len(sample.rows), Path(sample.where), classes, [])
    path = label_path(sample.image) if sample.label is None else sample.label
    if path.suffix == ".xml":
        problem = Problem(path, 0, "expected an annotation of Pascal VOC with size and boxes")
        return Objects(NO_ROWS.copy(), [], path, [problem])
    if not os.path.exists(path):
        path = find_label(sample.image)
    try:
        lines = read_lines(path, MOST_LABELS)
    except DataError as error:
        problem = Problem(path, 0, NO_LABEL, error=False)
        if os.path.exists(path):
            problem = Problem(path, 0, str(error).removeprefix(f"{path}: "))
        return Objects(NO_ROWS.copy(), [], path, [problem])
    problems: list[Problem] = []
    rows, numbers = [], []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        row = _box(words, sample.form)
        if row is not None:
            rows.append(row)
            numbers.append(number)
        else:
            found = line.strip()[:60]
            problems.append(Problem(path, number, f"expected 5 numbers: class x y width height, found {found!r}"))
    return _checked(np.array(rows, np.float64).reshape(-1, 5), numbers, path, classes, problems)


def _box(words: Sequence[str], form: str) -> list[float] | None:
    """The five numbers of a label line; of a polygon or an oriented box those of the upright box around it."""
    try:
        row = [float(word) for word in words]
    except ValueError:
        return None
    if form == "polygon" and len(row) >= 7 and len(row) % 2 == 1:
        xs, ys = row[1::2], row[2::2]
        return [row[0], (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
    if form == "pose" and len(row) > 5:
        return row[:5]
    return row if len(row) == 5 else None


def _checked(rows: np.ndarray, lines: list[int], path: Path, classes: int, problems: list[Problem]) -> Objects:
    """The rows that count and their lines, and the problems with these and the others added to the list."""
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    keep = []
    for index, (line, row) in enumerate(zip(lines, rows.tolist(), strict=True)):
        wrong = _fault(row, classes)
        if wrong is None:
            keep.append(index)
            _, x, y, w, h = row
            if min(x - w / 2, y - h / 2) < -OUTSIDE or max(x + w / 2, y + h / 2) > 1 + OUTSIDE:
                problems.append(Problem(path, line, f"the box reaches outside the picture and is clipped: {_show(row)}",
                                        error=False))
        else:
            problems.append(Problem(path, line, wrong))
    problems.sort(key=lambda problem: problem.line)
    return Objects(rows[keep], [lines[index] for index in keep], path, problems)


def _fault(row: list[float], classes: int) -> str | None:
    """Why a row does not count."""
    label, x, y, w, h = row
    if not all(map(math.isfinite, row)):
        return f"expected finite numbers, found {_show(row)}"
    if label != int(label) or not 0 <= label < classes:
        return f"expected a class from 0 to {classes - 1}, found {label:g}"
    if x == 0 and y == 0:
        return "x and y are both 0: not a box for Darknet"
    if w <= 0 or h <= 0:
        return f"expected a width and height above 0, found {_show(row)}"
    if x + w / 2 < 0 or y + h / 2 < 0 or x - w / 2 > 1 or y - h / 2 > 1:
        return f"the box lies outside the picture (coordinates are relative, 0 to 1): {_show(row)}"
    return None


def _show(row: list[float]) -> str:
    return "x {:g} y {:g} width {:g} height {:g}".format(*row[1:])


def _read_entry(entries: DataFile, split: str, names: Sequence[str] | None) -> list[Sample]:
    """The samples that a .data file's entry names."""
    path, entry = entries.path, _entry(entries, split)
    if entry is None:
        raise DataError(f"{path}: expected 'train = LIST', a list of pictures", Reason.MISSING_KEY)
    source = source_of(entries, split)
    if split == "difficult":
        if split in entries:
            split = "valid"
        elif not voc_folders(source):
            return []
    if names is None and (source.suffix in (".json", ".xml") or os.path.isdir(source)):
        names = _names_entry(entries)
    try:
        return _read(source, split, names)
    except DataError as error:
        raise DataError(f"{path}: {split} = {entry}: {error}", error.reason) from None


def _entry(entries: Mapping[str, str], split: str) -> str | None:
    """What a .data file names for a split."""
    if split in entries or split == "train":
        return entries.get(split)
    return entries.get("valid", entries.get("train"))


def _names_entry(entries: DataFile) -> list[str] | None:
    """The names that a .data file points to."""
    entry = entries.get("names", entries.get("labels"))
    return None if entry is None else read_names(find_near(entry, entries.path))


def _read(path: Path, split: str, names: Sequence[str] | None) -> list[Sample]:
    """The samples of anything but a .data file."""
    layout = find_layout(path)
    if layout is not None:
        if split == "valid" and "valid" not in layout.splits and "test" in layout.splits:
            split = "test"
        found = list(layout.read(split, names))
        if all(one.rows is None and one.label is None for one in found):
            return _with_labels([Path(one.image) for one in found], [one.where for one in found])
        return [Sample(Path(one.image), None if one.label is None else Path(one.label), *one[1:3], *one[4:])
                for one in found]
    if path.suffix.lower() in (*EXTENSIONS, *NO_LISTS):
        raise DataError(f"{path}: expected a .data file, a list of pictures, a folder or a .json, found {path.suffix}",
                        Reason.WRONG_FORMAT)
    lines = read_list(path)
    base = pick_base([line for _, line in lines], bases(path))
    images = [Path(os.path.join(base, line)) for _, line in lines]
    if not any(os.path.exists(image) for image in images[:PROBES]):
        inside = [_without_first(line, path) for _, line in lines]
        images = inside if any(os.path.exists(image) for image in inside[:PROBES]) else images
    return _with_labels(images, [f"{path}:{number}" for number, _ in lines])


def _without_first(name: str, file: Path) -> Path:
    """A relative path without its first folder, beside a file."""
    first, *rest = Path(name).parts or ("",)
    return file.parent.joinpath(*rest) if rest else file.parent / first


def _with_labels(images: list[Path], where: list[str]) -> list[Sample]:
    """Samples with the label files of the first rule that has one for the first pictures."""
    rules = (label_path, plain_label_path)
    first = images[:PROBES]
    rule = next((rule for rule in rules if any(os.path.exists(rule(image)) for image in first)), label_path)
    return [Sample(image, rule(image), None, place) for image, place in zip(images, where, strict=True)]
