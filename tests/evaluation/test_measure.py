"""darknet-py evaluate, and detector map, recall and valid, as a user types them."""
import json
import re
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from processes import finish

from darknet_py import Detector, load_network
from darknet_py.data import coco
from darknet_py.data.image import read_image
from darknet_py.inference.preprocess import as_input


@pytest.fixture
def shapes(demo, workdir):
    """The folder, now the working directory, of obj.data: two pictures, of whose labels the second lacks the last; one
    is broken, one is missing, one has no labels."""
    cfg, weights, picture = demo
    found = Detector(cfg, weights, device="cpu")(picture)
    rows = [f"{label} {' '.join(map(str, box))}\n" for label, box in zip(found.labels, found.relative(), strict=True)]
    for name, labels in (("a_007", rows), ("b_012", rows[:-1])):
        Path(f"{name}.png").write_bytes(picture.read_bytes())
        Path(f"{name}.txt").write_text("".join(labels))
    Path("bad_3.png").write_bytes(b"no picture")
    Path("bare_4.png").write_bytes(picture.read_bytes())
    Path("list.txt").write_text("a_007.png\nbad_3.png\nb_012.png\nno_5.png\nbare_4.png\n")
    write_data()
    return workdir


def write_data(**entries):
    entries = {"valid": "list.txt", "names": ROOT / "cfg/shapes.names"} | entries
    Path("obj.data").write_text("".join(f"{key} = {value}\n" for key, value in entries.items()))


@pytest.fixture
def run(demo, cli):
    """Run a verb on obj.data and the network in the repository: (exit code, stdout, stderr)."""
    def call(*words):
        count = 2 if words[0] == "detector" else 1
        return cli(*words[:count], "obj.data", *demo[:2], "-device", "cpu", *words[count:])

    return call


@pytest.mark.rendered
def test_evaluate(shapes, run):
    code, out, err = run("evaluate", "-json", "e.json", "-plots", "plots")
    assert code == 0 and "bad_3.png" in err and "no_5.png" in err and err.count("warning: ") == 3
    assert "1 of 5 images have no label file, so they count as images without objects; the first: bare_4.png" in err
    figures = json.loads(Path("e.json").read_text())
    assert figures["images"] == 3 and figures["darknet"]["fn"] == 0 and figures["darknet"]["fp"] > 2
    assert f"mAP@0.50  {figures['darknet']['map']:.2%}" in out
    assert re.search(rf"AP50 +{figures['coco']['AP50']:.2%}", out)
    assert "scores above 0.005, NMS 0.45; right is an overlap above 0.5; the area under the curve" in out
    assert "scores above 0.001, NMS 0.6;" in out and "101 recall points" in out
    assert re.search(r"^  0 circle .*%.* 1\.00 +1\.00 0\.\d\d$", out, re.M) is None     # wrong ones are in every class
    assert re.search(r"3 images in .* a second, \d+% of the time outside the network", out)
    wrong = sum(entry["mistakes"]["background"] for entry in figures["classes"])
    assert wrong == figures["darknet"]["fp"] and f"background {wrong}," in out
    assert np.array(figures["confusion"])[-1].sum() == wrong
    assert sorted(path.name for path in Path("plots").iterdir()) == [
        "confusion.png", "f1.png", "mistakes.jpg", "precision_recall.png"]
    assert all(cv2.imread(str(path)) is not None for path in Path("plots").iterdir())


