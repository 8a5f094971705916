"""Streams of results over HTTP: C's endless JSON and MJPEG, and beside them NDJSON, server-sent events, snapshots.

C's server never reads a request and answers every client alike; so here every path is answered with C's bytes, but for
those of ``Form``s with a path of their own, and a client that sends nothing gets C's bytes too. What is streamed are
the results of ``demo``, or whatever has what a form sends of it.

Darknet: JSON_sender and MJPG_sender in http_stream.cpp. C writes to one client after the other from the thread that
detects; here each client has a thread and a bounded queue, from which the oldest is dropped if the client is slow.
"""
from __future__ import annotations

import errno
import ipaddress
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Generic, TypeVar

import cv2

from darknet_py.errors import DataError, Reason, cause
from darknet_py.live.http_forms import HEADERS, NOT_HERE, Answer, Form

MOST_CLIENTS = 64               # of a port
MOST_REQUEST = 8192             # bytes
SILENT = .5                     # seconds after which a client that sends nothing gets C's stream
PATIENCE = 10.                  # seconds for which a client may take nothing, or a snapshot be waited for
ENDING = 2.                     # seconds for all clients to take what is left at the end
POLL = .1

Item = TypeVar("Item")


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A socket at an address, whose ``getsockname`` says the port that 0 stands for.

    Raises:
        DataError: the port is in use, or the address is none of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    except (OSError, OverflowError) as error:
        reason = Reason.IN_USE if getattr(error, "errno", None) == errno.EADDRINUSE else Reason.BAD_VALUE
        raise DataError(f"port {port}: cannot listen on it at {host}: {cause(error)}", reason) from None


def url_of(host: str, port: int) -> str:
    """Where what listens at an address can be reached."""
    host = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def is_loopback(host: str) -> bool:
    """Whether an address is one that this machine alone reaches."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


class StreamServer(Generic[Item]):
    """Serves results on a port. As a ``Sink`` it never waits for a client.

    Args:
        port: 0 lets the system choose.
        default: the form for every path that has none of its own.
        forms: path -> form.
        host: the address to listen at; C's is all.
        private: answer those alone who ask for this machine by its address, or as localhost. A page of a stranger that
            the user looks at, whose own name leads to this machine (DNS rebinding), learns nothing.

    Attributes:
        port: that it listens on.

    Raises:
        DataError: see ``listen``.
    """

    def __init__(self, port: int, default: Form[Item], forms: Mapping[str, Form[Item]], host: str = "0.0.0.0",
                 private: bool = False):
        self.default, self.forms, self.private = default, forms, private
        self._clients: set[_Client[Item]] = set()
        self._latest: Item | None = None
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._listener = listen(host, port, MOST_CLIENTS)
        self.host, self.port = self._listener.getsockname()[:2]
        self._listener.settimeout(POLL)
        self._thread = threading.Thread(target=self._accept, name=f"port {self.port}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it can be reached."""
        return url_of(self.host, self.port)

    @property
    def clients(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._clients)

    def write(self, result: Item) -> None:
        with self._lock:
            self._latest = result
            for client in self._clients:
                client.offer(result)

    def close(self) -> None:
        """End all streams, after what waits in their queues; clients that do not take it within ``ENDING`` are cut
        off."""
        self._closed.set()
        self._thread.join()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)       # else it listens on in processes that were forked meanwhile
        self._listener.close()
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.end()
        deadline = time.monotonic() + ENDING
        for client in clients:
            client.thread.join(max(0., deadline - time.monotonic()))
            client.cut_off()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:                         # the client has gone, or there are too many open files
                self._closed.wait(POLL)
                continue
            with self._lock:
                room = len(self._clients) < MOST_CLIENTS
                client = _Client(self, connection)
                if room:
                    self._clients.add(client)
            if room:
                client.thread.start()
            else:
                client.refuse()

    def form_of(self, request: bytes) -> Form[Item]:
        if self.private and not _asks_for_address(request):
            return NOT_HERE
        words = request.split(b" ", 2)
        path = words[1].split(b"?")[0].decode("latin-1") if len(words) > 2 else "/"
        return self.forms.get(path, self.default)

    @property
    def latest(self) -> Item | None:
        """The last result."""
        with self._lock:
            return self._latest

    def forget(self, client: _Client[Item]) -> None:
        with self._lock:
            self._clients.discard(client)


class _Client(Generic[Item]):
    """A connection, with a thread that sends."""

    def __init__(self, server: StreamServer[Item], connection: socket.socket):
        self.server, self.connection = server, connection
        self.thread = threading.Thread(target=self._serve, name="client", daemon=True)
        self._waiting: deque[Item] = deque(maxlen=Form.most)      # until the request says which form it is
        self._ended = False
        self._changed = threading.Condition()

    def offer(self, result: Item) -> None:
        """Put a result into the queue, in the place of the oldest where it is full."""
        with self._changed:
            self._waiting.append(result)
            self._changed.notify()

    def end(self) -> None:
        """The last result was offered."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def refuse(self) -> None:
        """Answer that there are too many clients."""
        with self.connection, suppress(OSError):
            self.connection.settimeout(SILENT)
            self.connection.sendall(HEADERS.format("503 Service Unavailable", "text/plain", "").encode())

    def cut_off(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        try:
            with self.connection:
                form = self.server.form_of(self._request())
                with self._changed:
                    self._waiting = deque(self._waiting, form.most)
                self.connection.settimeout(PATIENCE)
                self._stream(form)
                self.connection.shutdown(socket.SHUT_WR)
        except (OSError, cv2.error):                # gone, or took nothing for PATIENCE; or no JPEG can be made
            pass
        finally:
            self.server.forget(self)

    def _request(self) -> bytes:
        """The request, up to the empty line at its end; less where the client falls silent."""
        request, end = b"", time.monotonic() + PATIENCE
        self.connection.settimeout(SILENT)
        with suppress(TimeoutError):
            while b"\r\n\r\n" not in request and len(request) < MOST_REQUEST and time.monotonic() < end:
                part = self.connection.recv(MOST_REQUEST)
                if not part:
                    break
                request += part
        return request

    def _stream(self, form: Form[Item]) -> None:
        if isinstance(form, Answer):
            return self.connection.sendall(form.begin())
        if form.once and self.server.latest is not None:
            return self.connection.sendall(form.each(self.server.latest, True))
        begun = False
        while (result := self._next(form)) is not None:
            # C sends its headers with the first result, too
            data = form.each(result, not begun)
            self.connection.sendall(data if begun else form.begin() + data)
            begun = True
            if form.once:
                return
        if begun:
            self.connection.sendall(form.end())
        else:
            self.connection.sendall(HEADERS.format("503 Service Unavailable", "text/plain", "").encode()
                                    + b"there are no frames\n")

    def _next(self, form: Form[Item]) -> Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended, PATIENCE if form.once else None)
            return self._waiting.popleft() if self._waiting else None


def _asks_for_address(request: bytes) -> bool:
    """Whether the request's Host is an IP address or localhost."""
    hosts = re.findall(rb"\r\nhost:[ \t]*([^\r]*?)[ \t]*\r", request, re.I)
    return all(re.fullmatch(rb"(localhost|[\d.]+|\[[\da-f:.]+\])(:\d+)?", host, re.I) for host in hosts)
