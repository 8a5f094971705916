"""``darknet-py dataset``: sources read, merged, split and written, and nothing of the user's touched."""
from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import raises
from pictures import scene
from sets import HEIGHT, NAMES, WIDTH, flat, make_set, named, read_back, run, same, snapshot

from darknet_py.cli import main
from darknet_py.data.dataset import class_names, own_splits, read_samples
from darknet_py.data.image import read_image
from darknet_py.errors import DataError, Reason
from darknet_py.prepare.dataset import prepare_dataset

pytestmark = pytest.mark.usefixtures("workdir")
MAIN = {"darknet": "out/obj.data", "coco": "out", "voc": "out", "yolo": "out/data.yaml"}


@pytest.mark.parametrize("style, within", [("darknet", 1e-7), ("coco", 1e-5), ("voc", 1e-6), ("yolo", 1e-7)])
def test_written_and_read_back(style, within):
    """Whole pixels survive Pascal VOC too."""
    rows = make_set("set")
    before = snapshot("set")
    assert run("set", "-format", style, "-o", "out", "-copy") == 0
    same(flat(read_back(MAIN[style])), named(rows), within)
    assert snapshot("set") == before
    assert own_splits(MAIN[style]) == ("train", "valid")
    assert len(read_samples(MAIN[style], "valid")) == 4
    assert cv2.imread("out/statistics.png").shape == (860, 1500, 3)
    listed = json.loads(Path("out/dataset.json").read_text())["files"]
    assert set(snapshot("out")) == {f"out/{name}" for name in (*listed, "dataset.json")}


def test_round_trip_through_all_formats():
    """Splits and classes go along; Pascal VOC sorts classes and rounds to pixels."""
    make_set("set")
    run("set", "-o", "a")
    wanted = read_back("a/obj.data")
    for source, style, within in (("a", "coco", 1e-5), ("coco", "voc", 1.01 / HEIGHT), ("voc", "yolo", 1.01 / HEIGHT),
                                  ("yolo", "darknet", 1.01 / HEIGHT)):
        assert run(source, "-format", style, "-o", style) == 0
        found = read_back({"darknet": "darknet/obj.data", "yolo": "yolo/data.yaml"}.get(style, style))
        for split in ("train", "valid"):
            same(found[split], wanted[split], within)


def test_labels_that_darknet_finds_stay_where_they_are(capsys):
    rows = make_set("set")
    assert run("set", "-o", "out") == 0
    assert sorted(os.listdir("out")) == ["backup", "dataset.json", "obj.data", "obj.names", "statistics.png",
                                         "train.txt", "valid.txt"]
    lines = (Path("out/train.txt").read_text() + Path("out/valid.txt").read_text()).splitlines()
    assert sorted(lines) == sorted(str(Path("set", f"{name}.jpg").absolute()) for name in rows)
    text = capsys.readouterr().out
    assert "set: pictures with label files, 20 pictures, 3 classes: rabbit, fox, owl" in text
    assert "split: 20 pictures by -split 0.8 and -seed 0, each class in that share" in text
    assert "now: darknet-py new yolov4-tiny -data out/obj.data -size 416" in text
    assert main(["check", "out/obj.data"]) == 0


def test_labels_elsewhere_are_brought_beside_links():
    """C has no rule for images/ and labels/, so it would find none there."""
    make_set("set")
    for kind, suffix in (("images", "jpg"), ("labels", "txt")):
        Path("set", kind).mkdir()
        for path in Path("set").glob(f"p*.{suffix}"):
            path.rename(Path("set", kind, path.name))
    before = snapshot("set")
    assert run("set", "-o", "out") == 0
    sample = read_samples("out/obj.data")[0]
    assert sample.image.parent == Path("out/obj").absolute() and sample.label == sample.image.with_suffix(".txt")
    assert os.path.samefile(sample.image, Path("set/images", sample.image.name))
    assert snapshot("set") == before


def test_labels_are_where_c_looks_from_anywhere(monkeypatch):
    """A list in images/train2017 names its pictures in a way that hides the folder's name."""
    make_set("set/images/train2017")
    Path("set/images/train2017/classes.txt").unlink()
    monkeypatch.chdir("set/images/train2017")
    Path("list.txt").write_text("".join(f"p{number}.jpg\n" for number in range(20)))
    made = prepare_dataset(["list.txt"], "../../../out")
    assert made.written.linked == 20 and made.names == ["0", "1", "2"]
    assert made.sources[0].notes[0].startswith("nothing names its classes")


