"""Which pictures a data set has, and the objects in each."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import raises

from darknet_py.data.dataset import class_names, read_rows, read_samples
from darknet_py.data.layout import pick_base
from darknet_py.errors import DataError, Reason

BOX = "0 .5 .5 .2 .2\n"


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """Every test starts in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(text.encode())


def pictures(source, *arguments) -> list[str]:
    return [str(sample.image) for sample in read_samples(source, *arguments)]


def rows_of(text: str, classes: int = 2):
    write({"a.jpg": "", "a.txt": text, "l": "a.jpg\n"})
    rows, problems = read_rows(read_samples("l")[0], classes)
    assert rows.dtype == np.float32 and rows.shape[1:] == (5,)
    return rows.tolist(), [(problem.line, problem.error) for problem in problems], problems


@pytest.mark.parametrize("files, source, split, expected", [
    ({"l.txt": "a.jpg\r\n\r\n \nb c.jpg \n"}, "l.txt", "train", ["a.jpg", "b c.jpg"]),
    ({"l.txt": "\ufeff/x/a.jpg"}, "l.txt", "train", ["/x/a.jpg"]),
    ({"d/l.txt": "a.jpg\nb.jpg", "d/b.jpg": ""}, "d/l.txt", "train", ["d/a.jpg", "d/b.jpg"]),
    ({"d/l.txt": "i/a.jpg", "d/i/a.jpg": "", "i/a.jpg": ""}, "d/l.txt", "train", ["i/a.jpg"]),
    ({"p/d/l.txt": "d/a.jpg", "p/d/a.jpg": ""}, "p/d/l.txt", "train", ["p/d/../d/a.jpg"]),
    ({"d/o.data": "train=l.txt\nvalid=v.txt", "d/l.txt": "a.jpg", "d/v.txt": "b.jpg", "d/a.jpg": "", "d/b.jpg": ""},
     "d/o.data", "valid", ["d/b.jpg"]),
    ({"o.data": "train=l.txt", "l.txt": "a.jpg"}, "o.data", "valid", ["a.jpg"]),
    ({"o.data": "train=l.txt", "l.txt": "a.jpg"}, "o.data", "difficult", []),
    ({"o.data": "train=l.txt\ndifficult=d.txt", "l.txt": "a.jpg", "d.txt": "b.jpg"}, "o.data", "difficult", ["b.jpg"]),
    ({"f/b.PNG": "", "f/sub/a.jpg": "", "f/b.txt": ""}, "f", "train", ["f/b.PNG", "f/sub/a.jpg"]),
    ({"o.data": "train=f", "f/b.png": ""}, "o.data", "train", ["f/b.png"]),
])
def test_pictures(files, source, split, expected):
    write(files)
    assert pictures(source, split) == expected


@pytest.mark.parametrize("image, label, expected", [
    ("d/a.b.jpg", "d/a.b.txt", "d/a.b.txt"),
    ("images/train2017/a.jpg", "d/labels/train2017/a.txt", "images/train2017/a.txt"),
    ("d/images/train2017/a.jpg", "d/labels/train2017/a.txt", "d/labels/train2017/a.txt"),
    ("d/JPEGImages/a.jpg", "", "d/labels/a.txt"),
    ("d/images/a.jpg", "", "d/images/a.txt"),
    ("d/images/a.jpg", "d/images/a.txt", "d/images/a.txt"),
    ("d/images/a.jpg", "d/labels/a.txt", "d/labels/a.txt"),
    ("d/images/images/a.jpg", "d/images/labels/a.txt", "d/images/labels/a.txt"),
    ("images/a.jpg", "labels/a.txt", "labels/a.txt"),
])
def test_label_files(image, label, expected):
    write({"l": image, **({label: BOX} if label else {})})
    assert str(read_samples("l")[0].label) == expected


def test_both_rules_for_labels_in_one_list():
    """The first picture with labels decides for the list; a single label elsewhere is found all the same."""
    write({"l": "images/a.jpg\nimages/b.jpg\nimages/c.jpg", "images/b.txt": BOX, "labels/a.txt": BOX})
    assert [len(read_rows(sample, 1)[0]) for sample in read_samples("l")] == [1, 1, 0]


GOOD = [0, .5, .5, .25, .25]


