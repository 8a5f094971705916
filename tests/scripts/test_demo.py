"""The demonstration: its files are what make_demo.py writes today, and its network finds every shape once."""
from __future__ import annotations

from pathlib import Path

import make_classifier_set
import make_demo
import numpy as np
import pytest
import torch
from conftest import ROOT

from darknet_py import Detector
from darknet_py.data.classification import ClassifierPictures
from darknet_py.ops.boxes import xyxy_to_cxcywh

CFG, NAMES, PICTURE, WEIGHTS = (
    f"{folder}/shapes.{kind}" for folder, kind in
    (("cfg", "cfg"), ("cfg", "names"), ("cfg", "png"), ("weights", "weights")))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder that the script has written its files to."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo.write(folder)
    return folder


@pytest.mark.parametrize("file", [CFG, NAMES])
def test_the_repository_holds_what_the_script_writes(written, file):
    assert (ROOT / file).read_bytes() == (written / file).read_bytes(), "run scripts/examples/shapes/make_demo.py"


def test_the_repository_holds_the_weights_that_the_script_computes(written):
    """Up to the last digits, in which processors differ."""
    ours, theirs = (np.fromfile(folder / WEIGHTS, "<f4", offset=20) for folder in (ROOT, written))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg="run scripts/examples/shapes/make_demo.py")


@pytest.mark.parametrize("file, limit", [(PICTURE, 300_000), (WEIGHTS, 500_000)])
def test_the_files_are_small(file, limit):
    assert (ROOT / file).stat().st_size < limit


def test_every_shape_is_found_once():
    _, shapes = make_demo.render(make_demo.SEED)
    found = Detector(ROOT / CFG, ROOT / WEIGHTS)(ROOT / PICTURE)
    overlaps = make_demo.overlaps(shapes, xyxy_to_cxcywh(torch.from_numpy(found.boxes)), torch.from_numpy(found.labels))
    assert len(found) == len(shapes)
    assert sorted(overlaps.argmax(1).tolist()) == list(range(len(found)))
    assert overlaps.amax(1).min() >= .75
    assert found.scores.min() > .6
    assert tuple(found.names) == make_demo.NAMES


def test_shapes_are_found_in_other_pictures(capsys):
    assert make_demo.check(3)
    assert "3 pictures" in capsys.readouterr().out


def test_pictures_of_a_classifier(workdir):
    """The same arguments make the same set, which is read as it is meant; no two of its pictures are alike."""
    for folder in ("set", "again"):
        make_classifier_set.main([folder, "--train", "24", "--valid", "12", "--size", "32"])
    files = sorted(path.relative_to("set") for path in Path("set").rglob("*") if path.is_file())
    assert len(files) == 24 + 12 + 4
    assert all(Path("set", file).read_bytes() == Path("again", file).read_bytes() for file in files)
    for split, count in (("train", 24), ("valid", 12)):
        found = ClassifierPictures.from_data("set/pictures.data", split)
        images, truth = found.load(range(len(found)), np.random.default_rng(5), 32, 32)
        assert len(found) == count and not found.problems
        assert len({image.numpy().tobytes() for image in images}) == count
        assert truth.sum(0).tolist() == [count / 6] * 6
        assert truth.argmax(1).tolist() == [found.label(index) for index in range(count)]
    first, second = (Path("set", split, "circle_0000.png").read_bytes() for split in ("train", "valid"))
    assert first != second
