"""What ``darknet-py check`` finds, and where."""
import re

import cv2
import numpy as np
import pytest
from conftest import SHARED, write

from darknet_py.data.check import check_for_training
from darknet_py.data.dataset import read_samples
from darknet_py.prepare.check_dataset import check_dataset

PICTURE = cv2.imencode(".png", np.arange(40 * 30 * 3, dtype=np.uint8).reshape(30, 40, 3))[1].tobytes()
JPEG = cv2.imencode(".jpg", np.zeros((30, 40, 3), np.uint8))[1].tobytes()
NOISE = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))[1].tobytes()
DAMAGED = NOISE[:len(NOISE) // 2] + b"\xff\xd5" + NOISE[len(NOISE) // 2 + 2:]          # a marker within the data
TURNED = JPEG[:2] + b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0" + JPEG[2:]
LABEL = "0 .5 .5 .25 .25\n1 .25 .25 .25 .25\n"
DATA = {"o.data": "classes=2\ntrain=train.txt\nvalid=valid.txt\nnames=o.names\n", "o.names": "cat\ndog\n",
        "train.txt": "a.png\nb.png\n", "valid.txt": "c.png\n", "m.cfg": """[net]
batch=4
subdivisions=2
width=64
height=64
channels=3
max_batches=100
policy=steps
steps=80
scales=.1

[convolutional]
filters=14
size=3
stride=8
pad=1
activation=linear

[yolo]
mask=0,1
anchors=16,16, 8,8
classes=2
num=2
"""}
for name in "abc":
    DATA |= {f"{name}.png": PICTURE, f"{name}.txt": LABEL}


@pytest.fixture(autouse=True)
def working_directory(workdir):
    """Every test starts in a folder with a data set without mistakes."""
    write(DATA)


def test_no_mistakes(cli):
    code, out, err = cli("check", "o.data", "m.cfg")
    assert code == 0
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert ["train", "2", "0", "0", "4", "2.0", "2"] in lines and ["valid", "1", "0", "0", "2", "2.0", "2"] in lines
    assert ["0 cat", "2", "1"] in lines and ["1 dog", "2", "1"] in lines
    assert "train: pictures from 40 x 30 to 40 x 30 pixels, median 40 x 30" in out
    assert "valid: boxes from 16 x 16 to 16 x 16, median 16 x 16 pixels at 64 x 64" in out
    assert "anchors overlap their boxes by 1.00 on average" in out
    assert out.endswith("\n0 errors, 0 warnings\n") and err == ""


def cfg(old: str, new: str) -> dict[str, str]:
    assert DATA["m.cfg"].count(old) == 1
    return {"m.cfg": DATA["m.cfg"].replace(old, new)}


MISTAKES = [        # files, the line that reports it
    ({"a.png": None}, "error: train.txt:1: a.png: cannot read the image: No such file or directory"),
    ({"b.png": b""}, "error: train.txt:2: b.png: the image file is empty (0 bytes)"),
    ({"c.png": "text"}, "error: valid.txt:1: c.png: not an image, or a broken one (4 bytes)"),
    ({"c.png": PICTURE[:-40]}, f"error: valid.txt:1: c.png: not an image, or a broken one ({len(PICTURE) - 40} bytes)"),
    ({"a.png": JPEG[:-4]},
     "warning: train.txt:1: a.png: the file is cut off: what is missing, most often the last rows, is grey"),
    ({"train.txt": "a.jpg\nb.png\n", "a.jpg": DAMAGED},
     "warning: train.txt:1: a.jpg: the file is damaged, though it can be "
     "read: Corrupt JPEG data: premature end of data segment"),
    ({"train.txt": "a.jpg\nb.png\n", "a.jpg": TURNED},
     "warning: train.txt:1: a.jpg: is stored turned (EXIF orientation "
     "6) and read upright: its boxes must be those of it upright"),
    ({"a.txt": LABEL + "2 .5 .5 .1 .1"}, "error: a.txt:3: expected a class from 0 to 1, found 2"),
    ({"a.txt": LABEL + "0 5 .5 .1 .1"}, "error: a.txt:3: the box lies outside the picture (coordinates are relative, "
                                        "0 to 1): x 5 y 0.5 width 0.1 height 0.1"),
    ({"a.txt": LABEL + "0 .9 .5 .5 .5"}, "warning: a.txt:3: the box reaches outside the picture and is clipped: "
                                         "x 0.9 y 0.5 width 0.5 height 0.5"),
    ({"a.txt": LABEL + "0 .5"}, "error: a.txt:3: expected 5 numbers: class x y width height, found '0 .5'"),
    ({"a.txt": LABEL + "\n" + LABEL}, "warning: a.txt:5: the same box as in line 2"),
    ({"a.txt": LABEL + "0 .5 .5 .01 .5"},
     "warning: a.txt:3: the box has 0.64 x 32 pixels of the network, so it is left out"),
    ({"a.txt": None}, "warning: a.txt: no label file: a picture without objects"),
    ({"a.txt": LABEL * 101}, "warning: a.txt: 202 objects, of which 200 are taken by chance (max= in the cfg)"),
    (dict.fromkeys(("a.txt", "b.txt"), "0 .5 .5 .25 .25"), "warning: o.data: 1 class has no object in train: dog"),
    ({"c.txt": LABEL[:16]}, "warning: o.data: 1 class has no object in valid: dog"),
    ({"a.txt": "", "b.txt": ""}, "error: train.txt: no picture has an object of a class from 0 to 1"),
    ({"train.txt": "a.png\nb.png\na.png"}, "warning: train.txt:3: a.png: is listed already, at train.txt:1"),
    ({"valid.txt": "c.png\n./b.png"}, "warning: valid.txt:2: b.png: is in train too, at train.txt:2"),
    ({"valid.txt": "b.png\na.png"},
     "warning: valid.txt: all 2 pictures are in train too: mAP will say nothing about new pictures"),
    ({"valid.txt": None},
     "error: o.data: valid = valid.txt: valid.txt: cannot read the file: No such file or directory"),
    ({"train.txt": "\n"}, "error: o.data: train = train.txt names no pictures to train on"),
    ({"o.data": "train=train.txt\nnames=o.names"}, "warning: o.data: no valid=: mAP would be that of train"),
    ({"o.names": None}, "error: o.data: names: o.names: cannot read the file: No such file or directory"),
    ({"o.names": "cat\n"}, "error: o.data: classes = 2, but there are 1 names"),
    ({"o.data": DATA["o.data"].replace("2", "two")}, "error: o.data: classes = two: expected a number above 0"),
    ({"o.data": DATA["o.data"].replace("2", "3"), "o.names": "a\nb\nc"},
     "error: m.cfg:22: [yolo] has 2 classes, but o.data has 3"),
    (cfg("filters=14", "filters=21"), "error: m.cfg:19: [yolo] needs filters=14 in the layer before it (2 anchors x (5 "
                                      "+ 2 classes)), got 21"),
    (cfg("pad=1", "pda=1"), "warning: m.cfg:16: [convolutional] has no option pda="),
    ({"m.cfg": None}, "error: m.cfg: cannot read the cfg file: No such file or directory"),
    (cfg("anchors=16,16, 8,8", "anchors=64,64, 60,60"), "warning: m.cfg:21: [yolo] anchors= overlap the boxes of train "
     "by 0.07 on average at 64 x 64, expected 0.5 or more: darknet-py detector calc_anchors finds better ones"),
    (cfg("width=64", "width=60"), "warning: m.cfg:4: [net] width=60 is no multiple of 8, the step of a head with 8 "
                                  "cells"),
    (cfg("subdivisions=2", "subdivisions=8"), "error: m.cfg:3: [net] subdivisions=8 needs a batch of at least as many "
                                              "pictures, found batch=4"),
    (cfg("subdivisions=2", "subdivisions=3"), "warning: m.cfg:2: [net] batch=4 is no multiple of subdivisions=3: a "
                                              "batch would have 3 pictures"),
    (cfg("batch=4\nsubdivisions=2", "batch=1"),
     "warning: m.cfg:2: [net] batch=1: is this the cfg for testing? Training wants many pictures in a batch"),
    (cfg("max_batches=100", ""), "error: m.cfg:1: [net] max_batches= needs the number of iterations, found none"),
    (cfg("steps=80", "steps=800"), "warning: m.cfg:9: [net] steps= has 800, which max_batches=100 never reaches"),
    ({"m.cfg": DATA["m.cfg"][:DATA["m.cfg"].index("[yolo]")]},
     "error: m.cfg:1: [net] no layer of this network can be trained: expected a head, such as [yolo] or [softmax]"),
]


@pytest.mark.parametrize("files, line", MISTAKES)
def test_mistakes(files, line, cli):
    write(files)
    code, out, _ = cli("check", "o.data", "m.cfg", "-all")
    assert line in out.splitlines()
    assert code == ("error: " in out) == (not out.splitlines()[-1].startswith("0 errors"))


def test_problems_come_once_and_errors_first(cli):
    """A broken picture's missing labels are not reported too; without -all the list ends somewhere."""
    write({"a.png": None, "a.txt": None, "b.txt": LABEL * 100})
    code, out, _ = cli("check", "o.data")
    lines = out.splitlines()
    assert code == 1 and lines[0].startswith("error: train.txt:1: a.png: cannot read")
    assert sum("same box" in line for line in lines) == 99 and "... and 99 more: -all prints them" in lines
    assert lines[-1] == "1 error, 198 warnings"


@pytest.mark.parametrize("content, errors", [(PICTURE[:-40], 0), ("text", 1), ("", 1)])
def test_quick_does_not_decode(content, errors):
    write({"a.png": content})
    report = check_dataset("o.data", decode=False)
    assert (report.errors, report.splits[0].broken, report.splits[0].sizes.size) == (errors, errors, 0)


@pytest.mark.parametrize("source, names, splits", [("train.txt", ["0", "1"], ["train"]),
                                                   (".", ["cat", "dog"], ["train"]),
                                                   ("o.data", ["cat", "dog"], ["train", "valid"])])
def test_sources_without_a_cfg(source, names, splits):
    calls = []
    report = check_dataset(source, progress=lambda *call: calls.append(call))
    assert (report.problems, report.names, [split.name for split in report.splits]) == ([], names, splits)
    assert calls[-1] == (report.splits[-1].pictures,) * 2


@pytest.mark.parametrize("seed", range(10))
def test_any_bytes_give_a_report(seed, cli):
    """Whatever is in the files, there are problems with places, and text that any terminal takes."""
    random = np.random.default_rng(seed)
    junk = [random.choice([*b"0 1 . - + e5\n\n\r\t:=ab" * 9, *range(256)], 300).astype(np.uint8).tobytes()
            for _ in range(4)]
    write({"a.txt": junk[0], "train.txt": b"a.png\n" + junk[1], "o.names": junk[2], "b.png": junk[3]})
    code, out, _ = cli("check", "o.data", "m.cfg", "-all")
    assert code == 1 and "train.txt:" in out and "a.txt:" in out and out.replace("\n", "").isprintable()


CLASSIFIER = """[net]
batch=2
width=8
height=8
channels=3
max_batches=9
[convolutional]
filters=2
[avgpool]
[softmax]
"""


@pytest.mark.parametrize("files, line", [
    ({}, "0 errors, 0 warnings"),
    ({"train.txt": "cat/1.png\na.png\n"}, "error: train.txt:2: a.png: expected one label in the path, found none"),
    ({"train.txt": "cat/1.png\ncat/dog.png", "cat/dog.png": PICTURE},
     "error: train.txt:2: cat/dog.png: expected one label in the path, found cat, dog"),
    ({"m.cfg": CLASSIFIER.replace("filters=2", "filters=3")},
     "error: m.cfg:10: [softmax] has 3 classes, but o.data has 2"),
])
def test_classifier(files, line, cli):
    write({"cat/1.png": PICTURE, "dog/2.png": PICTURE, "cat/3.png": PICTURE, "dog/3.png": PICTURE, "m.cfg": CLASSIFIER,
           "train.txt": "cat/1.png\ndog/2.png\n", "valid.txt": "cat/3.png\ndog/3.png",
           "o.data": DATA["o.data"].replace("names=", "labels="), **files})
    code, out, _ = cli("check", "o.data", "m.cfg")
    assert code == line.startswith("error") and line in out.splitlines()


@pytest.mark.parametrize("files, good, messages", [
    ({}, ["a.png", "b.png"], []),
    ({"a.png": None}, ["b.png"], ["train.txt:1: a.png: cannot read the image: No such file or directory"]),
    ({"b.png": ""}, ["a.png"], ["train.txt:2: b.png: the image file is empty (0 bytes)"]),
    ({"train.txt": "a.png\nx\0y"}, ["a.png"], [r"train.txt:2: x\x00y: cannot read the image: embedded null byte"]),
    ({"a.txt": "", "b.txt": None}, ["a.png", "b.png"], ["train.txt: no picture has an object of a class from 0 to 1"]),
])
def test_check_for_training(files, good, messages):
    write(files)
    samples, problems = check_for_training(read_samples("o.data"), 2)
    assert [str(sample.image) for sample in samples] == good
    assert [str(problem) for problem in problems] == messages


@pytest.mark.needs_shared("data/bccd")
def test_bccd(monkeypatch):
    monkeypatch.chdir(SHARED)           # away from the other train.txt
    report = check_dataset(SHARED / "data/bccd/obj.data", SHARED / "models/bccd-micro.cfg")
    assert report.problems == []
    assert [split.pictures for split in report.splits] == [292, 72]
    assert [split.objects for split in report.splits] == [3941, 945]
    assert report.anchor_iou > .8


ANNOTATION = ("<annotation><size><width>40</width><height>30</height></size><object><name>cat</name><bndbox>"
              "<xmin>11</xmin><ymin>8</ymin><xmax>21</xmax><ymax>15</ymax></bndbox></object></annotation>")
INSTANCES = '{"images": [], "annotations": [], "categories": []}'


@pytest.mark.parametrize("folder, files, found", [
    (".", {"a.xml": ANNOTATION}, "a.xml"),
    (".", {"Annotations/b.xml": ANNOTATION}, "Annotations/b.xml"),
    (".", {"annotations/instances_train.json": INSTANCES}, "annotations/instances_train.json"),
    (".", {"annotations.xml": "<?xml version='1.0'?>\n<annotations><image/></annotations>"}, "annotations.xml"),
    (".", {"data.yaml": "train: images\nnames: [cat]"}, "data.yaml"),
    (".", {"settings.json": '{"version": 1}', "pom.xml": "<project/>"}, None),
])
def test_annotations_in_other_formats_are_told_once(folder, files, found, cli):
    """Instead of a line a picture; training that would start without any object says it as well."""
    write({"a.txt": None, "b.txt": None, **files})
    _, out, _ = cli("check", "o.data")
    told = (f"2 pictures have no label files, but {found} is there: darknet-py dataset {folder} makes label files of "
            "such annotations")
    assert out.count("no label file:") == (2 if found is None else 0)
    assert (f"warning: train.txt: {told}" in out.splitlines()) == (found is not None)
    problems = check_for_training(read_samples("o.data"), 2)[1]
    assert [problem.message for problem in problems][1:] == ([] if found is None else [told])
