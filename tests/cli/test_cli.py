"""The command line as a user types it."""
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from conftest import ROOT

from darknet_py import __version__, load_network
from darknet_py.cli import VERBS, normalized
from darknet_py.cli.usage import GROUPS

pytestmark = pytest.mark.usefixtures("workdir")
LINE = r"(circle|square|triangle): \d+%"
PLACE = r"\t\(left_x: [ \d-]{4}   top_y: [ \d-]{4}   width: [ \d]{4}   height: [ \d]{4}\)"


@pytest.mark.parametrize("word, expected", [
    ("-ext_output", "--ext-output"), ("--ext_output", "--ext-output"), ("-ext-output", "--ext-output"),
    ("-mAP_epochs", "--map-epochs"), ("-thresh=.1", "--thresh=.1"), ("-i", "--i"), ("-h", "--help"), ("-1", "-1"),
    ("-.5", "-.5"), ("a-b", "a-b"), ("-", "-"), ("dog.jpg", "dog.jpg"),
])
def test_flags_are_normalized(word, expected):
    assert normalized(word) == expected


def test_detect(cli, demo, tmp_path):
    cfg, weights, picture = demo
    code, out, err = cli("detect", cfg, weights, picture)
    assert (code, err) == (0, "wrote predictions.jpg\n")
    first, *lines = out.splitlines()
    assert re.fullmatch(re.escape(str(picture)) + r": Predicted in \d+\.\d+ milli-seconds\.", first)
    assert len(lines) > 5 and all(re.fullmatch(LINE, line) for line in lines)
    assert cv2.imread(str(tmp_path / "predictions.jpg")).shape == cv2.imread(str(picture)).shape
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jpg"]


@pytest.mark.parametrize("flag", ["-ext_output", "--ext-output"])
@pytest.mark.parametrize("before", [True, False])
def test_flags_stand_anywhere(cli, demo, flag, before, tmp_path):
    cfg, weights, picture = demo
    words = ["-dont_show", "-thresh", ".3", flag]
    code, out, _ = cli(*words, "detect", cfg, weights, picture) if before else \
        cli("detect", cfg, *words[:3], weights, flag, picture)
    lines = out.splitlines()[1:]
    assert code == 0 and all(re.fullmatch(LINE + PLACE, line) for line in lines)
    lefts = [int(re.search(r"left_x: +(-?\d+)", line)[1]) for line in lines]
    assert lefts == sorted(lefts)


def test_detector_test_writes_json_and_labels(cli, demo, tmp_path):
    cfg, weights, picture = demo
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(picture.read_bytes())
    data = tmp_path / "obj.data"
    data.write_text(f"classes = 3\nnames = {cfg.with_suffix('.names')}\n")
    code, _, _ = cli("detector", "test", data, cfg, weights, "images", "-out", "r.json", "-save_labels")
    frames = json.loads((tmp_path / "r.json").read_text())
    assert code == 0 and [frame["frame_id"] for frame in frames] == [1, 2]
    assert [frame["filename"] for frame in frames] == ["images/a.png", "images/b.png"]
    assert set(frames[0]["objects"][0]) == {"class_id", "name", "relative_coordinates", "confidence"}
    labels = (tmp_path / "images/a.txt").read_text().splitlines()
    assert len(labels) == len(frames[0]["objects"]) and all(re.fullmatch(r"[012]( \d\.\d{4}){4}", x) for x in labels)
    assert sorted(path.name for path in (tmp_path / "predictions").iterdir()) == ["a.jpg", "b.jpg"]


