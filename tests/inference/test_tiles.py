"""Tiles: how pictures are cut, how boxes are merged, and that all verbs take them."""
import json
import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, raises

from darknet_py import CfgError, DarknetError, Detector, Reason, load_network
from darknet_py.inference.tiles import MOST_TILES, Tiling, merge_tiles
from darknet_py.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from darknet_py.ops.nms import nms

RECURRENT = """[net]
width=32
height=32
channels=3
[conv_lstm]
output=6
size=3
pad=1
stride=1
[convolutional]
filters=6
size=1
[yolo]
classes=1
num=1
mask=0
anchors=9,9
"""
WIDE = Tiling(2, 1, .2).cut(400, 1000)          # tiles 0 - 556 and 444 - 1000, and the whole
FLAT = Tiling(2, 1, 0).cut(400, 1000)           # 0 - 500 and 500 - 1000


@pytest.mark.parametrize("tiling, size, tiles", [
    (Tiling(2, 1, 0), (40, 100), [(0, 0, 50, 40), (50, 0, 100, 40), (0, 0, 100, 40)]),
    (Tiling(1, 2, .5), (60, 100), [(0, 0, 100, 40), (0, 20, 100, 60), (0, 0, 100, 60)]),
    (Tiling(2, 2, 0), (1, 1), [(0, 0, 1, 1)] * 5),
    (Tiling(3, 1, 0), (5, 2), [(0, 0, 1, 5), (0, 0, 1, 5), (1, 0, 2, 5), (0, 0, 2, 5)]),
])
def test_cut(tiling, size, tiles):
    assert tiling.cut(*size).tolist() == list(map(list, tiles)) and len(tiles) == tiling.inputs


@pytest.mark.parametrize("overlap", [0, .1, .2, .5, .9])
@pytest.mark.parametrize("height, width", [(7, 3), (480, 640), (1200, 1201)])
def test_tiles_cover_the_picture_and_overlap(height, width, overlap):
    tiling = Tiling(3, 4, overlap)
    tiles = tiling.cut(height, width)[:-1]
    seen = np.zeros((height, width), bool)
    for left, top, right, bottom in tiles:
        seen[top:bottom, left:right] = True
    assert seen.all() and (tiles >= 0).all() and (tiles[:, 2:] <= (width, height)).all()
    sizes = tiles[:, 2:] - tiles[:, :2]
    assert (sizes == sizes[0]).all()
    shared = tiles[0, 2] - tiles[1, 0]                  # of neighbours in a row
    assert abs(shared - overlap * sizes[0, 0]) <= 2


@pytest.mark.parametrize("tiles, overlap, found", [
    ("2", .2, "found 2"), ("2x", .2, "found 2x"), ("0x2", .2, "found 0x2"), ("-1x2", .2, "found -1x2"),
    ("11x10", .2, f"at most {MOST_TILES} in all, found 11x10"), ("2x2x2", .2, "found 2x2x2"), ((2,), .2, "found (2,)"),
    ("9" * 30 + "x1", .2, "found 999"), ("2x2", -.1, "from 0 to 0.9, found -0.1"), ("2x2", .91, "found 0.91"),
    ("2x2", float("nan"), "found nan"), ("1x1", 2, "found 2")])
def test_bad_tiles(tiles, overlap, found):
    with pytest.raises(DarknetError, match=re.escape(found)):
        Tiling.of(tiles, overlap)


def test_what_users_write():
    assert Tiling.of("3x2") == Tiling.of((3, 2)) == Tiling.of("3X2", .2) == (3, 2, .2)
    assert Tiling.of(None) is Tiling.of("1x1") is Tiling.of((1, 1), .5) is None


def test_a_recurrent_network_takes_none(tmp_path):
    (tmp_path / "r.cfg").write_text(RECURRENT)
    load_network(tmp_path / "r.cfg").save_weights(tmp_path / "r.weights")
    with raises(CfgError, Reason.WRONG_TASK) as caught:
        Detector(tmp_path / "r.cfg", tmp_path / "r.weights", tiles="2x2")
    assert "r.cfg:5: layer 0 [conv_lstm] remembers earlier images" in str(caught.value)


