"""Make the demonstration: a network that finds circles, squares and triangles, and a picture of them.

    python scripts/examples/shapes/make_demo.py             writes cfg/shapes.{cfg,names,png} and weights/shapes.weights
    python scripts/examples/shapes/make_demo.py --check 20  writes nothing; detects in 20 other pictures, and ends with
                                                            exit status 1 below 90 % recall or precision

NOTHING HERE IS TRAINED. This script constructs every filter, and the boxes are right because the filters are built to
find these shapes: dark or colourful, filled, upright, on a light background, of the sizes of the anchors, with some
room around them. It shows the formats and the program at work; it is no detector of anything else.

How the network works, in the order of its layers (an anchor is a class at a scale):
- Foreground: a pixel where red, green or blue is low. This mask is averaged over cells of 4 x 4 pixels, and again over
  2 x 2 of those for the second head, which finds the large shapes with the very same filters.
- Evidence against each anchor around each cell, leaky so that the best anchor wins: the misfit (mask missing in the
  core of the template or found around it; the band between, where the edge may be, does not count), and likeness to
  the class nearest to it.
- Moments, linear: the mask's x, y and area in the anchor's window.
- The head's values, linear: the centre from the moments, the size from the area, the objectness from the lack of
  evidence against the anchor. The class is the anchor's own.
"""
from __future__ import annotations

import argparse
import sys
from itertools import product
from math import fsum
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py import Network, load_network, parse_cfg
from darknet_py.data.image import resize, to_tensor
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.ops.boxes import iou

ROOT = Path(__file__).resolve().parents[3]
# Width and height at scale 1: the areas are equal.
EXTENT = {"circle": (1.0625, 1.0625), "square": (.9375, .9375), "triangle": (1.4375, 1.21875)}
NAMES = tuple(EXTENT)
WIDTH, HEIGHT = 512, 384            # the network's input
STRIDES = (4, 8)                    # of the heads: pixels to the side of a cell
SCALES = (9, 10.75, 12.75, 15.25)   # in cells; an octave, as between the heads
ANCHORS = tuple(product(SCALES, NAMES))
VALUES = 5 + len(NAMES)             # of an anchor: x, y, width, height, objectness, classes
KERNEL = 29                         # the side of the templates
SIDE = np.arange(KERNEL) - KERNEL // 2
JITTER, GROWTH = .5, 1.09375        # how far a shape may be from the cell's middle, and from the anchor's size
STEEP, LOW = 40, .6                 # of the foreground's edge; below what a colour is low
FORGIVEN, MARGIN = .03, .02         # misfit that does not count, and how much more like its class a shape must be
SHARP, SURE = 200, 5                # how evidence lowers the logit of objectness, and that without any

PICTURE = (640, 480)                # width and height
SIZES = (45, 128)                   # the least and the largest scale of its shapes, in pixels
EDGE, ROOM, NOISE = 6, .25, .006    # pixels to the border; between shapes, in scales; grain
SEED = 7                            # of cfg/shapes.png
COLOURS = ((238, 96, 85), (42, 157, 143), (244, 170, 50), (72, 110, 200), (140, 90, 190), (90, 170, 80), (220, 80, 140),
           (40, 140, 200), (200, 90, 50), (60, 70, 110))        # RGB, each with a low channel

NET = f"""\
# Circles, squares and triangles: the demonstration of darknet_py, written by scripts/examples/shapes/make_demo.py.
# Its weights are NOT trained: that script constructs the filters, and explains them.

[net]
width={WIDTH}
height={HEIGHT}
channels=3

# Foreground: red, green or blue is low ...
[convolutional]
filters=3
size=1
activation=logistic

# ... any of them
[convolutional]
filters=1
size=1
activation=logistic
"""
HEAD = """
# ---- Head {number}: cells of {stride} x {stride} pixels, shapes from {low:.0f} to {high:.0f} pixels
{route}
# The mask, averaged over each cell
[convolutional]
filters=1
size={reduce}
stride={reduce}
activation=linear

# Evidence against each anchor: its misfit, and likeness to another class
[convolutional]
filters={evidence}
size={kernel}
pad=1
activation=leaky

[route]
layers=-2

# Moments in each anchor's window: x, y and area
[convolutional]
filters={moments}
size={kernel}
pad=1
activation=linear

[route]
layers=-3,-1

# Box, objectness and classes of each anchor
[convolutional]
filters={values}
size=1
activation=linear

[yolo]
mask={mask}
anchors={anchors}
classes={classes}
num={num}
scale_x_y=2
"""


class Shape(NamedTuple):
    """A shape by its kind, the centre of its box and its scale, in any unit of length."""

    kind: str
    x: float
    y: float
    scale: float

    @property
    def size(self) -> tuple[float, float]:
        width, height = EXTENT[self.kind]
        return self.scale * width, self.scale * height


