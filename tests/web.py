"""A web server on this machine that serves files, well or badly."""
from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """A file to serve.

    ranges: "yes"; "no": all is sent whatever is asked for; "blind": If-Range is passed over.
    faults: of the coming requests, one each: an int is how many bytes come before the connection breaks off; a str an
    URL to redirect to, with the status 302; a dict is an answer with another status, length, start or body; "hang",
    "drip" and "chunked" say what they do. None is no fault.
    """

    data: bytes
    etag: str | None = None
    ranges: str = "yes"
    faults: list = field(default_factory=list)


class Web:
    """A server, as a context. ``log`` has (path, Range, If-Range) of each request."""

    def __init__(self):
        self.pages: dict[str, Page] = {}
        self.log: list[tuple[str, str | None, str | None]] = []
        self.agents: set[str] = set()

    def __enter__(self) -> Web:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                web.log.append((self.path, self.headers["Range"], self.headers["If-Range"]))
                web.agents.add(self.headers["User-Agent"])
                if self.path not in web.pages:
                    return self.send_error(404)
                page = web.pages[self.path]
                _serve(self, page, page.faults.pop(0) if page.faults else None)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def _serve(reply: BaseHTTPRequestHandler, page: Page, fault) -> None:
    data, status, start, end = page.data, 200, 0, len(page.data)
    asked = re.match(r"bytes=(\d+)-(\d*)$", reply.headers["Range"] or "")
    same = page.ranges == "blind" or reply.headers["If-Range"] in (None, page.etag)
    if asked is not None and page.ranges != "no" and same:
        status, start = 206, int(asked[1])
        if asked[2]:
            end = min(end, int(asked[2]) + 1)
        if start >= len(data):
            status, data, start = 416, b"", len(data)
    fault = {"status": 302, "to": fault} if isinstance(fault, str) and "://" in fault else fault
    change = fault if isinstance(fault, dict) else {}
    body = change.get("body", data[start:end])
    reply.send_response(change.get("status", status))
    if status == 206:
        start = change.get("start", start)
        reply.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
    if status == 416:
        reply.send_header("Content-Range", f"bytes */{start}")
    if page.etag is not None:
        reply.send_header("ETag", page.etag)
    if "to" in change:
        reply.send_header("Location", change["to"])
    if fault == "chunked":
        reply.send_header("Transfer-Encoding", "chunked")
        reply.protocol_version = "HTTP/1.1"
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        reply.send_header("Content-Length", str(change.get("length", len(body))))
    reply.end_headers()
    if fault == "drip":
        with suppress(OSError):
            for byte in body:
                reply.wfile.write(bytes([byte]))
                time.sleep(.02)
        return
    if fault == "hang":
        time.sleep(1)
    reply.wfile.write(body[:fault] if isinstance(fault, int) else body)
