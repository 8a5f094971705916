"""Augmentation: its options, and the random numbers of a picture, a function of the seed and its place in the run."""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from darknet_py.errors import DataError, Reason

MIXUP, MOSAIC = 1, 3                    # C's numbers for ways of mixing
PARTS = {0: 1, MIXUP: 2, MOSAIC: 4}     # pictures that make one
LEAST_TILE = .2                         # of a mosaic's side
LARGEST_NOISE = 127


@dataclass(frozen=True)
class Augmentation:
    """Options of augmentation; by default pictures are only resized. Names and ranges are those of the cfg.

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
                raise DataError(f"{name}= needs a number above 0, found {getattr(self, name):g}", Reason.OUT_OF_RANGE)
        if self.jitter < 0:
            raise DataError(f"jitter= needs a number that is not negative, found {self.jitter:g}", Reason.OUT_OF_RANGE)
        if self.mixup not in range(5):
            raise DataError(f"mixup= needs 0 (off), 1 (mixup), 2 (cutmix), 3 (mosaic) or 4, found {self.mixup}",
                            Reason.OUT_OF_RANGE)
        if self.mixing == MOSAIC and self.letter_box:
            raise DataError("mosaic=1 and letter_box=1 do not go together: use one of them", Reason.CONFLICT)

    @property
    def mixing(self) -> int:
        """0, MIXUP or MOSAIC. Darknet: parse_net_options; cutmix is refused for detectors, with a mosaic it is one."""
        if self.mosaic:
            return MOSAIC
        way = 2 if self.cutmix else self.mixup
        return {2: 0, 4: MOSAIC}.get(way, way)


class View(NamedTuple):
    """The random numbers of one picture, drawn before it is read. Numbers without a unit are in [0, 1)."""

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


def draw_recipe(a: Augmentation, seed: int, iteration: int, group: int, member: int = 0) -> Recipe:
    """The recipe of a picture.

    Args:
        seed, iteration: not negative.
        group: the picture's number in the iteration; that of the pair with ``contrastive``, of the sequence with
            ``track``.
        member: which of a pair.

    C decides on ``mosaic`` and ``mixup`` once for all pictures that a thread loads, here it is drawn for each picture;
    and C changes all sequences of a mini-batch alike, but cuts each picture's mosaic elsewhere: here a sequence has its
    own changes, cut included.
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


def _draw_view(a: Augmentation, rng: np.random.Generator) -> View:
    """Every number is drawn whatever the options are, so that one option leaves the others' draws alone."""
    left, right, top, bottom, zoom_in, zoom_out, hue, flip, noise, corner = rng.random(10).tolist()
    return View((left, right, top, bottom), (zoom_in, zoom_out), bool(a.flip) and flip < .5, (2 * hue - 1) * a.hue,
                random_factor(a.saturation, rng), random_factor(a.exposure, rng),
                (0, min(a.blur, 1), a.blur)[rng.integers(3)],
                min(max(a.gaussian_noise, 0), LARGEST_NOISE) if noise < .5 else 0, corner < .5)


def random_factor(most: float, rng: np.random.Generator) -> float:
    """Between 1 / most and most. Darknet: rand_scale."""
    scale, divide = rng.random(2).tolist()
    scale = 1 + scale * (most - 1)
    return 1 / scale if divide < .5 else scale
