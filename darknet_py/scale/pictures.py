"""Reading of the pictures that a list names, wherever they are."""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from darknet_py.data.image import decode_bytes, read_image
from darknet_py.data.lists import is_url
from darknet_py.errors import DataError, Reason, cause
from darknet_py.scale import remote
from darknet_py.scale.inputs import Entry, open_video
from darknet_py.scale.tables import open_table, values_of
from darknet_py.utils.prefetch import prefetch

AHEAD = 4                   # rows and frames that are read before they are asked for


class Item(NamedTuple):
    """A picture on its way. number: in the list, from 1. data: of a row or a frame, what was read of it, or what is
    wrong with it."""

    number: int
    entry: Entry
    data: Any = None

    def __str__(self) -> str:
        return self.entry.path


class Reader:
    """Reads pictures. Rows and frames come one after another from the file that is open; files and members of tars are
    read by several threads, in any order.

    Args:
        channels: 3 for BGR, 1 for grey; frames of videos are BGR.
    """

    def __init__(self, channels: int = 3):
        self.channels = channels
        self._open: _Rows | _Frames | None = None

    def ahead(self, entries: Iterable[tuple[int, Entry]]) -> Iterator[Item]:
        """Items for ``image``, in order; rows and frames are read by one thread before they are asked for."""
        return prefetch(self._taken, entries, 1, AHEAD)

    def image(self, item: Item) -> np.ndarray:
        """The picture (H, W, C) uint8; by any thread.

        Raises:
            DataError: it cannot be read.
        """
        entry, data = item.entry, item.data
        if isinstance(data, DataError):
            raise data
        if isinstance(data, np.ndarray):
            return data
        if isinstance(data, dict):
            data = data["bytes"] if data.get("bytes") else data.get("path")
        if entry.kind == "parquet" and not isinstance(data, bytes):
            if not data:
                raise DataError(f"{entry.path}: has no picture", Reason.EMPTY)
            return self._file_image(remote.joined(os.path.dirname(entry.file), data))
        if entry.kind == "tar":
            data = self._member(entry)
        return self._file_image(entry.file) if data is None else self._decoded(data, entry.path)

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open.close()
        self._open = None

    def _file_image(self, path: str) -> np.ndarray:
        return (self._decoded(remote.read(path), path) if is_url(path) else read_image(path, self.channels))

    def _decoded(self, data: bytes, path: str) -> np.ndarray:
        return decode_bytes(np.frombuffer(data, np.uint8), path, self.channels)[0]

    def _member(self, entry: Entry) -> bytes:
        if is_url(entry.file):
            return remote.read(entry.file, entry.place, entry.size)
        try:
            with open(entry.file, "rb") as file:
                file.seek(entry.place)
                data = file.read(entry.size)
        except OSError as error:
            raise DataError(f"{entry.path}: cannot read it: {cause(error)}", Reason.reading(error)) from None
        if len(data) != entry.size:
            raise DataError(f"{entry.path}: expected {entry.size} bytes, found {len(data)}; the tar is cut",
                            Reason.TRUNCATED)
        return data

    def _taken(self, numbered: tuple[int, Entry]) -> Item:
        number, entry = numbered
        data: Any = None
        if entry.kind == "broken":
            data = DataError(entry.name, Reason.CORRUPT)
        elif entry.kind in ("parquet", "video"):
            try:
                data = self._value(entry)
            except DataError as error:
                self.close()
                data = error
        return Item(number, entry, data)

    def _value(self, entry: Entry) -> Any:
        """A row's value or a frame: the next of the file that is open, or of one that is opened there."""
        if self._open is None or self._open.name != (entry.file, entry.name) or not self._open.reaches(entry.place):
            self.close()
            self._open = (_Frames(entry.file) if entry.kind == "video" else
                          _Rows(entry.file, entry.name, entry.place))
        return self._open.take(entry)


class _Rows:
    """The rows of a Parquet file, one after another."""

    def __init__(self, file: str, column: str, first: int):
        self.name, self.next = (file, column), first
        self.values = self._values(file, column, first)

    @staticmethod
    def _values(file: str, column: str, first: int) -> Iterator[Any]:
        with open_table(file) as table:
            yield from values_of(table, column, first)

    def reaches(self, row: int) -> bool:
        return row == self.next

    def take(self, entry: Entry) -> Any:
        self.next += 1
        try:
            return next(self.values)
        except StopIteration:
            raise DataError(f"{entry.path}: there is no such row", Reason.TRUNCATED) from None

    def close(self) -> None:
        self.values.close()         # type: ignore[attr-defined]


class _Frames:
    """The frames of a video, one after another; those between are passed over."""

    def __init__(self, file: str):
        self.name, self.next, self.capture = (file, ""), 0, open_video(file)

    def reaches(self, frame: int) -> bool:
        return frame >= self.next

    def take(self, entry: Entry) -> np.ndarray:
        while self.next < entry.place and self.capture.skip():
            self.next += 1
        found = self.capture.read()
        self.next += 1
        if found is None:
            raise DataError(f"{entry.path}: this frame cannot be decoded", Reason.CORRUPT)
        return found[0]

    def close(self) -> None:
        self.capture.close()
