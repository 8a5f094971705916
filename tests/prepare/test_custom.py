"""Cfgs for data sets of one's own: new ones, and changed ones."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from conftest import SHARED, write

from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.cli.new import VARIANTS as FLAGS
from darknet_py.model.input_size import coarsest_step
from darknet_py.model.network import Network, load_network
from darknet_py.model.summary import training_memory
from darknet_py.prepare import new_cfg as custom
from darknet_py.prepare.new_cfg import Memory, first_weights, new_cfg
from darknet_py.training.transfer import start_network
from darknet_py.zoo.architectures import ARCHITECTURES, VARIANTS, cfg_text
from darknet_py.zoo.manifest import OFFICIAL

pytestmark = pytest.mark.usefixtures("workdir")
GIB = 2 ** 30
REFERENCE = sorted((SHARED / "reference/cfg").rglob("*.cfg"))


@pytest.mark.filterwarnings("error::darknet_py.errors.CfgWarning")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name):
    own = new_cfg(name, classes=1, memory=99 * GIB)
    step, net = coarsest_step(own.cfg), own.network.options
    other = net.width // 2 // step * step + step, net.height // 2 // step * step
    for classes, size in ((3, other), (80, (net.width, net.height))):
        new = new_cfg(name, classes=classes, size=size, memory=99 * GIB)
        heads = [new.network.layers[index] for index in new.network.heads]
        assert {head.classes for head in heads if head.classes} == {classes}
        assert (new.network.options.width, new.network.options.height) == size


def test_the_flags_are_the_wishes():
    assert list(FLAGS) == list(VARIANTS)


@pytest.mark.parametrize("classes, pictures, max_batches, steps", [
    (1, None, 6000, (4800, 5400)), (3, None, 6000, (4800, 5400)), (4, None, 8000, (6400, 7200)),
    (80, None, 160_000, (128_000, 144_000)), (3, 6, 6000, (4800, 5400)), (3, 7003, 7003, (5602, 6303)),
])
def test_the_schedule(tmp_path, classes, pictures, max_batches, steps):
    data = None
    if pictures is not None:
        data = tmp_path / "o.data"
        data.write_text("train = train.txt\n")
        (tmp_path / "train.txt").write_text("a.jpg\n" * pictures)
    new = new_cfg("yolov4-tiny", classes=classes, data=data, memory=9 * GIB)
    net = new.network.options
    assert (net.max_batches, net.steps, net.scales, new.pictures) == (max_batches, steps, (.1, .1), pictures)


def test_steps_that_rise_stay():
    """As YOLOv1's do."""
    net = custom.NetOptions(policy="steps", steps=(200, 400, 20_000, 30_000), scales=(2.5, 2, .1, .1))
    assert custom._schedule(net, 6000) == {"max_batches": 6000, "steps": [200, 400, 4800, 5400],
                                           "scales": [2.5, 2, .1, .1]}
    assert custom._schedule(custom.NetOptions(policy="poly"), 6000) == {"max_batches": 6000}


# yolov4-tiny for 3 classes: 5,880,324 weights; outputs of 11,757,213 numbers at 416 x 416
@pytest.mark.parametrize("name, gib, size, subdivisions, largest", [
    ("yolov4-tiny", 99, None, 1, (416, 416)),
    ("yolov4-tiny", 8.7, None, 1, (416, 416)),          # 3 x 4 x 5.88 M + 64 x 2.5 x 4 x 11.76 M = 7.08 GiB, of 80 %
    ("yolov4-tiny", 8.4, None, 2, (416, 416)),
    ("yolov4-tiny", .3, None, 64, (416, 416)),
    ("yolov4-tiny", 8.4, (208 - 16, 416), 1, (192, 416)),
    ("yolov4", 16, (416, 416), 16, (608, 608)),         # random=1: up to 1.4 times, and a step
    ("csdarknet53-omega", 16, None, 4, (256, 256)),     # of a batch of 128
])
def test_subdivisions(name, gib, size, subdivisions, largest):
    new = new_cfg(name, classes=3, size=size, memory=int(gib * GIB))
    assert (new.network.options.subdivisions, new.largest) == (subdivisions, largest)
    assert new.needed <= .8 * gib * GIB and new.memory == Memory(int(gib * GIB), "memory")


