"""Make a small labelled set of pictures for a classifier: three shapes and three textures.

    python scripts/examples/shapes/make_classifier_set.py FOLDER [--train 300] [--valid 90] [--size 48] [--seed 1]

Writes FOLDER/{train,valid}/CLASS_0001.png, FOLDER/{train,valid}.txt, FOLDER/pictures.names and FOLDER/pictures.data.
Paths in the lists are relative to FOLDER.
The same arguments make the same files. Size, place, turn, colours and noise vary; the lists are mixed, and every class
has as many pictures as any other.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

FINE = 4                # drawn so many times larger, then averaged
NOISE = 8               # deviation, of 255
CONTRAST = 70           # the least distance of the two colours, of 255


def circle(size: int, rng: np.random.Generator) -> np.ndarray:
    return _filled(size, rng, np.linspace(0, 2 * np.pi, 64, endpoint=False))


def square(size: int, rng: np.random.Generator) -> np.ndarray:
    return _filled(size, rng, np.arange(4) * np.pi / 2)


def triangle(size: int, rng: np.random.Generator) -> np.ndarray:
    return _filled(size, rng, np.arange(3) * np.pi * 2 / 3)


def stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    u, _ = _turned(size, rng)
    return np.sin(u) > 0


def chess(size: int, rng: np.random.Generator) -> np.ndarray:
    u, v = _turned(size, rng)
    return (np.sin(u) > 0) != (np.sin(v) > 0)


def dots(size: int, rng: np.random.Generator) -> np.ndarray:
    u, v = _turned(size, rng)
    return np.cos(u) + np.cos(v) > .9


CLASSES = (circle, square, triangle, stripes, chess, dots)


def _filled(size: int, rng: np.random.Generator, angles: np.ndarray) -> np.ndarray:
    """A polygon with corners at these angles, somewhere inside."""
    radius = rng.uniform(.25, .42) * size
    centre = rng.uniform(radius, size - radius, 2)
    angles = angles + rng.uniform(0, 2 * np.pi)
    corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return mask > 0


def _turned(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates turned and shifted, 2 pi a period."""
    y, x = np.mgrid[:size, :size] / size * 2 * np.pi * rng.uniform(2.5, 5)
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi, 2)
    return x * np.cos(angle) + y * np.sin(angle) + shift[0], y * np.cos(angle) - x * np.sin(angle) + shift[1]


def render(label: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """A picture of a class: uint8 (size, size, 3) BGR."""
    mask = CLASSES[label](size * FINE, rng).astype(np.float32)[:, :, None]
    front, back = rng.uniform(0, 255, (2, 3))
    while np.abs(front - back).max() < CONTRAST:
        front = rng.uniform(0, 255, 3)
    image = mask * front + (1 - mask) * back
    image = image.reshape(size, FINE, size, FINE, 3).mean((1, 3)) + rng.normal(0, NOISE, (size, size, 3))
    return np.rint(image).clip(0, 255).astype(np.uint8)


SPLITS = ("train", "valid")


def write_split(folder: Path, split: str, count: int, size: int, seed: int) -> None:
    """The pictures of a split and their list."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        label = number % len(CLASSES)
        path = folder / split / f"{CLASSES[label].__name__}_{number:04d}.png"
        rng = np.random.default_rng((seed, SPLITS.index(split), number))
        cv2.imencode(".png", render(label, size, rng))[1].tofile(path)
        paths.append(f"{split}/{path.name}")
    order = np.random.default_rng((seed, SPLITS.index(split))).permutation(count)
    (folder / f"{split}.txt").write_text("".join(f"{paths[number]}\n" for number in order))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=300, help="pictures to train on, over all classes")
    parser.add_argument("--valid", type=int, default=90, help="pictures to validate on")
    parser.add_argument("--size", type=int, default=48, help="of a picture's side, in pixels")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    for split, count in zip(SPLITS, (given.train, given.valid), strict=True):
        write_split(given.folder, split, count, given.size, given.seed)
    (given.folder / "pictures.names").write_text("".join(f"{kind.__name__}\n" for kind in CLASSES))
    (given.folder / "pictures.data").write_text(
        f"classes = {len(CLASSES)}\ntrain = train.txt\nvalid = valid.txt\nlabels = pictures.names\nbackup = backup\n"
        "top = 2\n")
    print(f"{given.folder}: {given.train} + {given.valid} pictures of {len(CLASSES)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
