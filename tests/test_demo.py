"""The demonstration: its files are what scripts/make_demo.py writes today, and its network finds every shape once."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from darknet_py import Detector
from darknet_py.ops.boxes import xyxy_to_cxcywh

ROOT = Path(__file__).resolve().parent.parent
CFG, NAMES, PICTURE, WEIGHTS = (
    f"{folder}/shapes.{kind}" for folder, kind in
    (("cfg", "cfg"), ("cfg", "names"), ("cfg", "png"), ("weights", "weights")))


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("make_demo", ROOT / "scripts/make_demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written(demo, tmp_path_factory) -> Path:
    """A folder that the script has written its files to."""
    folder = tmp_path_factory.mktemp("demo")
    demo.write(folder)
    return folder


@pytest.mark.parametrize("file", [CFG, NAMES])
def test_the_repository_holds_what_the_script_writes(written, file):
    assert (ROOT / file).read_bytes() == (written / file).read_bytes(), "run scripts/make_demo.py"


def test_the_repository_holds_the_weights_that_the_script_computes(written):
    """Up to the last digits, in which processors differ."""
    ours, theirs = (np.fromfile(folder / WEIGHTS, "<f4", offset=20) for folder in (ROOT, written))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg="run scripts/make_demo.py")


@pytest.mark.parametrize("file, limit", [(PICTURE, 300_000), (WEIGHTS, 500_000)])
def test_the_files_are_small(file, limit):
    assert (ROOT / file).stat().st_size < limit


def test_every_shape_is_found_once(demo):
    _, shapes = demo.render(demo.SEED)
    found = Detector(ROOT / CFG, ROOT / WEIGHTS)(ROOT / PICTURE)
    overlaps = demo.overlaps(shapes, xyxy_to_cxcywh(torch.from_numpy(found.boxes)), torch.from_numpy(found.labels))
    assert len(found) == len(shapes)
    assert sorted(overlaps.argmax(1).tolist()) == list(range(len(found)))
    assert overlaps.amax(1).min() >= .75
    assert found.scores.min() > .6
    assert tuple(found.names) == demo.NAMES


def test_shapes_are_found_in_other_pictures(demo, capsys):
    assert demo.check(3)
    assert "3 pictures" in capsys.readouterr().out
