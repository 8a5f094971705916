"""The list of a run's pictures in a file, and an index by parts, so that order and parts are the same ever after."""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from darknet_py.errors import DataError, Reason, cause
from darknet_py.scale.inputs import Entry
from darknet_py.utils.files import replacing

LISTED = 1000               # pictures between two reports


class Snapshot:
    """A line a picture (a JSON list, see ``Entry``), and the byte offsets of each part's first line and of the end.

    Args:
        folder: with inputs.jsonl and inputs.index.
        part: pictures in a part.
        count: all pictures.
    """

    def __init__(self, folder: Path, part: int, count: int):
        self.folder, self.part, self.count = folder, part, count

    @property
    def parts(self) -> int:
        return -(-self.count // self.part)

    def size(self, part: int) -> int:
        """Pictures in a part."""
        return min(self.part, self.count - part * self.part)

    def read(self, part: int) -> list[tuple[int, Entry]]:
        """The pictures of a part, with their numbers from 1.

        Raises:
            DataError: the files are gone or changed.
        """
        try:
            first, end = np.fromfile(self.folder / "inputs.index", "<u8", 2, offset=8 * part).tolist()
            with open(self.folder / "inputs.jsonl", "rb") as file:
                file.seek(first)
                lines = file.read(end - first).splitlines()
            entries = [Entry(*json.loads(line)) for line in lines]
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self.folder / 'inputs.jsonl'}: cannot read the list of pictures: {cause(error)}",
                            Reason.CORRUPT) from None
        if len(entries) != self.size(part):
            raise DataError(f"{self.folder / 'inputs.jsonl'}: part {part}: expected {self.size(part)} pictures, found "
                            f"{len(entries)}", Reason.CORRUPT)
        return list(enumerate(entries, part * self.part + 1))

    @classmethod
    def write(cls, folder: Path, entries: Iterable[Entry], part: int, listed: Callable[[int], None]) -> Snapshot:
        """Write the pictures down as they come.

        Args:
            listed: called every ``LISTED`` pictures with their number; what it raises ends the listing.

        Raises:
            OSError: the files cannot be written.
        """
        count = 0
        with replacing(folder / "inputs.jsonl") as lines, replacing(folder / "inputs.index") as index:
            for entry in entries:
                if count % part == 0:
                    index.write(lines.tell().to_bytes(8, "little"))
                fields = list(entry)
                while not fields[-1]:       # what is as by default
                    fields.pop()
                lines.write(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
                count += 1
                if count % LISTED == 0:
                    listed(count)
            index.write(lines.tell().to_bytes(8, "little"))
        return cls(folder, part, count)

    def remove(self) -> None:
        for name in ("inputs.jsonl", "inputs.index"):
            os.unlink(self.folder / name)