def coverage(shape: Shape, xs: np.ndarray, ys: np.ndarray, samples: int = 8) -> np.ndarray:
    """How much of the unit squares around (xs, ys) lies in the shape: (len(ys), len(xs)) in [0, 1]."""
    width, height = shape.size
    offsets = (np.arange(samples) + .5) / samples - .5
    u = (np.add.outer(xs, offsets).reshape(1, -1) - shape.x) / (width / 2)      # the box is -1 to 1
    v = (np.add.outer(ys, offsets).reshape(-1, 1) - shape.y) / (height / 2)
    if shape.kind == "circle":
        inside = u * u + v * v <= 1
    elif shape.kind == "square":
        inside = (abs(u) <= 1) & (abs(v) <= 1)
    else:
        inside = (2 * abs(u) <= v + 1) & (v <= 1)
    return inside.reshape(len(ys), samples, len(xs), samples).mean((1, 3))


def templates() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The filters on the mask and their biases, evidence (2 an anchor) and moments (3 an anchor), for areas of 1."""
    evidence, floor, moments = [], [], []
    steps = (-JITTER, 0, JITTER)
    moved = {(scale, kind): np.stack([coverage(Shape(kind, x, y, scale * growth), SIDE, SIDE)
                                      for x, y, growth in product(steps, steps, (1 / GROWTH, 1, GROWTH))])
             for scale, kind in ANCHORS}
    for scale, kind in ANCHORS:
        core, usual, reach = (reduce(moved[scale, kind], 0) for reduce in (np.min, np.mean, np.max))
        area = fsum(usual.flat)             # rounded once, so that the file's bytes are the same everywhere
        window = cv2.dilate((reach > 0).astype(float), np.ones((3, 3)))         # a ring that should be empty
        if kind == "triangle":
            rival = coverage(Shape("circle", 0, drop(scale, kind), scale), SIDE, SIDE)
        else:
            rival = moved[scale, "square" if kind == "circle" else "circle"].mean(0)
        unlike = (rival - usual) / area
        evidence += [(window * (1 - reach) - core) / area, unlike]
        floor += [core.sum() / area - FORGIVEN, MARGIN - fsum((unlike * (rival + usual)).flat) / 2]
        moments += [window * SIDE / area, window * SIDE[:, None] / area, window / area]
    return (np.stack(evidence), np.array(floor)), (np.stack(moments), np.zeros(len(moments)))


def drop(scale: float, kind: str) -> float:
    """How far the centroid lies below the middle of the box."""
    return scale * EXTENT[kind][1] / 6 if kind == "triangle" else 0


def values() -> tuple[np.ndarray, np.ndarray]:
    """The 1x1 filters that make an anchor's values of its evidence and moments, and their biases."""
    weight = np.zeros((len(ANCHORS), VALUES, len(ANCHORS) * 5))
    bias = np.zeros((len(ANCHORS), VALUES))
    for index, (scale, kind) in enumerate(ANCHORS):
        x, y, area = 2 * len(ANCHORS) + 3 * index + np.arange(3)
        below = drop(scale, kind)
        weight[index, 0, x] = 2                                             # scale_x_y=2: .5 + x cells, nearly
        weight[index, 1, [y, area]], bias[index, 1] = (2, -3 * below), below    # y / area - below * sqrt(area), near 1
        weight[index, 2:4, area], bias[index, 2:4] = .5, -.5                # log(sqrt(area)), near 1
        weight[index, 4, 2 * index:2 * index + 2], bias[index, 4] = -SHARP, SURE
        bias[index, 5:] = np.where(np.array(NAMES) == kind, SURE, -SURE)
    return weight.reshape(-1, len(ANCHORS) * 5), bias.reshape(-1)


def cfg_text() -> str:
    count, text = len(ANCHORS), NET
    anchors = ", ".join(f"{side * scale * stride:g}" for stride in STRIDES for scale, kind in ANCHORS
                        for side in EXTENT[kind])
    for head, stride in enumerate(STRIDES):
        text += HEAD.format(
            number=head + 1, stride=stride, low=SCALES[0] * stride, high=SCALES[-1] * stride,
            route="\n# From the mask of the head before\n[route]\nlayers=2\n" if head else "",
            reduce=2 if head else STRIDES[0], evidence=2 * count, moments=3 * count, kernel=KERNEL,
            values=VALUES * count, mask=",".join(map(str, range(head * count, (head + 1) * count))), anchors=anchors,
            classes=len(NAMES), num=len(STRIDES) * count)
    return text


def build() -> Network:
    """The network with its constructed weights."""
    network = load_network(parse_cfg(cfg_text()))
    made = [(-STEEP * np.eye(3), np.full(3, STEEP * LOW)), (np.full(3, 16), np.array(-8))]
    for side in (STRIDES[0], 2):
        made += [(np.full(side ** 2, 1 / side ** 2), np.zeros(1)), *templates(), values()]
    convolutions = [layer for layer in network.layers if layer.kind == "convolutional"]
    with torch.no_grad():
        for layer, (weight, bias) in zip(convolutions, made, strict=True):
            for blob, array in zip(layer.blobs(), (bias, weight), strict=True):
                blob.tensor.copy_(torch.from_numpy(array).view_as(blob.tensor))
    return network


