"""benchmark.py serve: the service under load and under fuzzed uploads, beside the pipeline alone.

The network has random weights, with heads fitted to find about as many objects in the pictures as a trained one does.
Everything stays on this machine: the service listens at 127.0.0.1.
"""
from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .common import SHARED, facts_here, resident, write_facts
from .pipeline import PICTURES, copies, fitted, output_of

LEAST_SHARE = .9            # of the pipeline's rate, that the service must reach
MOST_GROWTH = .05           # of its memory, between the second and the last quarter of the fuzzed uploads ...
SLACK = 1 << 24             # ... and bytes beyond that
TOGETHER = 16               # fuzzed uploads at once
SLOW = 2.                   # seconds for which a slow upload is silent
RATE = ("import sys, time; from itertools import cycle; from darknet_py import Detector\n"
        "cfg, weights, backend, seconds, batch, *paths = sys.argv[1:]\n"
        "detector = Detector(cfg, weights, device='cpu', backend=backend)\n"
        "begin, count = None, 0\n"
        "for _ in detector.stream(cycle(paths), batch=int(batch)):\n"
        "    now = time.perf_counter()\n"
        "    if begin is None and count >= 20: begin, count = now, 0\n"
        "    count += 1\n"
        "    if begin is not None and now - begin > float(seconds): break\n"
        "print(count / (now - begin))\n")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--cfg", type=Path, metavar="CFG", help="another network than yolov4-tiny")
    verb.add_argument("--backend", default="auto", help="of ours (default auto)")
    verb.add_argument("--clients", type=int, default=50, help="at once (default %(default)s)")
    verb.add_argument("--seconds", type=float, default=60., help="of load (default %(default)s)")
    verb.add_argument("--uploads", type=int, default=2000, help="that are fuzzed (default %(default)s)")
    verb.add_argument("--seed", type=int, default=0, help="of these (default %(default)s)")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write all figures too")


def run(a: argparse.Namespace) -> None:
    """The pipeline, the service, the pipeline again; then the uploads. Ends with 1 where a bar is missed."""
    from darknet_py.tools.benchmark import Conditions, worker_environment
    facts = facts_here()
    print(f"`{facts['command']}`; {Conditions.here()}\n", flush=True)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        environment = worker_environment(folder)
        given = sorted((SHARED / "images").glob("*.jpg")) or PICTURES
        pictures = copies(given, 24, folder / "pictures")
        cfg, weights = fitted("yolov4-tiny" if a.cfg is None else str(a.cfg), pictures[:4], folder)
        with service(cfg, weights, a.backend, environment) as (port, process):
            bodies = [path.read_bytes() for path in pictures]
            batch = batch_of(port)
            measure = [sys.executable, "-c", RATE, cfg, weights, a.backend, str(a.seconds / 3), str(batch),
                       *map(str, pictures)]
            asyncio.run(load(port, bodies, a.clients, min(3., a.seconds)))      # everything is loaded
            before = float(output_of(measure, environment))
            loaded = asyncio.run(load(port, bodies, a.clients, a.seconds))
            after = float(output_of(measure, environment))
            results = {"load": told("load", of_load(loaded, (before + after) / 2, a)),
                       "uploads": told("uploads", of_uploads(port, process, bodies[0], a))}
    write_facts(a.json, facts, **results)
    if any(found["missed"] for found in results.values()):
        raise SystemExit(1)