def test_the_memory_of_training():
    for_weights, for_image = training_memory(new_cfg("yolov4-tiny", classes=3, memory=GIB).network)
    assert for_weights == pytest.approx(3 * 4 * 5_880_324, rel=1e-3)
    kept = 0

    def pack(x: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += 0 if isinstance(x, torch.nn.Parameter) or x.untyped_storage()._cdata in seen else x.nbytes
        seen[x.untyped_storage()._cdata] = x
        return x

    seen: dict = {}
    network = new_cfg("yolov4-tiny", classes=3, memory=GIB).network.train()
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        network.train_heads(torch.empty(1, *network.input_shape))
    assert 1.45 < for_image / kept < 1.65       # what is on its way beside what is kept


def test_available_memory():
    assert 1e8 < custom.available_memory().size < 1e14


DATA = {"o.data": "classes = 2\ntrain = train.txt\nnames = o.names\n", "o.names": "cat\ndog\n",
        "train.txt": "a.jpg\nb.jpg\n", "b.txt": "1 .5 .5 .1 .1\n",
        "a.txt": "".join(f"{k % 2} .5 .5 {w} {h}\n" for k in range(3) for w, h in (
            (.1, .2), (.5, .25), (.7, .9), (.05, .05), (.3, .3)))}


def test_new(cli):
    write(DATA)
    code, out, err = cli("new", "yolov4-tiny", "-data", "o.data", "-size", "320x256", "-anchors", "auto",
                         "-memory", "4", "-o", "my.cfg")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:8] == [
        "classes 2", "filters 21, 21 before the heads",
        "size 320 x 256 width and height are multiples of 32",
        "max_batches 6,000 2,000 a class, at least 6,000, and the 2 pictures of o.data",
        "steps 4,800, 5,400 80 and 90 % of that",
        "batch 64 pictures an iteration",
        "subdivisions 2 32 of them at once, at 320 x 256, take about 1.67 GiB; 80 % of 4 GiB of memory may be used",
        "anchors 99.5 % mean overlap with the boxes of o.data; 56.9 % with the published ones"]
    assert lines[8] == "wrote my.cfg" and lines[9].startswith("yolov4-tiny.conv.29, to start from: ")
    assert lines[10:] == ["now: darknet-py detector train o.data my.cfg yolov4-tiny.conv.29 -map"]
    cfg = read_cfg("my.cfg", strict=True)
    network = Network(cfg)
    assert network.input_shape == (3, 256, 320)
    expected = [(16, 13), (32, 26), (32, 51), (96, 77), (160, 64), (224, 230)]
    assert network.layers[network.heads[0]].all_anchors == tuple(expected)


@pytest.mark.parametrize("words, start", [
    (["yolov4"], "yolov4.conv.137"), (["yolov4", "-sam"], "yolov4.conv.137"), (["cd53paspp-gamma"], None),
    (["yolov4-tiny-3l"], "yolov4-tiny.conv.29"), (["yolov4-tiny", "-gaussian"], "yolov4-tiny.conv.29"),
    (["yolov4-tiny", "-spp"], None),        # SPP comes before layer 29
    (["yolov3-tiny"], "yolov3-tiny.weights"), (["yolov2-tiny"], "yolov2-tiny.weights"), (["yolov7"], "yolov7.weights"),
    (["yolov3-tiny", "-size", "608x320", "-gaussian"], "yolov3-tiny.weights"), (["darknet19"], None),
])
def test_what_to_type_next(cli, words, start):
    code, out, _ = cli("new", *words, "--classes", "3", "--memory", "64")
    written = f"{words[0]}-custom.cfg" + ("" if start is None else f" {start}")
    assert code == 0 and Path(f"{words[0]}-custom.cfg").exists()
    detects = words != ["darknet19"]
    assert out.endswith(f"now: darknet-py {'detector' if detects else 'classifier'} train obj.data {written}"
                        f"{' -map' * detects}\n")
    assert ("to start from: darknet-py download" in out) == (start is not None)


