"""The pictures that inputs name, one after another: of files, folders, lists, tars, Parquet files and videos."""
from __future__ import annotations

import fnmatch
import glob
import hashlib
import heapq
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from darknet_py.data.datafile import EXTENSIONS, bases, with_slashes
from darknet_py.data.lists import LISTS, is_url
from darknet_py.errors import DataError, Reason, cause
from darknet_py.live.capture import Capture
from darknet_py.scale import remote
from darknet_py.scale.tables import image_column, open_table, values_of

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".avi", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
CHUNK = 50_000              # names that are sorted in memory
MODULUS = 1 << 128          # of the sum of digests


class Entry(NamedTuple):
    """A picture, and how to get at it.

    kind: picture, tar, parquet, video; broken: of a file whose pictures are not known.
    file: path or URL of the file.
    place: the offset in a tar in bytes; the row of a Parquet file, or the frame of a video, from 0.
    size: bytes in a tar.
    name: in a tar; the column of a Parquet file; what is wrong with a broken file.
    """

    kind: str
    file: str
    place: int = 0
    size: int = 0
    name: str = ""

    @property
    def path(self) -> str:
        """What results call the picture: FILE, TAR/NAME, PARQUET#ROW or VIDEO#FRAME."""
        return (f"{self.file}/{self.name}" if self.kind == "tar" else
                f"{self.file}#{self.place}" if self.kind in ("parquet", "video") else self.file)


