"""Results of frames: detections, time stamps, the picture with boxes and its JPEG, C's JSON record."""
from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np

from darknet_py.inference.detections import Detections

QUALITY = 40            # of the JPEGs of the MJPEG stream, as C's

Mark = Callable[[np.ndarray], None]         # draws on (H, W, 3) BGR uint8


class Drawn(ABC):
    """A picture that is drawn, and encoded, when that is first asked for, in whichever thread, and once."""

    quality = QUALITY

    def __init__(self):
        self._lock = threading.RLock()

    @abstractmethod
    def draw(self) -> np.ndarray:
        """(H, W, 3) BGR uint8."""

    @cached_property
    def _drawn(self) -> np.ndarray:
        return self.draw()

    @cached_property
    def _encoded(self) -> bytes:
        return cv2.imencode(".jpg", self.drawn, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1].tobytes()

    @property
    def drawn(self) -> np.ndarray:
        """(H, W, 3) BGR uint8."""
        with self._lock:
            return self._drawn

    @property
    def jpeg(self) -> bytes:
        """The JPEG of ``drawn``, of ``quality``."""
        with self._lock:
            return self._encoded


class Picture(Drawn):
    """A frame as it is shown.

    Args:
        image: (H, W, C) BGR or grey uint8.
        detections: to draw on it; None for none.
        marks: draw on it after them.
    """

    def __init__(self, image: np.ndarray, detections: Detections | None, marks: Sequence[Mark] = ()):
        super().__init__()
        self.image, self.detections, self.marks = image, detections, marks

    def draw(self) -> np.ndarray:
        if self.detections is not None:
            drawn = self.detections.draw(self.image)
        else:
            drawn = cv2.cvtColor(self.image, cv2.COLOR_GRAY2BGR) if self.image.shape[2] == 1 else self.image
            drawn = drawn.copy() if self.marks and drawn is self.image else drawn
        for mark in self.marks:
            mark(drawn)
        return drawn


@dataclass(eq=False)
class Result:
    """Of a frame.

    Attributes:
        number: from 1 on, C's frame_id.
        timestamp: seconds, see ``sources.Shot``.
        taken: of ``time.monotonic()``, when the frame was read.
        image: (H, W, C) uint8, the frame; a step may put another in its place to be shown, but never changes it.
        seconds: in the backend.
        marks: draw on the picture after the boxes.
        fields: of the JSON record beside C's and the timestamp.
        picture: as it is shown; with frames skipped that of an earlier frame. The steps come before it.
    """

    number: int
    timestamp: float
    taken: float
    detections: Detections
    image: np.ndarray
    seconds: float
    marks: list[Mark] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    picture: Picture = field(init=False)

    @cached_property
    def record(self) -> str:
        """C's JSON of a frame, with the timestamp and ``fields`` beside its fields."""
        return self.detections.to_json(self.number, {"timestamp": round(self.timestamp, 6), **self.fields})

    @property
    def jpeg(self) -> bytes:
        """Of the picture."""
        return self.picture.jpeg


class Step(Protocol):
    """Changes a result between detection and the consumers; what it is told of one frame it may use for the next."""

    def __call__(self, result: Result) -> None:
        """In the order of the frames, and in the thread that detects, so it must be quick."""


@dataclass
class Rates:
    """C's two rates of frames, as ``demo`` prints them.

    Attributes:
        fps: smoothed from frame to frame, beginning at 0.
        average: over the last period of at least three seconds, 0 before.

    Darknet: the end of the loop in demo().
    """

    clock: Callable[[], float]
    fps: float = 0.
    average: float = 0.
    _before: float = field(init=False)
    _start: float = field(init=False)
    _count: int = 0

    PERIOD, KEPT = 3., .9

    def __post_init__(self):
        self._before = self._start = self.clock()

    def tick(self) -> None:
        """Another frame was shown."""
        now = self.clock()
        self.fps = self.fps * self.KEPT + (1 - self.KEPT) / max(now - self._before, 1e-9)
        self._before = now
        self._count += 1
        if now - self._start >= self.PERIOD:
            self.average, self._count, self._start = self._count / (now - self._start), 0, now