@pytest.mark.parametrize("words, files, expected", [
    (["yolov4-tiny"], ["yolov4-tiny.weights"],
     ["yolov4-tiny.weights is here to start from", "now: {} yolov4-tiny.weights -map"]),
    (["yolov4-tiny"], ["weights/yolov4-tiny.weights", "my/yolov4-tiny.conv.29"],
     ["my/yolov4-tiny.conv.29 is here to start from", "now: {} my/yolov4-tiny.conv.29 -map"]),
    (["yolov3-tiny"], ["my/yolov3-tiny.weights", "yolov4-tiny.weights"],
     ["my/yolov3-tiny.weights is here to start from", "now: {} my/yolov3-tiny.weights -map"]),
    (["yolov4-tiny-3l"], ["weights/yolov4-tiny.weights", "cfg/yolov4-tiny.cfg"],
     ["weights/yolov4-tiny.weights is here to start from: its first 29 layers fit",
      "first: darknet-py partial cfg/yolov4-tiny.cfg weights/yolov4-tiny.weights yolov4-tiny.conv.29 29",
      "now: {} yolov4-tiny.conv.29 -map"]),
    (["yolov4-tiny", "-spp"], ["yolov4-tiny.weights"],
     ["yolov4-tiny.weights is here to start from: its first 27 layers fit",
      "first: darknet-py new yolov4-tiny -classes 80 -o yolov4-tiny.cfg",
      "first: darknet-py partial yolov4-tiny.cfg yolov4-tiny.weights yolov4-tiny.conv.27 27",
      "now: {} yolov4-tiny.conv.27 -map"]),
    (["cd53paspp-gamma"], ["yolov4-tiny.weights", "yolov3.weights"], ["now: {} -map"]),
])
def test_weights_that_are_here(cli, words, files, expected):
    """They are named with the command that starts from them, where only first layers fit with the one that cuts."""
    write(dict.fromkeys(["my/.keep", *files], ""))
    code, out, _ = cli("new", *words, "-classes", "3", "-memory", "64", "-o", "my/my.cfg")
    assert code == 0
    assert out.split("wrote my/my.cfg\n")[1].splitlines() == [
        line.format("darknet-py detector train obj.data my/my.cfg") for line in expected]


def test_cut_weights_train(cli):
    """The commands that new prints work, one after the other, in an empty folder."""
    torch.manual_seed(0)
    load_network(parse_cfg(cfg_text("yolov4-tiny"))).save_weights("yolov4-tiny.weights")
    _, out, _ = cli("new", "yolov4-tiny", "-spp", "-classes", "3", "-memory", "64", "-o", "my.cfg")
    commands = [shlex.split(line.split("darknet-py ")[1]) for line in out.splitlines() if "first: " in line]
    for command in commands:
        assert cli(*command, *["-memory", "64"] * (command[0] == "new"))[0] == 0
    assert start_network(read_cfg("my.cfg"), commands[-1][-2])[1].text().startswith(
        "yolov4-tiny.conv.27: 15 of 22 layers with weights loaded; layers 33, 34, 35, 36, 39, 42 and 1 more start")


def test_published_first_weights_belong_to_architectures():
    first = {file: facts.cfg.removesuffix(".cfg") for file, facts in OFFICIAL.items() if facts.layers is not None}
    for file, name in first.items():
        cfg = parse_cfg(cfg_text(name, classes=3), f"{name}.cfg")
        with torch.device("meta"):
            assert first_weights(cfg, Network(cfg)) == (file, None, None)


