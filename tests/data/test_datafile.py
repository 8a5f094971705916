""".data and .names files, and the search for names."""
from __future__ import annotations

import os

import pytest
from conftest import ROOT, raises

from darknet_py.data import datafile
from darknet_py.data.datafile import find_file, find_names, read_data, read_lines, read_names
from darknet_py.data.dataset import class_names, read_samples
from darknet_py.errors import DataError, Reason
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run

pytestmark = pytest.mark.usefixtures("workdir")


def write(files: dict[str, str]):
    for name, text in files.items():
        os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
        with open(name, "wb") as file:
            file.write(text.encode())


@pytest.mark.parametrize("text, expected", [
    ("classes= 20\ntrain  = /data/voc/train.txt\n", {"classes": "20", "train": "/data/voc/train.txt"}),
    ("# comment\n ; comment\n\n\t\nnames = a b/c.names\r\n", {"names": "ab/c.names"}),
    ("a=1\na=2", {"a": "1"}),
    ("a=b=c", {"a": "b=c"}),
    ("valid=\nvalid=x", {"valid": "x"}),
    ("\ufeffclasses=3", {"classes": "3"}),
    ("names = données/犬.names", {"names": "données/犬.names"}),
    ("", {}),
])
def test_read_data(text, expected):
    write({"a.data": text})
    assert read_data("a.data") == expected


def test_read_data_says_where():
    write({"a.data": "# head\nclasses = 2\ntrain.txt\n"})
    with raises(DataError, Reason.SYNTAX, r"^a\.data:3: expected 'key = value', got 'train\.txt'$"):
        read_data("a.data")
    for read in (read_data, read_names):
        with raises(DataError, Reason.MISSING_FILE, r"^gone: cannot read the file: No such file or directory$"):
            read("gone")
        with raises(DataError, Reason.UNREADABLE):
            read(".")


@pytest.mark.parametrize("text, expected", [
    ("person\ntraffic light\n", ["person", "traffic light"]),
    ("person\r\n  dog \t\r\n\r\n\n", ["person", "dog"]),
    ("\ufeffperson\n\ndog", ["person", "", "dog"]),
    ("犬\n", ["犬"]),
    ("", []),
])
def test_read_names(text, expected):
    write({"a.names": text})
    assert read_names("a.names") == expected


def test_the_names_in_the_package_are_those_of_cfg():
    for classes, path in datafile.PACKAGED.items():
        assert path.read_bytes() == (ROOT / "cfg" / path.name).read_bytes() and len(read_names(path)) == classes


def test_find_file(tmp_path):
    write({"here.txt": "", "far/there.txt": "", "far/here.txt": ""})
    (tmp_path / "far" / "folder").mkdir()
    assert find_file("here.txt", "far").samefile("here.txt")
    assert find_file("there.txt", None, "nowhere", tmp_path / "far").samefile("far/there.txt")
    assert find_file(tmp_path / "here.txt", "far").samefile("here.txt")
    assert find_file("there.txt") is None
    assert find_file("folder", "far") is None


OF_COCO, OF_VOC = ((ROOT / f"cfg/{name}.names").read_text().splitlines() for name in ("coco", "voc"))
THREE, FOUR, COCO = "a\nb\nc\n", "1st\n2nd\n3rd\n4th\n", "\n".join(f"thing {k}" for k in range(80))
NUMBERS = ["0", "1", "2"]