def test_detector_map(cli, demo, tmp_path):
    """A picture whose labels are what the network finds, among one that is broken and one that is missing."""
    cfg, weights, picture = demo
    (tmp_path / "a.png").write_bytes(picture.read_bytes())
    (tmp_path / "b.png").write_bytes(b"no picture")
    (tmp_path / "list.txt").write_text("a.png\nb.png\nc.png\n")
    (tmp_path / "obj.data").write_text(f"valid = list.txt\nnames = {cfg.with_suffix('.names')}\n")
    assert cli("detector", "test", "obj.data", cfg, weights, "a.png", "-save_labels", "-dontdraw_bbox")[0] == 0
    code, out, err = cli("detector", "map", "obj.data", cfg, weights, "-points", "11", "-iou_thresh", ".75",
                         "-thresh", ".3", "-dont_show")
    assert code == 0 and err.count("\n") == 2 and "b.png" in err and "c.png" in err
    assert len(re.findall(r"^class_id = \d, name = \w+, ap = \d+\.\d\d%   \t \(TP = \d+, FP = 0\) $", out, re.M)) == 3
    assert " for conf_thresh = 0.30, precision = 1.00, recall = 1.00, F1-score = 1.00 \n" in out
    assert " IoU threshold = 75 %, used 11 Recall-points \n mean average precision (mAP@0.75) = 1.000000, or 100" in out


def test_several_pictures_and_patterns(cli, demo, tmp_path):
    cfg, weights, picture = demo
    for name in ("x/a.png", "y/a.png"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(picture.read_bytes())
    code, out, _ = cli("detect", cfg, weights, "*/a.png", "-pictures", "out")
    assert code == 0 and out.count("Predicted in") == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "a_2.jpg"]


def test_paths_from_standard_input(cli, demo, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{demo[2]}\nmissing.jpg\n\n"))
    code, out, err = cli("detect", *demo[:2], "-dontdraw_bbox")
    assert code == 1 and out.count("Enter Image Path: ") == 4 and out.count("Predicted in") == 1
    assert err.count("\n") == 1 and "missing.jpg" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("p\n*.gif\n"))
    Path("p").mkdir()
    for name in "ab":
        shutil.copy(demo[2], f"p/{name}.png")
    code, out, err = cli("detect", *demo[:2], "-dontdraw_bbox")
    assert code == 1 and out.count("Predicted in") == 2 and err == "darknet-py: *.gif: no file matches this pattern\n"


