"""Posting of what was detected to a web server, as C does."""
from __future__ import annotations

import http.client
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from darknet_py.errors import DataError, Reason, cause
from darknet_py.inference.detections import Detections
from darknet_py.live.results import Result

TIMEOUT = 3.            # seconds, C's


class HttpPost:
    """Posts the objects of a frame as text/plain, in a thread of its own: while a post is under way, the objects of the
    frames that come are not posted. Frames without objects are not, either.

    Args:
        host: ``HOST/PATH``, to port 80, as in C; also ``HOST:PORT/PATH``, and with http:// or https:// before it.
        source: named in the text.
        once: only the first that the server accepts. Darknet: with -time_limit_sec.
        report: takes a line when posting begins to fail.

    Darknet: send_http_post_request.
    """

    def __init__(self, host: str, source: str, once: bool, report: Callable[[str], None]):
        scheme, _, rest = host.rpartition("://")
        self.place, slash, path = rest.partition("/")
        self.path, self.source, self.once, self.report = slash + path or "/", source, once, report
        if scheme not in ("", "http", "https") or not self.place or not rest.isascii() or not rest.isprintable() \
                or " " in rest:
            raise DataError(f"-http_post_host needs HOST/PATH, found {host}", Reason.BAD_VALUE)
        self.kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        try:
            self.kind(self.place)
        except http.client.InvalidURL:
            raise DataError(f"-http_post_host needs HOST:PORT/PATH, found {host}", Reason.BAD_VALUE) from None
        self.posted, self.failing = 0, False
        self._queue: queue.Queue[str | None] = queue.Queue(1)
        self._thread = threading.Thread(target=self._run, name="post", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        if self.once and self.posted:
            return
        if text := message(result.detections, self.source):
            try:
                self._queue.put_nowait(text)
            except queue.Full:
                return

    def close(self) -> None:
        with suppress(queue.Full):          # the thread ends with the process then
            self._queue.put(None, timeout=2 * TIMEOUT)
            self._thread.join(2 * TIMEOUT)

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            if self.once and self.posted:
                continue
            try:
                self._post(text)
            except (OSError, http.client.HTTPException) as error:
                if not self.failing:
                    self.report(f"warning: {self.place}: cannot post: {cause(error)}")
                self.failing = True
            else:
                self.posted, self.failing = self.posted + 1, False

    def _post(self, text: str) -> None:
        connection = self.kind(self.place, timeout=TIMEOUT)
        try:
            connection.request("POST", self.path, text.encode("utf-8", "backslashreplace"),
                               {"Content-Type": "text/plain"})
            answer = connection.getresponse()
            if answer.status >= 400:
                raise http.client.HTTPException(f"the server answers {answer.status}")
        finally:
            connection.close()


def message(detections: Detections, source: str) -> str:
    """C's text: a line a box with its first class, the time and the source; empty without objects. Tracked objects have
    their track_id behind, which C leaves out."""
    seen: set[tuple[float, ...]] = set()
    lines = ""
    tags = detections.tags()
    for index, detection in zip(detections.order, detections.in_order(), strict=True):
        if (box := tuple(detection.box.tolist())) not in seen:
            seen.add(box)
            lines += f"{detection.name}, id: {detection.label}"
            lines += "".join(f", {name}: {value}" for name, value in tags[index].items()) + "\n"
    return lines and f"{lines}\ntime:\n{time.strftime('%A %Y-%m-%d %H:%M:%S')}\nvideosource:\n{source}"
