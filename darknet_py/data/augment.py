"""Augmentation of pictures with boxes, drawn from the picture's place in the run alone.

Pictures are uint8 BGR or grey (H, W, C); rows are (K, 5 or 6): class, center x, center y, width, height and, where
objects have one, the track; boxes are relative to the picture.

Darknet: load_data_detection and image_data_augmentation, as built with OpenCV.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from darknet_py.errors import DataError

MIXUP, MOSAIC = 1, 3                    # C's numbers for ways of mixing
PARTS = {0: 1, MIXUP: 2, MOSAIC: 4}     # pictures that make one
LEAST_TILE = .2                         # of a mosaic's side
BACKGROUND_KERNEL = 17                  # pixels
LARGEST_NOISE = 127


@dataclass(frozen=True)
class Augmentation:
    """How pictures are changed; as it stands, they are only resized. Names and ranges are those of the cfg.

    ``angle`` and ``aspect`` are missing: C reads them for classifiers alone, and so detectors never rotate.

    Raises:
        DataError: values that have no meaning, alone or together.
    """

    jitter: float = 0               # how far each edge moves, in or out, as a share of the picture
    resize: float = 1               # zoom: below 1 out alone, above 1 in or out by up to this
    letter_box: int = 0             # keep the proportions
    flip: int = 0                   # half of the pictures, left to right
    saturation: float = 1           # times or divided by up to this
    exposure: float = 1
    hue: float = 0                  # turned by up to this share of the circle, either way
    gaussian_noise: int = 0         # half of the pictures get brighter by the absolute value of noise of this deviation
    blur: int = 0                   # a third: all but the objects; a third: all, by a window of so many pixels
    mosaic: int = 0                 # half of the pictures are made of four
    mosaic_bound: int = 0           # boxes end at their picture's border
    mixup: int = 0                  # 1: half of the pictures are averages of two; 3: as mosaic=1
    cutmix: int = 0                 # for classifiers: nothing here
    contrastive: int = 0            # pictures come in pairs, two views of one
    contrastive_jit_flip: int = 0   # the views differ in jitter and flip
    contrastive_color: int = 0      # the views differ in colour
    track: int = 0                  # consecutive pictures, all of a sequence changed alike
    augment_speed: int = 2          # the longest step from one picture to the next
    max_boxes: int = 200            # an image

    def __post_init__(self):
        for name in ("resize", "saturation", "exposure"):
            if getattr(self, name) <= 0:
                raise DataError(f"{name}= needs a number above 0, found {getattr(self, name):g}")
        if self.jitter < 0:
            raise DataError(f"jitter= needs a number that is not negative, found {self.jitter:g}")
        if self.mixup not in range(5):
            raise DataError(f"mixup= needs 0 (off), 1 (mixup), 2 (cutmix), 3 (mosaic) or 4, found {self.mixup}")
        if self.mixing == MOSAIC and self.letter_box:
            raise DataError("mosaic=1 and letter_box=1 do not go together: use one of them")

    @property
    def mixing(self) -> int:
        """0, MIXUP or MOSAIC. Darknet: parse_net_options; cutmix is refused for detectors, with a mosaic it is one."""
        if self.mosaic:
            return MOSAIC
        way = 2 if self.cutmix else self.mixup
        return {2: 0, 4: MOSAIC}.get(way, way)


class View(NamedTuple):
    """What is drawn for a picture before it is known. Numbers without a unit are in [0, 1)."""

    edges: tuple[float, float, float, float]        # left, right, top, bottom
    zoom: tuple[float, float]                       # left and top, right and bottom
    flip: bool
    hue: float                                      # share of the circle
    saturation: float                               # factors
    exposure: float
    blur: int                                       # 0: none; 1: the background; else the window's pixels
    noise: int                                      # its deviation
    corner: bool                                    # in a mosaic, the middle gets what jitter cuts or adds


class Recipe(NamedTuple):
    """How a picture is made: of 1, 2 (mixup) or 4 (mosaic) pictures.

    picks: [0, 1) each, where in the list of samples they are found.
    speed: the step from one picture of a sequence to the next.
    cut: where a mosaic's tiles meet, as shares of width and height.
    """

    views: tuple[View, ...]
    picks: tuple[float, ...]
    speed: int
    cut: tuple[float, float]


class Margins(NamedTuple):
    """Pixels cut off a picture's sides; what is negative is added."""

    left: int
    top: int
    right: int
    bottom: int


