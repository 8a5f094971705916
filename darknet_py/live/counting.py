"""Counting of objects in zones and across lines of the picture, by class."""
from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from darknet_py.errors import DarknetError, printable
from darknet_py.inference.detections import Detections
from darknet_py.live.results import Result
from darknet_py.live.tracking import objects
from darknet_py.utils.files import write_file
from darknet_py.viz.draw import FONT, drawable

MARGIN = .1             # of a box's side: an object that is nearer to a line, or a zone's edge, is on neither side
FORGET = 1000           # frames after which an object that has not been seen is forgotten
MOST_POINTS = 1000      # of a zone
MOST_LETTERS = 50       # of a name
FARTHEST = 1_000_000    # pixels
ANCHORS = ("bottom", "centre")
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
COLOUR, DARK = (255, 200, 0), (40, 40, 40)


def parse_points(flag: str, text: str, least: int, most: int) -> tuple[str | None, np.ndarray]:
    """A name, if there is one, and points (P, 2) as users write them: "x,y x,y" or "NAME=x,y x,y".

    Raises:
        DarknetError: it is something else, or the points are too few, too many or too far away.
    """
    name, equals, rest = text.rpartition("=")
    points = [re.fullmatch(f"({NUMBER}),({NUMBER})", word) for word in rest.split()]
    count = f"{least} points" if least == most else f"{least} to {most} points"
    wrong = next((word for word, point in zip(rest.split(), points, strict=True) if point is None), None)
    if wrong is not None:
        raise DarknetError(f'-{flag} needs {count} "x,y x,y ...", found {printable(wrong)}')
    if not least <= len(points) <= most:
        raise DarknetError(f'-{flag} needs {count} "x,y x,y ...", found {len(points)}')
    found = np.array([[float(side) for side in point.groups()] for point in points if point is not None])
    if not np.abs(found).max() <= FARTHEST:
        raise DarknetError(f"-{flag} needs numbers of at most {FARTHEST}, found {np.abs(found).max():g}")
    if len(np.unique(found, axis=0)) < least:
        raise DarknetError(f"-{flag} needs {count} that differ, found {printable(rest)}")
    name = name.strip()
    if equals and not 0 < len(name) <= MOST_LETTERS:
        raise DarknetError(f"-{flag} needs a name of 1 to {MOST_LETTERS} letters before =, found {len(name)}")
    return name if equals else None, found


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(K,) whether points (K, 2) are inside a polygon (P, 2), by the even-odd rule."""
    x, y = points.T[:, :, None]
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, 0).T
    with np.errstate(divide="ignore", invalid="ignore"):
        crosses = ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return crosses.sum(1) % 2 == 1


def edge_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(K,) the distance of points (K, 2) to the nearest edge of a polygon (P, 2)."""
    start, along = polygon, np.roll(polygon, -1, 0) - polygon
    to = points[:, None] - start                                                        # (K, P, 2)
    length = (along ** 2).sum(1)
    part = np.divide((to * along).sum(2), length, out=np.zeros(to.shape[:2]), where=length > 0).clip(0, 1)
    return np.linalg.norm(to - part[..., None] * along, axis=2).min(1)


