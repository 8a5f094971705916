"""Pictures from URLs of http and https, bounded in size and time."""
from __future__ import annotations

import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, build_opener

from darknet_py.errors import DataError, Reason, cause
from darknet_py.utils.version import __version__
from darknet_py.zoo.download import Redirects, Refused, reason_of

MOST_BYTES = 1 << 28            # of a picture
SECONDS = 60.                   # for all of it
SILENCE = 20.                   # seconds without a byte after which a connection counts as broken
BLOCK = 1 << 16


def fetch_picture(url: str, most: int = MOST_BYTES, seconds: float = SECONDS) -> bytes:
    """The bytes of a picture. Proxies are taken from the environment (http_proxy, https_proxy, no_proxy).

    Args:
        url: of http or https, as what it redirects to must be (https not to http).
        most: bytes beyond which it is refused.
        seconds: for all of it.

    Raises:
        DataError: why it cannot be fetched.
    """
    end = time.monotonic() + seconds
    try:
        parts = urlsplit(url)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            raise DataError(f"{url}: expected an URL of http or https", Reason.WRONG_FORMAT)
        request = Request(quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers={
            "User-Agent": f"darknet_py/{__version__}", "Accept": "image/*, */*;q=.5"})
        data = bytearray()
        with build_opener(Redirects).open(request, timeout=min(SILENCE, seconds)) as reply:
            while block := reply.read1(BLOCK):
                data += block
                if len(data) > most:
                    raise DataError(f"{url}: expected a picture of at most {most} bytes, found more", Reason.TOO_LARGE)
                if time.monotonic() > end:
                    raise DataError(f"{url}: cannot be fetched: {len(data)} bytes came in {seconds:g} seconds, and "
                                    "that was not all", Reason.UNREADABLE)
            if reply.length:
                raise DataError(f"{url}: the connection broke off, {reply.length} bytes are missing", Reason.TRUNCATED)
    except HTTPError as error:
        with error:
            raise DataError(f"{url}: cannot be fetched: the server says {error.code} {error.reason}",
                            Reason.MISSING_FILE if error.code in (404, 410) else Reason.UNREADABLE) from None
    except DataError:
        raise
    except (OSError, HTTPException, ValueError, Refused) as error:      # ValueError: of an URL that is none
        why = reason_of(error) if isinstance(error, OSError) else cause(error)
        raise DataError(f"{url}: cannot be fetched: {why}", Reason.UNREADABLE) from None
    return bytes(data)
