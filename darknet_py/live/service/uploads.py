"""Pictures in the body of a request: multipart, JSON with base64 or URLs, or an image file as it is."""
from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from darknet_py.errors import DataError, Reason, one_line, printable

MOST_IMAGES = 64        # of a request
MOST_NAME = 255         # characters of a file's name, of which the end is kept
MOST_HEADERS = 8        # of a part
OF_URLS = (Reason.UNSAFE, Reason.UNREADABLE, Reason.BAD_VALUE, Reason.TRUNCATED)    # what ``fetch`` finds wrong


class JsonImage(BaseModel):
    """A picture in a JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True)
    data: str = Field(description="base64 of an image file, or a data: URL of it")
    filename: str | None = None


class JsonUrl(BaseModel):
    """A picture that the service fetches, where it may (-allow_urls)."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: str = Field(description="of http or https")
    filename: str | None = None


class JsonImages(BaseModel):
    """The JSON body of /detect."""

    model_config = ConfigDict(extra="forbid", strict=True)
    images: list[JsonImage | JsonUrl] = Field(json_schema_extra={"minItems": 1, "maxItems": MOST_IMAGES})


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        reason: one word.
        message: one line.
    """

    def __init__(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None):
        self.status, self.reason, self.message, self.headers = status, reason, one_line(message), headers
        super().__init__(self.message)


@dataclass
class Upload:
    """A picture of a request: bytes of an image file; or the URL of one."""

    filename: str | None
    data: bytes | bytearray = b""
    url: str | None = None


def read_uploads(body: bytes | bytearray, content_type: str, allow_urls: bool = False) -> list[Upload]:
    """The pictures in a body, of which there is at least one.

    Raises:
        Refused: 415 for another content type, 413 for too many pictures, 422 for a body that does not follow its type.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        found = _multipart(body, options.get(b"boundary", b""))
    elif kind == b"application/json":
        found = _json(body, allow_urls)
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        found = [Upload(None, body)]
    else:
        shown = printable(content_type[:100]) if content_type else "none"
        raise Refused(415, "UNSUPPORTED", "expected the content type multipart/form-data, application/json, image/* or "
                      f"application/octet-stream, found {shown}")
    if not found:
        raise Refused(422, "EMPTY", "expected at least one picture, found none")
    return found


def too_many() -> Refused:
    return Refused(413, "TOO_LARGE", f"expected at most {MOST_IMAGES} pictures in a request")


def _json(body: bytes | bytearray, allow_urls: bool) -> list[Upload]:
    try:
        images = JsonImages.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Refused(422, "BAD_VALUE", f"JSON body: {place}{': ' if place else ''}{first['msg']}") from None
    if len(images) > MOST_IMAGES:
        raise too_many()
    found = []
    for number, image in enumerate(images):
        name = None if image.filename is None else image.filename[-MOST_NAME:]
        if isinstance(image, JsonUrl):
            if not allow_urls:
                raise Refused(422, "UNSAFE", f"JSON body: images.{number}: this service fetches no URLs (-allow_urls)")
            found.append(Upload(name, url=image.url))
            continue
        text = image.data.partition(",")[2] if image.data.startswith("data:") else image.data
        try:
            found.append(Upload(name, base64.b64decode(text, validate=True)))
        except (binascii.Error, ValueError):        # ValueError: not ASCII
            raise Refused(422, "BAD_VALUE", f"JSON body: images.{number}.data: expected base64") from None
    return found


@dataclass
class _Parts:
    """Takes what the parser of multipart finds: the files; other fields are passed over."""

    found: list[Upload] = field(default_factory=list)
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""
    kind: bytes = b""
    data: bytearray = field(default_factory=bytearray)
    count: int = 0
    ended: bool = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {f"on_{name}": getattr(self, name) for name in (
            "part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")}

    def part_begin(self) -> None:
        self.count += 1
        if self.count > MOST_IMAGES:
            raise too_many()
        self.disposition, self.kind, self.data = b"", b"", bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        name = bytes(self.name).lower()
        if name == b"content-disposition":
            self.disposition = bytes(self.value)
        elif name == b"content-type":
            self.kind = bytes(self.value)
        self.name, self.value = bytearray(), bytearray()

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.data += memoryview(data)[start:end]

    def part_end(self) -> None:
        options: dict[bytes, bytes] = parse_options_header(self.disposition)[1]
        if (name := options.get(b"filename")) is not None or self.kind.startswith(b"image/"):
            text = (name or b"").decode("utf-8", "replace")[-MOST_NAME:]
            self.found.append(Upload(text or None, self.data))

    def end(self) -> None:
        self.ended = True


def _multipart(body: bytes | bytearray, boundary: bytes) -> list[Upload]:
    if not boundary:
        raise Refused(422, "MISSING_KEY", "multipart body: the content type has no boundary")
    parts = _Parts()
    try:
        callbacks: Any = parts.callbacks()
        parser: Any = MultipartParser(boundary, callbacks, max_header_count=MOST_HEADERS)
        parser.write(body)
    except FormParserError as error:
        raise Refused(422, "SYNTAX", f"multipart body: {error}") from None
    if not parts.ended:
        raise Refused(422, "TRUNCATED", "multipart body: it ends before its last boundary")
    return parts.found


def refused_picture(error: DataError, fetched: bool = False) -> Refused:
    """The answer for a picture that cannot be read, or not be fetched."""
    status = 413 if error.reason is Reason.TOO_LARGE else 422 if fetched and error.reason in OF_URLS else 415
    return Refused(status, error.reason.name, str(error))