@pytest.mark.parametrize("text, expected, problems", [
    ("0 .5 .5 .25 .25\r\n\r\n1\t.5 .5 .25 .25", [GOOD, [1, *GOOD[1:]]], []),
    ("", [], []),
    ("1.0 .5 .5 .25 .25", [[1, *GOOD[1:]]], []),
    ("2 .5 .5 .25 .25\n-1 .5 .5 .25 .25\n.5 .5 .5 .25 .25\n0 .5 .5 .25 .25", [GOOD], [(1, True), (2, True), (3, True)]),
    ("0 .5 .5 .25\n0 .5 .5 .25 .25 .9\nperson .5 .5 .25 .25\n0 .5 .5 .25 .25", [GOOD],
     [(1, True), (2, True), (3, True)]),
    ("0 nan .5 .25 .25\n0 .5 .5 inf .25\n1e300 .5 .5 .25 .25", [], [(1, True), (2, True), (3, True)]),
    ("0 0 0 .25 .25", [], [(1, True)]),
    ("0 0 .5 .25 .25", [[0, 0, .5, .25, .25]], [(1, False)]),          # half of it lies in the picture
    ("0 .5 .5 0 .25\n0 .5 .5 .25 -.25", [], [(1, True), (2, True)]),
    ("0 1.125 .5 .5 .25", [[0, 1.125, .5, .5, .25]], [(1, False)]),
    ("0 1.5 .5 .25 .25\n0 .5 -.5 .25 .25\n0 320 240 32 32", [], [(1, True), (2, True), (3, True)]),
    ("0 .5 .5 1.5 .25", [[0, .5, .5, 1.5, .25]], [(1, False)]),
    ("0 .125 .5 .2500001 .25", [[0, .125, .5, np.float32(.2500001), .25]], []),
    ("\0\1\2", [], [(1, True)]),
])
def test_rows(text, expected, problems):
    rows, places, _ = rows_of(text)
    assert (rows, places) == (expected, problems)


@pytest.mark.parametrize("text, message", [
    ("0 .5 .5 .25", "a.txt:1: expected 5 numbers: class x y width height, found '0 .5 .5 .25'"),
    ("\n7 .5 .5 .25 .25", "a.txt:2: expected a class from 0 to 1, found 7"),
    ("0 3 .5 .25 .25", "a.txt:1: the box lies outside the picture (coordinates are relative, 0 to 1): "
                       "x 3 y 0.5 width 0.25 height 0.25"),
])
def test_problems_say_where(text, message):
    assert str(rows_of(text)[2][0]) == message


def test_a_missing_label_file_means_no_objects():
    write({"l": "a.jpg"})
    rows, problems = read_rows(read_samples("l")[0], 1)
    assert rows.shape == (0, 5)
    assert [str(problem) for problem in problems] == ["a.txt: no label file: a picture without objects"]
    assert not problems[0].error


def coco(**changes) -> str:
    return json.dumps({
        "images": [{"id": 7, "file_name": "a.jpg", "width": 20, "height": 10},
                   {"id": 8, "file_name": "b.jpg", "width": 20, "height": 10}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [{"image_id": 7, "category_id": 5, "bbox": [5, 0, 10, 5]},
                        {"image_id": 7, "category_id": 2, "bbox": [-2, 6, 12, 8], "iscrowd": 0},
                        {"image_id": 8, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1}],
        **changes})


@pytest.mark.parametrize("folder", ["", "images/", "../", "../images/", "../train2017/", "../images/train2017/"])
def test_coco(folder):
    path = "annotations/instances_train2017.json"
    write({path: coco(), f"annotations/{folder}a.jpg": ""})
    first, second = read_samples(path)
    assert first.image.exists() and str(second.image) == f"annotations/{folder}b.jpg"
    assert class_names(path) == ["cat", "dog"]
    assert read_rows(first, 2)[0].tolist() == [[1, .5, .25, .5, .5], [0, .25, np.float32(.8), .5, np.float32(.4)]]
    assert len(read_rows(second, 2)[0]) == 0
    assert [read_rows(sample, 1)[0][:, 0].tolist() for sample in read_samples(path, names=["dog"])] == [[0], []]
    write({"o.data": f"train={path}\nnames=o.names", "o.names": "dog\ncat\n"})
    assert read_rows(read_samples("o.data")[0], 2)[0][:, 0].tolist() == [0, 1]


def voc(*objects: tuple) -> str:
    return "<annotation><filename>a.jpg</filename><size><width>20</width><height>10</height></size>" + "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>" for name, difficult, x0, y0, x1, y1 in objects
    ) + "</annotation>"