def merged(tiles, *found, classes=1, threshold=.45):
    """Boxes [left, top, right, bottom, score, class] of a picture, by falling score, from (tile, left, top, right,
    bottom, score, class = 0) in its pixels."""
    parts = []
    for at, tile in enumerate(torch.from_numpy(tiles).float()):
        here = [row for row in found if row[0] == at]
        scores = torch.zeros(len(here), classes)
        for row, one in enumerate(here):
            scores[row, one[6] if len(one) > 6 else 0] = one[5]
        corners = torch.tensor([one[1:5] for one in here], dtype=torch.float32).view(-1, 4)
        corner, size = tile[:2].repeat(2), (tile[2:] - tile[:2]).repeat(2)
        parts.append((xyxy_to_cxcywh((corners - corner) / size), scores))
    boxes, scores = merge_tiles(parts, tiles, threshold and partial(nms, threshold=threshold))
    box, label = (scores > 0).nonzero().unbind(1)
    pixels = cxcywh_to_xyxy(boxes)[box] * torch.from_numpy(tiles[-1, 2:]).repeat(2)
    rows = torch.cat([pixels, scores[box, label][:, None], label[:, None]], 1)
    return [[round(value, 2) for value in row] for row in rows[rows[:, 4].argsort(descending=True)].tolist()]


@pytest.mark.parametrize("tiles, found, expected", [
    # found by both tiles where they overlap: one
    (WIDE, [(0, 460, 50, 500, 90, .8), (1, 462, 50, 501, 90, .9)], [[462, 50, 501, 90, .9, 0]]),
    # a half, of less and of more score than the complete one: that alone
    (WIDE, [(0, 420, 50, 520, 90, .8), (1, 444, 50, 520, 90, .6)], [[420, 50, 520, 90, .8, 0]]),
    (WIDE, [(0, 300, 50, 490, 90, .8), (1, 444, 50, 490, 90, .9)], [[300, 50, 490, 90, .8, 0]]),
    (WIDE, [(0, 300, 50, 490, 90, .8), (1, 444, 50, 490, 90, .7, 1)], [[300, 50, 490, 90, .8, 0]]),
    # far surer than what is complete, which may be nothing
    (WIDE, [(0, 300, 50, 490, 90, .1), (1, 444, 50, 490, 90, .9)],
     [[444, 50, 490, 90, .9, 0], [300, 50, 490, 90, .1, 0]]),
    # complete in no tile: a box around both, also where tiles only touch
    (WIDE, [(0, 300, 50, 555, 90, .8), (1, 445, 52, 700, 91, .9)], [[300, 50, 700, 91, .9, 0]]),
    (FLAT, [(0, 400, 50, 499, 90, .8), (1, 501, 52, 540, 91, .7)], [[400, 50, 540, 91, .8, 0]]),
    # one above the other, or one behind the other, at a seam: stay two
    (FLAT, [(0, 400, 50, 500, 90, .8), (1, 500, 90, 540, 130, .7)],
     [[400, 50, 500, 90, .8, 0], [500, 90, 540, 130, .7, 0]]),
    (WIDE, [(0, 400, 50, 470, 90, .8), (1, 475, 50, 530, 90, .7)],
     [[400, 50, 470, 90, .8, 0], [475, 50, 530, 90, .7, 0]]),
    (WIDE, [(0, 440, 50, 540, 90, .8), (1, 444, 50, 480, 90, .7)],
     [[440, 50, 540, 90, .8, 0], [444, 50, 480, 90, .7, 0]]),
    # of other classes and both cut: two
    (FLAT, [(0, 400, 50, 499, 90, .8, 1), (1, 501, 52, 540, 91, .7)],
     [[400, 50, 499, 90, .8, 1], [501, 52, 540, 91, .7, 0]]),
    # of the whole picture only what no tile has complete
    (WIDE, [(2, 100, 50, 130, 90, .9)], []),
    (WIDE, [(2, 100, 50, 900, 300, .9), (0, 100, 50, 556, 300, .8), (1, 444, 50, 900, 300, .7)],
     [[100, 50, 900, 300, .9, 0]]),
])
def test_merged(tiles, found, expected):
    rows = np.reshape(merged(tiles, *found, classes=2), (-1, 6))
    np.testing.assert_allclose(rows, np.reshape(expected, (-1, 6)), atol=.02)


