"""benchmark.py video: demo on a file beside the network alone, and on a stream that is faster than the network.

The networks have random weights, with heads fitted to find some objects, as those of benchmark.py pipeline. Pictures
of the stream carry their numbers in black and white cells, so that the latency is measured from when one was sent to
when it came back as it is shown; without boxes, as they would hide the numbers.
"""
from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from .common import SHARED, facts_here, resident, words_of, write_facts
from .pipeline import FOUND, PICTURES, fitted, network_alone, rates_in_turn

PARTS = ("file", "stream")
SIZE, RATE = (640, 480), 30         # of the video: width and height, frames a second
OBJECTS = re.compile("Objects:")    # demo prints it for each frame
BITS, CELL = 20, 32                 # of a picture's number, and the side of a bit's cell in pixels
BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
POLL = .1                           # seconds


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--parts", type=words_of, default=list(PARTS), metavar="NAME,...", help="of " + ",".join(PARTS))
    verb.add_argument("--file-cfg", default="yolov4-tiny", metavar="NAME", help="the network for the file, by name or "
                      "the path of a cfg (default %(default)s)")
    verb.add_argument("--stream-cfg", default="yolov4", metavar="NAME", help="the network for the stream "
                      "(default %(default)s)")
    verb.add_argument("--seconds", type=float, default=60, help="of the stream (default %(default)s)")
    verb.add_argument("--frames", type=int, default=300, help="of the file (default %(default)s)")
    verb.add_argument("--runs", type=int, default=3, help="over the file, in turn with the network (default "
                      "%(default)s)")
    verb.add_argument("--backend", default="auto", help="of ours (default auto)")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write all figures too")