def told(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Print the figures of a part."""
    missed = f"FAIL: {', '.join(found['missed'])}" if found["missed"] else "PASS"
    print(f"- {name}: {found['text']}: {missed}", flush=True)
    return found


@contextmanager
def service(cfg: str, weights: str, backend: str, environment: dict[str, str]
            ) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """``serve`` in a process of its own: its port."""
    command = [sys.executable, "-m", "darknet_py", "serve", cfg, weights, "-port", "0", "-backend", backend, "-device",
               "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+)/$", process.stdout.readline())
            if found is None:
                raise SystemExit(f"benchmark: {' '.join(command)} did not start")
            yield int(found[1]), process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
    if process.returncode:
        raise SystemExit(f"benchmark: serve ended with {process.returncode}")


class Asked(NamedTuple):
    """A request that was answered. status: 0 where the connection ended without an answer."""

    status: int
    seconds: float
    body: bytes = b""


class Client:
    """A connection that is kept, and made again where the service ends it."""

    def __init__(self, port: int):
        self.port, self.reader, self.writer = port, None, None

    async def ask(self, request: bytes) -> Asked:
        begin = time.perf_counter()
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        try:
            self.writer.write(request)
            await self.writer.drain()
            status, body, ends = await read_answer(self.reader)
        except (OSError, asyncio.IncompleteReadError):
            status, body, ends = 0, b"", True
        if ends:
            self.close()
        return Asked(status, time.perf_counter() - begin, body)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection ends."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    body = await (reader.read() if length is None else reader.readexactly(int(length[1])))
    return int(head.split(b" ", 2)[1]), body, length is None or b"connection: close" in head.lower()


def post(body: bytes, kind: str = "image/jpeg", query: str = "?format=boxes") -> bytes:
    return (f"POST /detect{query} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode("latin-1") + body


def batch_of(port: int) -> int:
    """The batch that the pipeline is measured with: as many as the service takes."""
    from darknet_py.inference.backends import BACKENDS
    from darknet_py.live.service.engine import BATCH
    models = asyncio.run(Client(port).ask(b"GET /models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    return BATCH if BACKENDS[json.loads(models.body)["models"][0]["backend"]].batches else 1


async def load(port: int, bodies: list[bytes], clients: int, seconds: float) -> tuple[list[Asked], float]:
    """What so many clients get that each ask again at once; and the seconds that it took."""
    requests = [post(body) for body in bodies]
    begin, found = time.perf_counter(), []

    async def client(number: int) -> None:
        one = Client(port)
        while time.perf_counter() - begin < seconds:
            found.append(await one.ask(requests[number % len(requests)]))
            number += 1
        one.close()

    await asyncio.gather(*map(client, range(clients)))
    return found, time.perf_counter() - begin


def of_load(loaded: tuple[list[Asked], float], pipeline: float, a: argparse.Namespace) -> dict[str, Any]:
    answers, seconds = loaded
    times = sorted(one.seconds for one in answers)
    errors = sum(one.status != 200 for one in answers)
    rate, middle = (len(answers) - errors) / seconds, statistics.median(times)
    worst = times[int(.99 * (len(times) - 1))]
    missed = [f"{errors} errors"] * (errors > 0) + [f"below {LEAST_SHARE:.0%} of the pipeline"] * (
        rate < LEAST_SHARE * pipeline)
    return {"clients": a.clients, "answers": len(answers), "errors": errors, "images_per_second": rate,
            "pipeline_images_per_second": pipeline, "share": rate / pipeline, "p50_seconds": middle,
            "p99_seconds": worst, "missed": missed,
            "text": f"{a.clients} clients, {seconds:.0f} s: {len(answers)} answers, {errors} errors, "
                    f"{rate:.2f} images/s; the pipeline alone {pipeline:.2f}, {rate / pipeline:.1%} of it; "
                    f"p50 {1e3 * middle:.0f} ms, p99 {1e3 * worst:.0f} ms"}


def of_uploads(port: int, process: subprocess.Popen[str], good: bytes, a: argparse.Namespace) -> dict[str, Any]:
    """Fuzzed uploads: their statuses, whether the service answers as before, its memory."""
    dice, begin, memory = random.Random(a.seed), time.perf_counter(), []
    expected = boxes(asyncio.run(Client(port).ask(post(good))))
    uploads = iter([KINDS[number % len(KINDS)] for number in range(a.uploads)])
    statuses: Counter[str] = Counter()

    async def worker() -> None:
        for name, make in uploads:
            status = await send(port, make(good, dice), name)
            statuses[f"{status or 'cut off'}"] += 1
            memory.append(resident(process.pid))

    async def workers() -> None:
        await asyncio.gather(*(worker() for _ in range(TOGETHER)))

    asyncio.run(workers())
    alive = boxes(asyncio.run(Client(port).ask(post(good)))) == expected and process.poll() is None
    quarter = max(1, len(memory) // 4)
    early, late = statistics.median(memory[quarter:2 * quarter] or memory), statistics.median(memory[-quarter:])
    worse = sorted(status for status in statuses if status.startswith("5") and status != "503")
    missed = [f"status {status}" for status in worse] + ["it answers otherwise than before"] * (not alive) + [
        "its memory grows"] * (late > early * (1 + MOST_GROWTH) + SLACK)
    return {"uploads": a.uploads, "statuses": dict(statuses), "alive": alive, "early_bytes": early, "late_bytes": late,
            "missed": missed, "text": f"{a.uploads} fuzzed uploads in {time.perf_counter() - begin:.0f} s: "
            + ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
            + f"; memory {early / 1e6:.0f} MB in the second quarter, {late / 1e6:.0f} MB in the last"}


def boxes(asked: Asked) -> Any:
    return json.loads(asked.body)["results"] if asked.status == 200 else asked.status


async def send(port: int, request: bytes, kind: str) -> int:
    """Send a request of one kind: the status of its answer, 0 for none."""
    status = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, asyncio.TimeoutError):
        if kind == "slow":
            writer.write(request[:len(request) // 2])
            await asyncio.sleep(SLOW)
            if len(request) % 2:                    # the others never send the rest
                writer.write(request[len(request) // 2:])
        else:
            writer.write(request)
            if kind != "abandoned":
                await writer.drain()
        if kind != "abandoned":
            status = (await asyncio.wait_for(read_answer(reader), SLOW if kind == "slow" else 60))[0]
    writer.close()
    return status


def changed(good: bytes, dice: random.Random) -> bytes:
    """Bytes of a picture, some of them others, perhaps cut off."""
    body = bytearray(good)
    for _ in range(dice.choice((1, 10, 1000))):
        body[dice.randrange(dice.choice((len(body), min(len(body), 1000))))] = dice.randrange(256)
    return bytes(body[:dice.choice((len(body), dice.randrange(len(body))))])


def parts(good: bytes, count: int, name: str = "a.jpg") -> bytes:
    part = f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode() + good + b"\r\n"
    return part * count + b"--b--\r\n"


def claims(width: int, height: int) -> bytes:
    """A PNG whose header claims this size, with little behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
            + struct.pack(">I", 100) + b"IDAT" + bytes(104))


