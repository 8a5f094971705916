"""Short videos and pictures that the tests make, captures that give what they want, results without a network."""
from __future__ import annotations

import socket
import time
from pathlib import Path

import cv2
import numpy as np
from conftest import ROOT

from darknet_py.errors import DataError, Reason
from darknet_py.inference.detections import Detections
from darknet_py.live.capture import quiet_ffmpeg
from darknet_py.live.results import Picture, Result

quiet_ffmpeg()              # before the first use of FFmpeg in this process, which is this module's
SIZE = (320, 240)
CFG, WEIGHTS = "small.cfg", str(ROOT / "weights/shapes.weights")


def frames(count: int) -> list[np.ndarray]:
    """Crops of the picture in the repository, each with other shapes."""
    whole = cv2.imread(str(ROOT / "cfg/shapes.png"))
    return [np.ascontiguousarray(whole[y:y + SIZE[1], x:x + SIZE[0]])
            for x, y in ((320 * (n % 5) // 4, 240 * (n % 3) // 2) for n in range(count))]


def video(path: str | Path, images, codec: str = "FFV1", rate: float = 12.5) -> str:
    """A video of the images; FFV1 loses nothing."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, SIZE)
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return str(path)


def read(path: str | Path) -> tuple[list[np.ndarray], float]:
    """The frames of a video, and its rate."""
    capture, found = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        found.append(got[1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return found, rate


def small_network() -> None:
    """small.cfg here: the network in the repository for pictures of half its size."""
    text = (ROOT / "cfg/shapes.cfg").read_text().replace("width=512", "width=256").replace("height=384", "height=192")
    Path(CFG).write_text(text)
    Path("small.names").write_bytes((ROOT / "cfg/shapes.names").read_bytes())
    Path("obj.data").write_text("classes=3\nnames=small.names\n")


class FakeCapture:
    """A capture whose frames are numbered by their values. gap: seconds before each."""

    total = 0

    def __init__(self, numbers, gap: float = 0., rate: float = 25.):
        self.numbers, self.gap, self.rate, self.closed = iter(numbers), gap, rate, False

    def read(self):
        time.sleep(self.gap)
        number = next(self.numbers, None)
        return None if number is None or self.closed else (np.full((4, 4, 3), number, np.uint8), number / self.rate)

    def close(self):
        self.closed = True


class Captures:
    """What ``open_capture`` gives at each call: a capture, or None for a connection that fails."""

    def __init__(self, *captures):
        self.captures, self.calls = list(captures), 0

    def __call__(self):
        self.calls += 1
        capture = self.captures.pop(0) if self.captures else None
        if capture is None:
            raise DataError("there is no camera", Reason.MISSING_FILE)
        return capture


def result(number: int, side: int = 16) -> Result:
    """Of a frame of a uniform colour with one object."""
    detections = Detections(np.float32([[2, 2, 8, 10]]), np.float32([.75]), np.int64([1]), ["a", 'b "x"'], (side, side))
    image = np.full((side, side, 3), number % 256, np.uint8)
    found = Result(number, number / 8, time.monotonic(), detections, image, 0.)
    found.picture = Picture(image, None)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def until(condition, seconds: float = 5.) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(.005)


def ask(port: int, path: str | None = "/", seconds: float = 5.) -> socket.socket:
    """A connection that has sent a request; None sends nothing."""
    end = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), seconds)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < end, "nothing listens"
            time.sleep(.01)
    if path is not None:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def whole(connection: socket.socket) -> bytes:
    """All that comes until the end."""
    data = b""
    with connection:
        while part := connection.recv(65536):
            data += part
    return data