class Fingerprint:
    """What tells whether inputs name the same files as before: their number, and a sum of digests, so that their order
    does not count. Of tars, Parquet files, videos and lists on this machine size and time count, too."""

    def __init__(self) -> None:
        self.files, self.sum = 0, 0

    def add(self, name: str, *facts: object) -> None:
        text = json.dumps([name, *facts]).encode()
        self.files += 1
        self.sum = (self.sum + int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")) % MODULUS

    def __str__(self) -> str:
        return f"{self.sum:032x}"


class Inputs:
    """The words that name inputs.

    Args:
        words: paths, patterns, or URLs of pictures, folders of them (and of folders in these), lists (.txt, .list) with
            one of these a line, but for folders and lists; of tars as WebDataset writes them, Parquet files and videos.
        column: of Parquet files, with the pictures' bytes or their paths; None: see ``tables.image_column``.

    Raises:
        DataError: a word names nothing.
        DarknetError: a package is missing.
    """

    def __init__(self, words: Iterable[str], column: str | None = None):
        self.words, self.column = list(words), column
        for word in self.words:
            if is_url(word):
                remote.require(word)
            elif not os.path.exists(word) and not glob.has_magic(word):
                raise DataError(f"{word}: no such file or folder", Reason.MISSING_FILE)

    def entries(self, fingerprint: Fingerprint, work: Path) -> Iterator[Entry]:
        """All pictures; those of a folder or pattern sorted by path. Memory does not grow with their number, but for
        the names in one folder at an URL.

        Args:
            fingerprint: gets all files.
            work: a folder for names that are sorted.

        Raises:
            DataError: a folder without pictures, a pattern that nothing matches, a list that cannot be read.
        """
        for word in self.words:
            for name in _files(word, fingerprint, work):
                yield from _pictures_of(name, self.column)

    def fingerprint(self, looked: Callable[[int], None] = lambda count: None) -> Fingerprint:
        """That of the files as they are now.

        Args:
            looked: called with 0 at each file; what it raises ends the look.

        Raises:
            DataError: see ``entries``.
        """
        found = Fingerprint()
        for word in self.words:
            for _ in _files(word, found, None):
                looked(0)
        return found


def _files(word: str, fingerprint: Fingerprint, work: Path | None) -> Iterator[str]:
    """The files that a word stands for. work: see ``Inputs.entries``; None: in any order."""
    if is_list := Path(word).suffix.lower() in LISTS:
        names = _lines(word)
    elif is_url(word):
        names = remote.files(word, EXTENSIONS)
    elif os.path.isdir(word):
        names = _sorted(_pictures_below(word), work)
    elif os.path.exists(word):
        names = iter([word])
    else:
        names = _sorted(_matches(word), work)
    empty = True
    for name in names:
        empty = False
        fingerprint.add(name, *([] if is_url(name) or _ending(name) in EXTENSIONS else _facts(name)))
        yield name
    if empty:
        raise DataError(f"{word}: " + ("found no paths of pictures in this list" if is_list else
                                       "found no pictures in this folder" if os.path.isdir(word) else
                                       "no file matches this pattern"), Reason.EMPTY)


def _lines(path: str) -> Iterator[str]:
    """The paths in a list; a relative one is so to the first of ``bases`` that has the file. See ``with_slashes``."""
    places = [] if is_url(path) else bases(Path(path))
    try:
        with (remote.open_file(path) if is_url(path) else open(path, "rb")) as file:
            for number, line in enumerate(file):
                text = line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape").strip()
                if text and not is_url(text):
                    text = with_slashes(text, places)
                    text = next((found for place in places if os.path.exists(
                        found := os.path.join("" if place == Path() else place, text))), text)
                if text:
                    yield text
    except OSError as error:
        raise DataError(f"{path}: cannot read the list: {cause(error)}", Reason.reading(error)) from None


def _facts(path: str) -> list[int]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return []
    return [found.st_size, found.st_mtime_ns]


def _pictures_below(folder: str) -> Iterator[str]:
    """The pictures in a folder and those in it, in any order."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as found:
            for one in found:
                if one.is_dir(follow_symlinks=False):
                    folders.append(one.path)
                elif _ending(one.name) in EXTENSIONS and not one.name.startswith("._"):
                    yield one.path


def _matches(pattern: str) -> Iterator[str]:
    """The files that match, in any order. Where only the last part is a pattern, they are matched as they come."""
    folder, last = os.path.split(pattern)
    if glob.has_magic(folder) or "**" in last:
        yield from filter(os.path.isfile, glob.iglob(pattern, recursive=True))
    elif os.path.isdir(folder or "."):
        with os.scandir(folder or ".") as found:
            for one in found:
                if fnmatch.fnmatch(one.name, last) and one.name.startswith(".") <= last.startswith(".") \
                        and one.is_file():
                    yield os.path.join(folder, one.name)


def _sorted(names: Iterator[str], work: Path | None) -> Iterator[str]:
    """Names in order: chunks of them are sorted in memory, and merged from files."""
    if work is None:
        yield from names
        return
    files: list[IO[str]] = []
    try:
        while chunk := sorted(islice(names, CHUNK)):
            if not files and len(chunk) < CHUNK:
                yield from chunk
                return
            file: IO[str] = tempfile.TemporaryFile("w+", dir=work)      # noqa: SIM115
            files.append(file)
            file.writelines(f"{json.dumps(name)}\n" for name in chunk)
            file.seek(0)
        yield from heapq.merge(*(map(json.loads, file) for file in files))
    finally:
        for one in files:
            one.close()


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _pictures_of(name: str, column: str | None) -> Iterator[Entry]:
    """The pictures in a file; of one that breaks off those before it does, and then what is wrong."""
    ending, lower = _ending(name), name.lower()
    try:
        if lower.endswith(PACKED):
            raise DataError(f"{name}: expected a tar that is not compressed, so that its pictures can be read in any "
                            "order", Reason.UNSUPPORTED)
        if ending == ".tar":
            yield from _in_tar(name)
        elif ending == ".parquet":
            yield from _in_table(name, column)
        elif ending in VIDEOS:
            yield from _in_video(name)
        else:
            yield Entry("picture", name)
    except DataError as error:
        yield Entry("broken", name, name=str(error))


def _in_tar(name: str) -> Iterator[Entry]:
    try:
        with (remote.open_file(name) if is_url(name) else open(name, "rb")) as file, \
                tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                tar.members = []            # type: ignore[attr-defined]     # which would be kept
                if member.isfile() and _ending(member.name) in EXTENSIONS:
                    yield Entry("tar", name, member.offset_data, member.size, member.name)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{name}: cannot read the tar: {cause(error)}", Reason.CORRUPT) from None


def _in_table(name: str, column: str | None) -> Iterator[Entry]:
    with open_table(name) as table:
        chosen = image_column(table, name, column)
        if chosen.binary:
            for row in range(table.metadata.num_rows):
                yield Entry("parquet", name, row, name=chosen.name)
            return
        folder = os.path.dirname(name)
        for row, path in enumerate(values_of(table, chosen.name)):
            if not isinstance(path, str) or not path:
                yield Entry("broken", f"{name}#{row}", name=f"{name}#{row}: expected a path in {chosen.name}, found "
                            "none")
            elif is_url(path) or os.path.exists(path):
                yield Entry("picture", path)
            else:
                near = remote.joined(folder, path)
                yield Entry("picture", near if is_url(near) or os.path.exists(near) else path)


def _in_video(name: str) -> Iterator[Entry]:
    """The frames, which are counted, for many files claim another number."""
    capture, frame = open_video(name), 0
    try:
        while capture.skip():
            yield Entry("video", name, frame)
            frame += 1
    finally:
        capture.close()
    if frame == 0:
        raise DataError(f"{name}: has no frame that can be decoded", Reason.EMPTY)


def open_video(name: str) -> Capture:
    """A video at a path or an URL, of which a copy is read, so that its frames can be passed over.

    Raises:
        DataError: it is none, or cannot be read.
    """
    if not is_url(name):
        return Capture(name)
    with remote.local_copy(name) as path:
        try:
            return Capture(path)        # which reads on when the copy's name is gone
        except DataError as error:
            raise DataError(str(error).replace(path, name), error.reason) from None