FORM, JSON = "multipart/form-data; boundary=b", "application/json"
QUERIES = ("?thresh=nan", "?thresh=0&nms=0", "?thresh=0&format=image", "?model=%00", "?max_boxes=1e99",
           "?format=" + "x" * 9999)
Make = Callable[[bytes, random.Random], bytes]
KINDS: list[tuple[str, Make]] = [
    ("broken", lambda good, dice: post(changed(good, dice))),
    ("broken", lambda good, dice: post(changed(parts(good, 2), dice), FORM)),
    ("broken", lambda good, dice: post(changed(b'{"images": [{"data": "/9j/4AAQSkZJRg=="}]}', dice), JSON)),
    ("empty", lambda good, dice: post(b"", dice.choice(("image/png", FORM, JSON, "", "text/html")))),
    ("huge", lambda good, dice: post(bytes((1 << 25) + 1))),
    ("huge", lambda good, dice: b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: "
     b"chunked\r\n\r\n" + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 33 + b"0\r\n\r\n"),
    ("hostile", lambda good, dice: post(claims(dice.choice((1, 65535, 2 ** 31 - 1)), dice.choice((0, 65535, 9 ** 9))))),
    ("hostile", lambda good, dice: post(parts(b"x", dice.choice((60, 5000))), FORM)),
    ("hostile", lambda good, dice: post(parts(good, 1, "\x1b[2J\x00\x01\u202e" * 50), FORM)),
    ("hostile", lambda good, dice: post(b'{"images":' * dice.choice((1, 9999)) + b"[" * 9999, JSON)),
    ("hostile", lambda good, dice: post(good, query=dice.choice(QUERIES))),
    ("hostile", lambda good, dice: b"GET /" + dice.choice((b"x" * 99_999, b"\xff", b" HTTP/1.1\r\n" * 99)) + b"\n\n"),
    ("hostile", lambda good, dice: b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 9999 + b"\r\n"),
    ("slow", lambda good, dice: post(good[:dice.choice((100, 101, len(good)))])),
    ("abandoned", lambda good, dice: post(good)),
    ("good", lambda good, dice: post(good))]
