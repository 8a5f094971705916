"""Atomic writing of files (a temporary name, then a rename), and locks between processes."""
from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import socket
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from darknet_py.errors import DataError, Reason, cause


def _host() -> str:
    """Where the numbers of processes mean what they mean here: this machine, and on it this container."""
    numbers = ""
    with suppress(OSError):
        numbers = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{socket.gethostname()} {numbers}'.encode()):x}"


TEMPORARY = re.compile(r"\.darknet-py-([0-9a-f]+)-(\d+)-\d+\.tmp")       # host, process, a count
HOST = _host()
OLD = 24 * 3600.        # seconds after which a temporary file of another machine is left over

_count = itertools.count()
_swept: set[Path] = set()
_in_use: set[str] = set()      # names of this process's own

MOST_WHOLE = 1 << 63    # of a whole number in JSON
MOST_TEXT = 1 << 31     # bytes of a list, of labels, of JSON
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def check_regular(path: str | os.PathLike, most: int = MOST_TEXT) -> None:
    """See whether a file may be read whole: pipes may never end, and devices do not.

    Raises:
        OSError: it is no regular file, or larger than ``most`` bytes, or missing; ``strerror`` says so.
    """
    facts = os.stat(path)
    if (kind := KINDS.get(stat.S_IFMT(facts.st_mode))) is not None:
        raise OSError(errno.EINVAL, f"expected a regular file, found {kind}", str(path))
    if facts.st_size > most:
        raise OSError(errno.EFBIG, f"expected at most {most} bytes, found {facts.st_size}", str(path))


def is_same_file(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Whether two paths are of the same file, which is there."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def read_regular(path: str | os.PathLike, most: int = MOST_TEXT) -> bytes:
    """What is in a regular file; see ``check_regular`` for the errors."""
    check_regular(path, most)
    return Path(path).read_bytes()


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is no JSON, or beyond what can be read: nested too deeply, a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a number that an array takes: it may be infinite or NaN, but no integer of hundreds
    of digits."""
    return type(value) is float or (type(value) is int and -MOST_WHOLE < value < MOST_WHOLE)


def is_text(value: Any) -> bool:
    """Whether a value from JSON is a text that may be a path."""
    return type(value) is str and "\0" not in value


def show_json(value: Any, most: int = 60) -> str:
    """Something from JSON, for a message."""
    try:
        text = json.dumps(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most - 3]}..."


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write in place of ``path``: it is renamed to that when all is written, and removed if anything fails.
    Of a symbolic link the target is replaced; the permissions of an existing file are kept. What is no regular file (a
    device, a pipe) is written directly.

    Raises:
        OSError: the disk is full, or the folder is missing or not writable.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and stat.S_IFMT(target.stat().st_mode) in KINDS:
        with open(target, "wb") as file:
            yield file
        return
    with temporary_path(target.parent) as temporary:
        try:
            with open(temporary, "wb") as file:
                yield file
            with suppress(FileNotFoundError):
                shutil.copymode(target, temporary)
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def temporary_path(folder: Path) -> Iterator[Path]:
    """A path for what will be renamed or removed in the meantime, in a folder that is swept the first time."""
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)
    path = folder / f".darknet-py-{HOST}-{os.getpid()}-{next(_count)}.tmp"
    _in_use.add(path.name)
    try:
        yield path
    finally:
        _in_use.discard(path.name)


@contextmanager
def temporary_folder(parent: str | os.PathLike) -> Iterator[Path]:
    """A folder in ``parent`` that is removed afterwards with what is still in it; only this user can look into it.

    Raises:
        OSError: it cannot be made.
    """
    with temporary_path(Path(parent)) as path:
        path.mkdir(0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def put_in_place(made: Path, path: Path) -> None:
    """Rename a file that was made under another name in the same folder. As with ``replacing``, a symbolic link or a
    device of that name stays, and what it stands for is written.

    Raises:
        OSError: see ``replacing``.
    """
    if path.is_symlink() or (path.exists() and stat.S_IFMT(path.stat().st_mode) in KINDS):
        with open(made, "rb") as source, replacing(path) as file:
            shutil.copyfileobj(source, file)
        made.unlink()
    else:
        made.replace(path)


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that processes left in a folder when they were killed."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and is_left(entry):
                with suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)


def is_left(path: str | os.PathLike) -> bool:
    """Whether the process is gone that made a file whose name ends as that of a temporary file does."""
    name = os.path.basename(path)
    found = TEMPORARY.search(name)
    if found is None:
        return False
    if found[1] == HOST and os.name == "posix":
        process = int(found[2])
        if found[0] not in _in_use if process == os.getpid() else not _is_running(process):
            return True
    try:
        return time.time() - os.stat(path, follow_symlinks=False).st_mtime > OLD
    except OSError:
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:             # another user's
        return True
    return True


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
        raise DataError(f"{path}: cannot write the file: {cause(error)}", Reason.UNWRITABLE) from None


class ProcessLock:
    """A lock that one process holds until ``release``, or until it ends in whatever way.

    Args:
        path: NAME.lock, which is locked. NAME.pid beside it says who holds it, for whoever takes the lock may truncate
            NAME.lock. Both are gone after ``release``.
        doing: what this process does, for the message that others get.
        again: whether this process may take it more than once.

    Raises:
        DataError: it is held already, by another process or (without ``again``) in this one; or the folder is missing
            or not writable.
    """

    def __init__(self, path: Path, doing: str, *, again: bool = False):
        self.path, self.holder = path, path.with_suffix(".pid")
        self.lock = FileLock(path, timeout=0, thread_local=False, is_singleton=again)
        try:
            self.lock.acquire()
        except Timeout:
            raise DataError(f"{path.parent}: {self._who()} is {doing}; wait for its end, or choose another folder with "
                            "-backup", Reason.IN_USE) from None
        except OSError as error:
            raise DataError(f"{path}: cannot lock it: {cause(error)}", Reason.UNWRITABLE) from None
        except NotImplementedError:             # a file system without locks
            return
        with suppress(OSError), replacing(self.holder) as file:
            file.write(str(os.getpid()).encode())

    def _who(self) -> str:
        with suppress(OSError):
            text = self.holder.read_text()
            return f"process {text}" + (" (this one)" if text == str(os.getpid()) else "")
        return "another process"

    def release(self) -> None:
        """Unlock, and remove both files."""
        if self.lock.is_locked:
            for path in (self.holder, self.path):           # first, for afterwards they may be another's
                with suppress(OSError):                     # Windows deletes no open file
                    path.unlink()
            self.lock.release()