def test_a_broken_picture_does_not_stop_the_others(cli, demo, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    code, out, err = cli("detect", *demo[:2], "bad.jpg", demo[2], "empty.jpg", "-out", "r.json", "-dontdraw_bbox")
    assert code == 1 and out.count("Predicted in") == 1 and err.count("\n") == 3 and err.endswith("wrote r.json\n")
    assert len(json.loads((tmp_path / "r.json").read_text())) == 1


@pytest.mark.parametrize("words, message", [
    (["detect", "no.cfg", "{weights}", "{picture}"], "no.cfg: cannot read the cfg file"),
    (["detect", "{cfg}", "yolov4.weights", "{picture}"], "no such weights file; darknet-py download yolov4 fetches it"),
    (["detect", "{cfg}", "mine.weights", "{picture}"], "mine.weights: no such weights file"),
    (["detect", "{weights}", "{cfg}", "{picture}"], "did you mean darknet-py detect {cfg} {weights} {picture}?"),
    (["detect", "{cfg}", "{picture}", "{picture}"], "; there is no WEIGHTS"),
    (["detect", "{cfg}", "{weights}", "no.jpg"], "no.jpg"),
    (["detect", "{cfg}", "{weights}", "*.nothing"], "no file matches"),
    (["detect", "{cfg}", "{weights}", "."], "found no pictures"),
    (["detect", "{cfg}", "{weights}", "{picture}", "-names", "no.names"], "no.names"),
    (["detect", "{cfg}", "{weights}", "{picture}", "-device", "warp"], "-device needs auto"),
    (["detect", "{cfg}", "{weights}", "{picture}", "-pictures", "x.nokind"], "cannot write a picture"),
    (["detect", "{cfg}", "{weights}", "{picture}", "-out", "/proc/no/file"], "cannot write"),
    (["detector", "test", "no.data", "{cfg}", "{weights}", "{picture}"], "no.data"),
    (["detector", "map", "no.data", "{cfg}", "{weights}"], "no.data"),
    (["detector", "map", "no.data", "{cfg}", "{weights}", "a.jpg"], "takes its pictures from valid="),
    (["train", "no.data", "{cfg}", "-points", "1"], "points needs 0, or a number from 2 to"),
    (["detector", "map", "no.data", "{cfg}", "{weights}", "-points", "1"], "points needs 0, or a number from 2 to"),
    (["detector", "map", "no.data", "{cfg}", "{weights}", "-iou_thresh", "1"], "iou_thresh needs a number from 0"),
    (["info", "{picture}"], "a picture or video in the place of CFG: {picture}; there is no CFG"),
    (["info", "{cfg}", "{picture}"], "in the place of WEIGHTS: {cfg} {picture}"),
    (["partial", "{cfg}", "{weights}", "out.weights", "99"], "N needs a number from 0 to"),
    (["partial", "{cfg}", "{weights}", "no/folder/out.weights", "1"], "cannot write the weights file"),
])
def test_bad_input_is_one_line(cli, demo, words, message):
    names = dict(zip(("cfg", "weights", "picture"), demo, strict=True))
    code, _, err = cli(*[word.format(**names) for word in words])
    assert code == 1 and err.count("\n") == 1 and err.startswith("darknet-py: ") and message.format(**names) in err


@pytest.mark.parametrize("words, message", [
    (["detcet", "a"], "found detcet; did you mean darknet-py detect?"), (["detect"], "required"),
    (["detetcor", "train", "a.data"], "found detetcor; did you mean darknet-py detector?"),
    (["calc_anchor"], "did you mean darknet-py detector calc_anchors?"), (["xyz"], "expected a verb, found xyz (dark"),
    (["predict"], "did you mean darknet-py classifier predict?"), (["help", "trian"], "did you mean darknet-py train?"),
    (["", "a.jpg"], "expected a verb, found '' ("),
    (["yolov4.cfg", "a.jpg"], "found yolov4.cfg; did you mean darknet-py detect yolov4.cfg a.jpg?"),
    (["yolov4", "a.jpg"], "found yolov4; did you mean darknet-py detect yolov4 a.jpg?"),
    (["detect", "a", "b", "-thresh", "x"], "invalid float"),
    (["detect", "a", "b", "--nothing"], "expected a flag of detect, found -nothing ("),
    (["detect", "a", "b", "-treshold", ".3"], "expected a flag of detect, found -treshold; did you mean -thresh?"),
    (["detect", "a", "b", "--ext-outptu=1"], "found -ext_outptu; did you mean -ext_output?"),
    (["train", "a", "b", "-set", "net.batch=2"], "found -set; darknet-py edit changes values of the cfg"),
    (["info", "a", "b", "c"], "expected no more words, found c"),
    (["detector", "fly", "a", "b", "c"], "expected test, train, "),
    (["detector", "tset", "a", "b", "c"], "found tset; did you mean test?"),
    (["rnn", "generat", "a", "b"], "found generat; did you mean generate?"),
    (["classifier", "predcit", "a", "b"], "found predcit; did you mean predict?"),
    (["train", "a", "b", "-amp", "fp61"], "found fp61; did you mean fp16?"),
])
def test_wrong_words_exit_with_2(cli, words, message):
    code, out, err = cli(*words)
    assert code == 2 and message in err and err.count("\n") == 1 and not out


def test_usage(cli):
    code, out, err = cli()
    assert code == 2 and not out and err.startswith("usage: darknet-py VERB")
    assert "darknet-py detect yolov4 dog.jpg " in err
    code, out, err = cli("help")
    assert code == 0 and not err and out == cli("--help")[1] == cli("-h")[1]
    assert all(f"\n  {verb:<12}{text}\n" in out for verb, (_, text) in VERBS.items())
    code, out, err = cli("help", "detector")
    assert code == 0 and not err and out == cli("detector", "--help")[1] and "-points" in out.replace("--", "-")


def test_every_verb_is_in_one_group_of_the_usage():
    assert sorted(verb for verbs in GROUPS.values() for verb in verbs) == sorted(VERBS)


@pytest.mark.parametrize("words", [["--help"], ["detect", "--help"], ["detector", "-h"], ["info", "-help"],
                                   ["partial", "--help"], ["average", "-h"], ["classifier", "-h"], ["rnn", "-h"],
                                   ["nightmare", "-h"]])
def test_help(cli, words):
    code, out, _ = cli(*words)
    assert code == 0 and "usage: darknet-py" in out


def test_version(cli):
    assert cli("--version")[:2] == (0, f"darknet-py {__version__}\n")


def test_info(cli, demo):
    cfg, weights, _ = demo
    network = load_network(cfg)
    code, out, _ = cli("info", cfg, weights)
    assert code == 0 and f"weights file     {weights.stat().st_size:,} bytes" in out
    table = [line for line in out.splitlines() if re.match(r" *\d+ \w", line)]
    assert len(table) == len(network.layers)
    assert "holds all layers" in out and "Total BFLOPS" in out and "receptive field" in out


def test_info_allocates_no_weights(cli, tmp_path):
    """Half a billion weights, a table in no time."""
    cfg = tmp_path / "large.cfg"
    cfg.write_text("[net]\nwidth=1\nheight=1\nchannels=20000\n[connected]\noutput=20000\n")
    assert "parameters       400,020,000" in cli("info", cfg)[1]


def test_partial(cli, demo, tmp_path):
    cfg, weights, _ = demo
    code, out, _ = cli("partial", cfg, weights, "first.weights", 1)
    assert code == 0 and "wrote 1 of" in out
    data, whole = (tmp_path / "first.weights").read_bytes(), weights.read_bytes()
    assert data[:12] == whole[:12] and data[12:20] == bytes(8) and data[20:] == whole[20:len(data)]
    code, _, err = cli("detect", cfg, "first.weights", demo[2], "-dontdraw_bbox", "-thresh", "1")
    assert code == 0 and "holds the first 1 of" in err


def test_warnings_are_lines(cli, demo, tmp_path):
    cfg = tmp_path / "w.cfg"
    cfg.write_text(demo[0].read_text().replace("[net]", "[net]\nlearning_rat=1", 1))
    code, _, err = cli("info", cfg)
    assert code == 0 and re.fullmatch(r"warning: .*w\.cfg:\d+: .* did you mean learning_rate=\?\n", err)
    code, _, err = cli("info", cfg, "-strict")
    assert code == 1 and err.count("\n") == 1


def test_too_many_names(cli, demo, tmp_path):
    (tmp_path / "four.names").write_text("a\nb\nc\nd\n")
    code, _, err = cli("detect", *demo, "-names", "four.names", "-dontdraw_bbox")
    assert code == 0 and err.startswith("warning: four.names: has 4 names for a network of 3 classes")


def test_as_a_module_without_torch():
    """--help comes from a process that never imports torch, cv2 or numpy."""
    code = "import sys; from darknet_py.cli import main\ntry: main(['detect', '--help'])\nexcept SystemExit: pass\n" \
           "print(sorted({'torch', 'cv2', 'numpy', 'pyparsing'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    out = subprocess.run([sys.executable, "-m", "darknet_py", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout == f"darknet-py {__version__}\n"


@pytest.mark.parametrize("visible, gpus, expected", [
    (None, "0,1", "0,1"), ("5,3,7", "0,1", "5,3"), ("5,3,7", "2,0", "7,5"), ("GPU-a, GPU-b,2", "1,2", "GPU-b,2")])
def test_gpus_are_those_that_are_visible(cli, monkeypatch, visible, gpus, expected):
    called = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(subprocess, "run", lambda words, env, check: called.append((words, env))
                        or subprocess.CompletedProcess(words, 7))
    monkeypatch.setattr(sys, "argv", ["another program"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    words = ["detector", "train", "a.data", "a.cfg", "-gpus", gpus, "-dont_show"]
    assert cli(*words)[0] == 7
    (command, environment), = called
    assert command[-len(words):] == words and command[-len(words) - 2:-len(words)] == ["-m", "darknet_py"]
    assert environment["CUDA_VISIBLE_DEVICES"] == expected
