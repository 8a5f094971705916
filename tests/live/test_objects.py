"""Objects by their classes: chosen, pixelated, cut out, labelled; in detect and demo."""
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import raises

from darknet_py import DarknetError, DataError, Detector, Reason
from darknet_py.data.datafile import class_numbers
from darknet_py.inference.detections import Detections
from darknet_py.live.objects import CELLS, ChooseObjects, ObjectPictures, as_file_name, pixelate

NAMES = ["circle", "square", "7", "square"]
NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def found(*rows):
    """Detections of (left, top, right, bottom, label)."""
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.linspace(.9, .5, len(rows), dtype=np.float32), np.array([row[4] for row in rows], int),
                      NAMES, (120, 160))


@pytest.mark.parametrize("given, numbers", [
    (["circle"], [0]), (["square"], [1, 3]), (["0", "3"], [0, 3]), (["7"], [2]), (["circle", "2"], [0, 2])])
def test_classes_by_name_or_number(given, numbers):
    assert class_numbers(given, NAMES) == numbers


@pytest.mark.parametrize("word, says", [
    ("sqare", "a name or a number from 0 to 3, found sqare; did you mean square?"),
    ("4", "found 4"), ("-1", "found -1"),
    ("", "found "), ("9" * 5000, "found 999")])
def test_unknown_classes(word, says):
    with pytest.raises(DarknetError, match=re.escape(says)) as caught:
        class_numbers([word], NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("box", [(20, 30, 110, 90), (5, 5, 11, 13), (-20, -5, 300, 400), (30, 30, 31, 31),
                                 (150, 100, 170, 130), (40.4, 50.6, 70.2, 52.1)])
def test_few_colours_are_left_of_a_box(box):
    """No more than cells, and of a small box one; around it nothing changes."""
    before, done = NOISE.copy(), pixelate(NOISE, np.array([box], np.float32))
    assert np.array_equal(NOISE, before)
    left, top, right, bottom = np.clip(np.round(box), 0, (160, 120, 160, 120)).astype(int)
    inside = done[top:bottom, left:right].reshape(-1, 3)
    sides = np.array([right - left, bottom - top])
    assert 0 < len(np.unique(inside, axis=0)) <= (CELLS ** 2 if sides.max() >= 16 else 1)
    room = np.ceil(np.subtract(box[2:], box[:2]) * .1).astype(int) + 1
    outside = np.ones(done.shape[:2], bool)
    outside[max(0, top - room[1]):bottom + room[1], max(0, left - room[0]):right + room[0]] = False
    assert np.array_equal(done[outside], NOISE[outside])


@pytest.mark.parametrize("boxes", [np.zeros((0, 4), np.float32), np.array([[200, 5, 300, 9]], np.float32),
                                   np.full((1, 4), np.nan, np.float32)])
def test_no_box_in_the_picture_changes_nothing(boxes):
    assert np.array_equal(pixelate(NOISE, boxes), NOISE)


@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 1)])
def test_grey_pictures_keep_their_shape(shape):
    grey = NOISE[..., 0].reshape(shape)
    assert pixelate(grey, np.array([[10, 10, 60, 60]], np.float32)).shape == shape


def test_what_is_not_reported_is_pixelated_too():
    detections, image = ChooseObjects(np.array([1]), np.array([0])).of(
        found((10, 10, 50, 50, 0), (60, 60, 90, 90, 1)), NOISE)
    assert detections.labels.tolist() == [1]
    assert not np.array_equal(image[10:50, 10:50], NOISE[10:50, 10:50])
    assert np.array_equal(image[60:90, 60:90], NOISE[60:90, 60:90])


def test_pictures_of_objects_overwrite_nothing(tmp_path):
    crops = ObjectPictures(tmp_path / "crops")
    for _ in range(2):
        crops.add("a", found((10, 20, 50, 60, 0), (-5, 100, 30, 300, 1), (500, 500, 600, 600, 1)), NOISE)
    names = {str(path.relative_to(tmp_path / "crops")): cv2.imread(str(path)).shape[:2]
             for path in (tmp_path / "crops").rglob("*.jpg")}
    assert names == {"circle/a_1.jpg": (40, 40), "circle/a_1_2.jpg": (40, 40), "square/a_2.jpg": (20, 30),
                     "square/a_2_2.jpg": (20, 30)}


