"""Pictures of digits, and runs of ``darknet-py batch`` on them, for the tests of batch inference."""
from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from conftest import ROOT

from darknet_py import Detector

CFG, WEIGHTS = ROOT / "cfg/digits.cfg", ROOT / "weights/digits.weights"
FAST = ("-backend", "pytorch", "-device", "cpu")


def crops(count: int) -> list[np.ndarray]:
    """Parts of the picture in the repository, each with other digits."""
    whole = cv2.imread(str(ROOT / "cfg/digits.jpg"))
    places = np.random.default_rng(0)
    return [whole[y:y + 160, x:x + 200] for y, x in places.integers(
        0, [whole.shape[0] - 160, whole.shape[1] - 200], (count, 2))]


def pictures(folder: str | Path, count: int) -> list[str]:
    """PNG files of crops; their paths."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [f"{folder}/{number:04d}.png" for number in range(count)]
    for path, image in zip(paths, crops(count), strict=True):
        assert cv2.imwrite(path, image)
    return paths


def encoded(count: int) -> list[bytes]:
    """The same as the bytes of PNG files."""
    return [cv2.imencode(".png", image)[1].tobytes() for image in crops(count)]


def words(*inputs, out="out", part=4):
    """A command line."""
    return ("batch", CFG, WEIGHTS, *inputs, "-out", out, "-part", part, *FAST)


def table(out="out"):
    """The results of a run in Parquet, without seconds."""
    return pq.read_table(f"{out}/parts").drop(["seconds"])


def manifest(out="out"):
    return json.loads(Path(out, "manifest.json").read_text())


def expected(images) -> list[tuple]:
    """Boxes, scores and labels that ``Detector`` gives for pictures, as rows have them."""
    detector = Detector(CFG, WEIGHTS, thresh=.24, device="cpu", backend="pytorch")
    return [(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()) for found in map(detector, images)]


def found(out="out") -> list[tuple]:
    """The same of the rows of a run."""
    return [(row["boxes"], row["scores"], row["labels"]) for row in table(out).to_pylist()]
