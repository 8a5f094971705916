"""Frames over a WebSocket: an image file a message in, a JSON text out; of frames that come too fast the newest."""
from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from darknet_py.live.service.answers import boxes_body, error_body
from darknet_py.live.service.gate import SUBPROTOCOL
from darknet_py.live.service.service import Query, Service
from darknet_py.live.service.uploads import Refused, Upload

MOST_STREAMS = 16       # at once
POLICY, LATER = 1008, 1013      # codes of a WebSocket's end: the client's fault; to be tried again later


class Streams:
    """The WebSockets of a service."""

    def __init__(self, service: Service):
        self.service, self.open = service, 0

    async def serve(self, socket: WebSocket) -> None:
        """Answer the frames of a client until it goes; what is wrong with its query is its first and last answer."""
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        if self.open >= MOST_STREAMS or self.service.stopping:
            return await _end(socket, LATER, Refused(429, "QUEUE_FULL", f"there are {self.open} streams already"))
        self.open += 1
        try:
            await _Stream(socket, self.service, self._query(socket)).run()
        except Refused as error:
            await _end(socket, POLICY, error)
        except (WebSocketDisconnect, RuntimeError):         # gone; starlette has no kind of its own for a late send
            pass
        finally:
            self.open -= 1

    def _query(self, socket: WebSocket) -> Query:
        values, settings = socket.query_params, self.service.settings
        return Query(self.service.engine(values.get("model", self.service.default)),
                     _share("thresh", values.get("thresh"), settings.thresh),
                     _share("nms", values.get("nms"), settings.nms))


class _Stream:
    """A client's frames, of which the newest waits."""

    def __init__(self, socket: WebSocket, service: Service, query: Query):
        self.socket, self.service, self.query = socket, service, query
        self.newest: tuple[int, bytes | None] | None = None
        self.changed = asyncio.Event()

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        try:
            while True:
                await self.changed.wait()
                self.changed.clear()
                frame, self.newest = self.newest, None
                if frame is not None:
                    await self.socket.send_text(await self._answer(*frame))
                elif reader.done():
                    return
        finally:
            reader.cancel()

    async def _read(self) -> None:
        number = 0
        while (message := await self.socket.receive())["type"] == "websocket.receive":
            number += 1
            self.newest = number, message.get("bytes")
            self.changed.set()
        self.changed.set()

    async def _answer(self, number: int, data: bytes | None) -> str:
        begin, query = time.perf_counter(), self.query
        try:
            if data is None:
                raise Refused(422, "WRONG_FORMAT", "expected an image file in a binary message, found text")
            results = await self.service.detect([Upload(None, data)], query)
        except Refused as error:
            return json.dumps({"frame": number, **error_body(error)})
        names = query.engine.detector.names
        return await self.service.call(lambda: json.dumps({"frame": number, **boxes_body(
            results, query.engine.name, names, time.perf_counter() - begin)}))


def _share(name: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    with suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise Refused(422, "OUT_OF_RANGE", f"{name}: expected a number from 0 to 1, found {text[:40]!r}")


async def _end(socket: WebSocket, code: int, error: Refused) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_text(json.dumps(error_body(error)))
        await socket.close(code, error.reason)

