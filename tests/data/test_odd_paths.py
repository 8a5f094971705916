"""Data files that name themselves, and paths that no file system has."""
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, raises

from darknet_py import DataError, Reason, load_network
from darknet_py.data.datafile import MOST_DATA, MOST_LABELS, MOST_NAMES, find_names, read_data, read_names
from darknet_py.data.dataset import class_names, read_rows, read_samples

pytestmark = pytest.mark.usefixtures("workdir")
LONG = "x" * 100_000
SHAPES = [str(ROOT / "cfg/shapes.cfg"), str(ROOT / "weights/shapes.weights")]
COMMANDS = {
    "check": ["check", "a.data"], "check with a cfg": ["check", "a.data", SHAPES[0]],
    "map": ["detector", "map", "a.data", *SHAPES], "evaluate": ["evaluate", "a.data", *SHAPES],
    "valid": ["detector", "valid", "a.data", *SHAPES], "train": ["train", "a.data", SHAPES[0], "-device", "cpu"],
    "classifier": ["classifier", "valid", "a.data", "c.cfg", "c.weights"],
    "new": ["new", "yolov4-tiny", "-data", "a.data"], "dataset": ["dataset", "a.data", "-o", "out"],
    "anchors": ["detector", "calc_anchors", "a.data", SHAPES[0]], "preview": ["preview", "a.data", SHAPES[0]],
    "tune": ["tune", "a.data", SHAPES[0], "-trials", "1"],
}
LISTS = {           # value of train=, of names=, a list.txt
    "itself": ("a.data", "n.names", ""), "another": ("b.data", "n.names", ""), "long": (LONG, "n.names", ""),
    "long json": (f"{LONG}.json", "n.names", ""), "long in a list": ("list.txt", "n.names", f"{LONG}\n{LONG}.jpg\n"),
    "long names": ("list.txt", LONG, "a.png\n"), "long yaml": ("d.yaml", "n.names", ""), "long folder": (
        f"{LONG}/images", "n.names", ""), "names itself": ("a.data", None, ""),
    "NUL": ("list.txt", "n.names", "a\0b\n"), "NUL as a list": ("a\0b", "n.names", ""),
}


NAMES = {       # files with a class name of 200,000 characters, and what names the classes
    "names": ({"n.names": f"a\n{LONG * 2}\n"}, lambda: read_names("n.names")),
    "list": ({}, lambda: find_names(None, None, 1, [LONG * 2])),
    "coco": ({"c.json": json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": LONG * 2}]})},
             lambda: class_names("c.json")),
    "yaml": ({"d.yaml": f"train: a\nnames: [a, {LONG * 2}]\n"}, lambda: class_names("d.yaml")),
    "data": ({"a.data": "train=d.yaml\n", "d.yaml": f"train: a\nnames: [{LONG * 2}]\n"}, lambda: class_names("a.data")),
    "voc": ({"v/a.xml": f"<annotation><object><name>{LONG * 2}</name></object></annotation>"},
            lambda: class_names("v")),
}


@pytest.mark.parametrize("files, read", NAMES.values(), ids=NAMES)
def test_a_long_class_name(files, read):
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    with raises(DataError, Reason.TOO_LARGE, r"name \d: expected a class name of at most 1000 characters, found one of "
                "200000$"):
        read()


@pytest.fixture
def files():
    Path("n.names").write_text("a\nb\nc\n")
    Path("d.yaml").write_text(f"train: {LONG}\nval: {LONG}\nnames: [a, b, c]\n")
    shutil.copy(ROOT / "cfg/shapes.png", "a.png")
    Path("c.cfg").write_text("[net]\nwidth=8\nheight=8\nchannels=3\nmax_batches=1\n[convolutional]\nfilters=3\n"
                             "activation=linear\n[avgpool]\n[softmax]\n")
    load_network("c.cfg").save_weights("c.weights")

    def make(train, names, text):
        Path("list.txt").write_text(text)
        named = "" if names is None else f"names={names}\nlabels={names}\n"
        for name in ("a.data", "b.data"):
            Path(name).write_text(f"classes=3\ntrain={train}\nvalid={train}\n{named}")
    return make


@pytest.mark.parametrize("kind, command", [
    *((kind, command) for kind in ("itself", "long in a list", "NUL as a list") for command in COMMANDS),
    *((kind, command) for kind in LISTS for command in ("check", "classifier", "train", "new", "dataset"))])
def test_odd_lists(kind, command, files, cli):
    files(*LISTS[kind])
    code, out, err = cli(*COMMANDS[command])
    counted = command == "new" and kind in ("long in a list", "NUL")      # it looks at no picture
    assert code == (not counted) and "Traceback" not in out + err
    assert all(len(line) < 600 and line.replace("\t", "").isprintable() for line in (out + err).splitlines())
    if not counted and command not in ("check", "check with a cfg"):        # these list problems
        assert err.splitlines()[-1].startswith("darknet-py: ") and not os.path.exists("out")


def test_bounds_of_bytes_are_those_of_the_kind(demo):
    """A list may be longer than the labels of a picture."""
    shutil.copy(demo[2], "a.png")
    sizes = {"a.txt": MOST_LABELS, "n.names": MOST_NAMES, "a.data": MOST_DATA}
    for name, most in sizes.items():
        Path(name).write_bytes(b"\n" * (most + 1))
    Path("list.txt").write_bytes(b"a.png\n" + (b" " * 999 + b"\n") * (MOST_LABELS // 1000 + 1))
    sample, = read_samples("list.txt")
    rows, (problem,) = read_rows(sample, 1)
    assert len(rows) == 0 and f"expected at most {MOST_LABELS} bytes, found {MOST_LABELS + 1}" in str(problem)
    for read, name in ((read_names, "n.names"), (read_data, "a.data")):
        with raises(DataError, Reason.UNREADABLE, f"{name}: .*expected at most {sizes[name]} bytes, found "):
            read(name)
