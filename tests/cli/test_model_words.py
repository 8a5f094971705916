"""CFG [WEIGHTS] [IMAGE]... as words of a command line, with -size and -set."""
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from web import Page

from darknet_py import load_network
from darknet_py.cli.model import names_weights, spread
from darknet_py.zoo.manifest import OFFICIAL, Published
from darknet_py.zoo.models import open_cfg

DIGITS, PICTURE = ROOT / "weights/digits.weights", ROOT / "cfg/digits.jpg"
PLAIN = ["-device", "cpu", "-backend", "pytorch"]


@pytest.fixture(autouse=True)
def folder(workdir, monkeypatch):
    """A folder with weights of the zoo's digits, a picture and a data set."""
    monkeypatch.setenv("DARKNET_PY_CACHE", str(workdir / "cache"))
    Path("weights").mkdir()
    shutil.copy(DIGITS, "weights")
    shutil.copy(PICTURE, "a.jpg")
    shutil.copy(ROOT / "cfg/digits.txt", "a.txt")
    Path("list.txt").write_text("a.jpg\n")
    Path("d.data").write_text(f"classes=10\ntrain=list.txt\nvalid=list.txt\nnames={ROOT / 'cfg/digits.names'}\n")
    return workdir


@pytest.mark.parametrize("word, expected", [
    ("a.weights", True), ("yolov4.conv.137", True), ("x/A.WEIGHTS", True), ("a.backup", True), ("m.onnx", True),
    ("m.xml", True), ("a.safetensors", True), ("a.pt", True), ("a.pth", True), ("a.jpg", False), ("0", False),
    ("rtsp://host/path", False), ("photos", False), ("photos/*.jpg", False), ("-", False), ("a.weights.jpg", False)])
def test_words_that_name_weights(word, expected):
    assert names_weights(word) is expected


@pytest.mark.parametrize("words, expected", [
    ("a -x b", "a -x b"), ("--set net.width=1 a.jpg", "--set=net.width=1 a.jpg"),
    ("--set net.width=1 yolo[2].a=.7 139.max=9 a.jpg", "--set=net.width=1 --set=yolo[2].a=.7 --set=139.max=9 a.jpg"),
    ("--set a=b c.d=1 --size 3", "--set=a=b --set=c.d=1 --size 3"), ("--set", "--set"),
    ("--set --size 3", "--set --size 3"),
    ("--set=a.b=1 c.d=2", "--set=a.b=1 --set=c.d=2"), ("--set yolo[-1].max= x", "--set=yolo[-1].max= x"),
    ("x.y=1 --set a.b=1 --set c.d=2 e", "x.y=1 --set=a.b=1 --set=c.d=2 e")])
def test_several_values_after_one_set(words, expected):
    assert spread(words.split()) == expected.split()


@pytest.mark.parametrize("words", [
    ["digits", "a.jpg"], ["digits", "weights/digits.weights", "a.jpg"], ["digits", str(DIGITS), "a.jpg"],
    ["{root}/cfg/digits.cfg", "weights/digits.weights", "a.jpg"]])
def test_a_name_and_paths_find_the_same(cli, words):
    code, out, err = cli("detect", *(word.format(root=ROOT) for word in words), *PLAIN)
    assert (code, err) == (0, "wrote predictions.jpg\n") and out.startswith("a.jpg: Predicted in ")
    names = [line.split(":")[0] for line in out.splitlines()[1:]]
    assert len(names) > 10 and set(names) <= set("0123456789")


@pytest.mark.parametrize("words", [
    ["detector", "test", "d.data", "digits", "a.jpg"], ["detector", "map", "d.data", "digits"],
    ["evaluate", "d.data", "digits"], ["detector", "recall", "d.data", "digits"],
    ["detector", "valid", "d.data", "digits"], ["demo", "digits", "a.jpg", "-dont_show"],
    ["detector", "demo", "d.data", "digits", "a.jpg", "-dont_show"], ["convert", "digits", "o.safetensors"],
    ["convert", "digits", str(DIGITS), "o.safetensors"], ["nightmare", "digits", "a.jpg", "3", "-iters", "1"],
    ["partial", "digits", "o.weights", "2"], ["statistics", "digits"], ["visualize", "digits"],
    ["visualize", "digits", "o.png"], ["reset", "digits", "o.weights"], ["info", "digits"],
    ["info", "digits", str(DIGITS)], ["ops", "digits"], ["schedule", "digits"], ["preview", "d.data", "digits"],
    ["check", "d.data", "digits"], ["profile", "digits", "-runs", "1"],
    ["average", "digits", "o.weights", str(DIGITS), str(DIGITS)], ["detector", "calc_anchors", "d.data", "digits"]])
