"""The grid of training pictures."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

CFG = "[net]\nwidth=64\nheight=32\nchannels=3\nflip=0\n{net}\n[conv]\nfilters=21\n[yolo]\nclasses=2\nnum=3\n" \
      "anchors=9,9,9,9,9,9\njitter=0\n"


@pytest.fixture
def folder(workdir):
    """Blue pictures, each with an object of the class ``dog``."""
    for number in range(3):
        cv2.imwrite(f"{number}.png", np.full((30, 40, 3), (200, 40 * number, 0), np.uint8))
        (workdir / f"{number}.txt").write_text("1 .5 .5 .25 .5\n")
    (workdir / "train.txt").write_text("0.png\n1.png\n2.png\n")
    (workdir / "obj.names").write_text("cat\ndog\n")
    (workdir / "obj.data").write_text("classes=2\ntrain=train.txt\nnames=obj.names\n")
    return workdir


@pytest.fixture
def preview(folder, cli):
    """Preview training pictures of a cfg with these lines in [net]: (exit code, stdout, stderr)."""
    def run(net: str, *flags: str):
        (folder / "x.cfg").write_text(CFG.format(net=net))
        return cli("preview", "obj.data", "x.cfg", *flags)

    return run


@pytest.mark.parametrize("net, flags, count, shape", [
    ("", (), 16, (4, 4)), ("", ("-count", "5"), 5, (2, 3)), ("contrastive=1", ("-count", "5"), 6, (2, 4)),
    ("track=1\ntime_steps=3", ("-count", "4"), 6, (2, 3)), ("mosaic=1", ("-count", "1"), 1, (1, 1)),
])
def test_a_grid_of_pictures(preview, net, flags, count, shape):
    code, out, _ = preview(net, "-out", "out/grid.png", *flags)
    assert code == 0
    lines, columns = shape
    image = cv2.imread("out/grid.png")
    assert image.shape == (lines * 164 - 4, columns * 324 - 4, 3)          # 64 x 32, five times as large
    assert out.startswith(f"out/grid.png: {count} training pictures of 64 x 32, ")


def test_boxes_and_colours(preview):
    code, out, _ = preview("", "-count", "1", "-out", "grid.png")
    assert code == 0
    image = cv2.imread("grid.png")
    assert image[155, 5].tolist() in [[200, 40 * number, 0] for number in range(3)]
    changed = (image != image[155, 5]).any(2)
    lines, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert abs(lines[-1] - 120) < 4 and abs(columns[0] - 120) < 4 and abs(columns[-1] - 200) < 4
    assert ", 1 objects" in out


def test_the_seed(preview):
    def grid(*flags: str) -> bytes:
        assert preview("mosaic=1\nhue=.1", "-out", "grid.png", *flags)[0] == 0
        return Path("grid.png").read_bytes()

    assert grid() == grid("-seed", "0") != grid("-seed", "1")


def test_what_is_wrong_is_said(folder, preview):
    (folder / "1.png").write_bytes(b"")
    code, _, error = preview("", "-out", "grid.png")
    assert code == 0 and "warning: " in error and "1.png: the image file is empty" in error
    for flags, message in ((("-count", "0"), "-count needs at least 1, found 0"),
                           (("-seed", "-1"), "-seed needs at least 0, found -1"),
                           (("-count", "99999999"), "make a grid of more than 16000 pixels a side"),
                           (("-out", "grid.nothing"), "pixels as .nothing")):
        code, _, error = preview("", *flags)
        assert code == 1 and message in error
