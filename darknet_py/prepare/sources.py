"""Reading of data sets in any format, and merging of several, with classes renamed or dropped."""
from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from darknet_py.data.datafile import MOST_CLASSES, label_path, read_data
from darknet_py.data.dataset import NO_LABEL, Problem, Sample, class_names, own_splits, read_objects, read_samples
from darknet_py.data.formats import find_layout
from darknet_py.data.layout import files_below, is_picture, split_word
from darknet_py.errors import DataError, Reason, suggestion
from darknet_py.utils.files import read_regular

STATISTICS = "statistics.png"
OUR_CHARTS = (STATISTICS, "chart.png", "predictions.jpg")       # pictures that commands write, not of a data set
SHOWN = 3                   # names of pictures in one message


@dataclass
class Picture:
    """A picture of a data set that is being prepared.

    image: an absolute path. rows: (K, 5) float32, class, centre x, centre y, width, height, relative. split: train or
    valid where the source says so. in_place: the label file where Darknet looks for it has these very rows. where: the
    place that names it. stated: width and height in pixels of its annotation. size: of the decoded picture.
    """
    image: Path
    rows: np.ndarray
    split: str | None
    in_place: bool
    where: str
    stated: tuple[float, float] | None = None
    size: tuple[int, int] = (0, 0)


@dataclass
class DataSource:
    """A data set as it was read.

    kind: the format. counts: pictures of each split that it has of its own, else {}. notes: further remarks.
    """
    path: Path
    kind: str
    names: list[str]
    pictures: list[Picture]
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_source(source: str | os.PathLike) -> DataSource:
    """Read a data set of any format that ``read_samples`` knows, or a folder with such a .data file.

    Splits of its own are those of ``own_splits``, where there is more than one, else those that folders name: each
    picture below one called train, and valid, val or test. test counts as valid where there is no other, and is left
    out otherwise. Label lines may be polygons, of which the boxes around them are taken. What is broken is left out.

    Raises:
        DataError: it cannot be read, or has no pictures.
    """
    path = Path(source)
    if not os.path.exists(path):
        raise DataError(f"{path}: no such file or folder", Reason.MISSING_FILE)
    path = _data_file(path) or path
    names = class_names(path)
    layout = None if path.suffix == ".data" else find_layout(path)
    found = DataSource(path, "Darknet" if layout is None else layout.kind, names or [], [])
    splits = own_splits(path)
    own = [split for split in ("train", "valid") if split in splits or (split == "valid" and "test" in splits)]
    samples = {split: read_samples(path, split, names) for split in own or ["train"]}
    if "test" in splits and "valid" in splits:
        found.notes.append("its split test is left out")
    if len(own) == 2:
        first = {_absolute(sample) for sample in samples["train"]}
        both = sum(_absolute(sample) in first for sample in samples["valid"])
        if both == len(samples["valid"]):
            found.notes.append("its valid is its train, so it counts as a set without a split")
            own, samples = [], {"train": samples["train"]}
        elif both:
            found.notes.append(f"{both} of its pictures are in train and valid; they go to train")
            samples["valid"] = [sample for sample in samples["valid"] if _absolute(sample) not in first]
    chosen: list[tuple[Sample, str | None]] = [(sample, split if len(own) == 2 else None)
                                               for split, part in samples.items() for sample in part]
    if len(own) < 2 and os.path.isdir(path):
        chosen = _split_by_folders(chosen, path, found)
    for sample, split in chosen:
        picture, problems = _picture(sample, split, len(names) if names else MOST_CLASSES)
        found.problems += problems
        found.pictures.append(picture)
    if not names:
        found.names = [str(label) for label in range(_classes(found.pictures))]
        if found.names:
            found.notes.append("nothing names its classes: a classes.txt beside the labels would, or -remap 0=NAME")
    for split in ("train", "valid"):
        if count := sum(picture.split == split for picture in found.pictures):
            found.counts[split] = count
    if os.path.isdir(path):
        found.problems += _left_over(path, found.pictures)
    return found


def _data_file(folder: Path) -> Path | None:
    """The .data file of a folder, obj.data first."""
    files = []
    for file in sorted(folder.glob("*.data")) if os.path.isdir(folder) else ():
        with suppress(DataError):               # something else of that extension
            files += [file] if "train" in read_data(file) else []
    return next((file for file in files if file.name == "obj.data"), files[0] if len(files) == 1 else None)


def _absolute(sample: Sample) -> str:
    return os.path.abspath(sample.image)


def _split_by_folders(chosen: list[tuple[Sample, str | None]], folder: Path, found: DataSource
                      ) -> list[tuple[Sample, str | None]]:
    """The splits that the folders of all pictures name, if they do."""
    named = [next((word for part in sample.image.relative_to(folder).parts[-2::-1] if (word := split_word(part))), None)
             for sample, _ in chosen if sample.image.is_relative_to(folder)]
    if len(named) < len(chosen) or None in named or "train" not in named or len(set(named)) == 1:
        return chosen
    if "valid" not in named:
        named = ["valid" if word == "test" else word for word in named]
    elif "test" in named:
        found.notes.append(f"its split test, {named.count('test'):,} of its pictures, is left out")
    return [(sample, word) for (sample, _), word in zip(chosen, named, strict=True) if word != "test"]


