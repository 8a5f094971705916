"""Backgrounds: walls, wood, bricks, stripes and clutter, or parts of photographs."""
from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from .artist import Artist

PHOTOS = (              # without digits, where an import or a Debian package brings them
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"), ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"), *(("skimage", f"data/{name}") for name in (
        "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png",
        "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "rocket.jpg")),
    *((None, f"/usr/share/backgrounds/mate/nature/{name}.jpg") for name in (
        "Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm", "TwoWings",
        "Wood", "YellowFlower")))


def find_photos() -> list[Path]:
    """Those of PHOTOS that are there."""
    places = []
    for package, name in PHOTOS:
        spec = importlib.util.find_spec(package) if package is not None else None
        if package is None or spec is not None:
            places.append(Path(name) if spec is None else Path(spec.submodule_search_locations[0]) / name)
    return [path for path in places if path.is_file()]


@lru_cache(None)
def read_photo(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    scale = min(1, 1280 / max(image.shape))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def background(artist: Artist, height: int, width: int) -> np.ndarray:
    """Walls, wood, bricks, stripes, clouds of colour, things: (H, W, 3)."""
    rng = artist.rng
    image = artist.texture(height, width, artist.colour(), rng.uniform(2, 30))
    kind = rng.random()
    if kind < .3:
        for octave in range(1, 6):
            image += cv2.resize(rng.normal(0, 60 / octave, (2 ** octave + 1, 2 ** octave + 1, 3)).astype(np.float32),
                                (width, height), interpolation=cv2.INTER_CUBIC) * rng.uniform(.2, 1)
    elif kind < .45:        # bricks, tiles, boards
        high, wide = int(rng.integers(14, 60)), int(rng.integers(24, 160))
        joint = artist.colour()
        for row in range(height // high + 1):
            y = row * high
            for x in range(-(row % 2) * wide // 2, width, wide):
                image[y:y + high, max(x, 0):max(x + wide, 0)] *= rng.uniform(.8, 1.15)
                cv2.rectangle(image, (x, y), (x + wide, y + high), joint.tolist(), int(rng.integers(1, 4)))
    elif kind < .55:        # stripes
        y, x = np.mgrid[:height, :width].astype(np.float32)
        angle = rng.uniform(0, np.pi)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(.05, .6))
        image += (wave > 0 if artist.chance(.5) else wave)[..., None] * rng.uniform(-60, 60, 3).astype(np.float32)
    for _ in range(int(rng.integers(0, 14)) if artist.chance(.6) else 0):
        clutter(artist, image)
    if artist.chance(.5):
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(.6, 4))
    return image.clip(0, 255).astype(np.float32)


def part_of(photo: np.ndarray, artist: Artist, height: int, width: int) -> np.ndarray:
    """A photograph's part as a background (H, W, 3), perhaps mirrored, brighter, in other colours."""
    rng = artist.rng
    if artist.chance(.2):
        photo = photo.transpose(1, 0, 2)
    most = min(photo.shape[0] / height, photo.shape[1] / width)
    size = np.array((height, width)) * most * rng.uniform(.3, 1)
    y, x = (rng.random(2) * (np.array(photo.shape[:2]) - size)).astype(int)
    part = photo[y:y + max(8, int(size[0])), x:x + max(8, int(size[1])), ::1]
    part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    if artist.chance(.5):
        part = part[:, ::-1]
    if artist.chance(.3):
        part = part[..., rng.permutation(3)]
    if artist.chance(.3):
        part = cv2.GaussianBlur(part, (0, 0), rng.uniform(.5, 3))
    return np.ascontiguousarray((part * rng.uniform(.5, 1.4)).clip(0, 255))


def clutter(artist: Artist, image: np.ndarray) -> None:
    """A line, an arc, a polygon, a box somewhere."""
    rng, (height, width) = artist.rng, image.shape[:2]
    colour, thick = artist.colour().tolist(), int(rng.integers(1, 6))
    points = rng.integers(0, (width, height), (int(rng.integers(3, 6)), 2)).astype(np.int32)
    size = rng.integers(6, max(width, height) // 3, 2)
    kind = int(rng.integers(5))
    if kind == 0:
        cv2.polylines(image, [points[:3]], artist.chance(.5), colour, thick, cv2.LINE_AA)
    elif kind == 1:
        cv2.fillPoly(image, [(points[0] + (points - points[0]) // 3).astype(np.int32)], colour, cv2.LINE_AA)
    elif kind == 2:
        cv2.rectangle(image, points[0].tolist(), (points[0] + size).tolist(), colour,
                      -1 if artist.chance(.5) else thick)
    elif kind == 3:         # an arc too short to be a 0
        start = int(rng.integers(360))
        cv2.ellipse(image, points[0].tolist(), size.tolist(), int(rng.integers(180)), start, start + 150, colour, thick,
                    cv2.LINE_AA)
    else:
        cv2.line(image, points[0].tolist(), points[1].tolist(), colour, thick, cv2.LINE_AA)
