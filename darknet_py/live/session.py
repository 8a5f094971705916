"""Detection in the frames of a source, and consumers of the results in a thread of their own."""
from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, repeat, takewhile
from typing import Protocol

import numpy as np

from darknet_py.data.image import read_image
from darknet_py.errors import DataError
from darknet_py.inference.detector import Detector
from darknet_py.live.results import Picture, Result, Step
from darknet_py.live.sources import Shot, Source, Stop


class Sink(Protocol):
    """A consumer of results."""

    def write(self, result: Result) -> None:
        """Take a result; in order, and in one thread."""

    def close(self) -> None:
        """Finish what was written. Without any ``write`` a file that was there before stays."""


class Sinks:
    """Hands results to consumers, in a thread of their own while the network has the next frame. A context, which
    closes all of them at its end, also after an error.

    Args:
        most: results that may wait; then ``write`` waits, so that none is lost.

    Raises:
        DataError: from ``write`` and ``close``: what a consumer raised. It gets nothing more, the others go on.
    """

    def __init__(self, most: int = 2):
        self.sinks: list[Sink] = []
        self._queue: queue.Queue[Result | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._run, name="sinks", daemon=True)
        self._error: Exception | None = None

    def __enter__(self) -> Sinks:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._finish()

    def add(self, sink: Sink) -> None:
        """Another consumer, before the first ``write``."""
        self.sinks.append(sink)

    def write(self, result: Result) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(result)

    def close(self) -> None:
        """Finish all consumers, after what still waits."""
        self._finish()
        if self._error is not None:
            raise self._error

    def _finish(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (result := self._queue.get()) is not None:
            for sink in self.sinks:
                self._guarded(sink, partial(sink.write, result))
        for sink in self.sinks:
            self._guarded(sink, sink.close)

    def _guarded(self, sink: Sink, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:          # whatever it is, the thread that detects must learn of it
            self._error = error if self._error is None else self._error
            self.sinks = [other for other in self.sinks if other is not sink]


class Stopper:
    """Says when to stop: after ``stop()``, once a list has something in it, or when the time is over.

    Args:
        seconds: 0 for no limit. They count from the first question on, which comes after the network is loaded.
        signals: the list.
    """

    def __init__(self, seconds: float = 0, signals: Sequence[int] = ()):
        self.seconds, self.signals, self.stopped = seconds, signals, False
        self._start: float | None = None

    def stop(self) -> None:
        self.stopped = True

    def __call__(self) -> bool:
        now = time.monotonic()
        self._start = now if self._start is None else self._start
        return self.stopped or bool(self.signals) or 0 < self.seconds < now - self._start


def detect_frames(detector: Detector, source: Source, stop: Stop, *, draw: bool = True,
                  skip: Callable[[], int] = lambda: 0, still: bool = False, overlapped: bool = True,
                  steps: Sequence[Step] = ()) -> Iterator[Result | DataError]:
    """Detect in the frames of a source, on the one pipeline.

    A live source's frame is taken when the network is free, so what is shown is at most the network's time and a
    frame's distance old; other frames are decoded and post-processed while the network runs.

    Args:
        draw: boxes on the pictures.
        skip: of so many frames after each, the pictures are not shown but the one before them again. Darknet: -s.
        still: the first frame over and over, for a benchmark. Darknet: -benchmark.
        overlapped: False works on one frame at a time.
        steps: change each result, one after the other.

    Returns:
        A result a frame, in order; or what is wrong with a picture. It ends after a round of pictures that are all
        broken, however often they are repeated.
    """
    shots: deque[Shot] = deque()

    def images() -> Iterator[np.ndarray | str]:
        frames = source.frames(stop)
        if still:
            first = next(frames, None)
            if first is None:
                return
            image = first.image if isinstance(first.image, np.ndarray) else read_image(first.image)
            frames = takewhile(lambda _: not stop(), chain(
                [first._replace(image=image)],
                (shot._replace(image=image, taken=time.monotonic()) for shot in repeat(first))))
        for shot in frames:
            shots.append(shot)
            yield shot.image

    count, broken, picture, held = 0, 0, None, 0
    for _, frame in detector.stream(images(), overlapped=overlapped and not source.live):
        shot = shots.popleft()
        if isinstance(frame, DataError):
            broken += 1
            yield frame
            if 0 < source.round <= broken:
                return
            continue
        count, broken = count + 1, 0
        detections = frame.detections
        if isinstance(shot.image, str) and detections.path is None:
            detections = replace(detections, path=shot.image)
        result = Result(count, shot.timestamp, shot.taken, detections, frame.image, frame.seconds)
        for step in steps:
            step(result)
        if picture is None or held <= 0:
            picture, held = Picture(result.image, result.detections if draw else None, result.marks), skip()
        else:
            held -= 1
        result.picture = picture
        yield result