@pytest.mark.parametrize("missing, copied", [((), False), (("link",), False), (("link", "symlink"), True)])
def test_where_links_cannot_be_made(missing, copied, monkeypatch):
    make_set("set")
    run("set", "-format", "coco", "-o", "coco")

    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    for name in missing:
        monkeypatch.setattr(os, name, refuse)
    made = prepare_dataset(["coco"], "out")
    assert (made.written.linked, made.written.copied, made.written.in_place) == ((0, 20, 0) if copied else (20, 0, 0))
    assert made.written.files == len(snapshot("out")) - 20
    samples = read_samples("out/obj.data")
    assert len(samples) == 16 and read_image(samples[0].image).shape == (HEIGHT, WIDTH, 3)


def test_copies_can_be_moved():
    rows = make_set("set")
    run("set", "-o", "out", "-copy")
    Path("far/away").mkdir(parents=True)
    Path("out").rename("far/away/here")
    for path in snapshot("set"):
        Path(path).unlink()
    same(flat(read_back("far/away/here/obj.data")), named(rows), 1e-7)


@pytest.mark.rendered
def test_statistics():
    make_set("set")
    assert run("set", "-o", "out") == 0
    assert len(np.unique(cv2.imread("out/statistics.png").reshape(-1, 3), axis=0)) > 100


def test_spaces_in_the_folder():
    """A .data file loses spaces in its values, so it names its lists without the folder."""
    rows = make_set("my set")
    assert run("my set") == 0 and run("my set", "-o", "a b") == 0
    same(flat(read_back("my_set-darknet/obj.data")), named(rows), 1e-7)
    same(flat(read_back("a b/obj.data")), named(rows), 1e-7)


@pytest.mark.parametrize("words, counts", [([], (16, 4)), (["-split", ".5"], (10, 10)), (["-split", "1"], (20, 0)),
                                           (["-split", "0"], (0, 20))])
def test_shares(words, counts):
    make_set("set")
    assert run("set", "-o", "out", *words) == 0
    lists = [Path(f"out/{split}.txt") for split in ("train", "valid")]
    assert tuple(len(path.read_text().splitlines()) if path.exists() else 0 for path in lists) == counts


def test_a_seed_repeats_and_another_does_not():
    make_set("set", 40)
    for out, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        run("set", "-o", out, "-seed", seed)
    text = {out: Path(out, "train.txt").read_text() for out in "abc"}
    assert text["a"] == text["b"] != text["c"]


def test_a_split_of_its_own_is_kept(capsys):
    for split, start in (("train", 0), ("valid", 10)):
        make_set(f"set/{split}", 10, start=start)
    (Path("set") / "test").mkdir()
    cv2.imwrite("set/test/x.jpg", scene(77))
    assert run("set", "-o", "out", "-split", ".9") == 0
    assert set(read_back("out/obj.data")["valid"]) == {f"p{number}" for number in range(10, 20)}
    text = capsys.readouterr().out
    assert "has a split of its own, 10 train, 10 valid, which is kept; -resplit splits anew" in text
    assert "its split test, 1 of its pictures, is left out" in text and "split: " not in text
    assert run("set", "-o", "new", "-split", ".9", "-resplit") == 0
    assert len(read_samples("new/obj.data", "valid")) == 2
    assert "split: 20 pictures by -split 0.9" in capsys.readouterr().out


def test_look_alikes_stay_together_and_leaks_are_told(capsys):
    make_set("set", 30)
    for number in range(15):
        image = cv2.imread(f"set/p{number}.jpg")
        cv2.imwrite(f"set/{chr(97 + number)}.jpg", cv2.convertScaleAbs(image, alpha=.9))
        Path(f"set/{chr(97 + number)}.txt").write_bytes(Path(f"set/p{number}.txt").read_bytes())
    assert run("set", "-o", "out") == 0
    found = read_back("out/obj.data")
    assert all(any({f"p{number}", chr(97 + number)} <= part.keys() for part in found.values()) for number in range(15))
    assert "30 pictures look like others, or are frames of one sequence, and stay together" in capsys.readouterr().out
    Path("own").mkdir()
    Path("own/train.txt").write_text("\n".join(f"set/p{number}.jpg" for number in range(30)))
    Path("own/valid.txt").write_text("\n".join(f"set/{chr(97 + number)}.jpg" for number in range(15)))
    Path("own/o.data").write_text("train=train.txt\nvalid=valid.txt\n")
    assert run("own", "-o", "out2") == 0
    assert "15 pictures of valid look like pictures of train" in capsys.readouterr().out


