"""What every request passes: the token, the count, errors as JSON, the end of bodies that nobody read."""
from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darknet_py.errors import cause, one_line
from darknet_py.live.service.metrics import Metrics

LINGER = 2.             # seconds for which the rest of a refused body is read, so that its sender sees the answer
PUBLIC = ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/page/")      # need no token; the page asks for it
BEARER = "bearer."      # of a WebSocket's subprotocol, before base64url of the token, which browsers can send
SUBPROTOCOL = "darknet-py"


class Gate:
    """An ASGI application around another.

    Args:
        token: that requests must bear, but for ``PUBLIC``; None: none.
        report: takes a line about an unexpected error.
    """

    def __init__(self, app: ASGIApp, token: str | None, metrics: Metrics, report: Callable[[str], None]):
        self.app, self.metrics, self.report = app, metrics, report
        self.token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        allowed = self.token is None or _is_public(scope) or self._bears(scope)
        if scope["type"] == "websocket":
            if not allowed:
                await receive()
                return await send({"type": "websocket.close", "code": 1008, "reason": "expected a token"})
            return await self.app(scope, receive, send)
        exchange = _Exchange(scope, receive, send)
        begin = time.perf_counter()
        try:
            if allowed:
                await self.app(scope, exchange.receive, exchange.send)
            else:
                await exchange.answer(401, "UNAUTHORIZED", "expected the header Authorization: Bearer TOKEN",
                                      [(b"www-authenticate", b"Bearer")])
        except Exception as error:          # of whatever kind, which is a mistake of this program
            self.report(one_line(f"{scope['method']} {scope['path']}: {type(error).__name__}: {cause(error)}"))
            if exchange.status:
                raise
            await exchange.answer(500, "INTERNAL", "the service made a mistake, which its log says")
        finally:
            self.metrics.count(scope["path"], exchange.status or 499, time.perf_counter() - begin)

    def _bears(self, scope: Scope) -> bool:
        assert self.token is not None
        for name, value in scope["headers"]:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                return hmac.compare_digest(value[7:].strip(), self.token)
        for protocol in scope.get("subprotocols", ()):
            if protocol.startswith(BEARER):
                text = protocol[len(BEARER):]
                with suppress(binascii.Error, ValueError):
                    return hmac.compare_digest(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), self.token)
        return False


def _is_public(scope: Scope) -> bool:
    return scope["path"] in PUBLIC or scope["path"].startswith(PUBLIC[-1])


class _Exchange:
    """A request and its answer. status: of the answer, 0 before it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self._receive, self._send, self.status = receive, send, 0
        self.unread = any(name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
                          for name, value in scope["headers"])

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self.unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.unread:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif self.unread and not message.get("more_body", False):
            # A connection that is closed with bytes unread is reset, and the answer may be lost with it.
            await self._send({**message, "more_body": True})
            with suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._skip(), LINGER)
            message = {**message, "body": b""}
        await self._send(message)

    async def _skip(self) -> None:
        while self.unread:
            await self.receive()

    async def answer(self, status: int, reason: str, text: str, headers: list[tuple[bytes, bytes]] | None = None
                     ) -> None:
        """Send an ``ErrorAnswer``."""
        body = json.dumps({"error": {"reason": reason, "message": text}}).encode()
        await self.send({"type": "http.response.start", "status": status, "headers": [
            (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]})
        await self.send({"type": "http.response.body", "body": body})
