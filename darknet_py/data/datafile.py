"""Darknet's .data and .names files, and where to look for them."""
from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from darknet_py.cfg.metadata import is_model, stored_cfg
from darknet_py.errors import DarknetError, DataError, Reason, cause, one_line, suggestion
from darknet_py.utils.files import MOST_TEXT, read_regular
from darknet_py.zoo.models import is_name

C_SPACE = str.maketrans("", "", " \t\n\r")
COCO_CLASSES, VOC_CLASSES = 80, 20
PACKAGED = {classes: Path(__file__).with_name(name)          # class names in this package
            for classes, name in ((COCO_CLASSES, "coco.names"), (VOC_CLASSES, "voc.names"))}
MOST_CLASSES = 10_000       # where no names say how many there are; larger numbers in a label file are mistakes
MOST_LETTERS = 1000         # of a class name
MOST_DATA, MOST_NAMES, MOST_LABELS = 1 << 20, 1 << 24, 1 << 24      # bytes: of a .data file, of names, of labels
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")     # pictures in a folder


class DataFile(dict[str, str]):
    """The entries of a .data file, as text. It goes wherever the file's ``path`` does, and is not read again there."""

    def __init__(self, path: str | os.PathLike, entries: Mapping[str, str]):
        super().__init__(entries)
        self.path = Path(path)

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__


def read_data(path: str | os.PathLike) -> DataFile:
    """The entries of a .data file.

    Raises:
        DataError: a file that cannot be read, or a line without ``=``.

    Darknet: read_data_cfg. All white space goes, inside values too; lines that start with # or ; are comments; the
    first of equal keys counts; a key without a value (``valid =``) is as good as absent. Paths may be as Windows writes
    them, see ``with_slashes``.
    """
    if isinstance(path, DataFile):
        return path
    entries: dict[str, str] = {}
    for number, line in enumerate(read_lines(path, MOST_DATA), 1):
        line = line.translate(C_SPACE)
        if line == "" or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if equals == "":
            raise DataError(f"{path}:{number}: expected 'key = value', got {line!r}", Reason.SYNTAX)
        if value != "":
            entries.setdefault(key, with_slashes(value, bases(Path(path))))
    return DataFile(path, entries)


def entries_of(source: str | os.PathLike) -> Mapping[str, str]:
    """Those of a .data file; none for other kinds of data sets."""
    source = opened(source)
    return source if isinstance(source, DataFile) else {}


def opened(source: str | os.PathLike) -> str | os.PathLike:
    """A data set; a .data file as a ``DataFile``, so that it is read once."""
    return read_data(source) if Path(source).suffix == ".data" else source


def count_of(data: object, entries: Mapping[str, str], key: str, default: int) -> int:
    """A whole number above 0 among the entries of a .data file.

    Raises:
        DataError: it is something else.
    """
    if key not in entries:
        return default
    with suppress(ValueError):
        if (value := int(entries[key])) > 0:
            return value
    raise DataError(f"{data}: {key} needs a whole number from 1 on, found {entries[key]!r}", Reason.BAD_VALUE)


def read_lines(path: str | os.PathLike, most: int = MOST_TEXT) -> list[str]:
    """The lines of a text file, split at line feeds as C does; bytes that are not UTF-8 survive, a BOM does not.

    Raises:
        DataError: it cannot be read, or has more than ``most`` bytes.
    """
    try:
        text = read_regular(path, most).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"{path}: cannot read the file: {cause(error)}", Reason.reading(error)) from None
    except ValueError as error:                 # a NUL in the name
        raise DataError(f"{str(path)!r}: cannot read the file: {error}", Reason.UNREADABLE) from None
    return text.split("\n")


def read_names(path: str | os.PathLike) -> list[str]:
    """Class names, one a line, white space at the ends removed.

    Blank lines at the end are dropped; blank lines between names are names, since the line number is the class.

    Raises:
        DataError: a file that cannot be read, or a line that is too long to be a name.

    Darknet: get_labels.
    """
    names = check_names([line.strip() for line in read_lines(path, MOST_NAMES)], path)
    while names and names[-1] == "":
        names.pop()
    return names


def check_names(names: list[str], source: object) -> list[str]:
    """The names, whose source is for the message.

    Raises:
        DataError: one is too long for a name; printing and drawing it would take for ever.
    """
    for number, name in enumerate(names, 1):
        if len(name) > MOST_LETTERS:
            raise DataError(f"{source}: name {number}: expected a class name of at most {MOST_LETTERS} characters, "
                            f"found one of {len(name)}", Reason.TOO_LARGE)
    return names


def with_slashes(name: str, folders: Iterable[str | os.PathLike] = ("",)) -> str:
    """A path as this system writes it, of one that Windows may have written: where \\ is no separator, it becomes /,
    unless one of the folders has a file of that very name."""
    if os.sep == "\\" or "\\" not in name or any(os.path.exists(os.path.join(folder, name)) for folder in folders):
        return name
    return name.replace("\\", "/")


def bases(file: Path) -> list[Path]:
    """Where relative paths in a file may start."""
    return [Path(), file.parent, file.parent / ".."]


def find_file(name: str | os.PathLike, *near: str | os.PathLike | None) -> Path | None:
    """The file of that name: relative to the working directory, else to the first folder of near that has it."""
    for folder in ("", *near):
        with suppress(OSError, ValueError):         # a name that no file system has
            if folder is not None and (path := Path(folder, name)).is_file():
                return path
    return None