def _picture(sample: Sample, split: str | None, classes: int) -> tuple[Picture, list[Problem]]:
    """A sample with its rows, and what is wrong with them."""
    rows, _, path, problems = read_objects(sample, classes)
    image = Path(_absolute(sample))
    own = label_path(image)
    in_place = sample.rows is None and (Path(os.path.abspath(path)) == own
                                       or not (os.path.exists(path) or os.path.exists(own)))
    if sample.rows is None and sample.form == "box" and any(problem.error for problem in problems):
        rows, _, path, others = read_objects(sample._replace(form="polygon"), classes)
        problems, in_place = others, False
    in_place &= sample.form == "box" or all(len(line.split()) in (0, 5) for line in _lines(path))
    return Picture(image, rows, split, in_place, sample.where, sample.size), problems


def _lines(path: Path) -> list[bytes]:
    try:
        return read_regular(path).splitlines()
    except OSError:
        return []


def _classes(pictures: Sequence[Picture]) -> int:
    return max((int(picture.rows[:, 0].max()) + 1 for picture in pictures if len(picture.rows)), default=0)


def _left_over(folder: Path, pictures: Sequence[Picture]) -> list[Problem]:
    """One problem for the pictures of a folder that nothing in it annotates."""
    known = {picture.image for picture in pictures}
    others = [path for path in files_below(folder) if is_picture(path) and Path(os.path.abspath(path)) not in known
              and path.name not in OUR_CHARTS]
    if not others:
        return []
    count = f"{len(others):,} pictures have" if others[1:] else "1 picture has"
    shown = ", ".join(str(path.relative_to(folder)) for path in others[:SHOWN]) + (", ..." if others[SHOWN:] else "")
    return [Problem(folder, 0, f"{count} no annotation, left out: {shown}", error=False)]


def unlabelled(problems: Sequence[Problem]) -> list[Problem]:
    """The problems of a source, those of missing label files merged into one."""
    missing = [problem for problem in problems if problem.message == NO_LABEL]
    if len(missing) < 2:
        return list(problems)
    merged = Problem(missing[0].path, 0, f"no label file, as of {len(missing):,} pictures: pictures without objects",
                   error=False)
    return [*(problem for problem in problems if problem.message != NO_LABEL), merged]


def read_remap(texts: Sequence[str]) -> dict[str, str]:
    """Texts such as ``old=new,other=`` as a mapping of names; an empty new name drops the class.

    Raises:
        DataError: it is something else.
    """
    found: dict[str, str] = {}
    for part in ",".join(texts).split(",") if texts else ():
        old, equals, new = map(str.strip, part.partition("="))
        if not equals or not old:
            raise DataError(f"-remap takes OLD=NEW,OTHER= (nothing drops a class), found {part!r}", Reason.SYNTAX)
        if old in found:
            raise DataError(f"-remap says twice what becomes of {old}", Reason.DUPLICATE)
        found[old] = new
    return found


def merge(sources: Sequence[DataSource], remap: dict[str, str]) -> tuple[list[str], list[Picture]]:
    """The classes and pictures of all sources.

    Classes of one name are one; they come in the order in which the sources have them. Pictures without rows stay,
    with their dropped objects gone. A picture that several sources have comes once, with the rows of all.

    Raises:
        DataError: remap names a class that no source has, or no class is left.
    """
    old_names = list(dict.fromkeys(name for source in sources for name in source.names))
    for name in remap:
        if name not in old_names:
            raise DataError(f"-remap: no class {name}" + (
                suggestion(name, old_names) or f"; there are {', '.join(old_names[:20])}"), Reason.UNKNOWN_NAME)
    names = list(dict.fromkeys(new for name in old_names if (new := remap.get(name, name))))
    if old_names and not names:
        raise DataError("-remap leaves no class", Reason.EMPTY)
    numbers = {"": -1} | {name: number for number, name in enumerate(names)}
    merged: dict[Path, Picture] = {}
    for source in sources:
        table = np.array([numbers[remap.get(name, name)] for name in source.names], np.int64)
        same = (table == np.arange(len(table))).all()
        for picture in source.pictures:
            if len(picture.rows) and not same:
                labels = table[picture.rows[:, 0].astype(np.int64)]
                picture.rows = picture.rows[labels >= 0]
                picture.rows[:, 0] = labels[labels >= 0]
                picture.in_place = False
            first = merged.setdefault(picture.image, picture)
            if first is not picture and np.array_equal(first.rows, picture.rows):
                first.split = first.split or picture.split
            elif first is not picture:
                rows = np.concatenate([first.rows, picture.rows])
                first.rows = rows[np.sort(np.unique(rows, axis=0, return_index=True)[1])]
                first.in_place, first.split = False, first.split or picture.split
    return [" ".join(name.split()) or "unnamed" for name in names], list(merged.values())      # a name is one line
