"""Augmentation, applied to a picture and its boxes: crop, flip, colours, blur, noise, mosaic and mixup of a recipe.

Pictures are uint8 BGR or grey (H, W, C); rows are (K, 5 or 6): class, center x, center y, width, height and, where
objects have one, the track; boxes are relative to the picture.

Darknet: load_data_detection and image_data_augmentation, as built with OpenCV.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from darknet_py.data.augment_plan import MOSAIC, PARTS, Augmentation, Recipe, View

BACKGROUND_KERNEL = 17                  # pixels
LEVELS = np.arange(256.)


class Source(NamedTuple):
    """A picture, its rows, and its mean colour (``cv2.mean``), which fills what jitter adds."""

    image: np.ndarray
    rows: np.ndarray
    mean: Sequence[float] | float


class Margins(NamedTuple):
    """Pixels cut off a picture's sides; what is negative is added."""

    left: int
    top: int
    right: int
    bottom: int


class Tile(NamedTuple):
    """Where a part of a mosaic is, in its pixels, and x and y of its first pixel in the part's own picture."""

    left: int
    top: int
    right: int
    bottom: int
    x: int
    y: int

    @property
    def source(self) -> tuple[slice, slice]:
        return (slice(self.y, self.y + self.bottom - self.top), slice(self.x, self.x + self.right - self.left))


def make_picture(a: Augmentation, recipe: Recipe, sources: Sequence[Source],
                 width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A training picture.

    Args:
        sources: one for each of the recipe's views; the rows of all have as many columns.
        width, height: of the result, in pixels.
        rng: for the noise and the order of the boxes.

    Returns:
        uint8 (height, width, C), and at most max_boxes rows. Boxes are cut at the border; those of less than a pixel
        are left out.

    Darknet: load_data_detection, fill_truth_detection, blend_truth, blend_truth_mosaic. C changes colours before it
    blurs: here only what is seen of a mosaic's tile is coloured.
    """
    mosaic = len(sources) == PARTS[MOSAIC]
    cut = int(recipe.cut[0] * width), int(recipe.cut[1] * height)
    canvas, all_rows = None, []
    for part, (view, source) in enumerate(zip(recipe.views, sources, strict=True)):
        high, wide = source.image.shape[:2]
        margins = margins_of(a, view, wide, high, width, height, part if mosaic else None)
        rows = _moved(rng.permutation(source.rows), view.flip, margins, wide, high)
        rows = _inside(rows, (0, 0, 1, 1), width, height)
        image = _blurred(_cropped(source, margins, view.flip, width, height), view.blur, rows)
        if mosaic:
            canvas = np.empty_like(image) if canvas is None else canvas
            tile = _tile(part, cut, _border(margins, view.flip, wide, high, width, height), width, height)
            canvas[tile.top:tile.bottom, tile.left:tile.right] = _coloured(image[tile.source], view, rng)
            rows[:, 1:3] += ((tile.left - tile.x) / width, (tile.top - tile.y) / height)
            frame = (tile.left / width, tile.top / height, tile.right / width, tile.bottom / height)
            rows = _inside(rows, frame if a.mosaic_bound else (0, 0, 1, 1), width, height)
        else:
            image = _coloured(image, view, rng)
            canvas = image if canvas is None else cv2.addWeighted(image, .5, canvas, .5, 0)
        all_rows.append(rows)
    assert canvas is not None
    return canvas.reshape(height, width, -1), np.concatenate(all_rows)[:a.max_boxes]


def margins_of(a: Augmentation, view: View, wide: int, high: int, width: int, height: int, tile: int | None) -> Margins:
    """Where jitter, zoom and letterbox cut a picture of wide x high for a network of width x height."""
    out = (1 - max(a.resize, 1 / a.resize)) / 2
    into = 0 if a.resize < 1 else (1 - min(a.resize, 1 / a.resize)) / 2

    def edge(size: int, move: float, zoom: float) -> int:
        jitter, low, top = (int(size * share) for share in (a.jitter, out, into))
        return int(int((2 * move - 1) * jitter) + zoom * (top - low) + low)

    left, right = (edge(wide, move, zoom) for move, zoom in zip(view.edges[:2], view.zoom, strict=True))
    top, bottom = (edge(high, move, zoom) for move, zoom in zip(view.edges[2:], view.zoom, strict=True))
    if a.letter_box:
        if wide * height > high * width:
            more = (wide * height / width - high) / 2
            top, bottom = int(top - more), int(bottom - more)
        else:
            more = (high * width / height - wide) / 2
            left, right = int(left - more), int(right - more)
    if tile is not None and view.corner:
        if (tile % 2 == 0) != view.flip:
            left, right = 0, left + right
        else:
            left, right = left + right, 0
        top, bottom = (0, top + bottom) if tile < 2 else (top + bottom, 0)
    empty = (left + right >= wide or top + bottom >= high or max(left, right) >= wide or max(top, bottom) >= high)
    return Margins(0, 0, 0, 0) if empty else Margins(left, top, right, bottom)


def _cropped(source: Source, margins: Margins, flip: bool, width: int, height: int) -> np.ndarray:
    """Cut or extend by the picture's mean colour, stretch to (height, width), flip."""
    image, (left, top, right, bottom) = source.image, margins
    high, wide = image.shape[:2]
    inner = image[max(0, top):high - max(0, bottom), max(0, left):wide - max(0, right)]
    if min(margins) < 0:
        inner = cv2.copyMakeBorder(inner, max(0, -top), max(0, -bottom), max(0, -left), max(0, -right),
                                   cv2.BORDER_CONSTANT, value=source.mean)
    image = cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.flip(image, 1) if flip else image


def _coloured(image: np.ndarray, view: View, rng: np.random.Generator) -> np.ndarray:
    """A view's colours and noise."""
    if (view.hue, view.saturation, view.exposure) != (0, 1, 1):
        image = distort(image, view.hue, view.saturation, view.exposure)
    return noisy(image, view.noise, rng) if view.noise else image


def distort(image: np.ndarray, hue: float, saturation: float, exposure: float) -> np.ndarray:
    """Change colours in HSV, of grey pictures the exposure.

    Hue is a circle of 180 here: C's build with OpenCV stops at 0 when it turns back (its other build does not).
    """
    value = (LEVELS * exposure).round().clip(0, 255)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.LUT(image, value.astype(np.uint8))
    turned, strong = (LEVELS + 179 * hue).round() % 180, (LEVELS * saturation).round().clip(0, 255)
    table = np.stack([turned, strong, value], 1)[None].astype(np.uint8)
    return cv2.cvtColor(cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), table), cv2.COLOR_HSV2BGR)