def test_an_object_over_many_tiles_is_one():
    """Cut at two sides by each of four tiles, and at one or two by three tiles in a row."""
    tiles = Tiling(2, 2, .2).cut(1000, 1000)
    found = [(at, *np.clip([300, 300, 700, 700], tile[[0, 1, 0, 1]], tile[[2, 3, 2, 3]]), .9 - at / 10)
             for at, tile in enumerate(tiles[:-1])]
    assert merged(tiles, *found) == [[300, 300, 700, 700, .9, 0]]
    row = Tiling(3, 1, .2).cut(300, 900)
    found = [(at, *np.clip([200, 100, 700, 200], tile[[0, 1, 0, 1]], tile[[2, 3, 2, 3]]), .9 - at / 10)
             for at, tile in enumerate(row[:-1])]
    assert merged(row, *found) == [[200, 100, 700, 200, .9, 0]]


def test_without_suppression_all_boxes_stay():
    assert len(merged(WIDE, (0, 460, 50, 500, 90, .8), (1, 462, 50, 501, 90, .9), (2, 100, 50, 130, 90, .9),
                      threshold=None)) == 3


def test_a_merged_box_has_the_embedding_of_the_best():
    halves = [([300, 50, 555, 90], .8, 1.), ([445, 52, 700, 91], .9, 2.)]
    parts = []
    for tile, (corners, score, embedding) in zip(torch.from_numpy(WIDE).float(), halves, strict=False):
        box = xyxy_to_cxcywh((torch.tensor(corners) - tile[:2].repeat(2)) / (tile[2:] - tile[:2]).repeat(2))
        parts.append((torch.cat([box, torch.tensor([embedding])])[None], torch.tensor([[score]])))
    boxes, scores = merge_tiles([*parts, (torch.zeros(0, 5), torch.zeros(0, 1))], WIDE, partial(nms, threshold=.45))
    assert boxes[scores[:, 0] > 0][:, 4].tolist() == [2]
    assert boxes.shape == (3, 5)


@pytest.mark.parametrize("seed", range(5))
def test_of_any_boxes_none_overlap_afterwards(seed):
    rng, tiles = np.random.default_rng(seed), Tiling(3, 2, .3).cut(500, 700)
    found = []
    for at, tile in enumerate(tiles):
        corners = rng.uniform(tile[[0, 1]], tile[[2, 3]], (60, 2, 2))
        found += [(at, *one.min(0), *one.max(0), rng.uniform(.01, 1), rng.integers(3)) for one in corners]
    rows = torch.tensor(merged(tiles, *found, classes=3))
    assert 3 < len(rows) < len(found)
    boxes, scores = xyxy_to_cxcywh(rows[:, :4]), torch.nn.functional.one_hot(rows[:, 5].long()) * rows[:, 4:5]
    assert torch.equal(nms(boxes, scores, .46) > 0, scores > 0)


def test_one_tile_is_none(demo):
    picture = cv2.imread(str(demo[2]))
    plain = Detector(*demo[:2], device="cpu", thresh=.05)(picture)
    for other in (Detector(*demo[:2], device="cpu", thresh=.05, tiles=tiles)(picture) for tiles in ("1x1", (1, 1))):
        np.testing.assert_array_equal(other.boxes, plain.boxes)
        np.testing.assert_array_equal(other.scores, plain.scores)
        np.testing.assert_array_equal(other.places, plain.places)


@pytest.fixture
def large(demo):
    """Four times the picture of the network in the repository, and the detections of one of them."""
    picture = cv2.imread(str(demo[2]))
    return np.tile(picture, (2, 2, 1)), Detector(*demo[:2], device="cpu")(picture)


@pytest.mark.parametrize("letterbox", [False, True])
def test_tiles_are_as_pictures_of_their_own(demo, large, letterbox):
    """Without overlap each quarter is the very picture, so what is well inside it comes out as there."""
    picture, _ = large
    height, width = np.array(picture.shape[:2]) // 2
    one = Detector(*demo[:2], device="cpu", letterbox=letterbox)(picture[:height, :width])
    found = Detector(*demo[:2], device="cpu", letterbox=letterbox, tiles="2x2", overlap=0)(picture)
    inside = (one.boxes[:, :2] > 8).all(1) & (one.boxes[:, 2:] < (width - 8, height - 8)).all(1)
    assert inside.sum() > 3
    for shift in np.ndindex(2, 2):
        moved = one.boxes[inside] + np.tile(np.array(shift) * (width, height), 2)
        for box, score in zip(moved, one.scores[inside], strict=True):
            nearest = np.abs(found.boxes - box).max(1)
            assert nearest.min() < .01 and found.scores[nearest.argmin()] == pytest.approx(score, abs=1e-4)


