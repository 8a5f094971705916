"""The service's HTTP server: bounded headers, silent and stuck clients, and an end that answers what was asked."""
from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from darknet_py.errors import one_line
from darknet_py.live.service.app import make_app
from darknet_py.live.service.service import Service

MOST_HEADER = 16384             # bytes of a request's line and headers
MOST_CONNECTIONS = 512          # beyond which new ones are closed
KEPT = 5                        # seconds that a connection is kept for another request
PATIENCE = 10.                  # seconds for the headers of a request, and for which a client may take nothing
MOST_FRAME = 1 << 23            # bytes of a message of a WebSocket


def serve(service: Service, listener: socket.socket, signals: Sequence[object], drain: float,
          report: Callable[[str], None]) -> None:
    """Answer requests until a signal comes; then those that were begun.

    Args:
        signals: see ``cli.train.stop_signals``: not empty means to end.
        drain: seconds for what was begun.
        report: takes a line about what goes wrong.
    """
    settings = service.settings
    config = uvicorn.Config(
        make_app(service, report), http=_Http, ws=_WebSocket, loop="asyncio", lifespan="on", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, h11_max_incomplete_event_size=MOST_HEADER,
        timeout_keep_alive=KEPT, timeout_graceful_shutdown=max(1, round(drain)),
        ws_max_size=min(settings.max_body, MOST_FRAME))
    with _logged(report, "uvicorn", "python_multipart"):
        _Server(config, service, signals).run([listener])


@contextmanager
def _logged(report: Callable[[str], None], *names: str) -> Iterator[None]:
    """Loggers whose errors are reported, and that say nothing else."""
    handler, loggers = _Reporting(report), [logging.getLogger(name) for name in names]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagated in zip(loggers, before, strict=True):
            logger.propagate = propagated
            logger.removeHandler(handler)


class _Reporting(logging.Handler):
    """The server's own errors, a line each."""

    def __init__(self, report: Callable[[str], None]):
        super().__init__(logging.ERROR)
        self.report = report

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (UnicodeDecodeError, asyncio.CancelledError)):     # of a client's text; at the end
            return
        text = record.getMessage().strip()
        self.report(one_line(text if error is None else f"{text}: {type(error).__name__}: {error}"))


class _Server(uvicorn.Server):
    """A server that others' signals end."""

    def __init__(self, config: uvicorn.Config, service: Service, signals: Sequence[object]):
        super().__init__(config)
        self.service, self.signals = service, signals

    @contextmanager
    def capture_signals(self) -> Iterator[None]:        # type: ignore[override]
        yield

    async def on_tick(self, counter: int) -> bool:
        ends = await super().on_tick(counter)
        if self.signals:
            self.service.stopping = True
        return ends or bool(self.signals)


class _Unstuck:
    """A connection that ends where its client takes no answer."""

    _stuck: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()                         # type: ignore[misc]
        self._stuck = asyncio.get_running_loop().call_later(
            PATIENCE, self.transport.abort)             # type: ignore[attr-defined]

    def resume_writing(self) -> None:
        super().resume_writing()                        # type: ignore[misc]
        self._free()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)                    # type: ignore[misc]
        self._free()

    def _free(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None


class _WebSocket(_Unstuck, WebSocketsSansIOProtocol):
    pass


class _Http(_Unstuck, H11Protocol):
    """A connection that ends, too, where its client sends headers too slowly."""

    _silent: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._rest()

    def _watch(self) -> None:
        """Await the end of the headers that are under way."""
        if self.conn.their_state is not h11.IDLE:
            self._rest()
        elif self._silent is None:
            self._silent = self.loop.call_later(PATIENCE, self._give_up)

    def _rest(self) -> None:
        if self._silent is not None:
            self._silent.cancel()
            self._silent = None

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()