@pytest.mark.parametrize("files, words, message", [
    ({}, ["yolo4"], r"expected an architecture, found yolo4; did you mean yolov4\?"),
    ({}, ["xyz"], r"expected an architecture \(yolov4, .*\), found xyz$"),
    ({}, ["yolov4-tiny"], "yolov4-tiny is for how many classes"),
    ({}, ["yolov4-tiny", "-classes", "0"], "expected a number of classes from 1 to 10000, found 0"),
    ({}, ["yolov4-tiny", "-classes", "3", "-data", "o.data"], "o.data has 2 classes, asked for 3"),
    ({"o.names": "cat\n"}, ["yolov4-tiny", "-data", "o.data"], "o.data: classes = 2, but there are 1 names"),
    ({"o.data": "classes=x\n"}, ["yolov4-tiny", "-data", "o.data"], "o.data: expected 'classes = N'"),
    ({}, ["yolov4-tiny", "-data", "p.data"], "p.data: cannot read the file: No such file"),
    ({}, ["yolov4-tiny", "-classes", "3", "-size", "400"],
     "yolov4-tiny: width=400 is no multiple of 32, the step of its coarsest cells; the nearest: 384 and 416"),
    ({}, ["yolov4-p6", "-classes", "3", "-size", "640x32"],
     "yolov4-p6: height=32 is no multiple of 64, the step of its coarsest cells; the nearest: 64"),
    ({}, ["yolov4-tiny", "-classes", "3", "-size", "0"], "yolov4-tiny: width=0 is no multiple of 32"),
    ({}, ["yolov4-tiny", "-classes", "3", "-size", "big"], "-size needs a number of pixels, or two as in 416x320"),
    ({}, ["yolov4-tiny", "-classes", "3", "-size", "99968"], r"yolov4-tiny.cfg:3: \[net\] needs width"),
    ({}, ["yolov4-tiny", "-classes", "3", "-memory", "0"], "-memory needs a number of GiB above 0, found 0"),
    ({}, ["yolov4-tiny", "-classes", "3", "-memory", ".1"], r"yolov4-tiny needs about 0.\d+ GiB to train on 1"),
    ({}, ["yolov4-tiny", "-classes", "3", "-anchors", "auto"], "anchors are found in the boxes of a data set"),
    ({"a.txt": "", "b.txt": ""}, ["yolov4-tiny", "-data", "o.data", "-anchors", "auto"],
     "o.data: the pictures under train have no boxes"),
    ({"a.txt": ""}, ["yolov4-tiny", "-data", "o.data", "-anchors", "auto"],
     "6 anchors need boxes of as many different sizes, found 1"),
    ({}, ["csdarknet53-omega", "-data", "o.data", "-anchors", "auto"], "csdarknet53-omega has no heads with anchors"),
    ({}, ["csdarknet53-omega", "-data", "o.data", "-gaussian"], "csdarknet53-omega has no place for gaussian"),
    ({"yolov4-tiny-custom.cfg": "mine"}, ["yolov4-tiny", "-data", "o.data"],
     "yolov4-tiny-custom.cfg is there already: -force overwrites it, -o FILE writes another one"),
])
def test_what_no_new_cfg_can_be(cli, files, words, message):
    write(DATA | files)
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    code, out, err = cli("new", *words)
    assert (code, out) == (1, "") and re.match(f"darknet-py: {message}", err) and err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_an_old_cfg_is_overwritten_when_asked(cli):
    Path("yolov4-tiny-custom.cfg").write_text("mine")
    assert cli("new", "yolov4-tiny", "-classes", "3", "-force")[0] == 0
    assert read_cfg("yolov4-tiny-custom.cfg").sections[0].first["subdivisions"]


def test_it_trains(cli, tiny):
    """What a new cfg gives for a data set passes the check, and an iteration runs."""
    size = ("-size", "64", "-memory", "1")
    assert cli("new", "yolov4-tiny", "-data", "tiny.data", *size)[0] == 0
    code, out, _ = cli("check", "tiny.data", "yolov4-tiny-custom.cfg")
    assert code == 0 and "\n0 errors, " in out
    assert cli("edit", "yolov4-tiny-custom.cfg", "net.batch=2", "net.max_batches=1")[0] == 0
    code, out, err = cli("train", "tiny.data", "yolov4-tiny-custom.cfg", "-seed", "1", "-workers", "0")
    assert code == 0 and Path("backup/yolov4-tiny-custom_final.weights").exists(), err


@pytest.mark.needs_shared("data/bccd")
def test_bccd():
    new = new_cfg("yolov4-tiny", data=SHARED / "data/bccd/obj.data", auto_anchors=True, memory=GIB)
    assert new.pictures == 292 and new.problems == [] and new.network.layers[-1].classes == 3
    before, after = new.fits
    assert [head.mask for head in new.network.layers if hasattr(head, "mask")] == [(3, 4, 5), (0, 1, 2)]
    assert before.iou < .76 and after.iou > .86
