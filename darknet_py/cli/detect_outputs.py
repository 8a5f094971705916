"""What ``detect`` writes: pictures with boxes, the file of results; and the line that says so."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from darknet_py.cli.output import counted, say
from darknet_py.utils.files import is_same_file, write_file

if TYPE_CHECKING:
    from darknet_py.inference.detections import Detections

MOST_LETTERS = 100              # of the name of a picture from an URL


class NewNames:
    """Names in a folder that no file there has: NAME.jpg, else NAME_2.jpg and so on.

    Attributes:
        folder: None: not made yet; ``predictions``, or where that has something in it ``predictions_2`` and so on.
    """

    def __init__(self, folder: str | os.PathLike | None, suffix: str):
        self.folder, self.suffix = None if folder is None else Path(folder), suffix
        self._used: set[Path] = set()

    def path(self, image: str) -> Path:
        """For a picture of that path or URL.

        Raises:
            DataError: the folder cannot be made.
        """
        if self.folder is None:
            self.folder = new_folder("predictions")
        stem = stem_of(image)
        path, number = self.folder / f"{stem}{self.suffix}", 2
        while path in self._used or os.path.lexists(path):
            path, number = self.folder / f"{stem}_{number}{self.suffix}", number + 1
        self._used.add(path)
        return path


class PictureFiles:
    """Where the pictures with boxes go.

    Args:
        chosen: -pictures: a file, where there is one picture; a folder; or None.
        several: there are several pictures.
    """

    def __init__(self, chosen: str | None, several: bool):
        self.file = None
        if not several and (chosen is None or not is_folder(chosen)):
            self.file = Path("predictions.jpg" if chosen is None else chosen)
        self.names = NewNames(chosen, ".jpg")
        self.written: list[Path] = []

    def path(self, image: str) -> Path:
        """Raises:
            DataError: it would replace the picture itself, or its folder cannot be made.
        """
        from darknet_py.errors import DataError, Reason
        if self.file is None:
            return self.names.path(image)
        if is_same_file(image, self.file):
            raise DataError(f"{self.file}: is the picture itself, which the one with boxes would replace; -pictures "
                            "FILE names another one", Reason.CONFLICT)
        return self.file

    def phrase(self) -> list[str]:
        """What was written, for ``say_written``."""
        if self.file is not None or len(self.written) == 1:
            return [str(path) for path in self.written]
        return [f"{counted(len(self.written), 'picture')} in {self.names.folder}{os.sep}"] if self.written else []


class ResultFile:
    """-out: the detections of all pictures as a file, in the format of its extension, or a folder of annotations.

    Args:
        path: its extension is one of ``FORMATS``; Darknet's JSON where it has none. A folder, or a path that ends with
            a slash: annotations of Pascal VOC, one for each picture.
        images: how many there will be; 0: not known.
        given: files that it must not replace.

    Raises:
        DarknetError: no such format, more pictures than the format holds, or it is one of the files given.
    """

    def __init__(self, path: str, images: int, given: Sequence[str | None]):
        from darknet_py.errors import DarknetError
        self.path, self.suffix = Path(path), os.path.splitext(path)[1].lower()
        self.names = NewNames(path, ".xml") if is_folder(path) else None
        if self.names is not None:
            return
        if self.suffix not in FORMATS or not path:
            raise DarknetError(f"-out {path}: expected a file that ends with {', '.join(filter(None, FORMATS))}, or a "
                               f"folder, found {self.suffix if path else 'nothing'}")
        if self.suffix == ".xml" and images != 1:
            count = images if images else "any number of"
            raise DarknetError(f"-out {path}: an annotation of Pascal VOC is of one picture, found {count} pictures; "
                               f"-out FOLDER{os.sep} writes a file for each")
        for one in given:
            if one is not None and is_same_file(one, path):
                raise DarknetError(f"-out {path}: is what {one} names, which it would replace")

    def write(self, frames: Sequence[Detections]) -> list[str]:
        """Write it; what was written, for ``say_written``.

        Raises:
            DataError: it cannot be written.
        """
        from darknet_py.inference.result_formats import to_voc
        if self.names is not None:
            for found in frames:
                write_file(self.names.path(found.path or "picture"), to_voc(found).encode())
            return [f"{counted(len(frames), 'annotation')} in {self.path}{os.sep}"]
        if self.suffix == ".xml" and not frames:
            return []
        write_file(self.path, FORMATS[self.suffix](frames))
        return [str(self.path)]


def _json(frames: Sequence[Detections]) -> bytes:
    """Darknet's JSON: a list with a frame a picture."""
    text = ", \n".join(detections.to_json(number) for number, detections in enumerate(frames, 1))
    return f"[\n{text}\n]".encode("utf-8", "backslashreplace")


def _csv(frames: Sequence[Detections]) -> bytes:
    from darknet_py.inference.result_formats import to_csv
    return to_csv(frames).encode("utf-8", "surrogateescape")


def _lines(frames: Sequence[Detections]) -> bytes:
    from darknet_py.inference.result_formats import to_lines
    return to_lines(frames).encode()


def _voc(frames: Sequence[Detections]) -> bytes:
    from darknet_py.inference.result_formats import to_voc
    return to_voc(frames[0]).encode()


FORMATS: dict[str, Callable[[Sequence[Detections]], bytes]] = {       # extension -> what writes it
    ".json": _json, ".csv": _csv, ".txt": _lines, ".xml": _voc, "": _json}


def new_folder(name: str) -> Path:
    """A folder of that name, or NAME_2 and so on, that is now there and empty.

    Raises:
        DataError: it cannot be made.
    """
    from darknet_py.errors import DataError, Reason, cause
    path, number = Path(name), 2
    while True:
        try:
            path.mkdir()
            return path
        except FileExistsError:
            if path.is_dir() and not any(path.iterdir()):
                return path
            path, number = Path(f"{name}_{number}"), number + 1
        except OSError as error:
            raise DataError(f"{path}: cannot make the folder: {cause(error)}", Reason.UNWRITABLE) from None


def is_folder(path: str) -> bool:
    """Whether this is a folder, or says that it will be one."""
    return os.path.isdir(path) or path.endswith(("/", os.sep))


def stem_of(image: str) -> str:
    """What files that are written for a picture are called, before their extension."""
    if image == "-":
        return "stdin"
    return (Path(urlsplit(image).path).stem[:MOST_LETTERS] or "picture") if "://" in image else Path(image).stem


def say_written(parts: Sequence[str]) -> None:
    """A line on the standard error about the files; the standard output is Darknet's."""
    if parts:
        say("wrote " + " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])), error=True)
