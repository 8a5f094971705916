"""Pictures and small data sets that tests draw for themselves."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("red", "green", "blue", "cyan", "pink", "gold")
COLOURS = ((30, 30, 220), (30, 220, 30), (220, 30, 30), (220, 220, 30), (220, 30, 220), (30, 220, 220))       # BGR


def scene(seed: int, size=(96, 128)) -> np.ndarray:
    """A picture like no other: patches of random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)


def classifier_set(folder: str | Path, train: int, valid: int, size: int) -> None:
    """Pictures of ``size`` x ``size`` pixels, a rectangle on noise, whose class is the rectangle's colour; every class
    has as many as any other. Their lists are train.txt and valid.txt, their names pictures.names, and pictures.data
    names all of them."""
    folder = Path(folder)
    for split, count in (("train", train), ("valid", valid)):
        (folder / split).mkdir(parents=True)
        names = [f"{split}/{CLASSES[number % len(CLASSES)]}_{number:03d}.png" for number in range(count)]
        draw = np.random.default_rng(len(split))
        for number, name in enumerate(names):
            picture = draw.integers(0, 60, (size, size, 3), np.uint8)
            left, top = draw.integers(0, size // 4, 2)
            picture[top:top + 3 * size // 4, left:left + 3 * size // 4] = COLOURS[number % len(CLASSES)]
            cv2.imwrite(str(folder / name), picture)
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    (folder / "pictures.names").write_text("".join(f"{name}\n" for name in CLASSES))
    (folder / "pictures.data").write_text(
        f"classes = {len(CLASSES)}\ntrain = train.txt\nvalid = valid.txt\nlabels = pictures.names\nbackup = backup\n"
        "top = 2\n")


def squares() -> list[str]:
    """Six pictures of 48 x 48 pixels in the working directory, 0.png to 5.png, with a light square or with one that
    lies below a dark one, and their label files; the names of the pictures."""
    draw = np.random.default_rng(0)
    names = []
    for number in range(6):
        picture = draw.integers(0, 60, (48, 48, 3), np.uint8)
        rows = []
        for label in range(1 + number % 2):
            x, y, side = [*draw.integers(4, 28, 2).tolist(), int(draw.integers(10, 18))]
            picture[y:y + side, x:x + side] = (250, 80, 0) if label else (0, 200, 250)
            rows.append(f"{label} {(x + side / 2) / 48} {(y + side / 2) / 48} {side / 48} {side / 48}\n")
        cv2.imwrite(f"{number}.png", picture)
        Path(f"{number}.txt").write_text("".join(rows))
        names.append(f"{number}.png")
    return names
