"""A folder of cached files, each checked when it is read; those not used for the longest time are removed."""
from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from darknet_py.errors import DataError, Reason
from darknet_py.utils.files import check_regular, is_text, parse_json, read_regular, write_file

MOST_BYTES = 2 << 30                    # of all files in the folder together
MOST_HASHES = 256
SETTLED = 2_000_000_000                 # nanoseconds since a file changed, after which its times tell of each change
HASHES = "hashes.json"
BLOCK = 1 << 24                         # bytes that one thread hashes at a time
TRAILER = struct.Struct("<8sQI")        # behind a file's content: a mark, the content's size and CRC-32
MARK = b"darknet1"


def cache_folder() -> Path | None:
    """Where files are cached: DARKNET_PY_CACHE, where it is set (empty: nowhere), else the user's folder for caches."""
    chosen = os.environ.get("DARKNET_PY_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local") / "darknet_py"
    if sys.platform == "darwin":
        return home / "Library/Caches/darknet_py"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "darknet_py"


class Cache:
    """Files by key.

    Args:
        folder: made when the first file is written; None: nothing is kept.
        most: bytes of all files; the least recently used are removed for a new one.
    """

    def __init__(self, folder: Path | None, most: int = MOST_BYTES):
        self.folder, self.most = folder, most

    def path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{key}.model"

    def get(self, key: str) -> memoryview | None:
        """A file's content, read as it is needed, or None where there is none. It may be written to, without effect
        on the file.

        Raises:
            DataError: it is damaged, or cannot be read.
        """
        path = self.path(key)
        if path is None:
            return None
        try:
            check_regular(path, self.most)
            with open(path, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:              # an empty file
            data = memoryview(b"")
        except OSError as error:
            raise DataError(f"{path}: cannot read the cached file: {error.strerror}", Reason.UNREADABLE) from None
        content, trailer = data[:-TRAILER.size], data[-TRAILER.size:]
        if len(trailer) < TRAILER.size or TRAILER.unpack(trailer) != (MARK, len(content), zlib.crc32(content)):
            raise DataError(f"{path}: the cached file is damaged", Reason.CORRUPT)
        with suppress(OSError):
            os.utime(path)
        return content

    def has(self, key: str) -> bool:
        """Whether there is such a file, damaged or not."""
        path = self.path(key)
        return path is not None and path.exists()

    def put(self, key: str, content: bytes) -> None:
        """Write a file, unless it alone is larger than all may be.

        Raises:
            DataError: it cannot be written: the disk is full, or the folder is read-only.
        """
        path = self.path(key)
        if path is None or len(content) + TRAILER.size > self.most:
            return
        write_file(path, content + TRAILER.pack(MARK, len(content), zlib.crc32(content)))
        self._shrink(path)

    def hash_of(self, path: str | os.PathLike) -> str:
        """``hash_file``, remembered in the folder for as long as the file's size and times stay. A file that changed
        within the last seconds is hashed each time, as it could change once more within one tick of its clock.

        Raises:
            OSError: it cannot be read.
        """
        facts, name = os.stat(path), os.path.abspath(path)
        stamp = [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
        known = self._hashes()
        if known.get(name, [])[:-1] == stamp:
            return known[name][-1]
        begin, digest = time.time_ns(), hash_file(path)
        if self.folder is not None and max(facts.st_mtime_ns, facts.st_ctime_ns) < begin - SETTLED:
            entries = {key: value for key, value in known.items() if key != name} | {name: [*stamp, digest]}
            with suppress(DataError):
                write_file(self.folder / HASHES, json.dumps(dict(list(entries.items())[-MOST_HASHES:])).encode())
        return digest

    def _hashes(self) -> dict[str, list[Any]]:
        """Of paths: size, times, inode and hash."""
        if self.folder is None:
            return {}
        try:
            found = parse_json(read_regular(self.folder / HASHES))
        except (OSError, ValueError):
            return {}
        return {name: entry for name, entry in found.items() if isinstance(entry, list) and len(entry) == 5 and
                is_text(entry[-1])} if isinstance(found, dict) else {}

    def _shrink(self, kept: Path) -> None:
        """Remove the least recently used files until the others are small enough."""
        files = sorted(self._files(), key=lambda file: (file[0] == kept, file[1].st_mtime))
        total = sum(facts.st_size for _, facts in files)
        for path, facts in files[:-1]:
            if total <= self.most:
                return
            with suppress(OSError):
                path.unlink()
                total -= facts.st_size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        assert self.folder is not None
        for path in self.folder.glob("*.model"):
            with suppress(OSError):
                yield path, path.stat()


def hash_file(path: str | os.PathLike) -> str:
    """A hash of a file's content: the SHA-256 of the SHA-256 of its blocks, which several threads compute.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        size = os.fstat(file.fileno()).st_size
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        with memoryview(data) as view:
            blocks = [view[start:start + BLOCK] for start in range(0, size, BLOCK)]
            return hashlib.sha256(b"".join(pool.map(lambda block: hashlib.sha256(block).digest(), blocks))).hexdigest()