def test_all_tiles_run_as_one_batch(demo, large):
    detector = Detector(*demo[:2], device="cpu", tiles="3x2")
    run, shapes = detector.backend.run, []
    detector.backend.run = lambda x: shapes.append(len(x)) or run(x)
    detector(large[0])
    detector([large[0]] * 2)
    assert shapes == [7, 14]


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1), (60, 80, 4), (1, 1, 3), (3, 400, 3)])
def test_any_picture(demo, shape):
    found = Detector(*demo[:2], device="cpu", tiles="4x3", letterbox=True)(np.full(shape, 127, np.uint8))
    assert found.image_size == shape[:2]


def test_large_pictures_of_small_objects(demo, large):
    """More is found than without tiles, and each object once."""
    picture = cv2.resize(np.tile(large[0], (2, 2, 1)), None, fx=.5, fy=.5, interpolation=cv2.INTER_AREA)
    plain, tiled = (Detector(*demo[:2], device="cpu", tiles=tiles)(picture) for tiles in (None, "4x4"))
    assert len(tiled) > 1.5 * len(plain)


def test_verbs(cli, demo, workdir):
    cfg, weights, picture = map(str, demo)
    cv2.imwrite("large.png", np.tile(cv2.imread(picture), (2, 2, 1)))
    counts = {}
    for tiles in ([], ["-tiles", "1x1"], ["-tiles", "2x2"], ["-tiles", "2x2", "-overlap", "0"]):
        code, _, err = cli("detect", cfg, weights, "large.png", "-device", "cpu", "-out", "o.json", *tiles)
        assert code == 0, err
        counts[" ".join(tiles)] = len(json.loads(Path("o.json").read_text())[0]["objects"])
    assert counts[""] == counts["-tiles 1x1"] and counts["-tiles 2x2"] > 0
    assert cli("demo", cfg, weights, "large.png", "-device", "cpu", "-json_file_output", "d.json", "-tiles", "2x2",
               "-dont_show")[0] == 0
    assert len(json.loads(Path("d.json").read_text())[0]["objects"]) == counts["-tiles 2x2"]


def test_evaluation_finds_what_detection_finds(cli, demo, workdir):
    """On a picture labelled with what is detected in tiles, evaluation in tiles has no error, and without has some."""
    cfg, weights, picture = map(str, demo)
    cv2.imwrite("large.png", np.tile(cv2.imread(picture), (2, 2, 1)))
    assert cli("detect", cfg, weights, "large.png", "-device", "cpu", "-save_labels", "-tiles", "2x2", "-thresh",
               ".25")[0] == 0
    Path("v.txt").write_text("large.png\n")
    Path("d.data").write_text(f"classes=3\ntrain=v.txt\nvalid=v.txt\nnames={ROOT / 'cfg/shapes.names'}\n")
    figures = {}
    for name, tiles in (("with", ["-tiles", "2x2"]), ("without", [])):
        code, _, err = cli("evaluate", "d.data", cfg, weights, "-device", "cpu", "-json", "e.json", *tiles)
        assert code == 0, err
        figures[name] = json.loads(Path("e.json").read_text())["darknet"]
    assert figures["with"]["fn"] == figures["with"]["fp"] == 0 and figures["with"]["map"] == pytest.approx(1, abs=1e-6)
    assert figures["without"]["fn"] > 0
    code, out, _ = cli("detector", "map", "d.data", cfg, weights, "-device", "cpu", "-tiles", "2x2")
    assert code == 0 and "(mAP@0.50) = 1.000000" in out


@pytest.mark.parametrize("words, line", [
    (["detect", "CFG", "WEIGHTS", "x.png", "-tiles", "2by2"],
     "tiles need COLUMNSxROWS such as 2x2, at most 100 in all, found 2by2"),
    (["detect", "CFG", "WEIGHTS", "x.png", "-overlap", ".1"], "-overlap needs -tiles COLUMNSxROWS"),
    (["evaluate", "d.data", "CFG", "WEIGHTS", "-tiles", "2x2", "-overlap", "1"],
     "the overlap of tiles needs a number from 0 to 0.9, found 1.0"),
    (["detector", "train", "d.data", "CFG", "-tiles", "2x2"], "detector train does not take -tiles"),
])
def test_mistakes_are_one_line(cli, demo, workdir, words, line):
    Path("d.data").write_text("classes=3\nvalid=v.txt\n")
    code, _, err = cli(*({"CFG": str(demo[0]), "WEIGHTS": str(demo[1])}.get(word, word) for word in words))
    assert code == 1 and line in err and err.count("\n") == 1
