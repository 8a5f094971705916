"""Pictures from URLs: http and https alone, from public addresses, bounded in size and time."""
from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from darknet_py.errors import DataError, Reason, cause, printable
from darknet_py.utils.version import __version__

REDIRECTS = 3           # that are followed
BLOCK = 1 << 16
PORTS = {"http": 80, "https": 443}
MOVED = (301, 302, 303, 307, 308)


def fetch(url: str, most: int, seconds: float, private: bool = False) -> bytes:
    """What a URL gives.

    Args:
        most: bytes that are taken.
        seconds: for all of it.
        private: whether addresses that are not public are asked, too. Each address is checked after its name was looked
            up, and the one that was checked is the one that is asked; those of redirects as well.

    Raises:
        DataError: why it cannot be fetched.
    """
    shown, deadline = printable(url[:200]), time.monotonic() + seconds
    try:
        for _ in range(REDIRECTS + 1):
            found = _ask(url, most, deadline, private)
            if isinstance(found, bytes):
                return found
            if urlsplit(url).scheme == "https" and urlsplit(found).scheme != "https":
                raise DataError(f"{shown}: redirects from https to something else", Reason.UNSAFE)
            url = found
    except (OSError, ValueError, http.client.HTTPException) as error:   # ValueError: of a URL that is none
        late = time.monotonic() >= deadline
        raise DataError(f"{shown}: cannot be fetched: " + (f"not within {seconds:g} seconds" if late else cause(error)),
                        Reason.UNREADABLE) from None
    raise DataError(f"{shown}: redirects more than {REDIRECTS} times", Reason.UNREADABLE)


def _ask(url: str, most: int, deadline: float, private: bool) -> bytes | str:
    """What a URL gives, or where it redirects to."""
    parts, shown = urlsplit(url), printable(url[:200])
    if parts.scheme not in PORTS or not parts.hostname:
        raise DataError(f"{shown}: expected a URL of http or https", Reason.UNSAFE)
    if not url.isascii() or not url.isprintable() or " " in url:
        raise DataError(f"{shown}: expected a URL in ASCII, without spaces", Reason.BAD_VALUE)
    port = PORTS[parts.scheme] if parts.port is None else parts.port
    connection = _Connection(parts.hostname, port, _address(parts.hostname, port, private, shown), parts.scheme,
                             deadline)
    # A server that gives a byte now and then keeps within the timeout of each read.
    timer = threading.Timer(max(0., deadline - time.monotonic()), connection.cut_off)
    timer.daemon = True
    timer.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": f"darknet_py/{__version__}", "Accept": "image/*",
                                                 "Connection": "close"})
        answer = connection.getresponse()
        if answer.status in MOVED and (place := answer.headers.get("Location")) is not None:
            return urljoin(url, place)
        if answer.status != 200:
            raise DataError(f"{shown}: the server answers {answer.status}", Reason.UNREADABLE)
        data = bytearray()
        while block := answer.read(BLOCK):
            data += block
            if len(data) > most:
                raise DataError(f"{shown}: expected at most {most} bytes", Reason.TOO_LARGE)
        if time.monotonic() >= deadline:
            raise TimeoutError
        if answer.length:
            raise DataError(f"{shown}: {answer.length} bytes are missing at the end", Reason.TRUNCATED)
        return bytes(data)
    finally:
        timer.cancel()
        connection.close()


def _address(host: str, port: int, private: bool, shown: str) -> str:
    """An address of a host.

    Raises:
        DataError: one of its addresses is not public.
    """
    found = [str(address[4][0]) for address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not private and (inside := [address for address in found if not is_public(address)]):
        raise DataError(f"{shown}: {inside[0]} is no public address, and this service asks no others "
                        "(-allow_private_urls)", Reason.UNSAFE)
    return found[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet; those that stand for an IPv4 address are judged by that."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):            # NAT64
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was looked up before, under the name that belongs to it."""

    def __init__(self, host: str, port: int, address: str, scheme: str, deadline: float):
        super().__init__(host, port)
        self.address, self.deadline, self.scheme = address, deadline, scheme
        self.default_port = PORTS[scheme]           # what the header Host leaves out
        self._open: socket.socket | None = None

    def connect(self) -> None:
        left = max(.001, self.deadline - time.monotonic())
        self.sock = socket.create_connection((self.address, self.port), left)
        if self.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)
        self._open = self.sock                      # ``sock`` is None once the answer began

    def cut_off(self) -> None:
        """Let reads end, in another thread."""
        if self._open is not None:
            with suppress(OSError):
                self._open.shutdown(socket.SHUT_RDWR)
