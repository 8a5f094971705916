"""Files that appear whole or not at all, however they are written."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from darknet_py.errors import DataError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write in place of ``path``: it takes that name when all is written, and is gone if anything fails.
    Where that is a link, what it leads to is replaced; the permissions of a file that was there stay.

    Raises:
        OSError: the disk is full, or the folder is missing or closed to us.
    """
    target = Path(os.path.realpath(path))
    temporary = Path(f"{target}.tmp{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
        with suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and its folder if that is missing.

    Raises:
        DataError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise DataError(f"{path}: cannot write the file: {error.strerror}") from None
