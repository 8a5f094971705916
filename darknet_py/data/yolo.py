"""The data.yaml of ultralytics' programs: lists and folders of pictures, whose labels are in labels/ beside images/."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from darknet_py.data.datafile import plain_label_path, read_lines, with_slashes
from darknet_py.data.layout import Annotated, Layout, files_below, is_picture
from darknet_py.errors import DataError, Reason, cause, shown
from darknet_py.utils.files import check_regular, read_regular

MOST_BYTES = 2 ** 22
KEYS = {"train": ("train",), "valid": ("val", "valid", "validation"), "test": ("test",)}


def find_yaml(folder: Path) -> Path | None:
    """The data.yaml of a folder, or the only .yaml there that describes a data set."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml") and path.is_file())
    found = []
    for path in paths:
        try:
            data = read_yaml(path)
        except DataError:
            continue
        if any(key in data for key in ("train", "val")) and any(key in data for key in ("names", "nc")):
            found.append(path)
    return next((path for path in found if path.stem == "data"), found[0] if len(found) == 1 else None)


def read_yaml(path: Path) -> dict[str, Any]:
    """The entries of a YAML file.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    import yaml  # takes .1 s
    try:
        check_regular(path)
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: expected the YAML of a data set, found a file of {path.stat().st_size} bytes",
                            Reason.TOO_LARGE)
        data = yaml.safe_load(read_regular(path))
    except OSError as error:
        raise DataError(f"{path}: cannot read the file: {cause(error)}", Reason.reading(error)) from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise DataError(f"{path}{line}: not YAML: {error.problem}", Reason.SYNTAX) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not YAML: {str(error).splitlines()[0]}", Reason.SYNTAX) from None
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected entries such as train: and names:, found {type(data).__name__}",
                        Reason.WRONG_FORMAT)
    return {str(key): value for key, value in data.items()}


def yolo_layout(path: Path) -> Layout:
    """A data.yaml. Label lines may be polygons, of which the boxes around them are taken; where it has kpt_shape the
    lines have key points behind the box.

    Raises:
        DataError: it cannot be read, or describes no data set.
    """
    data = read_yaml(path)
    entries = {split: value for split, keys in KEYS.items() for key in reversed(keys)
               if (value := _paths(path, key, data.get(key)))}
    if "train" not in entries and "valid" not in entries:
        raise DataError(f"{path}: expected train: and val:, folders or lists of pictures", Reason.MISSING_KEY)
    names = _names(path, data)
    roots = _roots(path, data)
    form = "pose" if "kpt_shape" in data else "polygon"

    def read(split: str, _: Sequence[str] | None) -> Iterator[Annotated]:
        for entry in entries.get(split, ()):
            for image, where in _pictures(path, split, entry, roots):
                yield Annotated(image, None, where, str(plain_label_path(image)), form)
    return Layout("data.yaml", tuple(entries), lambda: names, read)


def _paths(path: Path, key: str, value: object) -> list[str]:
    """An entry that is a path or a list of them."""
    found = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise DataError(f"{path}: expected {key}: with a path or a list of paths, found {shown(value)}",
                        Reason.BAD_VALUE)
    return [one for one in found if one.strip()]


def _names(path: Path, data: dict[str, Any]) -> list[str] | None:
    """names: a list, or a mapping of numbers."""
    names, count = data.get("names"), data.get("nc")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{path}: expected names: with the numbers from 0 to {len(names) - 1}, found "
                            f"{shown(list(names))}", Reason.BAD_VALUE)
        names = [names[number] for number in range(len(names))]
    if names is None:
        return [str(number) for number in range(count)] if isinstance(count, int) and 0 < count < 2 ** 20 else None
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: expected names: with a list of classes, found {shown(names)}", Reason.BAD_VALUE)
    if isinstance(count, int) and count != len(names):
        raise DataError(f"{path}: nc: {shown(count)}, but there are {len(names)} names", Reason.WRONG_COUNT)
    wrong = next((name for name in names if isinstance(name, (list, dict, set, tuple))), None)
    if wrong is not None:
        raise DataError(f"{path}: expected names: with a list of classes, found {shown(wrong)} in it", Reason.BAD_VALUE)
    return [str(name) for name in names]


def _roots(path: Path, data: dict[str, Any]) -> list[Path]:
    """Where relative paths may start: path:, which may be relative itself, else the file's folder, else here."""
    own = data.get("path")
    named = [path.parent / own, Path(own)] if isinstance(own, str) else []
    return [*named, path.parent, path.parent.parent, Path()]


def _pictures(path: Path, split: str, entry: str, roots: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """The pictures of a folder or of a list, and where each is named."""
    entry = with_slashes(entry, roots)
    inside = entry                  # some exports write ../train/images for what lies beside the file
    while inside.startswith(("../", "..\\")):
        inside = inside[3:]
    places = [root / name for name in (entry, inside) for root in roots]
    found = next((place for place in places if os.path.exists(place)), None)
    if found is None:
        raise DataError(f"{path}: {split}: {entry}: no such folder or list of pictures; looked for {places[0]}",
                        Reason.MISSING_FILE)
    if os.path.isdir(found):
        yield from ((str(image), str(image)) for image in files_below(found) if is_picture(image))
        return
    for number, line in enumerate(map(str.strip, read_lines(found)), 1):
        if line:
            line = with_slashes(line, [found.parent, *roots])
            starts = [found.parent, *roots] if line.startswith("./") else [*roots, found.parent]
            image = next((start / line for start in starts if os.path.exists(start / line)), starts[0] / line)
            yield os.fspath(image), f"{found}:{number}"
