"""Settings of the service: their bounds, and the TOML file that may hold them."""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Option(NamedTuple):
    """A setting of a number. least, most: its bounds."""

    default: float
    least: float
    most: float
    text: str


@dataclass(frozen=True)
class Settings:
    """What the service does with requests.

    Attributes:
        thresh, nms: of a request that names none.
        token: that requests must bear; None: none.
        allow_urls: whether pictures are fetched from URLs, ``allow_private_urls`` also from addresses of networks of
            one's own.
        max_body: bytes of a request. max_pixels: of a picture. queue: pictures that are at work or wait, of a network.
        batch, wait: see ``Engine``. time_limit: seconds for a request, and as many for its body.
    """

    thresh: float = .25
    nms: float = .45
    token: str | None = None
    allow_urls: bool = False
    allow_private_urls: bool = False
    max_body: int = 1 << 25
    max_pixels: int = 1 << 26
    queue: int = 128
    batch: int | None = None
    wait: float = 0.
    time_limit: float = 30.
