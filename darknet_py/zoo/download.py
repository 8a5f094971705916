"""Downloads that resume: size and SHA-256 are checked before a file takes its name."""
from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from darknet_py.errors import DownloadError, cause
from darknet_py.utils.files import put_in_place, replacing
from darknet_py.utils.version import __version__

BLOCK = 1 << 18                                         # bytes that are read at a time
AGENT = f"darknet_py/{__version__}"
SLOWEST, PATIENCE = 1000, 60.                           # bytes a second, over so many seconds; a slower URL is given up
MOST_LETTERS = 200                                      # of a name: ``.part.from`` and the like are added
IMPORTED = (".py", ".pyc", ".pyd", ".so")             # what Python would import from the working directory
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)         # HTTP status codes that are worth another attempt


def download(url: str, path: str | os.PathLike, *, mirrors: tuple[str, ...] = (), size: int | None = None,
             sha256: tuple[str, ...] = (), progress: Callable[[int, int], None] | None = None, timeout: float = 30,
             tries: int = 3, pause: float = 1) -> str | None:
    """Fetch a file, unless it is there already.

    What came so far lies in ``PATH.part``, which is kept when an attempt fails, or the process is killed, and which
    the next attempt goes on from, whichever URL that asks. The file takes its name once it is complete and right.
    Where its SHA-256 is not known, only the server that began it goes on with it, if it says that it has the same file
    still (ETag or Last-Modified, noted in ``PATH.part.from``).

    Args:
        url: of http or https, as what it redirects to must be (https not to http).
        path: the file. One that is there is left as it is: it is what was wanted, or it may be somebody's own.
        mirrors: other URLs of the same file, asked in turn where those before do not give it.
        size, sha256: of the file, checked as far as they are given; sha256 in hexadecimal, of each version that may be.
        progress: called with how many bytes are there, and how many there will be, 0 if not known.
        timeout: seconds without a byte after which a connection counts as broken. A URL that gives less than
            ``SLOWEST`` bytes a second over ``PATIENCE`` seconds is given up.
        tries: failed attempts after which a URL is given up; one that brought something new begins the count again.
        pause: seconds before the second attempt, doubled for each further one in the count.

    Returns:
        The URL that completed the file; None where nothing had to be fetched.

    Raises:
        DownloadError: no URL gives the file (each is named, with why); ``path`` is there and is something else; another
            process is fetching it; it cannot be written.
    """
    path, urls = Path(path), (url, *mirrors)
    if len(os.fsencode(path.name)) > MOST_LETTERS or path.suffix.lower() in IMPORTED:
        raise DownloadError(f"{path}: expected the name of a file of weights, of at most {MOST_LETTERS} bytes")
    for one in urls:
        _check_url(one)
    if path.exists():
        if (mismatch := find_mismatch(path, size, sha256)) is None:
            return None
        raise DownloadError(f"{path}: {mismatch}; take it away to have it fetched from {url}")
    reasons: list[str] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(Path(f"{path}.part")) as file:
            part = _Part(file, Path(f"{path}.part"), size, sha256, progress or (lambda done, total: None), timeout)
            origin = next((one for one in urls if part.fetch(one, reasons, tries, pause)), None)
        if origin is not None or not part.length:
            part.source.unlink(missing_ok=True)
        if origin is not None:
            put_in_place(part.path, path)
        elif not part.length:
            part.path.unlink()
    except BrokenPipeError:             # of the progress bar's reader
        raise
    except OSError as error:
        raise DownloadError(f"{path}: cannot write the file: {cause(error)}; {url} was to be fetched") from None
    if origin is not None:
        return origin
    facts = ", ".join([f"{size} bytes"] * (size is not None) + [f"sha256 {' or '.join(sha256)}"] * bool(sha256))
    kept = f"; {part.length} bytes are in {part.path}, from where another try goes on" if part.length else ""
    raise DownloadError(
        f"{path}: cannot be fetched: {'; '.join(reasons)}; get it in another way, and put it there"
        f"{f' ({facts})' if facts else ''}{kept}")


