"""A service on this machine for the tests, its network, and clients."""
from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import NamedTuple

import cv2
import numpy as np
import torch
from clips import frames
from conftest import ROOT

from darknet_py.cfg.language import parse_cfg
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.detector import Detector
from darknet_py.live.http_streams import listen
from darknet_py.live.service.server import serve
from darknet_py.live.service.service import Service
from darknet_py.live.service.settings import Settings

TEXT = (ROOT / "cfg/shapes.cfg").read_text().replace("width=512", "width=256").replace("height=384", "height=192")
NAMES = (ROOT / "cfg/shapes.names").read_text().split()
PICTURES = [cv2.imencode(".png", image)[1].tobytes() for image in frames(4)]
PNG, TYPE = {"Content-Type": "image/png"}, "Content-Type"


def detector(**options) -> Detector:
    """The network in the repository, for pictures of half its size."""
    return Detector(parse_cfg(TEXT), ROOT / "weights/shapes.weights", NAMES, backend="pytorch", device="cpu", **options)


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str]:
        """The status, and the reason in the body, which must be as all errors are."""
        error = self.json["error"]
        assert set(error) == {"reason", "message"} and "\n" not in error["message"]
        assert self.headers["content-type"] == "application/json"
        return self.status, error["reason"]


class Running:
    """A service that runs. lines: that it reported."""

    def __init__(self, service: Service, port: int, lines: list[str]):
        self.service, self.port, self.lines = service, port, lines

    def ask(self, method: str, path: str, body=None, headers=None, timeout: float = 10.) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            return answer(connection)
        finally:
            connection.close()

    def get(self, path: str, headers=None) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, query: str, body, headers=PNG, **options) -> Answer:
        return self.ask("POST", f"/detect{query}", body, headers, **options)

    def raw(self, *parts: bytes) -> socket.socket:
        """A connection that has sent these bytes."""
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        for part in parts:
            connection.sendall(part)
        return connection

    def metric(self, line: str) -> float:
        """The number behind a line of /metrics; 0 where there is none."""
        found = [text.split()[-1] for text in self.get("/metrics").body.decode().splitlines() if text.startswith(line)]
        return float(found[0]) if found else 0.


def answer(connection: HTTPConnection) -> Answer:
    reply = connection.getresponse()
    return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())


@contextmanager
def running(*detectors: Detector, **settings):
    """A service of networks that are named a, b and so on."""
    service, signals, lines = Service(dict(zip("abc", detectors, strict=False)), Settings(**settings)), [], []
    with listen("127.0.0.1", 0, 16) as listener:
        thread = threading.Thread(target=serve, args=(service, listener, signals, 5., lines.append))
        thread.start()
        try:
            yield Running(service, listener.getsockname()[1], lines)
        finally:
            signals.append(15)
            thread.join(20)
    assert not thread.is_alive()


def multipart(*files: tuple[str | None, bytes], boundary: bytes = b"limit") -> tuple[bytes, dict[str, str]]:
    """A body with files, and its headers."""
    body = b""
    for name, data in files:
        named = b"" if name is None else b'; filename="' + name.encode() + b'"'
        body += b"--%s\r\nContent-Disposition: form-data; name=\"file\"%s\r\nContent-Type: image/png\r\n\r\n%s\r\n" % (
            boundary, named, data)
    return body + b"--%s--\r\n" % boundary, {TYPE: f"multipart/form-data; boundary={boundary.decode()}"}


class Gated:
    """A backend that waits to be released, and counts.

    Attributes:
        sizes: of the batches that it ran.
        spoiled: (C, H, W), an input for which it gives NaN.
    """

    def __init__(self, backend):
        self.backend, self.sizes, self.spoiled = backend, [], torch.zeros(0)
        self.entered, self.released = threading.Semaphore(0), threading.Event()

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def __call__(self, x):
        self.entered.release()
        assert self.released.wait(10)
        self.sizes.append(len(x))
        outputs = tuple(output.clone() for output in self.backend(x))
        for index, image in enumerate(x):
            if torch.equal(image, self.spoiled):
                outputs[0][index] = float("nan")
        return outputs

    def checked(self, x, where):
        return Backend.checked(self, x, where)

    def first_not_finite(self, x, outputs):
        return Backend.first_not_finite(self, x, outputs)
