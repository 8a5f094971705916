"""Drawing of boxes with labels on pictures, of crops around a box, and of grids of pictures."""
from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from darknet_py.errors import DataError, Reason, printable

FONT = cv2.FONT_HERSHEY_SIMPLEX
LEAST_CROP, DASH = 48, 8                        # pixels: the smallest side of a crop; a dash
GAP = 4                                         # pixels between the pictures of a grid
GOLDEN_RATIO = 0.618034
TO_BGR = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
Colour = tuple[int, int, int]                   # blue, green, red
MOST_LETTERS = 200      # of a text that is drawn
MOST_DRAWN = 1000       # boxes on a picture, with their labels


class Strip(NamedTuple):
    """A label on its filled background; right and bottom are outside."""
    left: int
    top: int
    right: int
    bottom: int
    text: str
    origin: tuple[int, int]                     # of the text: its left end on the base line
    scale: float
    weight: int
    colour: Colour


def draw_detections(image: np.ndarray, boxes, labels, scores, names: Sequence[str],
                    label_format: str = "{name} {score:.0%}", ids: Sequence[int] | np.ndarray | None = None
                    ) -> np.ndarray:
    """A copy of a picture with boxes on it; the lines and the text scale with the picture. Of more than ``MOST_DRAWN``
    boxes the most confident are drawn.

    Args:
        image: uint8 BGR (H, W, 3), BGRA (H, W, 4) or grey (H, W), (H, W, 1).
        boxes: (K, 4) xyxy in pixels; what is outside the picture is cut off.
        labels: (K,) class numbers.
        scores: (K,) in [0, 1]; the better one is on top.
        names: a name for each class; a class beyond them shows its number.
        label_format: for str.format with ``name``, ``score`` and ``label`` (the class number); "" for boxes alone.
        ids: (K,) numbers of tracked objects, written behind their names but for 0; None: there are none.

    Returns:
        uint8 BGR (H, W, 3).

    Raises:
        DataError: not such an image, or boxes, labels and scores of different lengths.
    """
    canvas = _as_bgr(image)
    height, width = canvas.shape[:2]
    boxes = torch.as_tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    labels, scores = torch.as_tensor(labels).long().tolist(), torch.as_tensor(scores).tolist()
    if not len(boxes) == len(labels) == len(scores):
        raise DataError(f"needs a label and a score for each of {len(boxes)} boxes, "
                        f"got {len(labels)} labels and {len(scores)} scores", Reason.WRONG_COUNT)
    limit = boxes.new_tensor([width - 1, height - 1] * 2)
    corners = boxes.nan_to_num().round().clamp(boxes.new_zeros(4), limit).int().tolist()
    order = sorted(range(len(corners)), key=lambda k: scores[k])[-MOST_DRAWN:]
    line = max(1, round((height + width) / 550))
    for k in order:
        left, top, right, bottom = corners[k]
        cv2.rectangle(canvas, (left, top), (right, bottom), class_colour(labels[k]), line)

    strips: list[Strip] = []                                      # by falling score: the best is placed first
    taken = np.empty((len(order), 4), np.int64)
    for k in reversed(order):
        number = "" if ids is None or not ids[k] else f" {ids[k]}"
        text = drawable(label_format.format(
            name=(names[labels[k]] if labels[k] < len(names) else str(labels[k])) + number, score=scores[k],
            label=labels[k]))
        if text != "":
            strip = _place(text, class_colour(labels[k]), corners[k], line, (height, width), taken[:len(strips)])
            taken[len(strips)] = strip[:4]
            strips.append(strip)
    for strip in reversed(strips):
        draw_strip(canvas, strip)
    return canvas


def draw_lines(canvas: np.ndarray, lines: Sequence[str]) -> None:
    """Lines of text on dark strips in the upper left corner of (H, W, 3) BGR uint8, in place."""
    placed = np.empty((0, 4), np.int64)
    for text in filter(None, map(drawable, lines)):
        strip = _place(text, DARK, (0, 0, 0, 0), 1, canvas.shape[:2], placed)
        placed = np.concatenate([placed, [strip[:4]]])
        draw_strip(canvas, strip)


def draw_strip(canvas: np.ndarray, strip: Strip) -> None:
    cv2.rectangle(canvas, (strip.left, strip.top), (strip.right - 1, strip.bottom - 1), strip.colour, cv2.FILLED)
    cv2.putText(canvas, strip.text, strip.origin, FONT, strip.scale, text_colour(strip.colour), strip.weight,
                cv2.LINE_AA)