VOC = {
    "v/ImageSets/Main/train.txt": "a\n", "v/ImageSets/Main/val.txt": "a\nb  1\n",
    "v/Annotations/a.xml": voc(("dog", 0, 6, 1, 16, 6), ("cat", 1, 1, 1, 11, 6)),
    "v/Annotations/b.xml": "<annotation>",
}


def test_voc():
    write(VOC)
    assert pictures("v") == ["v/JPEGImages/a.jpg"]
    assert pictures("v", "valid") == ["v/JPEGImages/a.jpg", "v/JPEGImages/b.jpg"]
    assert class_names("v") == ["cat", "dog"]
    first, second = read_samples("v", "valid")
    assert read_rows(first, 2)[0].tolist() == [[1, .5, .25, .5, .5]]
    assert [str(problem) for problem in read_rows(second, 2)[1]] == [
        "v/Annotations/b.xml: expected an annotation of Pascal VOC with size and boxes"]
    assert read_rows(read_samples("v", "difficult")[0], 2)[0].tolist() == [[0, .25, .25, .5, .5]]
    rows, problems = read_rows(read_samples("v", names=["cat"])[0], 1)
    assert len(rows) == 0 and problems[0].error


def test_voc_of_several_years_without_lists():
    write({f"d/VOC{year}/Annotations/{year}.xml": voc() for year in (2007, 2012)})
    write({"o.data": "train=d\nvalid=d\n"})
    assert pictures("o.data") == [f"d/VOC{year}/JPEGImages/{year}.jpg" for year in (2007, 2012)]
    assert pictures("o.data", "difficult") == pictures("d")


@pytest.mark.parametrize("files, source, reason", [
    ({}, "gone.txt", Reason.MISSING_FILE),
    ({}, "gone.data", Reason.MISSING_FILE),
    ({"l": "\n\r\n"}, "l", Reason.EMPTY),
    ({"f/x.txt": ""}, "f", Reason.EMPTY),
    ({"o.data": "classes=2"}, "o.data", Reason.MISSING_KEY),
    ({"o.data": "train=gone"}, "o.data", Reason.MISSING_FILE),
    ({"m.cfg": "[net]"}, "m.cfg", Reason.WRONG_FORMAT),
    ({"c.json": "{"}, "c.json", Reason.SYNTAX),
    ({"c.json": "[" * 100_000}, "c.json", Reason.SYNTAX),
    ({"c.json": "[]"}, "c.json", Reason.WRONG_FORMAT),
    ({"c.json": '{"images": []}'}, "c.json", Reason.WRONG_FORMAT),
    ({"c.json": coco(categories=[3])}, "c.json", Reason.WRONG_FORMAT),
    ({"c.json": coco(annotations=[{"image_id": 7, "category_id": 5, "bbox": [1]}])}, "c.json",
     Reason.BAD_VALUE),
    ({"c.json": coco(images=[{"id": 1}])}, "c.json", Reason.MISSING_KEY),
    ({"o.data": "train=c.json\nnames=n", "n": "bird", "c.json": coco()}, "o.data", Reason.UNKNOWN_NAME),
    ({"v/Annotations/a.xml": voc(), "v/ImageSets/Main/dog_train.txt": ""}, "v", Reason.MISSING_FILE),
])
def test_bad_sources(files, source, reason):
    write(files)
    with raises(DataError, reason, f"^{re.escape(source)}"):
        read_samples(source)


@pytest.mark.parametrize("box, objects", [([1, 1, 0, 2], 0), ([float("nan"), 1, 2, 2], 0), ([30, 1, 2, 2], 0),
                                          ([1, 1, 2, 2], 1)])
def test_coco_boxes_are_checked_as_others(box, objects):
    write({"c.json": coco(annotations=[{"image_id": 7, "category_id": 2, "bbox": box}])})
    rows, problems = read_rows(read_samples("c.json")[0], 2)
    assert (len(rows), len(problems)) == (objects, 1 - objects)


def test_a_split_must_be_one():
    with raises(DataError, Reason.UNKNOWN_NAME, "expected the split train, valid, difficult, found test"):
        read_samples("l", "test")


def test_pick_base_looks_at_few_names(tmp_path):
    write({"d/last.jpg": ""})
    assert pick_base([*["gone.jpg"] * 19, "last.jpg"], ["", "d"]) == "d"
    assert pick_base([*["gone.jpg"] * 20, "last.jpg"], ["", "d"]) == ""
    assert pick_base([str(tmp_path / "here/d/last.jpg")], ["x", "d"]) == "x"
