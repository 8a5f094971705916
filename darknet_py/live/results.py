"""Results of frames: detections, time stamps, the picture with boxes and its JPEG, C's JSON record."""
from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import cv2
import numpy as np

from darknet_py.inference.classifier import Prediction
from darknet_py.inference.detections import Detections
from darknet_py.viz.draw import draw_lines

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
        prediction: of a classifier; then there are no detections.
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
    prediction: Prediction | None = None
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


def no_detections(image: np.ndarray, path: str | None = None) -> Detections:
    """Of a picture (H, W, C) without objects."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), (),
                      (image.shape[0], image.shape[1]), path)


class Step(Protocol):
    """Changes a result between detection and the consumers; what it is told of one frame it may use for the next."""

    def __call__(self, result: Result) -> None:
        """In the order of the frames, and in the thread that detects, so it must be quick."""


def show_classes(top: int, draw: bool = True) -> Step:
    """A step for a classifier's results: its likeliest classes over the picture, and as ``classes`` in the record.

    Args:
        top: how many.
        draw: False leaves the picture as it is.
    """
    def step(result: Result) -> None:
        assert result.prediction is not None
        best = result.prediction.top(top)
        result.fields["classes"] = [{"class_id": one.label, "name": one.name, "probability": round(one.score, 6)}
                                    for one in best]
        if draw:
            result.marks.append(partial(draw_lines, lines=[f"{one.name} {one.score:.1%}" for one in best]))
    return step


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

    def tick(self, seconds: float | None = None) -> None:
        """Another frame was shown.

        Args:
            seconds: in the network, if ``fps`` is to be of that alone, from the first frame on, as C's demo of
                classifiers has it.
        """
        now = self.clock()
        rate = 1 / max(now - self._before if seconds is None else seconds, 1e-9)
        self.fps = rate if seconds is not None and self.fps == 0 else self.fps * self.KEPT + (1 - self.KEPT) * rate
        self._before = now
        self._count += 1
        if now - self._start >= self.PERIOD:
            self.average, self._count, self._start = self._count / (now - self._start), 0, now