def drawable(text: str) -> str:
    """Text as OpenCV can draw it, which crashes on bytes that are no UTF-8."""
    return printable(text[:MOST_LETTERS])


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size in rows, with gaps between them."""
    height, width = pictures[0].shape[:2]
    lines = -(-len(pictures) // columns)
    canvas = np.full((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for number, image in enumerate(pictures):
        line, column = divmod(number, columns)
        y, x = line * (height + GAP), column * (width + GAP)
        canvas[y:y + height, x:x + width] = image
    return canvas


def draw_crop(image: np.ndarray, focus, boxes, labels, dashed: Sequence[bool], caption: Sequence[str], side: int = 320
              ) -> np.ndarray:
    """A square crop of a picture around a box, enlarged, with boxes on it and lines of text below.

    Args:
        image: uint8 BGR (H, W, 3) or grey.
        focus: (4,) xyxy in pixels of the box in the middle; it takes about half of the crop's side.
        boxes: (K, 4) xyxy in pixels.
        labels: (K,) class numbers, for the colours.
        dashed: which boxes are drawn in white dashes instead.
        caption: the lines.
        side: of the crop in the result, in pixels.

    Returns:
        uint8 BGR (side + 20 a line, side, 3).
    """
    canvas = _as_bgr(image)
    height, width = canvas.shape[:2]
    left, top, right, bottom = np.clip(np.nan_to_num(np.asarray(focus, float)), 0, [width, height] * 2).tolist()
    size = max(2, min(max(2 * max(right - left, bottom - top), LEAST_CROP), max(width, height)))
    x, y = (left + right - size) / 2, (top + bottom - size) / 2
    scale = side / size
    crop = cv2.warpAffine(canvas, np.array([[scale, 0, -x * scale], [0, scale, -y * scale]]), (side, side),
                           flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))
    corners = (np.nan_to_num(np.asarray(boxes, float).reshape(-1, 4)) - [x, y, x, y]) * scale
    corners = corners.clip(-side, 2 * side).round().astype(int)
    for box, label, dots in zip(corners.tolist(), labels, dashed, strict=True):
        outline(crop, box, LIGHT if dots else class_colour(int(label)), dots)
    strip = np.full((20 * len(caption), side, 3), 255, np.uint8)
    for number, line in enumerate(map(drawable, caption)):
        width_of = cv2.getTextSize(line, FONT, .45, 1)[0][0]
        cv2.putText(strip, line, (4, 20 * number + 15), FONT, .45 * min(1, (side - 8) / max(1, width_of)), DARK, 1,
                    cv2.LINE_AA)
    return np.concatenate([crop, strip])


def outline(canvas: np.ndarray, box: Sequence[int], colour: Colour, dashed: bool) -> None:
    """A box with a dark edge, whole or in dashes."""
    left, top, right, bottom = box
    if not dashed:
        cv2.rectangle(canvas, (left, top), (right, bottom), DARK, 4, cv2.LINE_AA)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 2, cv2.LINE_AA)
        return
    for ends in (((left, top), (right, top)), ((left, bottom), (right, bottom)), ((left, top), (left, bottom)),
                 ((right, top), (right, bottom))):
        start, end = np.array(ends)
        steps = max(1, int(np.abs(end - start).max()) // DASH)
        for number in range(0, steps, 2):
            a, b = (tuple(int(v) for v in start + (end - start) * at / steps) for at in (number, number + 1))
            cv2.line(canvas, a, b, DARK, 4, cv2.LINE_AA)
            cv2.line(canvas, a, b, colour, 2, cv2.LINE_AA)


def class_colour(label: int) -> Colour:
    """The BGR colour of a class: hues a golden section apart, so that any number of classes is spread evenly."""
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN_RATIO % 1, 0.8, 0.95)
    return round(blue * 255), round(green * 255), round(red * 255)


def text_colour(background: Colour) -> Colour:
    """Dark text on a light background, light on a dark one, by luminance (ITU-R BT.601)."""
    blue, green, red = background
    return DARK if 0.114 * blue + 0.587 * green + 0.299 * red > 130 else LIGHT


def _as_bgr(image: np.ndarray) -> np.ndarray:
    """A contiguous BGR copy."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"an image to draw on must be uint8 (H, W) or (H, W, C), got {got}", Reason.WRONG_FORMAT)
    image = np.atleast_3d(image)
    if image.shape[2] == 3:
        return image.copy(order="C")
    if image.shape[2] not in TO_BGR:
        raise DataError(f"an image to draw on must have 1, 3 or 4 channels, got {image.shape[2]}",
                        Reason.SHAPE_MISMATCH)
    return cv2.cvtColor(np.ascontiguousarray(image), TO_BGR[image.shape[2]])


def _place(text: str, colour: Colour, box: Sequence[int], line: int, size: tuple[int, int],
           others: np.ndarray) -> Strip:
    """A strip for a text at the upper left corner of its box, off the other strips where there is room.

    others: (M, 4) int, left, top, right, bottom of those.
    """
    height, width = size
    letter = max(7.0, (height + width) / 110)                     # the height of a capital, in pixels
    weight = max(1, round(letter / 9))
    scale = letter / 21                                           # Hershey capitals are 21 units high
    (text_w, text_h), below = cv2.getTextSize(text, FONT, scale, weight)
    margin = max(2, round(letter / 4))
    room = width - 2 * margin
    if text_w > room:
        scale *= max(1, room) / text_w
        (text_w, text_h), below = cv2.getTextSize(text, FONT, scale, weight)
    strip_w, strip_h = min(width, text_w + 2 * margin), min(height, text_h + below + margin)

    left, edge = min(max(0, box[0] - line // 2), width - strip_w), max(0, box[1] - line // 2)
    right = left + strip_w
    spans = others[(left < others[:, 2]) & (others[:, 0] < right)][:, 1::2]
    top = _free_top(edge - strip_h if edge >= strip_h else edge, strip_h, height, spans)
    bottom = top + strip_h
    return Strip(left, top, right, bottom, text, (left + margin, bottom - below - margin // 2), scale, weight, colour)


def _free_top(preferred: int, strip: int, height: int, spans: np.ndarray) -> int:
    """The nearest place to the preferred one where a strip fits between the spans (M, 2), top and bottom, and in the
    picture; of two as near that by the earlier span, above it first.

    Where there is none, the preferred place.
    """
    last = height - strip
    preferred = min(preferred, last)
    tops, bottoms = spans.T
    if preferred >= 0 and not ((tops < preferred + strip) & (preferred < bottoms)).any():
        return preferred
    order = tops.argsort()
    lowest = np.concatenate([[0], np.maximum.accumulate(bottoms[order])])           # of the first spans
    places = np.concatenate([tops - strip, bottoms])
    first = tops[order].searchsorted(places + strip)                            # spans that begin above its end
    free = places[(places >= 0) & (places <= last) & (lowest[first] <= places)]
    return int(free[np.abs(free - preferred).argmin()]) if len(free) else preferred
