"""Data sets to prepare, and what was made of them."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import scene

from darknet_py.cli import main
from darknet_py.data.dataset import class_names, read_rows, read_samples

WIDTH, HEIGHT = 80, 60
NAMES = ["rabbit", "fox", "owl"]


def make_set(folder: str, count: int = 20, names=NAMES, start: int = 0) -> dict[str, np.ndarray]:
    """Pictures that do not look alike with label files beside them, classes.txt, and the rows of each."""
    Path(folder).mkdir(parents=True)
    found = {}
    for number in range(start, start + count):
        random = np.random.default_rng(number)
        name, objects = f"{folder}/p{number}", number % 4
        cv2.imwrite(f"{name}.jpg", scene(number, (HEIGHT, WIDTH)))
        low = random.integers(0, [WIDTH // 2, HEIGHT // 2], (objects, 2))
        high = low + random.integers(2, [WIDTH // 2, HEIGHT // 2], (objects, 2))
        size = np.array([WIDTH, HEIGHT])
        rows = np.concatenate([random.integers(0, len(names), (objects, 1)), (low + high) / 2 / size,
                               (high - low) / size], 1).astype(np.float32)
        lines = [" ".join(f"{value:.7g}" for value in row) for row in rows.tolist()]
        Path(f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        found[Path(name).name] = rows
    Path(folder, "classes.txt").write_text("\n".join(names))
    return found


def read_back(source) -> dict[str, dict[str, list]]:
    """Split -> picture -> its objects, sorted: name of the class and four numbers."""
    names = class_names(source)
    return {split: {sample.image.stem: sorted((names[int(row[0])], *row[1:]) for row in
                                              read_rows(sample, len(names))[0].tolist())
                    for sample in read_samples(source, split)} for split in ("train", "valid")}


def flat(found: dict) -> dict[str, list]:
    assert not set(found["train"]) & set(found["valid"])
    return found["train"] | found["valid"]


def named(rows: dict[str, np.ndarray], names=NAMES) -> dict[str, list]:
    return {key: sorted((names[int(row[0])], *row[1:]) for row in table.tolist()) for key, table in rows.items()}


def same(found: dict[str, list], wanted: dict[str, list], within: float) -> None:
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert [row[0] for row in found[key]] == [row[0] for row in wanted[key]], key
        if wanted[key]:
            assert np.array([row[1:] for row in found[key]]) == pytest.approx(
                np.array([row[1:] for row in wanted[key]]), abs=within)


def snapshot(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def run(*words: str) -> int:
    """The exit code of ``darknet-py dataset``."""
    return main(["dataset", *words])