def test_verbs_take_names(cli, words):
    runs = words[0] in ("detector", "evaluate", "demo") and "calc_anchors" not in words
    code, _, err = cli(*words, *(PLAIN if runs else []))
    assert code == 0 and "darknet-py: " not in err, err
    assert not any(word.startswith("o.") for word in words) or any(Path(word).exists() for word in words[2:])


@pytest.mark.parametrize("words, message", [
    (["detect", "{root}/cfg/digits.cfg"], "the following arguments are required: weights"),
    (["convert", "{root}/cfg/digits.cfg", "o.onnx"], "the following arguments are required: weights"),
    (["convert", "{root}/cfg/digits.cfg", "a.weights"], "the following arguments are required: out"),
    (["detect", "digit", "a.jpg"], "no network of the zoo; did you mean digits?"),
    (["demo", "digit", "0"], "no network of the zoo; did you mean digits?"),
    (["convert", "digit", "o.onnx"], "no network of the zoo; did you mean digits?"),
    (["evaluate", "d.data", "digit"], "no network of the zoo; did you mean digits?"),
    (["detector", "map", "d.data", "digit"], "no network of the zoo; did you mean digits?"),
    (["evaluate", "d.data", "digits", "a.jpg"], "takes its pictures from valid= in d.data, found a.jpg after"),
    (["detector", "map", "d.data", "{root}/cfg/digits.cfg"], "needs DATA CFG WEIGHTS, found no weights"),
    (["detect", "digits", "gone.weights", "a.jpg"], "gone.weights: no such weights file"),
    (["serve", "{root}/cfg/digits.cfg"], "expected CFG WEIGHTS, found "),
    (["serve", "-model", "a=digit"], "or NAME= and a network of the zoo, found a=digit"),
    (["detect", "digits", "a.jpg", "-size", "big"], "-size needs a number of pixels, or two as in 416x320, found"),
    (["detect", "digits", "a.jpg", "-size", "300"], "width=300 is no multiple of 32, the step of its coarsest cells"),
    (["detect", "digits", "a.jpg", "-set", "net.width"], "-set takes changes such as net.width=608, found 'net.width'"),
    (["detect", "digits", "a.jpg", "-set", "net.widht=1"], "[net] has no option widht=; did you mean width=?"),
    (["detect", "digits", "a.jpg", "-set", "yolo.max=a"], "max= needs a whole number, found 'a'"),
    (["detect", "digits", "a.jpg", "-set", "yolo.classes=3"], "with classes=10 instead of 3"),
    (["detector", "train", "d.data", "digits", "-set", "net.batch=2"], "detector train does not take -set"),
    (["classifier", "train", "d.data", "digits", "-size", "64"], "classifier train does not take -size"),
    (["rnn", "train", "digits", "-set", "net.batch=2"], "rnn train takes no -set")])
def test_wrong_words(cli, words, message):
    code, _, err = cli(*(word.format(root=ROOT) for word in words))
    assert code in (1, 2) and message in err.splitlines()[-1]


def test_training_starts_at_random_with_a_name(cli, web, monkeypatch):
    """It never fetches, and takes the word behind the name as weights."""
    words = ["train", "d.data", "digits", "-device", "cpu"]
    code, _, err = cli(*words, "a.jpg")
    assert code == 1 and err.startswith("darknet-py: a.jpg: ")


def test_weights_are_fetched(cli, web, monkeypatch, folder):
    data = DIGITS.read_bytes()
    shutil.rmtree("weights")
    web.pages["/digits.weights"] = Page(data)
    monkeypatch.setitem(OFFICIAL, "digits.weights", Published(
        (f"{web.url}/digits.weights",), len(data), (hashlib.sha256(data).hexdigest(),), "digits.cfg",
        licence="GPL-3.0"))
    code, out, err = cli("detect", "digits", "a.jpg", *PLAIN)
    assert code == 0 and out.startswith("a.jpg: Predicted in ")
    assert err == (f"digits.weights: fetching 3 MB from {web.url}/digits.weights into {folder}/cache/weights; licence "
                   "GPL-3.0\nwrote predictions.jpg\n")
    assert cli("detect", "digits", "a.jpg", *PLAIN)[2] == "wrote predictions.jpg\n" and len(web.log) == 1
    code, out, _ = cli("download", "digits", "-o", "got/")
    assert code == 0 and out.endswith("; size and SHA-256 are right; licence GPL-3.0\n")
    assert re.search("^digits .* here$", cli("zoo", "digits")[1], re.M) is not None