@pytest.mark.parametrize("files, arguments, expected", [
    ({}, {"cfg": "m/x.cfg", "weights": None}, NUMBERS),
    ({}, {"cfg": None, "weights": None}, NUMBERS),
    ({}, {"cfg": "x.cfg", "weights": None, "names": ["p", "q", "r"]}, ["p", "q", "r"]),
    ({"n.txt": FOUR, "x.names": THREE}, {"cfg": "x.cfg", "weights": None, "names": "n.txt"}, ["1st", "2nd", "3rd"]),
    ({"n.txt": THREE, "o.data": "names=n.txt"}, {"cfg": None, "weights": None, "data": "o.data"}, ["a", "b", "c"]),
    ({"d/n.txt": THREE, "d/o.data": "names=n.txt"},
     {"cfg": None, "weights": None, "data": "d/o.data"}, ["a", "b", "c"]),
    ({"p/data/n.txt": THREE, "p/cfg/o.data": "labels=data/n.txt"},
     {"cfg": None, "weights": None, "data": "p/cfg/o.data"},
     ["a", "b", "c"]),
    ({"o.data": "classes=3", "x.names": THREE}, {"cfg": "x.cfg", "weights": None, "data": "o.data"}, ["a", "b", "c"]),
    ({"m/x.names": THREE, "m/y.names": FOUR}, {"cfg": "m/x.cfg", "weights": None}, ["a", "b", "c"]),
    ({"w/x.names": THREE}, {"cfg": "m/x.cfg", "weights": "w/x.weights"}, ["a", "b", "c"]),
    ({"m/voc.names": THREE}, {"cfg": "m/x.cfg", "weights": None}, ["a", "b", "c"]),
    ({"m/voc.names": THREE, "m/other.names": THREE}, {"cfg": "m/x.cfg", "weights": None}, NUMBERS),
    ({"m/x.names": FOUR, "m/voc.names": THREE}, {"cfg": "m/x.cfg", "weights": None}, NUMBERS),
    ({"cfg/coco.names": COCO}, {"cfg": "m/x.cfg", "weights": None}, NUMBERS),
    ({"cfg/coco.names": COCO}, {"cfg": "m/x.cfg", "weights": None, "classes": 80}, COCO.split("\n")),
    ({"m/coco.names": COCO, "m/voc.names": THREE},
     {"cfg": "m/x.cfg", "weights": None, "classes": 80}, COCO.split("\n")),
    ({"x.names": THREE}, {"cfg": "m/x.cfg", "weights": None, "classes": 80}, OF_COCO),
    ({"only.names": COCO}, {"cfg": "x.cfg", "weights": None, "classes": 80}, COCO.split("\n")),
    ({"only.names": COCO}, {"cfg": "yolov4", "weights": None, "classes": 80}, OF_COCO),
    ({"yolov4": "a file", "only.names": COCO}, {"cfg": "yolov4", "weights": None, "classes": 80}, COCO.split("\n")),
    ({"w/my.names": COCO}, {"cfg": "yolov4", "weights": "w/my.weights", "classes": 80}, COCO.split("\n")),
    ({"n.txt": COCO}, {"cfg": "yolov4", "weights": None, "classes": 80, "names": "n.txt"}, COCO.split("\n")),
    ({}, {"cfg": None, "weights": None, "classes": 80}, OF_COCO),
    ({}, {"cfg": "yolov1-tiny", "weights": None, "classes": 20}, OF_VOC),
    ({}, {"cfg": "m/yolov3-VOC.cfg", "weights": None, "classes": 20}, OF_VOC),
    ({}, {"cfg": "m/yolov3.cfg", "weights": None, "classes": 20}, [str(label) for label in range(20)]),
    ({}, {"cfg": "digits", "weights": None, "classes": 10}, [str(label) for label in range(10)]),
])
def test_find_names(files, arguments, expected):
    write(files)
    assert find_names(**{"classes": 3, **arguments}) == expected


@pytest.mark.parametrize("files, arguments, reason, complaint", [
    ({}, {"names": "gone.names"}, Reason.MISSING_FILE, r"^gone\.names: cannot read the file"),
    ({"n": THREE}, {"names": "n"}, Reason.WRONG_COUNT, r"^n: needs 4 names, one for each class, got 3$"),
    ({}, {"names": ["a"]}, Reason.WRONG_COUNT, r"^names: needs 4 names, one for each class, got 1$"),
    ({}, {"data": "gone.data"}, Reason.MISSING_FILE, r"^gone\.data: cannot read the file"),
    ({"o.data": "names = n"}, {"data": "o.data"}, Reason.MISSING_FILE, r"^o\.data: no such file of names: n$"),
    ({"o.data": "names = n", "n": THREE}, {"data": "o.data"}, Reason.WRONG_COUNT,
     r"^n: needs 4 names, one for each class, got 3$"),
])
def test_names_that_were_asked_for_must_fit(files, arguments, reason, complaint):
    write(files)
    with raises(DataError, reason, complaint):
        find_names("x.cfg", None, 4, **arguments)


def test_a_data_file_is_read_once(tiny, monkeypatch):
    """A DataFile goes wherever its path does."""
    reads = []
    monkeypatch.setattr(datafile, "read_lines", lambda path, *most: reads.append(path) or read_lines(path, *most))
    data = datafile.opened("tiny.data")
    assert str(data) == "tiny.data" and datafile.read_data(data) is data and data["classes"] == "2"
    assert len(read_samples(data)) == 6 and class_names(data) == ["light", "dark"]
    assert [path for path in reads if str(path).endswith(".data")] == ["tiny.data"]
    reads.clear()
    Run("tiny.data", "tiny.cfg", settings=Settings(save=False, evaluate=True)).close()
    assert [path for path in reads if str(path).endswith(".data")] == ["tiny.data"]