def draw_recipe(a: Augmentation, seed: int, iteration: int, group: int, member: int = 0) -> Recipe:
    """The recipe of a picture.

    Args:
        seed, iteration: not negative.
        group: the picture's number in the iteration; that of the pair with ``contrastive``, of the sequence with
            ``track``.
        member: which of a pair.

    C tosses the coin of ``mosaic`` and ``mixup`` once for all pictures that a thread loads, here each picture has its
    own; and it changes all sequences of a mini-batch alike, but cuts each picture's mosaic elsewhere: here a sequence
    has its own changes, cut included.
    """
    shared = np.random.default_rng((seed, iteration, group, 0))
    own = np.random.default_rng((seed, iteration, group, 1 + member)) if a.contrastive else shared
    parts = PARTS[a.mixing if shared.random() < .5 else 0]
    picks, speed = tuple(shared.random(parts).tolist()), int(shared.integers(1, max(1, a.augment_speed) + 1))
    views = []
    for _ in range(parts):
        view = _draw_view(a, shared)
        if a.contrastive:
            mine = _draw_view(a, own)
            if not a.contrastive_jit_flip:
                mine = mine._replace(edges=view.edges, flip=view.flip)
            if not a.contrastive_color:
                mine = mine._replace(hue=view.hue, saturation=view.saturation, exposure=view.exposure)
            view = mine
        views.append(view)
    cut_x, cut_y = own.uniform(LEAST_TILE, 1 - LEAST_TILE, 2).tolist()
    return Recipe(tuple(views), picks, speed, (cut_x, cut_y))


def make_picture(a: Augmentation, recipe: Recipe, sources: Sequence[tuple[np.ndarray, np.ndarray]],
                 width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A training picture.

    Args:
        sources: a picture and its rows for each of the recipe's views; the rows of all have as many columns.
        width, height: of the result, in pixels.
        rng: for the noise and the order of the boxes.

    Returns:
        uint8 (height, width, C), and at most max_boxes rows. Boxes are cut at the border; those of less than a pixel
        are left out.

    Darknet: load_data_detection, fill_truth_detection, blend_truth, blend_truth_mosaic.
    """
    mosaic = len(sources) == PARTS[MOSAIC]
    cut_x, cut_y = int(recipe.cut[0] * width), int(recipe.cut[1] * height)
    canvas, all_rows = None, []
    for part, (view, (source, rows)) in enumerate(zip(recipe.views, sources, strict=True)):
        high, wide = source.shape[:2]
        margins = _margins(a, view, wide, high, width, height, part if mosaic else None)
        rows = _moved(rng.permutation(rows), view.flip, margins, wide, high)
        rows = _inside(rows, (0, 0, 1, 1), width, height)
        image = _changed(_cropped(source, margins, width, height), view, rows, rng)
        if canvas is None:
            canvas = np.empty_like(image) if mosaic else image
        elif not mosaic:
            canvas = cv2.addWeighted(image, .5, canvas, .5, 0)
        if mosaic:
            rows = _place_tile(a, canvas, image, rows, part, (cut_x, cut_y),
                               _border(margins, view.flip, wide, high, width, height))
        all_rows.append(rows)
    assert canvas is not None
    return canvas.reshape(height, width, -1), np.concatenate(all_rows)[:a.max_boxes]


def _draw_view(a: Augmentation, rng: np.random.Generator) -> View:
    """Every number is drawn whatever the options are, so that one option leaves the others' draws alone."""
    left, right, top, bottom, zoom_in, zoom_out, hue, flip, noise, corner = rng.random(10).tolist()
    return View((left, right, top, bottom), (zoom_in, zoom_out), bool(a.flip) and flip < .5, (2 * hue - 1) * a.hue,
                _factor(a.saturation, rng), _factor(a.exposure, rng), (0, min(a.blur, 1), a.blur)[rng.integers(3)],
                min(max(a.gaussian_noise, 0), LARGEST_NOISE) if noise < .5 else 0, corner < .5)


def _factor(most: float, rng: np.random.Generator) -> float:
    """Between 1 / most and most. Darknet: rand_scale."""
    scale, divide = rng.random(2).tolist()
    scale = 1 + scale * (most - 1)
    return 1 / scale if divide < .5 else scale


def _margins(a: Augmentation, view: View, wide: int, high: int, width: int, height: int, tile: int | None) -> Margins:
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


def _cropped(image: np.ndarray, margins: Margins, width: int, height: int) -> np.ndarray:
    """Cut or extend by the picture's mean colour, then stretch to (height, width)."""
    high, wide = image.shape[:2]
    left, top, right, bottom = margins
    inner = image[max(0, top):high - max(0, bottom), max(0, left):wide - max(0, right)]
    if min(margins) < 0:
        inner = cv2.copyMakeBorder(inner, max(0, -top), max(0, -bottom), max(0, -left), max(0, -right),
                                   cv2.BORDER_CONSTANT, value=cv2.mean(image))
    return cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR)