def test_weights_that_cannot_be_fetched(cli, monkeypatch):
    monkeypatch.setattr("darknet_py.zoo.download.time.sleep", lambda seconds: None)
    monkeypatch.setitem(OFFICIAL, "digits.weights", Published(("http://127.0.0.1:1/digits.weights",), 9))
    shutil.rmtree("weights")
    assert cli("detect", "digits", "a.jpg", "-size", "30")[2].startswith("darknet-py: digits:3: width=30 is no ")
    code, out, err = cli("detect", "digits", "a.jpg")
    first, last = err.splitlines()
    assert (code, out) == (1, "") and first.startswith("digits.weights: fetching 0 MB from http://127.0.0.1:1/")
    assert last.startswith("darknet-py: ") and last.endswith(
        "; or DARKNET_PY_MIRROR=URL names a folder on the web that has it, or darknet-py download digits -mirror URL "
        "puts it here")


@pytest.mark.parametrize("flags, shape", [
    (["-size", "160"], (160, 160)), (["-size", "192x96"], (192, 96)), (["-set", "net.width=192", "net.height=96"],
                                                                      (192, 96)),
    (["-set", "net.width=320", "-set", "net.height=96", "-size", "64"], (64, 64))])
def test_sizes_of_a_run(cli, flags, shape):
    """The same with -size, -set and an edited cfg."""
    cli("detect", "digits", "a.jpg", "-out", "o.json", *flags, *PLAIN)
    open_cfg("digits").with_values({(0, "width"): shape[0], (0, "height"): shape[1]}).write("own.cfg")
    cli("detect", "own.cfg", "weights/digits.weights", "a.jpg", "-out", "e.json", *PLAIN)
    assert json.loads(Path("o.json").read_text()) == json.loads(Path("e.json").read_text())
    assert f"input            {shape[0]} x {shape[1]} x 3" in cli("info", "digits", *flags)[1]


def test_values_of_a_run(cli):
    """Of [yolo] and [net]: what an edited cfg has, which is not written."""
    open_cfg("digits").with_values({(0, "letter_box"): 1, (-1, "scale_x_y"): 1.4}).write("own.cfg")
    cfg = Path("own.cfg").read_text()
    found = [[re.sub(r"\d+\.\d+ milli", "", cli("detect", *words, "a.jpg", "-ext_output", *PLAIN)[1])] for words in (
        ["digits"], ["digits", "-set", "yolo[-1].scale_x_y=1.4", "net.letter_box=1"],
        ["own.cfg", "weights/digits.weights"], ["own.cfg", "weights/digits.weights", "-set", "net.letter_box=0"])]
    assert found[0] != found[1] == found[2] != found[3]
    assert [path.name for path in Path(".").glob("*.cfg")] == ["own.cfg"] and Path("own.cfg").read_text() == cfg


def test_edit_writes_a_network_of_the_zoo(cli):
    assert cli("edit", "digits", "net.width=96", "-o", "own.cfg")[0] == 0
    assert open_cfg("own.cfg").sections[0].first["width"].value == "96"
    assert cli("edit", "digits", "net.width=96") == (
        1, "", "darknet-py: digits is a network of the zoo: -o FILE names the cfg to write\n")


def test_benchmarks_take_values(cli):
    code, out, err = cli("profile", "digits", "-size", "64", "-set", "yolo.max=9", "-runs", "1")
    assert code == 0 and "digits of the zoo, random weights, input 64 x 64 x 3" in out, err


def test_tensors_in_the_place_of_weights(cli):
    for name in ("d.safetensors", "d.pt"):
        assert cli("convert", "digits", name, "-no_check")[0] == 0
    results = [re.sub(r"\d+\.\d+ milli", "", cli("detect", "digits", weights, "a.jpg", *PLAIN)[1]) for weights in
               ("weights/digits.weights", "d.safetensors", "d.pt")]
    assert results[0] == results[1] == results[2] and results[0].count("%") > 10
    assert "d.pt: version 0.2.5, holds all layers" in cli("info", "digits", "d.pt")[1]
    assert load_network("digits", "d.pt").seen == load_network("digits", DIGITS).seen
