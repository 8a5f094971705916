"""Detection in the frames of a source, and consumers of the results in a thread of their own."""
from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np

from darknet_py.data.given import decode
from darknet_py.errors import DataError
from darknet_py.inference.classifier import Classified, Classifier
from darknet_py.inference.detector import Detector, Frame
from darknet_py.live.results import Picture, Result, Step, no_detections
from darknet_py.live.sources import POLL, Shot, Source, Stop

IDLE = .005             # seconds between two looks at several sources, none of which has a frame


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


@dataclass(eq=False)
class Feed:
    """A source, what happens to its frames, and how far it is.

    Args:
        steps: change each result, one after the other.
        skip: of so many frames after each, the pictures are not shown but the one before them again. Darknet: -s.
    """

    source: Source
    steps: Sequence[Step] = ()
    skip: Callable[[], int] = lambda: 0
    count: int = field(default=0, init=False)                   # of its results
    waiting: int = field(default=0, init=False)                 # frames on their way through the network
    over: bool = field(default=False, init=False)               # no more frames are taken
    lost: bool = field(default=False, init=False)               # nothing is expected of those that are on their way
    error: DataError | None = field(default=None, init=False)
    _broken: int = field(default=0, init=False)                 # pictures one after another
    _held: int = field(default=0, init=False)
    _picture: Picture | None = field(default=None, init=False)

    def take(self, wait: float) -> Shot | None:
        """See ``Source.take``; an error is kept."""
        try:
            shot = self.source.take(wait)
        except DataError as error:
            self.error, shot = error, None
        self.over = self.over or self.error is not None or self.source.over
        self.waiting += shot is not None
        return shot

    def result(self, shot: Shot, frame: Frame | Classified, draw: bool) -> Result:
        """The result of a frame that went through the network."""
        self.count, self._broken = self.count + 1, 0
        path = shot.image if isinstance(shot.image, str) else None
        if isinstance(frame, Classified):
            detections, prediction = no_detections(frame.image, path), frame.prediction
        else:
            detections, prediction = frame.detections, None
            if path is not None and detections.path is None:
                detections = replace(detections, path=path)
        result = Result(self.count, shot.timestamp, shot.taken, detections, frame.image, frame.seconds, prediction)
        for step in self.steps:
            step(result)
        if self._picture is None or self._held <= 0:
            self._picture = Picture(result.image, result.detections if draw else None, result.marks)
            self._held = self.skip()
        else:
            self._held -= 1
        result.picture = self._picture
        return result

    def fail(self) -> None:
        """A picture is broken; after a round of broken ones no more are taken, however often they are repeated."""
        self._broken += 1
        self.lost = 0 < self.source.round <= self._broken
        self.over |= self.lost


class Ended(NamedTuple):
    """There are no more frames. error: there should be more, but they cannot be had."""

    error: DataError | None


def detect_in_feeds(detector: Detector | Classifier, feeds: Sequence[Feed], stop: Stop, *, draw: bool = True,
                    still: bool = False, overlapped: bool = True, most: int = 1
                    ) -> Iterator[tuple[Feed, Result | DataError | Ended]]:
    """Detect in the frames of sources that share a network, on the one pipeline.

    They take turns, and one that has no frame at the moment is passed over. A live source's frame is taken when the
    network is free, so what is shown is at most the network's time and a frame's distance old; frames of files are
    decoded and post-processed while the network runs.

    Args:
        draw: boxes on the pictures.
        still: the first frame of the first source over and over, for a benchmark. Darknet: -benchmark.
        overlapped: False works on one frame at a time.
        most: frames that run together, of those that are there; a CPU computes them no faster than one by one.

    Returns:
        A result a frame, of each source in order; or what is wrong with a picture; and that a source has ended, after
        its last result. No result comes after ``stop`` said so.
    """
    live = any(feed.source.live for feed in feeds)
    shots: deque[tuple[Feed, Shot]] = deque()

    def images() -> Iterator[list[np.ndarray | str]]:
        for batch in repeated(feeds[0], stop) if still else take_turns(feeds, stop, most):
            shots.extend(batch)
            yield [shot.image for _, shot in batch]

    overlapped = overlapped and not live
    frames = (detector.stream(images(), batch=None, overlapped=overlapped) if most > 1 else
              detector.stream(chain.from_iterable(images()), overlapped=overlapped))
    ended: set[Feed] = set()
    for _, frame in frames:
        feed, shot = shots.popleft()
        feed.waiting -= 1
        if feed not in ended:
            if isinstance(frame, DataError):
                feed.fail()
                yield feed, frame
            else:
                yield feed, feed.result(shot, frame, draw)
        for each in feeds:
            if each.over and each not in ended and (each.waiting == 0 or each.lost):
                ended.add(each)
                yield each, Ended(each.error)
        if len(ended) == len(feeds) or stop():          # frames on their way are of no use then
            break
    for feed in feeds:
        if feed.over and feed not in ended:
            yield feed, Ended(feed.error)


def take_turns(feeds: Sequence[Feed], stop: Stop, most: int = 1) -> Iterator[list[tuple[Feed, Shot]]]:
    """Frames as they come, none of them taken before it is asked for: at most one of each source at a time, ``most`` at
    once."""
    while not stop() and (running := [feed for feed in feeds if not feed.over]):
        batch: list[tuple[Feed, Shot]] = []
        idle = True
        for feed in running:
            shot = None if feed.over else feed.take(POLL if len(running) == 1 else 0)
            if shot is not None:
                batch.append((feed, shot))
                idle = False
            if len(batch) == most:
                yield batch
                batch = []
                if stop():
                    return
        if batch:
            yield batch
        if idle and len(running) > 1:
            time.sleep(IDLE)


def repeated(feed: Feed, stop: Stop) -> Iterator[list[tuple[Feed, Shot]]]:
    """A source's first frame over and over."""
    shot = None
    while shot is None and not feed.over and not stop():
        shot = feed.take(POLL)
    if shot is not None:
        image = decode(shot.image)
        feed.waiting -= 1
        while not stop():
            feed.waiting += 1
            yield [(feed, shot._replace(image=image, taken=time.monotonic()))]


def detect_frames(detector: Detector | Classifier, source: Source, stop: Stop, *, draw: bool = True,
                  skip: Callable[[], int] = lambda: 0, still: bool = False, overlapped: bool = True,
                  steps: Sequence[Step] = ()) -> Iterator[Result | DataError]:
    """``detect_in_feeds`` of one source.

    Raises:
        DataError: there should be more frames, but they cannot be had.
    """
    for _, found in detect_in_feeds(detector, [Feed(source, steps, skip)], stop, draw=draw, still=still,
                                    overlapped=overlapped):
        if not isinstance(found, Ended):
            yield found
        elif found.error is not None:
            raise found.error
