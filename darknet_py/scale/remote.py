"""Files at URLs (s3://, gs://, http:// ...), read through fsspec."""
from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO, Any

from darknet_py.data.lists import is_url
from darknet_py.errors import DarknetError, DataError, Reason, cause

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp", "abfs": "adlfs",
            "az": "adlfs"}             # protocol -> the package that fsspec needs for it
TRIES, PAUSE = 3, .5                   # of a read that fails; seconds before the second, and twice as many each time
FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)     # not tried again


def require(url: str) -> None:
    """Raises:
        DarknetError: a package is missing that reads such URLs.
    """
    package = PACKAGES.get(url.partition("://")[0])
    for one in ("fsspec", *(() if package is None else (package,))):
        if find_spec(one) is None:
            raise DarknetError(f"{url}: this needs the package {one}: pip install {one}")


def open_file(url: str) -> IO[bytes]:
    """A file to read and seek in.

    Raises:
        DataError: it cannot be opened.
    """
    system, path = _system(url)
    try:
        return system.open(path, "rb")
    except Exception as error:              # of many kinds, those of each service
        raise _problem(url, error) from None


def read(url: str, start: int | None = None, size: int | None = None) -> bytes:
    """A file's bytes, or ``size`` of them from ``start``; tried several times.

    Raises:
        DataError: it cannot be read, or is shorter.
    """
    system, path = _system(url)
    for attempt in range(TRIES):
        try:
            data = system.cat_file(path, start=start, end=None if start is None or size is None else start + size)
        except Exception as error:          # of many kinds, those of each service
            if attempt == TRIES - 1 or isinstance(error, FINAL):
                raise _problem(url, error) from None
            time.sleep(PAUSE * 2 ** attempt)
        else:
            break
    if size is not None and len(data) != size:
        raise DataError(f"{url}: asked for {size} bytes from {start} on, got {len(data)}; does the server give parts "
                        "of files?", Reason.TRUNCATED)
    return data


@contextmanager
def local_copy(url: str) -> Iterator[str]:
    """The path of a temporary file with what is there.

    Raises:
        DataError: it cannot be read.
    """
    with tempfile.NamedTemporaryFile(suffix=os.path.splitext(url)[1]) as file:
        with open_file(url) as source:
            try:
                shutil.copyfileobj(source, file)
            except Exception as error:      # of many kinds, those of each service
                raise _problem(url, error) from None
        file.flush()
        yield file.name


def files(url: str, endings: tuple[str, ...]) -> Iterator[str]:
    """The URLs that an URL stands for: what a pattern matches, the files of these endings in a folder and those in it,
    or the file itself; sorted in each folder.

    Raises:
        DataError: a folder or a pattern that cannot be listed.
    """
    system, path = _system(url)
    try:
        if any(char in path for char in "*[") and not url.startswith("http"):
            yield from map(system.unstrip_protocol, sorted(system.glob(path)))
        elif url.startswith("http") or os.path.splitext(path)[1] or not system.isdir(path):
            yield url
        else:
            for folder, folders, names in system.walk(path):
                folders.sort()
                yield from (system.unstrip_protocol(f"{folder}/{name}") for name in sorted(names)
                            if os.path.splitext(name)[1].lower() in endings)
    except Exception as error:              # of many kinds, those of each service
        raise _problem(url, error) from None


def joined(folder: str, path: str) -> str:
    """A path relative to a folder, which may be an URL."""
    return f"{folder}/{path}" if is_url(folder) else os.path.join(folder, path)


def _system(url: str) -> tuple[Any, str]:
    import fsspec
    try:
        return fsspec.core.url_to_fs(url, **({} if url.startswith(("http", "memory")) else
                                             {"use_listings_cache": False}))
    except Exception as error:              # an unknown protocol, a missing package, credentials
        raise DarknetError(f"{url}: {cause(error)}") from None


def _problem(url: str, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{url}: no such file", Reason.MISSING_FILE)
    return DataError(f"{url}: cannot read it: {type(error).__name__}: {cause(error)}", Reason.UNREADABLE)