def run(a: argparse.Namespace) -> None:
    """Part by part."""
    from darknet_py.tools.benchmark import Conditions, worker_environment
    if unknown := [part for part in a.parts if part not in PARTS]:
        raise SystemExit(f"benchmark: --parts: expected some of {', '.join(PARTS)}, found {unknown[0]}")
    if a.seconds < 1 or a.frames < 2:
        raise SystemExit("benchmark: --seconds needs at least 1, --frames at least 2")
    pictures = sorted((SHARED / "images").glob("*.jpg")) or PICTURES
    facts = facts_here()
    results: list[dict[str, Any]] = []
    print(f"`{facts['command']}`; {Conditions.here()}.\n", flush=True)
    with tempfile.TemporaryDirectory() as text:
        folder, environment = Path(text), worker_environment(Path(text))
        for part, name, measure in (("file", a.file_cfg, measure_file), ("stream", a.stream_cfg, measure_stream)):
            if part in a.parts:
                frames = list(views(pictures[0], a.frames))
                seen = [folder / f"{number}.png" for number in range(4)]
                for path, frame in zip(seen, frames[::-(-len(frames) // len(seen))], strict=False):
                    cv2.imwrite(str(path), frame)
                cfg, weights = fitted(name, [path for path in seen if path.exists()], folder)
                flags = ["-dont_show", "-backend", a.backend, "-device", "cpu", "-thresh",
                         str(threshold(cfg, weights, frames))]
                found = measure(cfg, weights, frames, flags, folder, environment, a)
                results.append({"network": Path(name).stem, "part": part, **found})
                print(f"- {Path(name).stem}: {found['text']}", flush=True)
                write_facts(a.json, facts, results=results)


def views(picture: Path, count: int) -> Iterator[np.ndarray]:
    """Frames of a camera that moves over a picture."""
    width, height = SIZE
    image = cv2.imread(str(picture))
    if image is None:
        raise SystemExit(f"benchmark: {picture}: is no picture")
    image = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_AREA)
    for number in range(count):
        x, y = (int(side * (.5 + .5 * np.sin(number / pace))) for side, pace in zip(SIZE, (40, 56), strict=True))
        yield np.ascontiguousarray(image[y:y + height, x:x + width])


def threshold(cfg: str, weights: str, frames: list[np.ndarray]) -> float:
    """That above which there are about ``FOUND`` objects in a frame."""
    from darknet_py import Detector
    detector, some = Detector(cfg, weights, device="cpu", backend="pytorch"), frames[::-(-len(frames) // 16)]
    scores = np.sort(np.concatenate([detector(frame).scores for frame in some]))
    return float(scores[-FOUND * len(some):][0]) if len(scores) else .25


def measure_file(cfg: str, weights: str, frames: list[np.ndarray], flags: list[str], folder: Path,
                 environment: dict[str, str], a: argparse.Namespace) -> dict[str, Any]:
    """``demo`` with drawing and writing, from the first frame's line to the last one's, beside the network alone."""
    from darknet_py.live.video import VideoWriter
    clip = folder / "clip.mp4"
    writer = VideoWriter(str(clip), RATE)
    for number, frame in enumerate(frames):
        writer.write(SimpleNamespace(timestamp=number / RATE, picture=SimpleNamespace(drawn=frame)))
    writer.close()
    command = [sys.executable, "-u", "-m", "darknet_py", "demo", cfg, weights, str(clip), *flags, "-out_filename",
               str(folder / "boxes.mp4")]
    what = f"demo on a file of {len(frames)} frames of {SIZE[0]} x {SIZE[1]}, with drawing and writing"
    return rates_in_turn(what, command, OBJECTS, cfg, weights, environment, a)


def measure_stream(cfg: str, weights: str, frames: list[np.ndarray], flags: list[str], folder: Path,
                   environment: dict[str, str], a: argparse.Namespace) -> dict[str, Any]:
    """``demo`` on an MJPEG stream, and its own MJPEG stream read, for ``a.seconds``."""
    with network_alone(cfg, weights, environment, a.backend) as process:
        network = statistics.median(process.turn(min(5., a.seconds)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with camera(frames) as (url, sent):
        command = [sys.executable, "-m", "darknet_py", "demo", cfg, weights, url, *flags, "-dontdraw_bbox",
                   "-mjpeg_port", str(port), "-bind", "127.0.0.1"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment}) as demo:
            try:
                latencies, memory = read_stream(port, demo, sent, a.seconds)
            finally:
                demo.send_signal(signal.SIGTERM)
    middle, late = statistics.median(latencies), sorted(latencies)[int(.99 * (len(latencies) - 1))]
    early, end = memory[len(memory) // 10], memory[-1]
    return {"network_seconds": network, "latency_median": middle, "latency_p99": late, "frames": len(latencies),
            "memory_early": early, "memory_end": end,
            "text": f"demo on a stream of {RATE} frames/s for {a.seconds:.0f} s: {len(latencies)} pictures, from "
                    f"sending to showing {1e3 * middle:.0f} ms, 99 % within {1e3 * late:.0f} ms; the network alone "
                    f"{1e3 * network:.0f} ms; {middle / network:.2f} and {late / network:.2f} times that; memory "
                    f"{early / 1e6:.0f} MB after a tenth of the time, {end / 1e6:.0f} MB at the end"}


@contextmanager
def camera(frames: list[np.ndarray]) -> Iterator[tuple[str, dict[int, float]]]:
    """An MJPEG server on the loopback address; its URL, and when each picture was sent."""
    sent: dict[int, float] = {}
    closed = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            begin = time.monotonic()
            with suppress(OSError):
                for number in range(1 << BITS):
                    jpeg = cv2.imencode(".jpg", numbered(frames[number % len(frames)], number))[1].tobytes()
                    if closed.wait(max(0., begin + number / RATE - time.monotonic())):
                        return
                    sent[number] = time.monotonic()
                    self.wfile.write(BOUNDARY % len(jpeg) + jpeg + b"\r\n")

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", sent
        finally:
            closed.set()
            server.shutdown()


def numbered(frame: np.ndarray, number: int) -> np.ndarray:
    """A copy with the number's bits as cells in its lowest rows, and their complements above them."""
    bits = np.uint8([number >> place & 1 for place in range(BITS)])
    frame = frame.copy()
    for row, values in ((1, bits), (2, 1 - bits)):
        frame[-row * CELL:len(frame) - (row - 1) * CELL, :BITS * CELL] = np.repeat(values * 255, CELL)[None, :, None]
    return frame


def number_of(frame: np.ndarray) -> int | None:
    """The number that ``numbered`` wrote; None where it cannot be read."""
    cells = frame[-2 * CELL:, :BITS * CELL].reshape(2, CELL, BITS, CELL, 3).mean(4).transpose(0, 2, 1, 3)
    complements, bits = np.median(cells.reshape(2, BITS, -1), axis=2) > 127
    return None if (complements == bits).any() else int((bits.astype(int) << np.arange(BITS)).sum())


def read_stream(port: int, demo: subprocess.Popen, sent: dict[int, float], seconds: float
                ) -> tuple[list[float], list[int]]:
    """The latency of each picture that comes, and the memory of the process, about once a second."""
    latencies: list[float] = []
    memory: list[int] = []
    begin = None
    for jpeg in jpegs(port, demo):
        now = time.monotonic()
        begin = now if begin is None else begin
        number = number_of(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR))
        if now - begin > seconds / 10 and number is not None:       # the first frames waited for the network to load
            latencies.append(now - sent[number])
        if now - begin > len(memory):
            memory.append(resident(demo.pid))
        if now - begin > seconds:
            return latencies, memory
    raise SystemExit(f"benchmark: demo ended with {demo.wait()}")


def jpegs(port: int, demo: subprocess.Popen) -> Iterator[bytes]:
    """The pictures of an MJPEG stream, once it is served."""
    while demo.poll() is None:
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            stream = connection.makefile("rb")
            for line in stream:
                if line.lower().startswith(b"content-length:"):
                    stream.readline()
                    yield stream.read(int(line.split(b":")[1]))
        time.sleep(POLL)
