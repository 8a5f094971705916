"""Shared parts of the readers of other data set formats: pictures with rows, splits by name, the search for files."""
from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet_py.data.datafile import EXTENSIONS

UNKNOWN = -1                # the class of an object whose name is none of the names: reading the rows reports it
PROBES = 20                 # pictures that are looked for to find out where a data set keeps them
SPLIT_WORDS = {"train": "train", "training": "train", "trn": "train", "trainval": "train",
               "val": "valid", "valid": "valid", "validation": "valid", "test": "test", "testing": "test"}


class Annotated(NamedTuple):
    """A picture of such a data set.

    rows is (K, 5) float32; None where its annotation cannot be read, or where label names a file of label lines, whose
    form is one of ``dataset.LINE_FORMS``. size: width and height of the picture, as the annotation says.
    """
    image: str
    rows: np.ndarray | None
    where: str
    label: str | None = None
    form: str = "box"
    size: tuple[float, float] | None = None


class Layout(NamedTuple):
    """A data set in some format.

    kind: the format's name. splits: of its own, of train, valid and test; none where nothing says which pictures
    are which. names: its classes, or None. read: the pictures of a split, given it and the classes; without splits of
    its own it gives all of them for any.
    """
    kind: str
    splits: tuple[str, ...]
    names: Callable[[], list[str] | None]
    read: Callable[[str, Sequence[str] | None], Iterable[Annotated]]


def pick_base(names: Sequence[str], bases: Iterable[str | os.PathLike]) -> str:
    """The first folder that has one of the first names, else the first folder; absolute names need none."""
    folders = [os.fspath(base) for base in bases]
    probes = [name for name in names[:PROBES] if not os.path.isabs(name)]
    return next((base for base in folders if any(os.path.exists(os.path.join(base, name)) for name in probes)),
                folders[0])


def relative(low: np.ndarray, high: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Corners (K, 2) in pixels to (K, 4) centre and size relative to the picture, clipped to it."""
    with np.errstate(all="ignore"):
        low, high = np.clip(low, 0, size) / size, np.clip(high, 0, size) / size
    return np.concatenate([(low + high) / 2, high - low], 1)


def split_word(name: str) -> str | None:
    """train, valid or test where a folder's name says so, as train, val2017 and Validation do."""
    return SPLIT_WORDS.get(name.lower().rstrip("0123456789_-"))


def split_of(path: Path, folder: Path) -> str | None:
    """The split that the folders between a folder and a file in it name, else the words of the file's own name."""
    *between, name = path.relative_to(folder).parts
    words = [*reversed(between), *re.split(r"[^A-Za-z0-9]+", Path(name).stem)]
    return next((found for word in words if (found := split_word(word)) is not None), None)


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and those below, sorted, but what file managers leave there, and what cannot be read."""
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sorted(path for path in paths if path.suffix and not path.name.startswith("._") and os.path.isfile(path))


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def find_folder(parent: Path, *names: str) -> Path | None:
    """The folder of one of these names in another, whatever the case; exactly these names first."""
    for name in names:
        if os.path.isdir(parent / name):
            return parent / name
    lowered = {name.lower() for name in names}
    try:
        return next((path for path in sorted(parent.iterdir()) if path.name.lower() in lowered and path.is_dir()), None)
    except OSError:
        return None
