"""The pictures that names stand for: folders, patterns, lists with a path a line, URLs."""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path

from darknet_py.data.datafile import EXTENSIONS, bases, read_lines, with_slashes
from darknet_py.data.layout import pick_base
from darknet_py.errors import DataError, Reason

LISTS = (".txt", ".list")           # files with the path of a picture a line
STDIN = "-"                         # the bytes of an image file on the standard input


def find_images(names: Iterable[str]) -> Iterator[str]:
    """The pictures in folders, what patterns match, and the pictures of lists; any other name stands for itself: a
    file, an URL, or ``-``. A file of that name is no pattern.

    A list is a .txt or .list with a path (or an URL) a line. Relative paths are relative to the working directory, else
    to the list's folder, else to the folder above it: the first place that has one of the list's first pictures.

    Raises:
        DataError: a folder or a list without pictures, or a pattern that matches nothing.
    """
    for name in names:
        name = name.removeprefix("file://")
        if stands_for_itself(name):
            yield name
        elif os.path.isdir(name):
            yield from _some(name, "found no pictures in this folder", sorted(
                str(path) for path in Path(name).iterdir()
                if path.suffix.lower() in EXTENSIONS and not path.name.startswith("._")))
        elif os.path.exists(name):
            yield from _some(name, "found no paths of pictures in this list", list_paths(name))
        else:
            yield from _some(name, "no file matches this pattern", sorted(glob(name, recursive=True)))


def stands_for_itself(name: str) -> bool:
    """Whether a name is that of one picture: no folder, pattern or list."""
    if is_url(name):
        return True
    if os.path.isdir(name):
        return False
    if os.path.exists(name):
        return os.path.splitext(name)[1].lower() not in LISTS
    return not has_magic(name)


def is_url(name: str) -> bool:
    """Whether a name is an URL, of whatever scheme."""
    return "://" in name


def read_list(path: str | os.PathLike) -> list[tuple[int, str]]:
    """The lines of a list of pictures, with their numbers; blank ones are left out. See ``with_slashes``.

    Raises:
        DataError: it cannot be read.
    """
    places = bases(Path(path))
    return [(number, with_slashes(line.strip(), places)) for number, line in enumerate(read_lines(path), 1)
            if line.strip()]


def list_paths(path: str | os.PathLike) -> list[str]:
    """The paths of a list's pictures, see ``find_images``.

    Raises:
        DataError: it cannot be read.
    """
    lines = [line for _, line in read_list(path)]
    base = pick_base([line for line in lines if not is_url(line)], bases(Path(path)))
    return [line if is_url(line) or base == "." else os.path.join(base, line) for line in lines]


def _some(name: str, problem: str, found: list[str]) -> list[str]:
    if not found:
        raise DataError(f"{name}: {problem}", Reason.EMPTY)
    return found