def find_names(cfg: str | os.PathLike | None, weights: str | os.PathLike | None, classes: int,
               names: str | os.PathLike | Sequence[str] | None = None,
               data: str | os.PathLike | None = None) -> list[str]:
    """One name for each class.

    In this order: ``names``; the ``names`` (else ``labels``) entry of ``data``; those in the cfg, where that is a model
    with metadata; a .names file beside the cfg or the weights, of the same stem; of a network of the zoo the names in
    this package; the only .names file beside the cfg or the weights; for 80 classes coco.names in ``cfg/``, beside the
    cfg or in this package; for 20 classes, where "voc" is in the cfg's name, Pascal VOC's in this package; the class
    numbers. Names that are passed must fit; files that are found are used where their count equals classes.

    Args:
        cfg, weights: the model's files, or None. cfg may be a name of the zoo.
        classes: how many the model has.
        names: a file, or the names themselves.
        data: a .data file. Its entry is relative to the working directory, else to the .data file's folder or the
            folder above.

    Returns:
        classes names; further names in the file are left out.

    Raises:
        DataError: names or data cannot be read, or hold fewer names than classes.
    """
    if names is not None and not isinstance(names, (str, os.PathLike)):
        return _checked(check_names(list(names), "names"), classes, "names")
    if names is not None:
        return _checked(read_names(names), classes, names)
    if data is not None:
        entries = read_data(data)
        entry = entries.get("names", entries.get("labels"))
        if entry is not None:
            folder = Path(data).absolute().parent
            path = find_file(entry, folder, folder.parent)
            if path is None:
                raise DataError(f"{data}: no such file of names: {entry}", Reason.MISSING_FILE)
            return _checked(read_names(path), classes, path)
    if cfg is not None and is_model(cfg):
        stored = stored_cfg(cfg).stored
        if stored is not None and stored.names is not None and len(stored.names) == classes:
            return check_names(stored.names, cfg)
    for path in _candidates(cfg, weights, classes):
        if os.path.isfile(path) and len(found := read_names(path)) == classes:
            return found
    return [str(label) for label in range(classes)]


def label_path(image: str | os.PathLike) -> Path:
    """Where Darknet looks for an image's labels: folders of images become folders of labels, the extension .txt.

    Darknet: replace_image_to_label.
    """
    text = _without_extension(image)
    for folder in ("images/train2017", "images/val2017", "images/train2014", "images/val2014", "JPEGImages"):
        text = text.replace(f"/{folder}/", f"/{folder.replace('images', 'labels').replace('JPEGImages', 'labels')}/")
    return Path(f"{text}.txt")


def plain_label_path(image: str | os.PathLike) -> Path:
    """Where many other tools look for an image's labels: the last folder named images becomes labels."""
    before, found, after = f"/{_without_extension(image)}".rpartition("/images/")
    return Path(f"{before}/labels/{after}.txt"[1:] if found else f"{after[1:]}.txt")


def find_label(image: str | os.PathLike) -> Path:
    """The label file of an image: Darknet's, or where that is missing the plain one, if it exists."""
    path = label_path(image)
    if not os.path.exists(path) and os.path.exists(plain := plain_label_path(image)):
        return plain
    return path


def _without_extension(path: str | os.PathLike) -> str:
    return os.path.splitext(os.fspath(path))[0].replace(os.sep, "/")


def _candidates(cfg: str | os.PathLike | None, weights: str | os.PathLike | None, classes: int) -> Iterator[Path]:
    """Where a model's names may be, the likeliest first."""
    models = [Path(path) for path in (cfg, weights) if path is not None]
    yield from (path.with_suffix(".names") for path in models)
    if is_name(cfg) and classes in PACKAGED:
        yield PACKAGED[classes]
    for path in models:
        beside = list(path.parent.glob("*.names"))
        if len(beside) == 1:
            yield beside[0]
    if classes == COCO_CLASSES:
        yield Path("cfg", "coco.names")
        if cfg is not None:
            yield Path(cfg).with_name("coco.names")
    if classes == COCO_CLASSES or (classes == VOC_CLASSES and cfg is not None and "voc" in Path(cfg).stem.lower()):
        yield PACKAGED[classes]


def _checked(names: list[str], classes: int, where: object) -> list[str]:
    if len(names) < classes:
        raise DataError(f"{where}: needs {classes} names, one for each class, got {len(names)}", Reason.WRONG_COUNT)
    if len(names) > classes:
        warnings.warn(one_line(f"{where}: has {len(names)} names for a network of {classes} classes; is it the right "
                               "file?"),
                      stacklevel=3)
    return names[:classes]


def class_numbers(given: str | int | Sequence[str | int], names: Sequence[str]) -> list[int]:
    """The numbers of classes that are given by their names, or else by their numbers; one or several.

    Raises:
        DarknetError: there is no such class.
    """
    numbers: list[int] = []
    for word in map(str, given if isinstance(given, Iterable) and not isinstance(given, str) else [given]):
        here = [label for label, name in enumerate(names) if name == word]
        if not here and re.fullmatch(r"\d{1,9}", word) and int(word) < len(names):
            here = [int(word)]
        if not here:
            raise DarknetError(f"expected a class, a name or a number from 0 to {len(names) - 1}, found {word}"
                               + suggestion(word, names))
        numbers += here
    return numbers
