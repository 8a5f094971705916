"""A step that steadies tracked boxes: averages over frames, and objects shown on where a frame misses them."""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from darknet_py.inference.detections import Detections
from darknet_py.live.results import Result
from darknet_py.ops.boxes import iou, xyxy_to_cxcywh

MOST_SMOOTHED = 1000    # frames, whose boxes are all kept
SAME = .45              # IoU with a detection of its class above which a missing object is taken to be that one


@dataclass
class _Object:
    """A tracked object. boxes: (4,) of the last frames, with their numbers; last: what was reported in the last one,
    and which rows of it are the object's."""

    boxes: deque[tuple[int, np.ndarray]] = field(default_factory=deque)
    last: tuple[Detections, np.ndarray] | None = None


class Smooth:
    """A step: boxes that do not flicker, of tracked objects. Those without an id stay as they are.

    A box becomes the mean of the object's boxes in the last ``frames`` frames, this one among them; boxes of moving
    objects follow about half as many frames late. An object that is missing is reported on with its last mean box,
    score and class for up to ``frames`` frames, and says for how many it has been missing (``Detections.missed``);
    unless a detection of its class lies where it was, with an IoU above ``SAME``: then that is likely the object, under
    a new id.

    Args:
        frames: at least 1.
    """

    def __init__(self, frames: int):
        self._frames, self._count = frames, 0
        self._objects: dict[int, _Object] = {}

    def __call__(self, result: Result) -> None:
        self._count += 1
        found = result.detections
        if (ids := found.ids) is None:
            return
        found = replace(found, boxes=found.boxes.copy(), missed=np.zeros(len(found), np.int64))
        numbers = np.unique(ids[ids > 0]).tolist()
        for number in numbers:
            rows = (ids == number).nonzero()[0]
            known = self._objects.setdefault(number, _Object())
            known.boxes.append((self._count, found.boxes[rows[0]].copy()))
            while known.boxes[0][0] <= self._count - self._frames:
                known.boxes.popleft()
            found.boxes[rows] = np.mean([box for _, box in known.boxes], 0)
            known.last = found, rows
        absent = sorted(self._objects.keys() - set(numbers))
        missing = [self._missing(number, found) for number in absent]
        result.detections = _joined([found, *(one for one in missing if one is not None)])

    def _missing(self, number: int, found: Detections) -> Detections | None:
        """What an object that a frame misses is shown as there; None, and forgotten, where it is no longer."""
        known = self._objects[number]
        assert known.last is not None
        last, gone = known.last[0].select(known.last[1]), self._count - known.boxes[-1][0]
        own = found.boxes[found.labels == last.labels[0]]
        if gone > self._frames or (_overlap(last.boxes[:1], own) > SAME).any():
            del self._objects[number]
            return None
        return replace(last, missed=np.full(len(last), gone))


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K,) IoU of a box (1, 4) with boxes (K, 4), all xyxy."""
    return iou(xyxy_to_cxcywh(torch.from_numpy(a)), xyxy_to_cxcywh(torch.from_numpy(b))).numpy()


def _joined(parts: list[Detections]) -> Detections:
    """Detections of one image, by falling score; those of the first part come first in C's order."""
    first, places, begin = parts[0], [], 0
    for part in parts:
        places.append(begin + part.order.argsort())
        begin += len(part)

    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts])
                              for name in Detections.ARRAYS if getattr(first, name) is not None}
    whole = replace(first, **arrays | {"places": np.concatenate(places)})
    return whole.select((-whole.scores).argsort(kind="stable"))
