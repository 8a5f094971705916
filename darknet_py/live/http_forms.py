"""Forms in which results go over HTTP: C's JSON and MJPEG, NDJSON, server-sent events, snapshots, documents."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar

C_HEADERS = ("HTTP/1.0 200 OK\r\nServer: Mozarella/2.2\r\nAccept-Range: bytes\r\nConnection: close\r\nMax-Age: 0\r\n"
             "Expires: 0\r\nCache-Control: no-cache, private\r\nPragma: no-cache\r\nContent-Type: {}\r\n\r\n")
HEADERS = "HTTP/1.0 {}\r\nContent-Type: {}\r\nCache-Control: no-store\r\nConnection: close\r\n{}\r\n"


class Record(Protocol):
    """A result with a number and a JSON text."""

    @property
    def number(self) -> int: ...
    @property
    def record(self) -> str: ...


class Encoded(Protocol):
    """A result with a JPEG, which may be made when it is first asked for, in the thread of a client."""

    @property
    def jpeg(self) -> bytes: ...


Given = TypeVar("Given", contravariant=True)


class Form(ABC, Generic[Given]):
    """How a client gets the results: pure functions from results to bytes.

    Attributes:
        most: results that may wait for the client.
        once: the answer ends with the first result.
    """

    most, once = 64, False

    @abstractmethod
    def begin(self) -> bytes:
        """Before all results."""

    @abstractmethod
    def each(self, result: Given, first: bool) -> bytes:
        """Of a result. first: it is the client's first one."""

    def end(self) -> bytes:
        """After the last result."""
        return b""


class JsonArray(Form[Record]):
    """C's: an array that ends when the source does."""

    def begin(self) -> bytes:
        return C_HEADERS.format("application/json").encode() + b"[\n"

    def each(self, result: Record, first: bool) -> bytes:
        return (b"" if first else b", \n") + _bytes(result.record)

    def end(self) -> bytes:
        return b"\n]"


class JsonLines(Form[Record]):
    """NDJSON: a record a line."""

    def begin(self) -> bytes:
        return HEADERS.format("200 OK", "application/x-ndjson", "").encode()

    def each(self, result: Record, first: bool) -> bytes:
        return _line(result) + b"\n"


class Events(Form[Record]):
    """Server-sent events, for a browser's EventSource: a record an event, whose id is the frame's."""

    def begin(self) -> bytes:
        return HEADERS.format("200 OK", "text/event-stream", "").encode()

    def each(self, result: Record, first: bool) -> bytes:
        return f"id: {result.number}\ndata: ".encode() + _line(result) + b"\n\n"


class Mjpeg(Form[Encoded]):
    """C's: JPEGs without end, for browsers, players and cv2.VideoCapture."""

    most = 1

    def begin(self) -> bytes:
        return C_HEADERS.format("multipart/x-mixed-replace; boundary=mjpegstream").encode()

    def each(self, result: Encoded, first: bool) -> bytes:
        jpeg = result.jpeg
        return f"--mjpegstream\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode() + jpeg


class Snapshot(Form[Encoded]):
    """The latest picture, once."""

    most, once = 1, True

    def begin(self) -> bytes:
        return b""

    def each(self, result: Encoded, first: bool) -> bytes:
        jpeg = result.jpeg
        return HEADERS.format("200 OK", "image/jpeg", f"Content-Length: {len(jpeg)}\r\n").encode() + jpeg


class Answer(Form[object]):
    """A document, which needs no result.

    Args:
        kind: its media type.
        make: makes it, in the thread of a client; None where there is none.
        headers: more lines.
    """

    once = True

    def __init__(self, kind: str, make: Callable[[], bytes | None], headers: str = ""):
        self.kind, self.make, self.headers = kind, make, headers

    def begin(self) -> bytes:
        body = self.make()
        return document(HTTPStatus.NOT_FOUND, "text/plain", b"there is none here\n") if body is None else document(
            HTTPStatus.OK, self.kind, body, self.headers)

    def each(self, result: object, first: bool) -> bytes:
        return b""


def document(status: HTTPStatus, kind: str, body: bytes, headers: str = "") -> bytes:
    """A whole answer."""
    more = f"Content-Length: {len(body)}\r\n{headers}"
    return HEADERS.format(f"{status.value} {status.phrase}", kind, more).encode() + body


NOT_HERE = Answer("text/plain", lambda: None)
JSON_FORMS: dict[str, Form[Record]] = {"/ndjson": JsonLines(), "/events": Events()}
MJPEG_FORMS: dict[str, Form[Encoded]] = {"/snapshot.jpg": Snapshot()}


def _bytes(record: str) -> bytes:
    return record.encode("utf-8", "backslashreplace")


def _line(result: Record) -> bytes:
    """A record on one line: line feeds in names are escaped, so all that there are lie between fields."""
    return _bytes("".join(line.strip() for line in result.record.split("\n")))
