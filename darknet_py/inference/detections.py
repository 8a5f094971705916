"""Detections of one image, and their conversion to other tools' types."""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from darknet_py.data.coco import category_ids as coco_category_ids
from darknet_py.data.given import Image, as_uint8, decode
from darknet_py.data.lists import STDIN
from darknet_py.errors import DarknetError
from darknet_py.ops.boxes import xyxy_to_cxcywh
from darknet_py.viz.draw import draw_detections


class Detection(NamedTuple):
    """One object in one image. ``box``: (4,) left, top, right, bottom in pixels, not clipped to the image."""

    box: np.ndarray
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one image, by falling score. A box with two classes above the threshold is listed twice.

    Attributes:
        boxes: (K, 4) float32 left, top, right, bottom in pixels; they may reach beyond the image.
        scores: (K,) float32 in [0, 1].
        labels: (K,) int64 class numbers.
        names: of all classes.
        image_size: (height, width) in pixels.
        path: of the image, where it came from a file; or its URL, or ``-``.
        places: (K,) int64 numbers by which Darknet orders them in its JSON; None: as they stand here.
        embeddings: (K, E) float32, of a network that has them and a detector that hands them out.
        ids: (K,) int64 numbers of the tracked objects from 1 on, the same for all classes of a box; 0: not tracked, or
            not yet; None: nothing is.
        missed: (K,) int64 frames since a tracked object was last detected; 0: it is in this one; None: all are.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    image_size: tuple[int, int]
    path: str | None = None
    places: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    ids: np.ndarray | None = None
    missed: np.ndarray | None = None

    ARRAYS: ClassVar = ("boxes", "scores", "labels", "places", "embeddings", "ids", "missed")

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, label in zip(self.boxes, self.scores.tolist(), self.labels.tolist(), strict=True):
            yield Detection(box, score, label, self.names[label])

    def __repr__(self) -> str:
        lines = [f"  {d.name} {d.score:.0%} at {', '.join(f'{side:.0f}' for side in d.box)}" for d in self]
        height, width = self.image_size
        return "\n".join([f"{len(self)} detections in {self.path or 'an image'} ({width} x {height})", *lines])

    def draw(self, image: Image | None = None) -> np.ndarray:
        """The picture with boxes and names on it.

        Args:
            image: in any form that a detector takes one in, see ``Detector.__call__``; read from ``path`` if None.

        Returns:
            (H, W, 3) BGR uint8, a copy.
        """
        if image is None:
            if self.path is None or self.path == STDIN:
                raise ValueError("these detections came from an array, so draw(image) needs it again")
            image = self.path
        return draw_detections(as_uint8(decode(image)), self.boxes, self.labels, self.scores, self.names, ids=self.ids)

    def select(self, rows: np.ndarray) -> Detections:
        """Some of them: (K,) bool, or their indices in the order wanted."""
        return replace(self, **{name: values[rows] for name in self.ARRAYS
                                if (values := getattr(self, name)) is not None})

    def relative(self) -> np.ndarray:
        """(K, 4) center x, center y, width, height in parts of the image, as Darknet writes them."""
        height, width = self.image_size
        return xyxy_to_cxcywh(torch.from_numpy(self.boxes).double()).numpy() / [width, height, width, height]

    @property
    def order(self) -> np.ndarray:
        """(K,) indices in Darknet's order of boxes, a box's classes together and by their numbers."""
        return np.arange(len(self)) if self.places is None else self.places.argsort(kind="stable")

    def in_order(self) -> list[Detection]:
        """In ``order``."""
        found = list(self)
        return [found[index] for index in self.order]

    def tags(self) -> list[dict[str, int]]:
        """What tracking knows of each: track_id; missed_frames, where it is not in this frame."""
        none = np.zeros(len(self), int)
        pairs = zip(*((none if values is None else values).tolist() for values in (self.ids, self.missed)), strict=True)
        return [{name: value for name, value in zip(("track_id", "missed_frames"), pair, strict=True) if value}
                for pair in pairs]

    def to_json(self, frame_id: int = 1, fields: Mapping[str, Any] = MappingProxyType({})) -> str:
        """One frame of Darknet's JSON (detection_to_json), as ``detector test -out`` writes it, in its order; names are
        escaped. Tracked objects have ``tags`` too. fields: of the frame, beside those that Darknet has."""
        objects = [
            f'  {{"class_id":{d.label}, "name":{json.dumps(d.name)}, "relative_coordinates":{{"center_x":{x:f}, '
            f'"center_y":{y:f}, "width":{w:f}, "height":{h:f}}}, "confidence":{d.score:f}'
            + "".join(f', "{name}":{value}' for name, value in tags.items()) + "}"
            for d, (x, y, w, h), tags in zip(self, self.relative().tolist(), self.tags(), strict=True)]
        objects = [objects[index] for index in self.order]
        filename = "" if self.path is None else f' "filename":{json.dumps(self.path)}, \n'
        others = "".join(f" {json.dumps(name)}:{json.dumps(value)}, \n" for name, value in fields.items())
        return f'{{\n "frame_id":{frame_id}, \n{others}{filename} "objects": [ \n' + ", \n".join(objects) + "\n ] \n}"

    def to_labels(self) -> str:
        """As a label file: a line a box with its likeliest class: class, center x, center y, width, height."""
        seen, text = set(), ""
        for detection, relative in zip(self, self.relative().tolist(), strict=True):
            if (box := tuple(detection.box.tolist())) not in seen:
                seen.add(box)
                text += f"{detection.label} " + " ".join(f"{value:2.4f}" for value in relative) + "\n"
        return text

    def to_supervision(self) -> Any:
        """As ``supervision.Detections``: names are its ``data["class_name"]``, ids its tracker_id, with -1 for none."""
        supervision = _package("supervision")
        return supervision.Detections(xyxy=self.boxes.reshape(-1, 4), confidence=self.scores, class_id=self.labels,
                                      tracker_id=None if self.ids is None else np.where(self.ids, self.ids, -1),
                                      data={"class_name": np.array([d.name for d in self], str)})

    def to_pandas(self) -> Any:
        """As ``pandas.DataFrame``: xmin, ymin, xmax, ymax in pixels, confidence, class, name."""
        table = dict(zip(("xmin", "ymin", "xmax", "ymax"), self.boxes.reshape(-1, 4).T, strict=True))
        return _package("pandas").DataFrame({**table, "confidence": self.scores, "class": self.labels,
                                             "name": [d.name for d in self]})

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """As results in COCO's format, which json.dump takes: boxes are left, top, width, height in pixels.

        Args:
            category_ids: of the classes; None takes COCO's own for its 80 classes, else the numbers from 1 on.
        """
        ids = coco_category_ids(self.names) if category_ids is None else category_ids
        return [{"image_id": image_id, "category_id": ids[d.label],
                 "bbox": [left, top, right - left, bottom - top], "score": d.score}
                for d in self for left, top, right, bottom in [d.box.tolist()]]


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise DarknetError(f"this needs the package {name}: pip install {name}") from None
