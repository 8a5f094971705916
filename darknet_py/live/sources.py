"""Sources of frames: video files, cameras and network streams, pictures one after another."""
from __future__ import annotations

import glob
import os
import queue
import stat
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from darknet_py.data.datafile import EXTENSIONS
from darknet_py.data.lists import LISTS, find_images
from darknet_py.errors import DataError, Reason
from darknet_py.live.capture import RATE, Capture

AHEAD = 4                           # frames of a file that are decoded before they are asked for
MOST_CAMERAS = 9999                 # the largest number of a camera; OpenCV reads more into larger ones
POLL = .05                          # seconds between two looks at whether to stop
DELAYS = (.5, 1., 2., 4., 8., 15., 30., 30., 30., 30.)     # seconds before the tries to connect again
SHORT = .95                         # of the frames that a file says it has; with fewer it is called cut

Stop = Callable[[], bool]
Report = Callable[[str], None]


class Shot(NamedTuple):
    """A frame of a source.

    image: (H, W, 3) BGR uint8, or the path of a picture.
    timestamp: seconds; of a file from its beginning, of a live source since 1970.
    taken: seconds of time.monotonic() when it was read.
    """

    image: np.ndarray | str
    timestamp: float
    taken: float


class Opened(Protocol):
    """What ``Capture`` is for the sources."""

    rate: float
    total: int

    def read(self) -> tuple[np.ndarray, float] | None:
        """The next frame (H, W, 3) and its time in seconds; None where there is none."""

    def close(self) -> None:
        """Give back the file, the camera or the connection."""


class Source(ABC):
    """Frames one after another.

    Attributes:
        name: for messages.
        rate: frames a second.
        total: frames; 0 where it is not known.
        live: the newest frame counts, and others are dropped.
        dropped: frames that came while the network had others.
        over: it gives no more frames.
        round: frames after which those come again that were there before; 0: they never do.
    """

    live = False

    def __init__(self, name: str, rate: float = RATE, total: int = 0):
        self.name, self.rate, self.total, self.dropped, self.round, self.over = name, rate, total, 0, 0, False

    @abstractmethod
    def take(self, wait: float) -> Shot | None:
        """The next frame; None where there is none within ``wait`` seconds, or none any more: then it is ``over``.

        Raises:
            DataError: there should be more frames, but they cannot be had.
        """

    def frames(self, stop: Stop) -> Iterator[Shot]:
        """The frames, until there are no more or ``stop`` says so, at which it looks at least every ``POLL`` seconds.

        Raises:
            DataError: see ``take``.
        """
        while not self.over and not stop():
            shot = self.take(POLL)
            if shot is not None:
                yield shot

    def close(self) -> None:        # noqa: B027   # of pictures there is nothing to close
        """Give back what is open. The source gives no more frames."""


class Pictures(Source):
    """Pictures, each a frame; ``Detector.stream`` decodes them.

    Args:
        loop: begin again after the last.
    """

    def __init__(self, name: str, paths: Sequence[str], loop: bool = False):
        super().__init__(name, total=0 if loop else len(paths))
        self.paths, self.loop, self.round, self._count = paths, loop, len(paths) if loop else 0, 0

    def take(self, wait: float) -> Shot | None:
        if self._count == len(self.paths) and not self.loop:
            self.over = True
            return None
        shot = Shot(self.paths[self._count % len(self.paths)], self._count / self.rate, time.monotonic())
        self._count += 1
        return shot