def noisy(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Brighter by noise of this deviation; what is negative counts as none, as in C."""
    cv2.setRNGSeed(int(rng.integers(2 ** 31)))
    return cv2.add(image, cv2.randn(np.empty_like(image), np.zeros((4, 1)), np.full((4, 1), float(deviation))))


def _blurred(image: np.ndarray, size: int, rows: np.ndarray) -> np.ndarray:
    """Blur the background (size 1) or everything, but less where objects are small."""
    height, width = image.shape[:2]
    if size > 1:
        smallest = (rows[:, 3:5] * (width, height)).min() if len(rows) else 0
        size = min(size, int(smallest) // 8)
    if size == 0:
        return image
    kernel = BACKGROUND_KERNEL if size == 1 else size // 2 * 2 + 1
    blurred = cv2.GaussianBlur(image, (kernel, kernel), 0)
    if size == 1:
        low, size_xy = rows[:, 1:3] - rows[:, 3:5] / 2, rows[:, 3:5]
        starts, sizes = (low * (width, height)).astype(int), (size_xy * (width, height)).astype(int)
        for (x, y), (w, h) in zip(starts.tolist(), sizes.tolist(), strict=True):
            blurred[y:y + h, x:x + w] = image[y:y + h, x:x + w]
    return blurred


def _moved(rows: np.ndarray, flip: bool, margins: Margins, wide: int, high: int) -> np.ndarray:
    """Rows of a picture of wide x high, of what the margins leave of it. Darknet: correct_boxes."""
    rows = rows.astype(np.float64)
    scale = np.array([wide / (wide - margins.left - margins.right), high / (high - margins.top - margins.bottom)])
    rows[:, 1:3] = (rows[:, 1:3] - (margins.left / wide, margins.top / high)) * scale
    rows[:, 3:5] *= scale
    if flip:
        rows[:, 1] = 1 - rows[:, 1]
    return rows


def _inside(rows: np.ndarray, frame: tuple[float, float, float, float], width: int, height: int) -> np.ndarray:
    """Boxes cut at a frame (left, top, right, bottom); those left with less than a pixel of width x height go."""
    low = np.maximum(rows[:, 1:3] - rows[:, 3:5] / 2, frame[:2])
    top = np.minimum(rows[:, 1:3] + rows[:, 3:5] / 2, frame[2:])
    rows[:, 1:3], rows[:, 3:5] = (low + top) / 2, top - low
    return rows[((top - low) * (width, height) >= 1 - 1e-9).all(1)]


def _border(margins: Margins, flip: bool, wide: int, high: int, width: int, height: int) -> Margins:
    """Whole pixels of the result that lie outside the source, on each side of it as it is when flipped."""
    left, top, right, bottom = (max(0, -side) for side in margins)
    across, down = width / (wide - margins.left - margins.right), height / (high - margins.top - margins.bottom)
    if flip:
        left, right = right, left
    return Margins(int(left * across), int(top * down), int(right * across), int(bottom * down))


def _tile(number: int, cut: tuple[int, int], border: Margins, width: int, height: int) -> Tile:
    """The tile left or right of the cut, above or below it; the inner border of its picture lies under the others.

    Darknet: C measures the border as if nothing else were cut off, so that some of the picture itself may vanish and
    boxes stick out of its tile unless mosaic_bound=1. Here only boxes that leave their own picture do.
    """
    left, right, x = _span(number % 2 == 1, cut[0], width, border.left, border.right)
    top, bottom, y = _span(number >= 2, cut[1], height, border.top, border.bottom)
    return Tile(left, top, right, bottom, x, y)


def _span(second: bool, cut: int, size: int, before: int, after: int) -> tuple[int, int, int]:
    """On one axis: where a tile starts and ends, and where its first pixel is in the picture."""
    if second:
        return cut, size, min(cut, before)
    return 0, cut, size - cut - min(size - cut, after)