def arrange(rng: np.random.Generator, count: int) -> list[Shape]:
    """Random shapes within the picture that keep their distance, the largest first; lengths in pixels."""
    low, high = SIZES
    while True:
        shapes: list[Shape] = []
        scales = np.sort(low * (high / low) ** rng.random(count))[::-1].tolist()
        for scale, kind in zip(scales, rng.permutation(np.resize(NAMES, count)).tolist(), strict=True):
            tries = (Shape(kind, *rng.uniform(0, PICTURE).tolist(), scale) for _ in range(300))
            shapes += [shape for shape in tries if fits(shape, shapes)][:1]
        if len(shapes) == count:
            return shapes


def fits(shape: Shape, others: list[Shape]) -> bool:
    """Whether a shape lies within the picture and leaves room to the others, which are no smaller."""
    centre, half = np.array((shape.x, shape.y)), np.array(shape.size) / 2
    inside = (centre - half > EDGE) & (centre + half < np.array(PICTURE) - EDGE)
    gaps = [abs(centre - (other.x, other.y)) - half - np.array(other.size) / 2 - ROOM * other.scale for other in others]
    return bool(inside.all()) and all(gap.max() > 0 for gap in gaps)


def render(seed: int) -> tuple[np.ndarray, list[Shape]]:
    """A picture, uint8 (H, W, 3) BGR, and what is in it."""
    rng = np.random.default_rng(seed)
    width, height = PICTURE
    shapes = arrange(rng, int(rng.integers(8, 13)))
    colours = rng.permutation(np.resize(COLOURS, (len(shapes), 3))) / 255
    image = cv2.resize(rng.uniform(.84, .99, (3, 4, 3)), PICTURE, interpolation=cv2.INTER_CUBIC).clip(.82, 1)
    xs, ys = np.arange(width) + .5, np.arange(height) + .5
    for shape, colour in zip(shapes, colours, strict=True):
        shadow = coverage(shape._replace(x=shape.x + 3, y=shape.y + 5), xs, ys, 1)
        image *= 1 - .1 * cv2.GaussianBlur(shadow, (0, 0), 4)[..., None]
        light = 1 - .2 * (ys - shape.y)[:, None, None] / shape.scale            # from above
        image += coverage(shape, xs, ys, 4)[..., None] * ((colour * light).clip(0, 1) - image)
    grain = cv2.resize(rng.normal(0, NOISE, (height // 2, width // 2)), PICTURE)[..., None]
    return np.rint((image + grain).clip(0, 1)[..., ::-1] * 255).astype(np.uint8), shapes


def find(network: Network, image: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """(K, 4) boxes cxcywh in pixels, (K,) scores and (K,) classes, with the usual thresholds."""
    with torch.inference_mode():
        outputs = network(resize(to_tensor(image), WIDTH, HEIGHT)[None])
        [(boxes, scores)] = PostProcessor.of(network).find_boxes(outputs, [image.shape[:2]], .25, .45)
    box, label = (scores > 0).nonzero().unbind(1)
    return boxes[box] * torch.tensor(PICTURE * 2), scores[box, label], label


def overlaps(shapes: list[Shape], boxes: Tensor, labels: Tensor) -> Tensor:
    """(shapes, K) iou of what is there with what was found, 0 between classes."""
    truth = torch.tensor([(shape.x, shape.y, *shape.size) for shape in shapes])
    same = torch.tensor([NAMES.index(shape.kind) for shape in shapes])[:, None] == labels
    return torch.where(same, iou(truth[:, None], boxes), 0)


def check(count: int) -> bool:
    """Print how well the network does on other pictures; whether recall and precision reach 90 %."""
    network = build()
    best, scores = [], []
    for seed in range(SEED + 1, SEED + 1 + count):
        image, shapes = render(seed)
        boxes, score, labels = find(network, image)
        best += [max(row, default=0.) for row in overlaps(shapes, boxes, labels).tolist()]
        scores += score.tolist()
    right = sum(value >= .75 for value in best)
    recall, precision = right / max(len(best), 1), right / max(len(scores), 1)
    print(f"{count} pictures, {len(best)} shapes, {len(scores)} boxes: recall {recall:.1%}, precision {precision:.1%}; "
          f"smallest overlap {min(best, default=0):.2f}, least score {min(scores, default=0):.0%}")
    return min(recall, precision) >= .9


def write(root: Path) -> None:
    for folder in ("cfg", "weights"):
        (root / folder).mkdir(exist_ok=True)
    (root / "cfg/shapes.cfg").write_bytes(cfg_text().encode())
    (root / "cfg/shapes.names").write_bytes("".join(f"{name}\n" for name in NAMES).encode())
    (root / "cfg/shapes.png").write_bytes(cv2.imencode(".png", render(SEED)[0])[1].tobytes())
    build().save_weights(root / "weights/shapes.weights")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", nargs="?", type=int, const=20, metavar="N", help="detect in N (20) other pictures")
    arguments = parser.parse_args()
    if arguments.check is not None:
        return 0 if check(arguments.check) else 1
    write(ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