def test_merge_by_names():
    """Classes of one name are one; a source with a split keeps it, and pictures of one name get others."""
    first = named(make_set("a/train", 10)) | named(make_set("a/valid", 6, start=10))
    second = named(make_set("b", 12, ["owl", "wolf"], start=100), ["owl", "wolf"])
    Path("b/p100.jpg").rename("b/p1.jpg")
    Path("b/p100.txt").rename("b/p1.txt")
    second["p1_2"] = second.pop("p100")
    Path("a/classes.txt").write_text("\n".join(NAMES))
    assert run("a", "b", "-o", "out", "-copy") == 0
    assert class_names("out/obj.data") == ["rabbit", "fox", "owl", "wolf"]
    found = read_back("out/obj.data")
    same(flat(found), first | second, 1e-7)
    assert {f"p{number}" for number in range(10, 16)} <= found["valid"].keys() and len(found["valid"]) in (8, 9)


@pytest.mark.parametrize("remap, classes, change", [
    ("fox=dog", ["rabbit", "dog", "owl"], {"fox": "dog"}),
    ("rabbit=animal,owl=animal", ["animal", "fox"], {"rabbit": "animal", "owl": "animal"}),
    ("rabbit=,fox=owl", ["owl"], {"rabbit": None, "fox": "owl"}),
    ("rabbit=fox,fox=rabbit", ["fox", "rabbit", "owl"], {"rabbit": "fox", "fox": "rabbit"}),
])
def test_remap(remap, classes, change):
    rows = named(make_set("set"))
    assert run("set", "-o", "out", "-remap", remap) == 0
    assert class_names("out/obj.data") == classes
    wanted = {key: sorted((new, *row[1:]) for row in table if (new := change.get(row[0], row[0])))
              for key, table in rows.items()}
    same(flat(read_back("out/obj.data")), wanted, 1e-7)


def test_only_its_own_files_are_replaced(capsys):
    make_set("set")
    run("set", "-format", "coco", "-o", "coco")
    assert run("coco", "-o", "out") == 0
    Path("out/backup/my.weights").write_text("weights")
    before = snapshot("out")
    assert run("coco", "-o", "out") == 1
    assert capsys.readouterr().err == ("darknet-py: out is there already: -force replaces what this command wrote "
                                       "there, -o FOLDER writes another one\n")
    assert snapshot("out") == before
    assert run("coco", "-o", "out", "-force", "-remap", "fox=", "-format", "voc") == 0
    assert Path("out/backup/my.weights").read_text() == "weights"
    assert not Path("out/obj.data").exists() and not list(Path("out").glob("obj/*"))
    assert len(list(Path("out/Annotations").iterdir())) == 20 and len(snapshot("coco/images")) == 20


def test_files_of_others_are_not_replaced(capsys):
    make_set("set")
    Path("out").mkdir()
    Path("out/obj.names").write_text("mine")
    with raises(DataError, Reason.ALREADY_EXISTS):
        prepare_dataset(["set"], Path("out"))
    assert run("set", "-o", "out") == 1
    assert "out has files that are not of this command: -o FOLDER writes another one" in capsys.readouterr().err
    assert run("set", "-o", "out", "-force") == 1
    assert capsys.readouterr().err.startswith("darknet-py: out/obj.names is there already, and not from this command")
    assert os.listdir("out") == ["obj.names"]
    Path("out/obj.names").rename("out/other")
    Path("out/dataset.json").write_text('{"files": ["../set/p1.jpg", "/etc/hosts", 3]}')
    assert run("set", "-o", "out", "-force") == 0
    assert Path("out/other").read_text() == "mine" and Path("set/p1.jpg").exists()