def line_distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(K,) the distance of points (K, 2) to the straight line through two (2, 2); positive to the right of it as the
    picture shows it, looking from the first to the second."""
    along, to = line[1] - line[0], points - line[0]
    return (along[0] * to[:, 1] - along[1] * to[:, 0]) / np.hypot(*along)


def crosses_segment(start: np.ndarray, end: np.ndarray, line: np.ndarray) -> bool:
    """Whether the way between points (2,) on different sides of the straight line crosses it between its two points."""
    a, b = line_distance(np.stack([start, end]), line)
    along = line[1] - line[0]
    part = ((start + (end - start) * a / (a - b) - line[0]) * along).sum() / (along ** 2).sum()
    return bool(0 <= part <= 1)


class _Seen:
    """Where an object was when it was last clearly on a side."""

    __slots__ = ("frame", "point", "side")

    def __init__(self, side: bool, point: np.ndarray, frame: int):
        self.side, self.point, self.frame = side, point, frame


@dataclass
class _Counted:
    """What a zone and a line share: a name, points (P, 2), and the sides of the objects."""

    name: str
    points: np.ndarray
    seen: dict[int, _Seen] = field(default_factory=dict)

    def scaled(self, size: tuple[int, int]) -> np.ndarray:
        """The points in pixels of a picture (height, width); all up to 1 are parts of it."""
        return self.points * [size[1], size[0]] if self.points.max() <= 1 else self.points

    def moves(self, frame: int, ids: np.ndarray, points: np.ndarray, distance: np.ndarray, margin: np.ndarray
              ) -> list[tuple[int, bool, _Seen | None]]:
        """Objects that came clearly to another side, or appeared on one: their indices, whether that is the positive
        side, and where they were before.

        Args:
            ids: (K,); points: (K, 2); distance: (K,) signed; margin: (K,), nearer than which they are on no side.
        """
        found = []
        for index in ((np.abs(distance) > margin) & (ids > 0)).nonzero()[0].tolist():
            number, side = int(ids[index]), bool(distance[index] > 0)
            before = self.seen.get(number)
            self.seen[number] = _Seen(side, points[index], frame)
            if before is None or before.side != side:
                found.append((index, side, before))
        for number in ids[ids > 0].tolist():
            if number in self.seen:
                self.seen[number].frame = frame
        if frame % FORGET == 0:
            self.seen = {number: one for number, one in self.seen.items() if one.frame > frame - FORGET}
        return found


@dataclass
class Zone(_Counted):
    """A polygon (P, 2). inside: objects of each class in it now; entries: those that came in or appeared there."""

    LEAST, MOST = 3, MOST_POINTS

    inside: Counter[str] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)

    def count(self, frame: int, found: Detections, ids: np.ndarray, points: np.ndarray, margin: np.ndarray) -> None:
        polygon = self.scaled(found.image_size)
        within = inside(points, polygon)
        self.inside = Counter(found.names[label] for label in found.labels[within].tolist())
        distance = edge_distance(points, polygon) * np.where(within, 1, -1)
        for index, side, _ in self.moves(frame, ids, points, distance, margin):
            self.entries[found.names[found.labels[index]]] += side

    def values(self) -> dict[str, Any]:
        return {"inside": _plain(self.inside), "entries": _plain(self.entries)}

    def text(self) -> str:
        return f"{self.name}: {self.inside.total()}, {self.entries.total()} entered"


@dataclass
class Line(_Counted):
    """A line between two points (2, 2). in_: objects of each class that crossed it from the left to the right, as the
    picture shows it, looking from the first point to the second; out: the other way."""

    LEAST, MOST = 2, 2

    in_: Counter[str] = field(default_factory=Counter)
    out: Counter[str] = field(default_factory=Counter)

    def count(self, frame: int, found: Detections, ids: np.ndarray, points: np.ndarray, margin: np.ndarray) -> None:
        line = self.scaled(found.image_size)
        for index, side, before in self.moves(frame, ids, points, line_distance(points, line), margin):
            if before is not None and crosses_segment(before.point, points[index], line):
                (self.in_ if side else self.out)[found.names[found.labels[index]]] += 1

    def values(self) -> dict[str, Any]:
        return {"in": _plain(self.in_), "out": _plain(self.out)}

    def text(self) -> str:
        return f"{self.name}: {self.in_.total()} in, {self.out.total()} out"


Kind = TypeVar("Kind", Zone, Line)


def parse_named(flag: str, texts: Sequence[str], kind: type[Kind]) -> list[Kind]:
    """Zones or lines as users write them, see ``parse_points``; those without a name get one with a number.

    Raises:
        DarknetError: see ``parse_points``; or two have one name.
    """
    found: list[Kind] = []
    for number, text in enumerate(texts, 1):
        name, points = parse_points(flag, text, kind.LEAST, kind.MOST)
        name = f"{flag} {number}" if name is None else name
        if name in [one.name for one in found]:
            raise DarknetError(f"-{flag} needs another name for each, found {printable(name)} twice")
        found.append(kind(name, points))
    return found


class Count:
    """A step: counts objects in zones and across lines, draws both, and adds ``zones`` and ``lines`` to the JSON.

    A box counts by one point of it. A crossing, or an entry, is one of a tracked object, which must have been farther
    from the line, or the zone's edge, than ``MARGIN`` of its box's side (the square root of its area) before and after,
    so that one that trembles there counts once. A crossing must go through the line between its points.

    Args:
        anchor: the point, one of ``ANCHORS``: the middle of the box's lower edge, or of the box.
    """

    def __init__(self, zones: Sequence[Zone], lines: Sequence[Line], anchor: str = "bottom"):
        self.zones, self.lines, self.anchor, self._frame = zones, lines, anchor, 0

    def __call__(self, result: Result) -> None:
        self._frame += 1
        first, _ = objects(result.detections)
        found = result.detections.select(first)
        boxes = found.boxes.astype(float)
        left, top, right, bottom = boxes.T
        points = np.stack([(left + right) / 2, bottom if self.anchor == "bottom" else (top + bottom) / 2], 1)
        margin = MARGIN * np.sqrt(((right - left) * (bottom - top)).clip(0))
        ids = np.zeros(len(found), np.int64) if found.ids is None else found.ids
        counters: tuple[tuple[str, Sequence[Zone | Line]], ...] = ("zones", self.zones), ("lines", self.lines)
        for key, some in counters:
            if some:
                for one in some:
                    one.count(self._frame, found, ids, points, margin)
                result.fields[key] = [{"name": one.name, **one.values()} for one in some]
            result.marks += [partial(draw_counter, one.scaled(found.image_size), one.text(), isinstance(one, Line))
                             for one in some]


def draw_counter(points: np.ndarray, text: str, is_line: bool, canvas: np.ndarray) -> None:
    """Draw a zone, or a line with an arrow to the side that is ``in``, and a text at its first point."""
    height, width = canvas.shape[:2]
    thick = max(1, round((height + width) / 700))
    corners = points.round().astype(np.int32)
    paths = [corners]
    if is_line:
        middle, along = points.mean(0), points[1] - points[0]
        arrow = np.array([-along[1], along[0]]) / np.hypot(*along) * min(30 * thick, np.hypot(*along) / 2)
        tip = middle + arrow
        wings = [tip - .3 * arrow + sign * .3 * arrow[::-1] * (-1, 1) for sign in (-1, 1)]
        paths += [np.stack(ends).round().astype(np.int32) for ends in ((middle, tip), (wings[0], tip), (wings[1], tip))]
    for colour, weight in ((DARK, 3 * thick), (COLOUR, thick)):
        cv2.polylines(canvas, paths, not is_line, colour, weight, cv2.LINE_AA)
    scale = max(.4, (height + width) / 2300)
    (wide, high), below = cv2.getTextSize(drawable(text), FONT, scale, thick)
    x, y = (int(max(0, min(value, most))) for value, most in (
        (corners[0, 0], width - wide - 4), (corners[0, 1], height - high - below - 4)))
    cv2.rectangle(canvas, (x, y), (x + wide + 4, y + high + below + 4), COLOUR, cv2.FILLED)
    cv2.putText(canvas, drawable(text), (x + 2, y + high + 2), FONT, scale, DARK, thick, cv2.LINE_AA)


class CountsFile:
    """A consumer that writes the counts after the last frame as CSV: a row for each zone or line and class.

    Columns: kind (zone, line), name, class; in, out of lines; entries, inside (in the last frame) of zones.
    """

    COLUMNS = ("kind", "name", "class", "in", "out", "entries", "inside")

    def __init__(self, path: str):
        self.path = Path(path)
        self._fields: dict[str, Any] | None = None

    def write(self, result: Result) -> None:
        self._fields = result.fields

    def close(self) -> None:
        if self._fields is None:
            return
        text = io.StringIO()
        table = csv.DictWriter(text, self.COLUMNS, lineterminator="\n")
        table.writeheader()
        for kind in ("zone", "line"):
            for one in self._fields.get(f"{kind}s", ()):
                values = {column: counts for column, counts in one.items() if column != "name"}
                for name in sorted({name for counts in values.values() for name in counts}):
                    table.writerow({"kind": kind, "name": one["name"], "class": name,
                                    **{column: counts.get(name, 0) for column, counts in values.items()}})
        write_file(self.path, text.getvalue().encode("utf-8", "backslashreplace"))


def _plain(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}
