"""Make a small data set in COCO's format that the network in the repository does well on.

    python scripts/examples/shapes/make_coco.py FOLDER [--images 12] [--seed 1] [--split val2017]

Writes FOLDER/annotations/instances_val2017.json and FOLDER/val2017/*.png, pictures as make_demo.py draws them for
cfg/shapes.cfg, so that scripts/coco_eval.py has something to measure. As in COCO, ids of images are no count, ids of
categories have gaps and are in another order than the network's classes, areas are those of the shapes instead of their
boxes, and some objects are crowds, which need not be found; each is larger than the shape in it. Boxes are a little
off, as people's are, and a few shapes have none, so that the figures are good without being perfect. Of test-dev2017 it
writes the pictures alone, and their JSON without annotations. The same arguments make the same files.
"""
from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from make_demo import NAMES, PICTURE, Shape, render

sys.path.append(str(Path(__file__).resolve().parents[2]))
from coco.archives import SPLITS

CATEGORIES = {"triangle": 3, "square": 18, "circle": 90}        # by id; the network's order is that of NAMES
FILLED = {"triangle": .5, "square": 1, "circle": math.pi / 4}   # parts of the box
CROWD = 4                       # every so many images one of the shapes is a crowd
MARGIN = .3                     # by which a crowd's box is larger, of the shape's
OFF = .03                       # of a shape's size: deviation of each edge of its box
FORGOTTEN = .05                 # of the shapes have no annotation


def annotation(number: int, image: int, shape: Shape, crowd: bool, rng: np.random.Generator) -> dict[str, Any]:
    """An object as COCO has it: left, top, width and height in pixels."""
    centre, size = np.array((shape.x, shape.y)), np.array(shape.size)
    low, high = (centre + size * ((1 + MARGIN * crowd) * sign / 2 + rng.normal(0, OFF, 2)) for sign in (-1, 1))
    low, high = low.clip(0, PICTURE), high.clip(0, PICTURE)
    return {"id": number, "image_id": image, "category_id": CATEGORIES[shape.kind], "iscrowd": int(crowd),
            "bbox": np.round([*low, *high - low], 2).tolist(),
            "area": round(math.prod(shape.size) * FILLED[shape.kind], 3)}


def write(folder: Path, count: int, seed: int, split: str) -> None:
    """The pictures, and the JSON last."""
    pictures, path = folder / SPLITS[split].pictures, folder / SPLITS[split].json
    for one in (pictures, path.parent):
        one.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(np.sort(rng.choice(580_000, count, replace=False)).tolist()):
        picture, shapes = render(int(rng.integers(1 << 31)))
        name = f"{image:012d}.png"
        cv2.imencode(".png", picture)[1].tofile(pictures / name)
        images.append({"id": image, "file_name": name, "width": PICTURE[0], "height": PICTURE[1]})
        marked = [shape for shape in shapes if rng.random() >= FORGOTTEN]
        annotations += [annotation(1 + len(annotations) + at, image, shape, number % CROWD == 1 and at == 0, rng)
                        for at, shape in enumerate(marked)]
    data = {"images": images, "categories": [{"id": number, "name": name} for name, number in CATEGORIES.items()]}
    if split == "val2017":
        data["annotations"] = annotations
    path.write_text(json.dumps(data, indent=1))
    print(f"{folder}: {count} images with {len(annotations)} objects, {sum(one['iscrowd'] for one in annotations)} of "
          f"them crowds, of {len(NAMES)} categories")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", choices=list(SPLITS), default="val2017")
    given = parser.parse_args(arguments)
    for name, least in (("images", 1), ("seed", 0)):
        if getattr(given, name) < least:
            parser.error(f"--{name} needs a number from {least} on, found {getattr(given, name)}")
    try:
        write(given.folder, given.images, given.seed, given.split)
    except OSError as error:
        sys.exit(f"make_coco: {error.filename or given.folder}: cannot write: {error.strerror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
