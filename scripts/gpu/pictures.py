"""Made data sets of rectangles, ellipses and triangles, and a small network that learns to find them."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from darknet_py.data.datafile import read_names

from .common import CFG

KINDS = ("rectangle", "ellipse", "triangle")
SMALL = """[net]
width=96
height=96
channels=3
batch=16
subdivisions=1
learning_rate=0.01
burn_in=20
max_batches={iterations}
policy=steps
steps={falls}
scales=.1
momentum=0.9
decay=0.0005
hue=.1
saturation=1.5
exposure=1.5
""" + "".join(f"\n[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize=3\nstride={stride}\npad=1\n"
              "activation=leaky\n" for filters, stride in ((16, 2), (32, 2), (48, 2), (64, 1), (64, 1))) + """
[convolutional]
filters=16
size=1
activation=linear

[yolo]
mask=0,1
anchors=20,20, 36,36
classes=3
num=2
iou_loss=ciou
iou_normalizer=.07
iou_thresh=.3
"""


def small_cfg(iterations: int) -> str:
    return SMALL.format(iterations=iterations, falls=round(.7 * iterations))


def make(folder: Path, train: int, valid: int, size: tuple[int, int], names: list[str], save_every: int = 100) -> Path:
    """A data set: pictures and their label files, lists, names, and the .data file, whose path is returned. The same
    arguments make the same set.

    Args:
        size: (width, height) of a picture.
        names: of the classes; class numbers modulo 3 are shapes.
        save_every: iterations between two saves of a training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("valid", valid)):
        for number in range(count):
            rng = np.random.default_rng((number, split == "valid"))
            picture, rows = draw(rng, size, len(names))
            stem = folder / f"{split}{number:04d}"
            cv2.imwrite(f"{stem}.jpg", picture)
            stem.with_suffix(".txt").write_text("".join(rows))
        (folder / f"{split}.txt").write_text("".join(f"{folder / split}{number:04d}.jpg\n" for number in range(count)))
    (folder / "made.names").write_text("".join(f"{name}\n" for name in names))
    (folder / "made.data").write_text(
        f"classes={len(names)}\ntrain={folder}/train.txt\nvalid={folder}/valid.txt\nnames={folder}/made.names\n"
        f"backup={folder}/backup\nsavelast={save_every}\n")
    return folder / "made.data"


def draw(rng: np.random.Generator, size: tuple[int, int], classes: int) -> tuple[np.ndarray, list[str]]:
    """A picture of one to four shapes, and its label rows."""
    width, height = size
    picture = cv2.resize(rng.integers(0, 110, (3, 4, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    rows, cells = [], rng.permutation(4)[:rng.integers(1, 5)]       # a quarter of the picture each
    for cell in cells:
        label = int(rng.integers(classes))
        w, h = (rng.uniform(.2, .45, 2) * size).astype(int)
        left = int((cell % 2) * width / 2 + rng.uniform(0, width / 2 - w))
        top = int((cell // 2) * height / 2 + rng.uniform(0, height / 2 - h))
        colour = rng.integers(150, 256, 3).tolist()
        if KINDS[label % 3] == "rectangle":
            cv2.rectangle(picture, (left, top), (left + int(w) - 1, top + int(h) - 1), colour, -1)
        elif KINDS[label % 3] == "ellipse":
            cv2.ellipse(picture, ((left + w / 2, top + h / 2), (float(w), float(h)), 0), colour, -1)
        else:
            cv2.fillPoly(picture, [np.array([(left, top + h), (left + w // 2, top), (left + w, top + h)])], colour)
        rows.append(f"{label} {(left + w / 2) / width:.6f} {(top + h / 2) / height:.6f} {w / width:.6f} "
                    f"{h / height:.6f}\n")
    return picture, rows


def coco_names() -> list[str]:
    return read_names(CFG / "coco.names")