def find_mismatch(path: str | os.PathLike, size: int | None, sha256: tuple[str, ...]) -> str | None:
    """How a file differs from what is expected; None where it does not. ``size``, ``sha256``: see ``download``.

    Raises:
        DownloadError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno()).st_size
            if size is not None and found != size:
                return f"expected {size} bytes, found {found}"
            if sha256 and (digest := _sha256(file)) not in map(str.lower, sha256):
                return f"expected sha256 {' or '.join(sha256)}, found {digest}"
    except OSError as error:
        raise DownloadError(f"{path}: cannot read the file: {cause(error)}") from None
    return None


class _Broken(Exception):
    """An attempt that failed, and why; another one may not."""


class Refused(Exception):
    """Why a URL does not give the file."""


class _Part:
    """The part of the file that is downloaded so far. Arguments: see ``download``.

    Attributes:
        length: bytes in it.
        source: the file that notes the URL that it comes from, and the version there (ETag or Last-Modified).
    """

    def __init__(self, file: BinaryIO, path: Path, size: int | None, sha256: tuple[str, ...],
                 progress: Callable[[int, int], None], timeout: float):
        self.file, self.path, self.size, self.sha256 = file, path, size, sha256
        self.progress, self.timeout = progress, timeout
        self.source = Path(f"{path}.from")
        self.length = file.seek(0, os.SEEK_END)

    def fetch(self, url: str, reasons: list[str], tries: int, pause: float) -> bool:
        """Complete the file from a URL, in several attempts. False on failure; the reason is added to ``reasons``."""
        failures, most, fresh, anew = 0, self.length, False, False
        while True:
            try:
                if self.size is None or self.length != self.size:
                    fresh = self.length == 0
                    self.receive(url)
                if (mismatch := self.mismatch()) is None:
                    return True
                self.restart()
                if fresh or anew:
                    raise Refused(mismatch)
                most, anew = 0, True            # parts of two files, perhaps: once more, from the start
            except Refused as refused:
                reasons.append(f"{url}: {refused}")
                return False
            except _Broken as broken:
                failures = 1 if self.length > most else failures + 1
                most = max(most, self.length)
                if failures >= tries:
                    reasons.append(f"{url}: {broken}")
                    return False
                time.sleep(pause * 2 ** (failures - 1))

    def receive(self, url: str) -> None:
        """One request for the bytes that are missing.

        Raises:
            _Broken, Refused
        """
        if self.size is not None and self.length > self.size:
            self.restart()
        headers = {"User-Agent": AGENT}
        validator = self.validator(url)
        if self.length and validator is None and not self.sha256:
            self.restart()
        if self.length:
            headers |= {"Range": f"bytes={self.length}-"} | ({} if validator is None else {"If-Range": validator})
        try:
            reply = build_opener(Redirects).open(Request(url, headers=headers), timeout=self.timeout)
        except HTTPError as error:
            with error:
                if error.code == 416 and self.length:
                    if _number(r"bytes \*/(\d+)", error.headers, "Content-Range") != self.length:
                        self.restart()
                        self.receive(url)
                    return
                raise (_Broken if error.code in TRANSIENT else Refused)(
                    f"the server says {error.code} {error.reason}") from None
        except (InvalidURL, ValueError) as error:
            raise Refused(f"not a URL: {error}") from None
        except (OSError, HTTPException) as error:
            raise _Broken(f"no connection: {reason_of(error)}") from None
        with reply:
            self.take(reply, url, validator)

    def take(self, reply: HTTPResponse, url: str, validator: str | None) -> None:
        """Append the body of a partial response; start over with that of a whole one."""
        if reply.status == 206:
            start = _number(r"bytes (\d+)-", reply.headers, "Content-Range")
            now = _validator(reply.headers)
            if start != self.length or (validator is not None and now is not None and now != validator):
                self.restart()
                raise _Broken("the server goes on with something else than it was asked for")
            total = _number(r"bytes \d+-\d+/(\d+)", reply.headers, "Content-Range")
        elif reply.status == 200:
            total = _number(r"(\d+)$", reply.headers, "Content-Length")
        else:
            raise Refused(f"the server says {reply.status} {reply.reason}")
        if None not in (self.size, total) and total != self.size:
            raise Refused(f"expected {self.size} bytes, the server has {total}")
        if reply.status == 200:
            self.restart()
            if (now := _validator(reply.headers)) is not None:
                with replacing(self.source) as file:
                    file.write(f"{url}\n{now}\n".encode())
        total = self.size if total is None else total
        room = shutil.disk_usage(self.path.parent).free
        if total is not None and total - self.length > room:
            raise OSError(errno.ENOSPC, f"{total - self.length} bytes are to come, and the disk has room for {room}")
        self.progress(self.length, total or 0)
        since, before = time.monotonic(), self.length
        while True:
            try:
                block = reply.read1(BLOCK)              # what is here; read would wait for all of a block
            except (OSError, HTTPException) as error:
                raise _Broken(f"the connection broke off after {self.length} bytes: {reason_of(error)}") from None
            if not block:
                break
            self.file.write(block)
            self.length += len(block)
            if self.size is not None and self.length > self.size:
                self.restart()
                raise Refused(f"expected {self.size} bytes, the server sends more")
            self.progress(self.length, total or 0)
            if (seconds := time.monotonic() - since) > PATIENCE:
                if self.length - before < SLOWEST * seconds:
                    raise Refused(f"the server is too slow: {self.length - before} bytes in {seconds:.0f} seconds, "
                                  f"expected at least {SLOWEST} a second")
                since, before = time.monotonic(), self.length
        if total is not None and self.length < total:
            raise _Broken(f"the connection broke off after {self.length} of {total} bytes")

    def restart(self) -> None:
        """Drop the bytes that are here."""
        self.source.unlink(missing_ok=True)
        if self.length:
            self.file.truncate(0)
        self.length = 0

    def validator(self, url: str) -> str | None:
        """The version (ETag or Last-Modified) of the bytes that are here, if they come from this URL."""
        with suppress(OSError, ValueError):
            noted, version = self.source.read_text("utf-8").splitlines()
            return version if noted == url else None
        return None

    def mismatch(self) -> str | None:
        self.file.flush()
        return find_mismatch(self.path, self.size, self.sha256)


class Redirects(HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    http_error_308 = HTTPRedirectHandler.http_error_302         # Python 3.10 does not know it

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
                         ) -> Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type, scheme) == ("https", "http"):
            raise Refused(f"the server redirects to {newurl}")
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)


@contextmanager
def _claimed(path: Path) -> Iterator[BinaryIO]:
    """A file to append to, locked against other processes."""
    while True:
        with open(path, "ab") as file:
            with suppress(ImportError):                         # fcntl is missing on Windows
                import fcntl
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise DownloadError(f"{path}: another process is fetching it") from None
                except OSError:                                 # this file system has no locks
                    pass
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):    # not just completed
                yield file
                return


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname is not None
    except ValueError:
        known = False
    if not known:
        raise DownloadError(f"expected a URL that begins with https:// or http://, found {url}")


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _number(pattern: str, headers: Message, name: str) -> int | None:
    match = re.match(pattern, headers.get(name, ""))
    return None if match is None or len(match[1]) > 18 else int(match[1])


def _validator(headers: Message) -> str | None:
    """The strong validator of a response: its ETag, else Last-Modified."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def reason_of(error: BaseException) -> str:
    """An error of the network in words."""
    if isinstance(error, URLError):
        if not isinstance(error.reason, BaseException):
            return error.reason
        error = error.reason
    return cause(error)