def test_classes_in_another_order(shapes, demo, cli, monkeypatch):
    """A COCO JSON lists categories as it likes; the names beside the cfg say which is which."""
    found, categories = Detector(*demo[:2], device="cpu")(demo[2]), {"triangle": 3, "square": 18, "circle": 90}
    height, width = cv2.imread(str(demo[2])).shape[:2]
    files = {7: "a_007.png", 12: "b_012.png"}
    objects = [one for number in files for one in found.to_coco(number, [90, 18, 3])]
    Path("instances.json").write_text(json.dumps({
        "images": [{"id": number, "file_name": name, "width": width, "height": height}
                   for number, name in files.items()],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [{"id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0} | one
                        for number, one in enumerate(objects, 1)]}))
    words = ["evaluate", "instances.json", *demo[:2], "-device", "cpu", "-json", "e.json"]
    parsed, parse = [], coco.parse_json
    with monkeypatch.context() as patch:
        patch.setattr(coco, "parse_json", lambda data: parsed.append(len(data)) or parse(data))
        assert cli(*words)[0] == 0
    assert len(parsed) == 1
    figures = json.loads(Path("e.json").read_text())
    assert [entry["name"] for entry in figures["classes"]] == ["circle", "square", "triangle"]
    assert figures["darknet"]["map"] > .9 and figures["coco"]["AP50"] > .9
    Path("three.names").write_text("triangle\nsquare\ncircle\n")         # who says otherwise is believed
    code, out, _ = cli(*words, "-names", "three.names")
    assert code == 0
    figures = json.loads(Path("e.json").read_text())
    assert figures["darknet"]["map"] < .7 and "circle for triangle" in out


def test_several_processes_measure_as_one(shapes, demo, cli):
    """To the last digit, of each way to measure."""
    Path("list.txt").write_text("a_007.png\nb_012.png\n" * 9)
    words = ["evaluate", "obj.data", *demo[:2], "-device", "cpu", "-json", "e.json"]
    figures = []
    for run in (partial(finish, processes=2), cli):
        code, out, err = run(*words)
        assert code == 0, err
        assert out.count("mAP@") == 1               # one process speaks
        figures.append(json.loads(Path("e.json").read_text()))
        for key in ("seconds", "network_seconds"):
            del figures[-1][key]
    assert figures[0] == figures[1] and figures[0]["images"] == 18


def test_recall(shapes, run):
    code, out, _ = run("detector", "recall")
    assert code == 0
    assert re.fullmatch(r"    2 +(\d+) +\1\tRPs/Img: \d+\.\d\d\tIOU: 100\.00%\tRecall:100\.00%\n", out)


def test_valid_voc(shapes, run, demo):
    code, out, err = run("detector", "valid")
    assert code == 0 and out.splitlines()[1:] == [f"results/comp4_det_test_{name}.txt" for name in
                                                  ("circle", "square", "triangle")]
    assert "label" not in err                                   # nobody needs them here
    count = 0
    for label, path in enumerate(out.splitlines()[1:]):
        lines = [line.split() for line in Path(path).read_text().splitlines()]
        count += len(lines)
        assert {words[0] for words in lines} == {"a_007", "b_012", "bare_4"}
        best = max((line for line in lines if line[0] == "a_007"), key=lambda words: float(words[1]))
        found = Detector(*demo[:2], device="cpu")(demo[2])
        at = int(np.flatnonzero(found.labels == label)[0])
        np.testing.assert_allclose([float(word) for word in best[2:]], found.boxes[at] + 1, atol=2e-4)
        assert float(best[1]) == pytest.approx(found.scores[at], abs=1e-5)
    assert out.startswith(f"{count} detections (scores above 0.001, NMS 0.6) in\n")


def test_valid_coco(shapes, run):
    write_data(eval="coco", results="r")
    code, out, _ = run("detector", "valid", "-out", "mine")
    entries = json.loads(Path("r/mine.json").read_text())
    assert code == 0 and out.endswith("\nr/mine.json\n") and {entry["image_id"] for entry in entries} == {7, 12, 4}
    assert {entry["category_id"] for entry in entries} == {1, 2, 3}
    assert all(len(entry["bbox"]) == 4 and 0 < entry["score"] < 1 for entry in entries)
    Path("list.txt").write_text("a_007.png\nb_012.png\nx/b_012.png\n")
    Path("x").mkdir()
    Path("x/b_012.png").write_bytes(Path("b_012.png").read_bytes())
    code, _, err = run("detector", "valid")
    assert code == 0 and "image_id is the place in the list, from 1" in err and "12" in err
    entries = json.loads(Path("r/coco_results.json").read_text())
    assert {entry["image_id"] for entry in entries} == {1, 2, 3}


@pytest.mark.parametrize("kind, files", [
    ("bdd", ["bdd_results.json"]), ("imagenet", ["imagenet-detection.txt"]),
    ("kitti", [f"kitti_results/data/{name}.txt" for name in ("a_007", "b_012", "bad_3", "bare_4", "no_5")])])
def test_valid_others(shapes, run, kind, files):
    write_data(eval=kind)
    assert run("detector", "valid")[0] == 0
    assert sorted(str(path.relative_to("results")) for path in Path("results").rglob("*.*")) == files
    text = Path("results", files[0]).read_text()
    if kind == "bdd":
        entry = json.loads(text)[0]
        assert entry["name"] == "a_007" and entry["category"] in ("circle", "square", "triangle")
        assert len(entry["bbox"]) == 4 and entry["bbox"][0] < entry["bbox"][2]
    else:
        pattern = r"[135] [123] 0\.\d{6}( \d+\.\d{6}){4}" if kind == "imagenet" else \
            r"(circle|square|triangle) -1 -1 -10( \d+\.\d{6}){4} -1 -1 -1 -1000 -1000 -1000 -10 0\.\d{6}"
        assert all(re.fullmatch(pattern, line) for line in text.splitlines())


TREE_CFG = """[net]
width=32
height=32
channels=3
[convolutional]
filters=22
size=1
stride=8
activation=linear
[region]
anchors=1,1, 2,2
num=2
classes=6
softmax=1
tree=six.tree
"""


def test_a_map_of_classes(shapes, cli):
    """map= of a .data file: a tree's classes are measured as another data set names some of them."""
    Path("six.tree").write_text("a -1\nb -1\nc 0\nd 0\ne 1\nf 1\n")
    Path("tree.cfg").write_text(TREE_CFG)
    Path("three.map").write_text("4\n0\n3\n")
    torch.manual_seed(0)
    network = load_network("tree.cfg")
    network.save_weights("tree.weights")
    write_data(map="three.map", eval="imagenet")
    words = ["obj.data", "tree.cfg", "tree.weights", "-device", "cpu"]
    assert cli("detector", "valid", *words, "-nms", "0")[0] == 0
    lines = [line.split() for line in Path("results/imagenet-detection.txt").read_text().splitlines()]
    x = as_input(read_image("a_007.png"), network.input_shape, False)[None]
    with torch.no_grad():
        y = network(x)[0].unflatten(3, (2, 11))[0]
    a, b, _, d, e, _ = y[..., 5:].unbind(-1)
    expected = y[..., 4:5] * torch.stack([b * e, a, a * d], -1)
    for label in range(3):
        ours = sorted(float(words[2]) for words in lines if words[0] == "1" and int(words[1]) == label + 1)
        np.testing.assert_allclose(ours, np.sort(expected[..., label][expected[..., label] > .001]), atol=2e-6)
    Path("three.map").write_text("4\n6\n3\n")
    code, _, err = cli("detector", "map", *words)
    assert code == 1 and "line 2 of three.map: expected a number from 0 to 5, found '6'" in err


@pytest.mark.parametrize("words, entries, message", [
    (["detector", "map"], {"names": "two.names"}, r"obj\.data: has 2 names for a network of 3 classes \(.*\.cfg\)"),
    (["evaluate", "-names", "two.names"], {}, r"two\.names: has 2 names for a network of 3 classes"),
    (["evaluate"], {"valid": "empty.txt"}, r"obj\.data: valid = empty\.txt names no pictures to validate on"),
    (["evaluate"], {"valid": "no.txt"}, r"no\.txt: cannot read the file"),
    (["evaluate"], {"valid": "bare.txt"}, r"none of the images has an object of a class from 0 to 2"),
    (["evaluate"], {"valid": "bad.txt"}, r"none of the 1 images can be read; the first: bad_3\.png"),
    (["evaluate", "-points", "1"], {}, r"points needs 0, or a number from 2 to"),
    (["detector", "valid"], {"eval": "pascal"}, r"eval= needs one of voc, coco, bdd, kitti, imagenet, found pascal"),
    (["detector", "valid"], {"results": "list.txt"}, r"list\.txt/comp4_det_test_circle\.txt: cannot write the file"),
    (["detector", "recall", "x.png"], {}, r"takes its pictures from valid= in obj\.data, found x\.png"),
    (["detector", "valid"], {"map": "list.txt"}, r"map=list\.txt needs a network with \[region\] tree="),
    (["detector", "valid"], {"names": "slash.names"}, r"expected classes after which files can be called, found 'a/b'"),
])
def test_bad_input_is_one_line(shapes, run, words, entries, message):
    Path("two.names").write_text("a\nb\n")
    Path("slash.names").write_text("a\na/b\nc\n")
    Path("empty.txt").write_text("\n")
    Path("bare.txt").write_text("bare_4.png\n")
    Path("bad.txt").write_text("bad_3.png\n")
    write_data(**entries)
    code, _, err = run(*words)
    assert code == 1 and re.search(message, err) and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("darknet-py: ")]) == 1


def test_numbers_that_are_none_are_said(shapes, cli, demo):
    """Weights that went wrong: no figure is given, and nothing is written."""
    weights = Path("nan.weights")
    data = bytearray(demo[1].read_bytes())
    data[20:24] = np.array([np.nan], "<f4").tobytes()
    weights.write_bytes(data)
    code, _, _ = cli("detector", "valid", "obj.data", demo[0], weights, "-device", "cpu")
    assert code == 1 and not Path("results").exists()
