"""Augmentation of a classifier's pictures: crop, rotation, flip, colours, mixup, cutmix, mosaic."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py.data.augment_apply import distort
from darknet_py.data.augment_plan import random_factor
from darknet_py.data.image import resize
from darknet_py.errors import DataError, Reason

MIXUP, CUTMIX, MOSAIC, EITHER = 1, 2, 3, 4          # C's numbers for ways of mixing; the last is cutmix or mosaic
PARTS = {0: 1, MIXUP: 2, CUTMIX: 2, MOSAIC: 4, EITHER: 4}
CUT = .3, .8                        # of width and height: what cutmix pastes
LEAST_TILE = .2                     # of a mosaic's side


@dataclass(frozen=True)
class ClassifierAugmentation:
    """Options of augmentation. Names and ranges are those of [net].

    Raises:
        DataError: values that have no meaning.
    """

    min_crop: int                   # the shorter side becomes as long as this ...
    max_crop: int                   # ... to this, then the network's size is cut out somewhere
    angle: float = 0                # turned by up to so many degrees, either way
    aspect: float = 1               # stretched by up to this, times or divided
    flip: int = 1                   # half of the pictures, left to right
    hue: float = 0                  # turned by up to this share of the circle, either way
    saturation: float = 1           # times or divided by up to this
    exposure: float = 1
    blur: int = 0                   # a quarter, by a window of so many pixels; 1: of 15
    gaussian_noise: int = 0         # half of the pictures get brighter by noise of this deviation
    mixup: int = 0                  # half of the pictures: 1 averages of two, 2 cutmix, 3 mosaic, 4 one of the last two
    label_smooth_eps: float = 0     # what the right class leaves to the others
    contrastive: int = 0            # pictures come in pairs, two views of one

    def __post_init__(self):
        if min(self.min_crop, self.max_crop) < 1:
            raise DataError(f"min_crop= and max_crop= need at least 1, found {self.min_crop} and {self.max_crop}",
                            Reason.OUT_OF_RANGE)
        for name in ("aspect", "saturation", "exposure"):
            if getattr(self, name) <= 0:
                raise DataError(f"{name}= needs a number above 0, found {getattr(self, name):g}", Reason.OUT_OF_RANGE)
        if self.mixup not in range(5):
            raise DataError(f"mixup= needs 0 (off), 1 (mixup), 2 (cutmix), 3 (mosaic) or 4, found {self.mixup}",
                            Reason.OUT_OF_RANGE)
        if not 0 <= self.label_smooth_eps < 1:
            raise DataError(f"label_smooth_eps= needs a number from 0 to below 1, found {self.label_smooth_eps:g}",
                            Reason.OUT_OF_RANGE)


def cut_out(a: ClassifierAugmentation, image: np.ndarray, rng: np.random.Generator, width: int, height: int
             ) -> np.ndarray:
    """Resize, rotate, crop, flip, change colours. Darknet: random_augment_image, random_distort_image."""
    rows, columns = image.shape[:2]
    size = max(width, height)
    aspect = random_factor(a.aspect, rng)
    low, high = sorted((a.min_crop, a.max_crop))
    scale = int(rng.integers(low, high + 1)) / max(1, int(min(rows, columns * aspect)))
    angle = math.radians(rng.uniform(-1, 1) * a.angle)
    x, y = (rng.uniform(-1, 1) * max(0, length * scale - size) / 2 - size / 2
            for length in (columns / aspect, rows))
    # where the corner of the result lies in the picture, and the steps from there
    turn = np.array([[math.cos(angle) * aspect, -math.sin(angle)], [math.sin(angle) * aspect, math.cos(angle)]]) / scale
    start = turn @ (x, y) + (columns / 2, rows / 2)
    image = cv2.warpAffine(image, np.column_stack([turn, start]), (size, size),
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    if rng.random() < .5 and a.flip:
        image = cv2.flip(image, 1)
    hue, saturation, exposure = rng.uniform(-1, 1) * a.hue, random_factor(a.saturation, rng), \
        random_factor(a.exposure, rng)
    if (hue, saturation, exposure) != (0, 1, 1):
        image = distort(image, hue, saturation, exposure)
    return image if width == height else cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def mixed(parts: Sequence[np.ndarray], way: int, rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
    """One picture of several of the same size, and the share that each has in it."""
    first, (height, width) = parts[0], parts[0].shape[:2]
    if way == 0:
        return first, [1.]
    if way == MIXUP:
        return cv2.addWeighted(first, .5, parts[1], .5, 0), [.5, .5]
    image = first.copy()
    if way == CUTMIX:
        cut_w, cut_h = (int(rng.integers(int(side * CUT[0]), int(side * CUT[1]) + 1)) for side in (width, height))
        x, y = (int(rng.integers(max(1, side - cut))) for side, cut in ((width, cut_w), (height, cut_h)))
        image[y:y + cut_h, x:x + cut_w] = parts[1][y:y + cut_h, x:x + cut_w]
        share = cut_w * cut_h / (width * height)
        return image, [1 - share, share]
    x, y = (int(rng.integers(int(side * LEAST_TILE), int(side * (1 - LEAST_TILE)) + 1)) for side in (width, height))
    tiles = [(slice(None, y), slice(None, x)), (slice(None, y), slice(x, None)),
             (slice(y, None), slice(None, x)), (slice(y, None), slice(x, None))]
    for tile, part in zip(tiles, parts, strict=True):
        image[tile] = part[tile]
    areas = [x * y, (width - x) * y, x * (height - y), (width - x) * (height - y)]
    return image, [area / (width * height) for area in areas]


def middle(x: Tensor | np.ndarray, width: int, height: int) -> Tensor:
    """Centre crop of a picture whose shorter side is resized to the network's width; edges are repeated where it is too
    small. Darknet: resize_min, crop_image."""
    rows, columns = x.shape[:2] if isinstance(x, np.ndarray) else x.shape[1:]
    x = resize(x, *((width, rows * width // columns) if columns < rows else (columns * width // rows, width)))
    at = [(torch.arange(size) + int((length - size) / 2)).clamp(0, length - 1)
          for size, length in ((height, x.shape[1]), (width, x.shape[2]))]
    return x[:, at[0]][:, :, at[1]]