class VideoFile(Source):
    """Every frame of a file, in order, decoded in a thread of its own.

    Args:
        open_capture: opens the file at its beginning.
        report: takes a line about a file that ends early.
        loop: begin again after the last frame; timestamps go on.
    """

    def __init__(self, name: str, open_capture: Callable[[], Opened], report: Report, loop: bool = False):
        self.open_capture, self.loop, self.report = open_capture, loop, report
        self.capture = open_capture()
        super().__init__(name, self.capture.rate, 0 if loop else self.capture.total)
        self._queue: queue.Queue[Shot | DataError | None] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._decode, name="decode", daemon=True)

    def take(self, wait: float) -> Shot | None:
        if self._thread.ident is None:
            self._thread.start()
        try:
            shot = self._queue.get(wait > 0, wait)
        except queue.Empty:
            return None
        if isinstance(shot, DataError):
            self.over = True
            raise shot
        self.over = shot is None
        return shot

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(1)
        else:
            self.capture.close()

    def _decode(self) -> None:
        start = 0.
        try:
            while (count := self._decode_once(start)) and self.loop and not self._closed.is_set():
                start += count / self.rate
                self.capture = self.open_capture()
            self._put(None)
        except DataError as error:
            self._put(error)
        finally:
            self.capture.close()

    def _decode_once(self, start: float) -> int:
        count = 0
        while not self._closed.is_set():
            found = self.capture.read()
            if found is None:
                if count < SHORT * self.capture.total:
                    self.report(f"warning: {self.name}: ends after {count} of {self.capture.total} frames")
                break
            image, position = found
            self._put(Shot(image, start + position, time.monotonic()))
            count += 1
        self.capture.close()
        return count

    def _put(self, shot: Shot | DataError | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(shot, timeout=POLL)
            except queue.Full:
                continue


class Live(Source):
    """The newest frame of a camera or a network stream; a thread reads all, so that none waits.

    After a drop it connects again, after longer and longer times; ``DELAYS``.

    Args:
        open_capture: connects.
        report: takes a line about each drop.
        delays: seconds before each try; a frame that comes ends the row of tries.
    """

    live = True

    def __init__(self, name: str, open_capture: Callable[[], Opened], report: Report, delays: Sequence[float] = DELAYS):
        self.open_capture, self.report, self.delays = open_capture, report, delays
        self.capture = open_capture()
        super().__init__(name, self.capture.rate)
        self._newest: Shot | None = None
        self._end: DataError | None = None
        self._changed, self._closed = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    def take(self, wait: float) -> Shot | None:
        if self._thread.ident is None:
            self._thread.start()
        with self._changed:
            if self._newest is None and self._end is None:
                self._changed.wait(wait)
            shot, self._newest = self._newest, None
            if shot is None and self._end is not None:
                self.over = True
                raise self._end
        return shot

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(1)            # a read may wait for the network, and ends with the process
        else:
            self.capture.close()

    def _read(self) -> None:
        tries = 0
        while not self._closed.is_set():
            found = self.capture.read()
            if found is not None:
                tries = 0
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = Shot(found[0], time.time(), time.monotonic())
                    self._changed.notify_all()
                continue
            self.capture.close()
            if tries == len(self.delays):
                with self._changed:
                    self._end = DataError(f"{self.name}: the stream ended, and {tries} tries to connect again failed",
                                          Reason.UNREADABLE)
                    self._changed.notify_all()
                return
            self.report(f"warning: {self.name}: no more frames; connecting again in {self.delays[tries]:g} s")
            if self._closed.wait(self.delays[tries]):
                return
            tries += 1
            try:
                self.capture = self.open_capture()
            except DataError:
                continue                    # the capture is closed, and gives no frame: the next try
        self.capture.close()


def open_source(given: str | int, *, loop: bool = False, report: Report) -> Source:
    """Open a source of frames.

    Args:
        given: a video file; a picture, a folder of pictures, a pattern such as ``frames/*.png``, or a list (.txt) with
            a path a line; an URL (rtsp://, http:// ...); the number of a camera or its device. An URL with a known
            number of frames is a recording, read as a file: whole and in order.
        loop: begin pictures and files again after their end.
        report: takes a line that concerns the user, such as a connection that was lost.

    Raises:
        DataError: there is no such source, or it is no video.

    Darknet: get_capture_video_stream, get_capture_webcam, is_live_stream.
    """
    if isinstance(given, int) or (given.isdecimal() and not os.path.exists(given)):
        if len(str(given)) > len(str(MOST_CAMERAS)):
            raise DataError(f"camera {given}: expected a number up to {MOST_CAMERAS}", Reason.OUT_OF_RANGE)
        number = int(given)
        return Live(f"camera {number}", lambda: Capture(number), report)
    if "://" in given and not given.startswith("file://"):
        first = Capture(given)
        opening = iter([first])                     # the connection that is there is used first
        reopen: Callable[[], Opened] = lambda: next(opening, None) or Capture(given)       # noqa: E731
        return VideoFile(given, reopen, report, loop) if first.total > 0 else Live(given, reopen, report)
    path = given.removeprefix("file://")
    if not os.path.exists(path) and not glob.has_magic(path):
        raise DataError(f"{path}: no such file, expected a video, pictures, an URL or the number of a camera",
                        Reason.MISSING_FILE)
    ending = Path(path).suffix.lower()
    if not os.path.exists(path) or os.path.isdir(path) or ending in (*EXTENSIONS, *LISTS):
        return Pictures(path, list(find_images([path])), loop)
    if stat.S_ISCHR(os.stat(path).st_mode):
        return Live(path, lambda: Capture(path), report)
    return VideoFile(path, lambda: Capture(path), report, loop)
