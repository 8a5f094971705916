"""The detector of digits: what is in the repository finds all digits of its picture, and their maker is repeatable."""
from __future__ import annotations

from pathlib import Path

import cv2
import make_dataset
import make_picture
import numpy as np
import pytest
import torch
from conftest import ROOT
from drawing.artist import Artist
from drawing.camera import place
from drawing.fonts import find_fonts, shared_out
from drawing.panels import Line, Panel, Style

from darknet_py import Detector
from darknet_py.ops.boxes import iou, xyxy_to_cxcywh

CFG, WEIGHTS, PICTURE = (ROOT / name for name in ("cfg/digits.cfg", "weights/digits.weights", "cfg/digits.jpg"))


def labelled(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes and boxes cxcywh, in parts of the picture, of a label file."""
    rows = torch.from_numpy(np.loadtxt(path, ndmin=2))
    return rows[:, 0].long(), rows[:, 1:]


def test_every_digit_of_the_picture_is_found_once():
    labels, boxes = labelled(PICTURE.with_suffix(".txt"))
    found = Detector(CFG, WEIGHTS, device="cpu")(PICTURE)
    height, width = cv2.imread(str(PICTURE)).shape[:2]
    there = xyxy_to_cxcywh(torch.from_numpy(found.boxes).double()) / torch.tensor((width, height, width, height))
    overlaps = iou(boxes[:, None], there)
    assert "".join(found.names) == "0123456789" and set(labels.tolist()) == set(range(10))
    assert len(found) == len(labels)
    assert sorted(overlaps.argmax(1).tolist()) == list(range(len(found)))
    assert overlaps.amax(1).min() >= .5
    assert found.labels[overlaps.argmax(1)].tolist() == labels.tolist()


@pytest.mark.parametrize("file, limit", [(WEIGHTS, 3_000_000), (PICTURE, 200_000),
                                         (PICTURE.with_name("digits_detected.jpg"), 150_000)])
def test_the_files_are_small(file, limit):
    assert file.stat().st_size <= limit


def test_the_labels_are_those_of_the_scene():
    scene = make_picture.arrange(np.random.default_rng(5))
    labels, boxes = labelled(PICTURE.with_suffix(".txt"))
    rows = make_picture.boxes(scene)
    assert [row[0] for row in rows] == labels.tolist()
    np.testing.assert_allclose([row[1:] for row in rows], boxes, atol=.005)     # FreeType's versions differ


def made(folder: Path, processes: int) -> dict[str, bytes]:
    make_dataset.main([str(folder), "--train", "5", "--valid", "3", "--fonts", "--processes", str(processes)])
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_pictures_depend_on_the_seed_alone(tmp_path, capsys):
    """However many processes make them."""
    files = made(tmp_path / "a", 1)
    assert files == made(tmp_path / "b", 2)
    assert len(files) == 2 * (5 + 3) + 4 and files["train.txt"] == b"".join(b"train/%05d.jpg\n" % n for n in range(5))
    assert "fonts of" in capsys.readouterr().out


@pytest.mark.parametrize("turn", [False, True])
def test_boxes_lie_tight_on_digits(turn):
    """A panel of white digits on nothing, put on black: what is bright is in the boxes, up to their edges."""
    font = shared_out(find_fonts([]), "train")[0][0]
    line = Line("2468", font, 60, .5)
    panel = Panel(line.width + 20, line.height + 20)
    panel.write(line, 10, 10, Style(np.full(3, 255, np.float32)))
    image = np.zeros((300, 400, 3), np.float32)
    artist = Artist(np.random.default_rng(3 + turn), [])
    digits = place(artist, image, panel, [], 1)
    assert [label for label, _ in digits] == [2, 4, 6, 8]
    bright = image[..., 0] > 110
    for _, (x1, y1, x2, y2) in digits:
        ys, xs = bright[y1 - 2:y2 + 2, x1 - 2:x2 + 2].nonzero()
        np.testing.assert_allclose((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), (2, 2, x2 - x1 + 2, y2 - y1 + 2),
                                   atol=1)
        bright[y1 - 2:y2 + 2, x1 - 2:x2 + 2] = False
    assert not bright.any()


def test_fonts_without_digits_are_left_out():
    names = {Path(font.path).name for font in find_fonts([])}
    assert {"DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "cmr10.ttf"} <= names
    assert not {"cmsy10.ttf", "cmex10.ttf", "STIXSizOneSymReg.ttf", "DejaVuSansDisplay.ttf"} & names
