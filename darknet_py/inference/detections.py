"""Detections of one image, and their conversion to other tools' types."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np
import torch

from darknet_py.data.coco import category_ids as coco_category_ids
from darknet_py.data.datafile import class_numbers
from darknet_py.data.given import Image, as_uint8, decode
from darknet_py.data.lists import STDIN
from darknet_py.errors import DarknetError, DataError, Reason, shown
from darknet_py.inference import result_formats
from darknet_py.inference.info import check_thresholds
from darknet_py.ops.boxes import within, xyxy_to_cxcywh
from darknet_py.utils.files import is_same_file
from darknet_py.viz import display
from darknet_py.viz.draw import draw_detections

MOST_LINES = 100        # detections that are printed


class Detection(NamedTuple):
    """One object in one image.

    box: (4,) float32 left, top, right, bottom in pixels, not clipped to the image.
    score: in [0, 1].
    label: the number of its class, and name, that class's name.
    """

    box: np.ndarray
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one image, by falling score. A box with two classes above the threshold is listed twice.

    ``found[0]`` is a ``Detection``; ``found[:5]``, ``found[found.scores > .5]``, ``found[[2, 0]]`` and ``found["dog"]``
    are ``Detections``, some of them; ``"dog" in found`` says whether there is one of a class. A notebook shows the
    picture with the boxes. Pickled and copied they still hold ``image``: ``dataclasses.replace(found, image=None)``.

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
        image: (H, W, C) BGR uint8, the picture itself, where a call keeps it (see ``Detector.__call__``); else None.
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
    image: np.ndarray | None = None

    ARRAYS: ClassVar[tuple[str, ...]] = ("boxes", "scores", "labels", "places", "embeddings", "ids", "missed")

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, label in zip(self.boxes, self.scores.tolist(), self.labels.tolist(), strict=True):
            yield Detection(box, score, label, self.names[label])

    @overload
    def __getitem__(self, key: int | np.integer) -> Detection: ...

    @overload
    def __getitem__(self, key: str | slice | Sequence[int] | np.ndarray) -> Detections: ...

    def __getitem__(self, key: Any) -> Detection | Detections:
        """One of them by its number; or some: a slice, a mask (K,) bool, indices, or the name of a class.

        Raises:
            IndexError: there are not so many, or a mask has another length.
            TypeError: something else.
            DarknetError: a name that no class has.
        """
        if isinstance(key, str):
            return self.filter(key)
        rows = np.arange(len(self))[key] if isinstance(key, slice) else np.asarray(key)
        rows = rows.astype(np.int64) if not rows.size and rows.dtype.kind == "f" else rows      # of []
        if rows.ndim > 1 or rows.dtype.kind not in ("iub" if rows.ndim else "iu"):
            raise TypeError("expected a number, a slice, a mask, indices or the name of a class, found " + shown(key))
        if rows.dtype.kind == "b" and len(rows) != len(self):
            raise IndexError(f"expected a mask of {len(self)} values, a detection each, found {len(rows)}")
        if rows.dtype.kind != "b" and not ((-len(self) <= rows) & (rows < len(self))).all():
            raise IndexError(f"there are {len(self)} detections, found the index {shown(key)}")
        if rows.ndim:
            return self.select(rows)
        label = int(self.labels[key])
        return Detection(self.boxes[key], float(self.scores[key]), label, self.names[label])

    def __contains__(self, name: object) -> bool:
        return any(one.name == name for one in self)

    def __repr__(self) -> str:
        lines = [f"  {d.name} {d.score:.0%} at {', '.join(f'{side:.0f}' for side in d.box)}"
                 for d in self[:MOST_LINES]]
        if (more := len(self) - MOST_LINES) > 0:
            lines.append(f"  ... and {more:,} more")
        height, width = self.image_size
        return "\n".join([f"{len(self)} detections in {self.path or 'an image'} ({width} x {height})", *lines])

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows; None, so that it shows the text, where there is no picture."""
        try:
            return display.as_png(self.draw())
        except (DataError, ValueError):
            return None

    def draw(self, image: Image | None = None) -> np.ndarray:
        """The picture with boxes and names on it.

        Args:
            image: in any form that a detector takes; None: ``image``, else it is read from ``path``.

        Returns:
            (H, W, 3) BGR uint8, a copy.

        Raises:
            ValueError: there is neither.
            DataError: the picture cannot be read.
        """
        return draw_detections(self._picture(image), self.boxes, self.labels, self.scores, self.names, ids=self.ids)

    def save(self, path: str | os.PathLike, image: Image | None = None) -> Path:
        """Write the picture with boxes and names on it, and return the path; the folder is made if it is missing.

        Args:
            path: the file, in the format of its extension.
            image: see ``draw``.

        Raises:
            ValueError, DataError: see ``draw``; also where it cannot be written, or is the picture itself.
        """
        if self.path is not None and is_same_file(self.path, path):
            raise DataError(f"{Path(path)}: is the picture itself, and would be written over", Reason.ALREADY_EXISTS)
        display.write_picture(Path(path), self.draw(image))
        return Path(path)

    def show(self, image: Image | None = None) -> None:
        """Show the picture with boxes and names on it: in a notebook, or in a window until a key is pressed or it is
        closed.

        Args:
            image: see ``draw``.

        Raises:
            ValueError, DataError: see ``draw``.
            DarknetError: this is no notebook, and no window can be opened here.
        """
        display.show(self.draw(image), self.path or "Detections")

    def crop(self, padding: int = 0, image: Image | None = None) -> list[np.ndarray]:
        """Each object as a picture of its own, in their order.

        Args:
            padding: pixels around its box that belong to it.
            image: see ``draw``.

        Returns:
            (h, w, C) uint8 copies, cut off at the picture's edges; of a box outside of it h or w is 0.

        Raises:
            ValueError, DataError: see ``draw``.
        """
        picture = self._picture(image)
        around = self.boxes.reshape(-1, 4) + np.array([-1, -1, 1, 1]) * padding
        return [picture[top:bottom, left:right].copy()
                for left, top, right, bottom in within(around, picture.shape).tolist()]

    def _picture(self, image: Image | None) -> np.ndarray:
        image = self.image if image is None else image
        if image is None:
            if self.path is None or self.path == STDIN:
                raise ValueError("these detections came from an array and do not hold it, so draw, save, show and crop "
                                 "need it again: draw(image)")
            image = self.path
        return as_uint8(decode(image))

    def filter(self, names: str | int | Sequence[str | int] | None = None, *, score: float | None = None,
               area: float | tuple[float, float] | None = None) -> Detections:
        """Those of some classes, scores and sizes; None: of any.

        Args:
            names: of classes, one or several; or their numbers.
            score: theirs must be above it, in [0, 1].
            area: of their boxes in square pixels, the least; or (least, most).

        Raises:
            DarknetError: there is no such class, or the score is not from 0 to 1.
        """
        check_thresholds(score=score)
        rows = np.ones(len(self), bool)
        if names is not None:
            rows &= np.isin(self.labels, class_numbers(names, self.names))
        if score is not None:
            rows &= self.scores > score
        if area is not None:
            least, most = area if isinstance(area, Sequence) else (area, np.inf)
            areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)
            rows &= (areas >= least) & (areas <= most)
        return self.select(rows)

    def select(self, rows: np.ndarray) -> Detections:
        """Some of them. rows: (K,) bool, or their indices in the order wanted."""
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
        """All of them in ``order``."""
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
        escaped. Tracked objects have ``tags`` too. frame_id: its number; fields: more of the frame's, beside those that
        Darknet has."""
        objects = [
            f'  {{"class_id":{d.label}, "name":{json.dumps(d.name)}, "relative_coordinates":{{"center_x":{x:f}, '
            f'"center_y":{y:f}, "width":{w:f}, "height":{h:f}}}, "confidence":{d.score:f}'
            + "".join(f', "{name}":{value}' for name, value in tags.items()) + "}"
            for d, (x, y, w, h), tags in zip(self, self.relative().tolist(), self.tags(), strict=True)]
        objects = [objects[index] for index in self.order]
        filename = "" if self.path is None else f' "filename":{json.dumps(self.path)}, \n'
        others = "".join(f" {json.dumps(name)}:{json.dumps(value)}, \n" for name, value in fields.items())
        return f'{{\n "frame_id":{frame_id}, \n{others}{filename} "objects": [ \n' + ", \n".join(objects) + "\n ] \n}"

    def to_yolo(self, path: str | os.PathLike | None = None) -> str:
        """As a label file: a line a box with its likeliest class: class, center x, center y, width, height in parts of
        the image. ``path``: of the file to write, too."""
        seen, text = set(), ""
        for detection, relative in zip(self, self.relative().tolist(), strict=True):
            if (box := tuple(detection.box.tolist())) not in seen:
                seen.add(box)
                text += f"{detection.label} " + " ".join(f"{value:2.4f}" for value in relative) + "\n"
        return result_formats.write_to(path, text)

    to_labels = to_yolo

    def to_csv(self, path: str | os.PathLike | None = None) -> str:
        """As CSV, a line each, see ``result_formats.to_csv``. ``path``: of the file to write, too."""
        return result_formats.write_to(path, result_formats.to_csv(self))

    def to_voc(self, path: str | os.PathLike | None = None) -> str:
        """As an annotation of Pascal VOC, see ``result_formats.to_voc``. ``path``: of the file to write, too."""
        return result_formats.write_to(path, result_formats.to_voc(self))

    def to_supervision(self) -> Any:
        """As ``supervision.Detections``: names are its ``data["class_name"]``, ids its tracker_id, with -1 for none."""
        supervision = _package("supervision")
        return supervision.Detections(xyxy=self.boxes.reshape(-1, 4), confidence=self.scores, class_id=self.labels,
                                      tracker_id=None if self.ids is None else np.where(self.ids, self.ids, -1),
                                      data={"class_name": np.array([d.name for d in self], str)})

    @classmethod
    def from_supervision(cls, found: Any, image_size: tuple[int, int], names: Sequence[str] | None = None,
                         path: str | None = None) -> Detections:
        """Of a ``supervision.Detections``, as ``to_supervision`` makes them and supervision's tools change them.

        Args:
            found: with class_id; without confidence their scores are 1; a tracker_id of -1 is none.
            image_size: (height, width) in pixels.
            names: of all classes; None: those in ``data["class_name"]``, and numbers for others.
            path: of the image, where it came from a file.

        Raises:
            DarknetError: there is no class_id, or a class that has no name.
        """
        if found.class_id is None:
            raise DarknetError("expected detections with class_id, found none")
        labels = np.asarray(found.class_id, np.int64)
        if names is None:
            known = dict(zip(labels.tolist(), map(str, found.data.get("class_name", ())), strict=False))
            names = [known.get(label, str(label)) for label in range(labels.max(initial=-1) + 1)]
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            raise DarknetError(f"expected class_id from 0 to {len(names) - 1}, a name each, found "
                               f"{labels.min()} to {labels.max()}")
        scores = np.ones(len(labels)) if found.confidence is None else found.confidence
        ids = None if found.tracker_id is None else np.maximum(np.asarray(found.tracker_id, np.int64), 0)
        order = np.argsort(-np.asarray(scores), kind="stable")
        return cls(np.asarray(found.xyxy, np.float32), np.asarray(scores, np.float32), labels, names, image_size, path,
                   ids=ids).select(order)

    def to_pandas(self) -> Any:
        """As ``pandas.DataFrame``: xmin, ymin, xmax, ymax in pixels, confidence, class, name."""
        table = dict(zip(("xmin", "ymin", "xmax", "ymax"), self.boxes.reshape(-1, 4).T, strict=True))
        return _package("pandas").DataFrame({**table, "confidence": self.scores, "class": self.labels,
                                             "name": [d.name for d in self]})

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """As results in COCO's format, which json.dump takes: boxes are left, top, width, height in pixels.

        Args:
            image_id: of the image in the data set.
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