@pytest.mark.parametrize("name, file", [("../../up", "_.._up"), ("traffic light", "traffic light"), ("..", "_"),
                                        ("", "_"), ("a/b\\c:d\n", "a_b_c_d_"), ("名", "名"), ("x" * 999, "x" * 100)])
def test_class_names_as_folders(name, file):
    assert as_file_name(name) == file


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with raises(DataError, Reason.UNWRITABLE):
        ObjectPictures(tmp_path / "file/crops")


def boxes_of(path):
    return [[one["name"] for one in frame["objects"]] for frame in json.loads(Path(path).read_text())]


def test_detect(cli, demo, workdir):
    cfg, weights, picture = map(str, demo)
    every = Detector(cfg, weights, device="cpu", thresh=.24)(picture)
    circles = [one for one in every if one.name == "circle"]
    assert 0 < len(circles) < len(every)
    words = ("detect", cfg, weights, picture, "-device", "cpu", "-out", "o.json", "-crops", "crops", "-only", "circle")
    code, out, err = cli(*words, "-pictures", "p.png")
    assert code == 0, err
    assert boxes_of("o.json") == [["circle"] * len(circles)] and out.count("circle: ") == len(circles)
    assert "square: " not in out
    assert len(list(Path("crops/circle").iterdir())) == len(circles) and len(list(Path("crops").iterdir())) == 1
    assert cli(*words, "-pictures", "b.png", "-blur", "square", "2")[0] == 0
    changed = (cv2.imread("p.png") != cv2.imread("b.png")).any(2)
    for one in every:
        left, top, right, bottom = one.box.clip(0).astype(int)
        if one.name != "circle":
            assert changed[top:bottom, left:right].mean() > .3
        around = .1 * np.tile(one.box[2:] - one.box[:2], 2) * (-1, -1, 1, 1) + one.box
        left, top, right, bottom = np.concatenate([np.floor(around[:2]), np.ceil(around[2:])]).clip(0).astype(int)
        changed[top:bottom, left:right] &= one.name == "circle"
    assert not changed.any()


def test_demo(cli, demo, workdir):
    cfg, weights, picture = map(str, demo)
    words = ("demo", cfg, weights, picture, "-device", "cpu", "-dont_show", "-json_file_output", "d.json", "-prefix",
             "out/f", "-save_labels", "-crops", "crops", "-only", "circle")
    assert cli(*words)[0] == 0
    (names,) = boxes_of("d.json")
    assert set(names) == {"circle"}
    assert len(Path("out/f_00000001.txt").read_text().splitlines()) == len(names)
    assert len(list(Path("crops/circle").iterdir())) == len(names)
    assert Path("out/f_00000001.jpg").exists()
    plain = cv2.imread("out/f_00000001.jpg").astype(int)
    assert cli(*words, "-blur", "circle")[0] == 0
    assert len(list(Path("crops/circle").iterdir())) == 2 * len(names)
    assert np.abs(cv2.imread("out/f_00000001.jpg") - plain).max() > 30


@pytest.mark.parametrize("words, says", [
    (["detect", "CFG", "WEIGHTS", "x.png", "-only", "cirle"], "found cirle; did you mean circle?"),
    (["demo", "CFG", "WEIGHTS", "PICTURE", "-dont_show", "-blur", "3"], "a number from 0 to 2, found 3"),
    (["demo", "CFG", "WEIGHTS", "PICTURE", "-dont_show", "-save_labels"], "demo -save_labels needs -prefix PATH"),
    (["detector", "map", "d.data", "CFG", "WEIGHTS", "-only", "circle"], "detector map does not take -only")])
def test_one_line_of_error(cli, demo, workdir, words, says):
    Path("d.data").write_text("classes=3\nvalid=v.txt\n")
    names = dict(zip(("CFG", "WEIGHTS", "PICTURE"), map(str, demo), strict=True))
    code, _, err = cli(*(names.get(word, word) for word in words))
    assert code == 1 and says in err and err.strip().splitlines()[-1].startswith("darknet-py: ")