def _changed(image: np.ndarray, view: View, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip, colours, blur, noise. Rows are those of the picture when it is flipped."""
    if view.flip:
        image = cv2.flip(image, 1)
    if (view.hue, view.saturation, view.exposure) != (0, 1, 1):
        image = _coloured(image, view.hue, view.saturation, view.exposure)
    if view.blur:
        image = _blurred(image, view.blur, rows)
    if view.noise:
        cv2.setRNGSeed(int(rng.integers(2 ** 31)))
        noise = cv2.randn(np.empty_like(image), np.zeros(4), np.full(4, float(view.noise)))     # not below 0, as in C
        image = cv2.add(image, noise)
    return image


def _coloured(image: np.ndarray, hue: float, saturation: float, exposure: float) -> np.ndarray:
    """Change colours in HSV; grey pictures get the exposure.

    Hue is a circle of 180 here: C's build with OpenCV stops at 0 when it turns back (its other build does not).
    """
    levels = np.arange(256)
    value = np.rint(levels * exposure).clip(0, 255)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.LUT(image, value.astype(np.uint8))
    table = np.stack([np.rint(levels + 179 * hue) % 180, np.rint(levels * saturation).clip(0, 255), value], 1)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), table.astype(np.uint8)[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


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


def _place_tile(a: Augmentation, canvas: np.ndarray, image: np.ndarray, rows: np.ndarray, tile: int,
                cut: tuple[int, int], border: Margins) -> np.ndarray:
    """Copy a picture to its tile (left or right, above or below the cut); its inner border lies under the others.

    Returns:
        The rows of what is there.

    Darknet: C measures the border as if nothing else were cut off, so that some of the picture itself may vanish and
    boxes stick out of its tile unless mosaic_bound=1. Here only boxes that leave their own picture do.
    """
    height, width = canvas.shape[:2]
    x, x_end, start_x = _span(tile % 2 == 1, cut[0], width, border.left, border.right)
    y, y_end, start_y = _span(tile >= 2, cut[1], height, border.top, border.bottom)
    canvas[y:y_end, x:x_end] = image[start_y:start_y + y_end - y, start_x:start_x + x_end - x]
    rows[:, 1:3] += ((x - start_x) / width, (y - start_y) / height)
    frame = (x / width, y / height, x_end / width, y_end / height) if a.mosaic_bound else (0, 0, 1, 1)
    return _inside(rows, frame, width, height)


def _span(second: bool, cut: int, size: int, before: int, after: int) -> tuple[int, int, int]:
    """On one axis: where a tile starts and ends, and where its first pixel is in the picture."""
    if second:
        return cut, size, min(cut, before)
    return 0, cut, size - cut - min(size - cut, after)
