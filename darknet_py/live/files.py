"""Files that grow frame by frame: video, JSON records, numbered pictures.

Video and JSON are written as NAME.part.EXT beside the file that they will be, and renamed when they are whole. What a
kill -9 or a power cut leaves is that part: of JSON all records but a few, without the closing bracket; an .mkv or .avi
that players open up to there; an .mp4 or .mov only where PyAV writes it (see ``video``), in fragments, since the index
of others comes last. A part that is left stays where it is: the next run takes NAME.part2.EXT.
"""
from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

import cv2

from darknet_py.errors import DataError, Reason, cause
from darknet_py.live.results import Result
from darknet_py.utils.files import KINDS, put_in_place, write_file


class Unfinished:
    """A file that takes its name when it is whole. Devices and pipes are written directly.

    Attributes:
        path: what to write. It exists, and is empty.

    Raises:
        DataError: the file cannot be written there.
    """

    def __init__(self, path: str | os.PathLike):
        self.target = self.path = Path(path)
        try:
            self.direct = self.target.exists() and stat.S_IFMT(self.target.stat().st_mode) in KINDS
            if self.direct:
                return
            if self.target.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            self.target.parent.mkdir(parents=True, exist_ok=True)
            for number in itertools.count(1):
                self.path = self.target.with_name(
                    f"{self.target.stem}.part{number if number > 1 else ''}{self.target.suffix}")
                try:
                    open(self.path, "xb").close()
                    return
                except FileExistsError:
                    continue
        except (OSError, ValueError) as error:              # ValueError: a name that cannot be one
            raise DataError(f"{path}: cannot write the file: {cause(error)}", Reason.UNWRITABLE) from None

    def finish(self) -> None:
        """Give it its name.

        Raises:
            DataError: that is not possible; the part stays.
        """
        if not self.direct:
            try:
                put_in_place(self.path, self.target)
            except OSError as error:
                raise DataError(f"{self.target}: cannot write the file: {cause(error)}; it is in {self.path}",
                                Reason.UNWRITABLE) from None

    def discard(self) -> None:
        """Remove it."""
        if not self.direct:
            self.path.unlink(missing_ok=True)


class JsonFile:
    """C's JSON of all frames: a list of records.

    Darknet: json_file_output in demo().
    """

    def __init__(self, path: str):
        self._unfinished, self._before = Unfinished(path), b"[\n"
        try:
            self._file = open(self._unfinished.path, "wb")          # noqa: SIM115
        except OSError as error:
            raise self._error(error) from None

    def write(self, result: Result) -> None:
        self._write(self._before + result.record.encode("utf-8", "backslashreplace"))
        self._before = b", \n"

    def close(self) -> None:
        if any_frame := self._before != b"[\n":
            self._write(b"\n]")
        try:
            self._file.close()
        except OSError as error:
            raise self._error(error) from None
        if any_frame:
            self._unfinished.finish()
        else:
            self._unfinished.discard()

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise self._error(error) from None

    def _error(self, error: OSError) -> DataError:
        return DataError(f"{self._unfinished.target}: cannot write the file: {cause(error)}", Reason.UNWRITABLE)


def frame_path(prefix: str, result: Result, ending: str) -> Path:
    """The file of a frame, as C names it."""
    return Path(f"{prefix}_{result.number:08d}{ending}")


class PictureFiles:
    """A JPEG a frame, PREFIX_00000001.jpg and so on; quality 80, as C writes them.

    Raises:
        DataError: their folder cannot be written; from ``write``: one of them.

    Darknet: prefix in demo(), save_cv_jpg.
    """

    QUALITY = 80

    def __init__(self, prefix: str):
        self.prefix, folder = prefix, Path(f"{prefix}_").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError(None, "no permission")
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: cannot write pictures into this folder: {cause(error)}",
                            Reason.UNWRITABLE) from None

    def write(self, result: Result) -> None:
        data = cv2.imencode(".jpg", result.picture.drawn, [cv2.IMWRITE_JPEG_QUALITY, self.QUALITY])[1]
        write_file(frame_path(self.prefix, result, ".jpg"), data.tobytes())

    def close(self) -> None:
        """Each file is whole already."""
