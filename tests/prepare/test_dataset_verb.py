"""``darknet-py dataset`` with what is wrong: one line each, and nothing lost."""
from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import raises
from pictures import scene
from sets import flat, make_set, named, read_back, run, same, snapshot

from darknet_py.errors import DataError, Reason
from darknet_py.prepare.sources import read_remap

pytestmark = pytest.mark.usefixtures("workdir")
BAD = [             # words, what is said
    (["gone"], r"gone: no such file or folder"),
    (["empty"], r"empty: names no pictures to train on"),
    (["bare"], r"bare: no objects in 1 readable pictures: no label files beside them or in labels/, no XML"),
    (["broken"], r"broken: no objects in 0 readable pictures: .*dropped; .*x\.jpg: not an image, or a broken one"),
    (["set", "-split", "80"], r"expected a share for training from 0 to 1, found 80"),
    (["set", "-split", "nan"], r"expected a share for training from 0 to 1, found nan"),
    (["set", "-remap", "fox"], r"-remap takes OLD=NEW,OTHER= \(nothing drops a class\), found 'fox'"),
    (["set", "-remap", "fax=dog"], r"-remap: no class fax; did you mean fox\?"),
    (["set", "-remap", "123=dog"], r"-remap: no class 123; there are rabbit, fox, owl"),
    (["set", "-remap", "fox=a,fox=b"], r"-remap says twice what becomes of fox"),
    (["set", "-remap", "fox=,rabbit=,owl="], r"-remap leaves no class"),
    (["set", "-o", "set/out"], r"set/out: lies in set, where it would be read as a part of it the next time"),
    (["set", "-o", "set", "-force"], r"set: lies in set, where"),
    (["set", "-o", "JPEGImages/x"], r"JPEGImages/x: Darknet would look for labels in .*labels/x/obj because of"),
    (["set", "-o", "bare/x.jpg"], r"bare/x\.jpg: is there already, and is no folder"),
    (["link.txt", "-o", "set", "-force"], r"set: has pictures of the source, such as .*p1\.jpg; -o FOLDER writes"),
    (["bad.yaml"], r"bad\.yaml:1: not YAML"),
]


@pytest.mark.parametrize("words, complaint", BAD)
def test_mistakes_are_one_line(words, complaint, capfd):
    make_set("set", 5)
    for folder in ("empty", "bare", "broken"):
        Path(folder).mkdir()
    cv2.imwrite("bare/x.jpg", scene(1))
    Path("broken/x.jpg").write_text("x")
    Path("link.txt").write_text("set/p1.jpg\n")
    Path("bad.yaml").write_text("a: [")
    before = snapshot(".")
    words = words if "JPEGImages/x" not in words else [*words, "-copy"]
    assert run(*words) == 1
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(rf"darknet-py: {complaint}.*\n", err)
    assert snapshot(".") == before


def test_what_is_broken_is_listed_and_left_out(capsys):
    rows = make_set("set")
    Path("set/p0.jpg").write_text("text")
    whole = Path("set/p3.jpg").read_bytes()
    Path("set/p3.jpg").write_bytes(whole[:-20])
    with open("set/p7.txt", "a") as file:
        file.write("7 .5 .5 .1 .1\n0 .5 .5\n0 .1 .1 .9 .1 .9 .5 .1 .5\n")
    Path("set/p8.txt").unlink()
    assert run("set", "-o", "out") == 0
    lines = capsys.readouterr().out.splitlines()
    here = Path.cwd()
    for line in (f"error: {here}/set/p0.jpg: not an image, or a broken one (4 bytes)",
                 "error: set/p7.txt:4: expected a class from 0 to 2, found 7",
                 "error: set/p7.txt:5: expected 5 numbers: class x y width height, found '0 .5 .5'",
                 f"warning: {here}/set/p3.jpg: the file is cut off: what is missing, most often the last rows, is grey",
                 "warning: set/p8.txt: no label file: a picture without objects", "3 errors, 2 warnings"):
        assert line in lines
    found = flat(read_back("out/obj.data"))
    rows["p7"] = np.concatenate([rows["p7"], np.array([[0, .5, .3, .8, .4]], np.float32)])
    del rows["p0"]
    same(found, named(rows), 1e-6)
    assert sorted(os.listdir("out/obj")) == ["p7.jpg", "p7.txt"]


def test_many_problems_are_counted(capsys):
    make_set("set", 8)
    Path("set/p3.txt").write_text("9 .5 .5 .1 .1\n" * 30)
    run("set", "-o", "out")
    out = capsys.readouterr().out
    assert out.count("expected a class") == 20 and "... and 10 more: -all prints them" in out


def test_a_picture_that_is_named_twice_comes_once():
    """With the rows of both where they differ; a .data file of something else is passed over."""
    make_set("set", 6)
    Path("set/junk.data").write_bytes(b"\x80\x04K\x01.")
    Path("list.txt").write_text("set/p1.jpg\nset/p2.jpg\nset/p1.jpg\n")
    assert run("list.txt", "set", "-o", "out", "-remap", "0=rabbit,1=fox") == 0
    assert len(flat(read_back("out/obj.data"))) == 6 and not Path("out/obj").exists()
    Path("set/more.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "p1.jpg", "width": 80, "height": 60}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 6]}],
        "categories": [{"id": 1, "name": "owl"}]}))
    assert run("set", "set/more.json", "-o", "both") == 0
    found = flat(read_back("both/obj.data"))
    assert len(found) == 6 and len(found["p1"]) == 2 and ("owl", .05, .05, .1, .1) in [
        (name, *(round(value, 6) for value in box)) for name, *box in found["p1"]]
    assert sorted(os.listdir("both/obj")) == ["p1.jpg", "p1.txt"]


def test_read_remap():
    assert read_remap(["a = b, c=", "d=e=f"]) == {"a": "b", "c": "", "d": "e=f"}
    with raises(DataError, Reason.SYNTAX):
        read_remap(["=a"])


def test_pictures_without_annotations_are_told(capsys):
    make_set("set", 8)
    run("set", "-format", "voc", "-o", "voc")
    cv2.imwrite("voc/JPEGImages/new.jpg", scene(99))
    assert run("voc", "-o", "out") == 0
    assert "warning: voc: 1 picture has no annotation, left out: JPEGImages/new.jpg" in capsys.readouterr().out
