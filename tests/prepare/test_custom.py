"""Cfgs for data sets of one's own: new ones, and changed ones."""
from __future__ import annotations

import os
import re
import shlex
import warnings
from pathlib import Path

import pytest
import torch
from conftest import SHARED, raises

from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.cli.new import VARIANTS as FLAGS
from darknet_py.errors import CfgError, DataError, Reason
from darknet_py.model.network import Network, load_network
from darknet_py.model.summary import training_memory
from darknet_py.prepare import new_cfg as custom
from darknet_py.prepare.edit_cfg import differences, edit_cfg
from darknet_py.prepare.new_cfg import Memory, first_weights, new_cfg
from darknet_py.prepare.refit_heads import coarsest_step, fit_heads
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
    assert 1.2 < for_image / kept < 1.4         # what is on its way beside what is kept


def test_available_memory():
    assert 1e8 < custom.available_memory().size < 1e14


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)


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
    ({}, ["yolo4"], r"expected an architecture \(.*\), found yolo4; did you mean yolov4\?"),
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


NET = "[net]\nwidth=64\nheight = 64   # as wide\nchannels=3\n\n"
BODY = ("[conv]\nfilters=4\nstride=8\n\n; a head\n[conv]\nfilters=14\n[yolo]\nmask = 0,1\nanchors = 4,4, 8,8, 16,16\n"
        "classes=2 # cats, dogs\nnum=3\n\n[route]\nlayers=0\n[convolutional]\nfilters=7\n"
        "[yolo]\nmask = 2\nanchors = 4,4, 8,8, 16,16\nclasses=2\nnum=3\nrandom=1\nrandom=0")
CFG = NET + BODY


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("changes, expected", [
    ({"net.width": 128}, {"width=64": "width=128"}),
    ({"network.height": "96"}, {"height = 64": "height = 96"}),
    ({"yolo.classes": 4}, {"classes=2": "classes=4", "filters=14": "filters=18", "filters=7": "filters=9"}),
    ({"yolo[0].mask": "1"}, {"mask = 0,1": "mask = 1", "filters=14": "filters=7"}),
    ({"yolo[-2].mask": "1"}, {"mask = 0,1": "mask = 1", "filters=14": "filters=7"}),
    ({"yolo[-1].mask": " 1, 2 "}, {"mask = 2": "mask = 1, 2", "filters=7": "filters=14"}),
    ({"5.mask": "0,1,2"}, {"mask = 2": "mask = 0,1,2", "filters=7": "filters=21"}),
    ({"yolo.random": ""}, {"\nrandom=1\nrandom=0": "\n"}),
    ({"yolo[1].random": None, "yolo[1].max": 9}, {"\nrandom=1\nrandom=0": "\nmax=9\n"}),
    ({"conv[0].size": 3, "conv[0].pad": 1}, {"stride=8": "stride=8\nsize=3\npad=1"}),
    ({"conv.activation": "mish"}, {"stride=8": "stride=8\nactivation=mish", "filters=14": "filters=14\nactivation=mish",
                                   "filters=7": "filters=7\nactivation=mish"}),
    ({"yolo.classes": 4, "1.filters": 18},
     {"classes=2": "classes=4", "filters=14": "filters=18", "filters=7": "filters=9"}),
    ({"net.width": 64, "yolo.mask": None, "yolo.num": 1, "yolo.anchors": "4,4"},
     {"mask = 0,1\n": "", "mask = 2\n": "", "num=3": "num=1", "4,4, 8,8, 16,16": "4,4", "filters=14": "filters=7"}),
    ({"net.width": "64", "yolo.mask": "0, 1"}, {"mask = 2": "mask = 0, 1", "filters=7": "filters=14"}),
    ({"yolo[0].classes": "2"}, {}),
])
@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_edits(changes, expected, ending):
    text = CFG
    for old, new in expected.items():
        assert old in text
        text = text.replace(old, new)
    text = text.replace("\n", ending)
    assert edit_cfg(parse_cfg(CFG.replace("\n", ending)), changes).text == text


@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_an_edit_mends_what_did_not_build():
    broken = CFG.replace("filters=14", "filters=255")
    assert edit_cfg(parse_cfg(broken), {"yolo.classes": 4}).text == edit_cfg(parse_cfg(CFG), {"yolo.classes": 4}).text
    broken = CFG.replace("stride=8", "stride=0")
    assert edit_cfg(parse_cfg(broken), {"0.stride": 8}).text == CFG


V1 = NET + ("[conv]\nfilters=4\nstride=8\n[connected]\noutput= 108\n[dropout]\n"
            "[detection]\nclasses=2\ncoords=4\nside=3\nnum=2\n")
NAMES = NET + "[conv]\nfilters=4\nstride=8\n[conv]\nfilters=5\n[avg]\n[softmax]\n[cost]\n"


@pytest.mark.parametrize("text, changes, expected", [
    (V1, {"detection.classes": 5}, {"108": "135", "classes=2": "classes=5"}),
    (V1, {"detection.side": 4}, {"108": "192", "side=3": "side=4"}),
    (V1, 5, {"108": "135", "classes=2": "classes=5"}),
    (NAMES, 3, {"filters=5": "filters=3"}),
    (NAMES, {"1.filters": 3}, {"filters=5": "filters=3"}),
])
def test_other_heads(text, changes, expected):
    cfg = parse_cfg(text)
    edited = fit_heads(cfg, classes=changes) if isinstance(changes, int) else edit_cfg(cfg, changes)
    for before, after in expected.items():
        text = text.replace(before, after)
    assert edited.text == text


@pytest.mark.parametrize("changes, message", [
    (["net.width"], "edit takes changes such as net.width=608, found 'net.width'"),
    (["width=4"], "m.cfg: expected SECTION.key=value, such as net.width=608, yolo[2].mask=6,7,8 or 139.mask=6,7,8, "
                  "found 'width'"),
    (["w" * 99 + "=4"], "m.cfg: expected SECTION.key=value, such as net.width=608, yolo[2].mask=6,7,8 or "
                        f"139.mask=6,7,8, found '{'w' * 80}'"),
    (["yoloo.classes=4"], "m.cfg: has no section [yoloo]; did you mean [yolo]?; it has [net], [conv], [yolo], [route], "
                          "[convolutional]"),
    (["region.classes=4"], "m.cfg: has no section [region]; it has [net], [conv], [yolo], [route], [convolutional]"),
    (["yolo.clases=4"], "m.cfg:13: [yolo] has no option clases=; did you mean classes=?"),
    (["net.widht=64"], "m.cfg:1: [net] has no option widht=; did you mean width=?"),
    (["net.momentum="], "m.cfg: net.momentum= takes out a key that is not there"),
    (["yolo[2].mask=1"], "m.cfg: has [yolo] sections 0 to 1, found yolo[2].mask"),
    (["yolo[-3].mask=1"], "m.cfg: has [yolo] sections 0 to 1, found yolo[-3].mask"),
    (["6.mask=1"], "m.cfg: has layers 0 to 5, found 6.mask"),
    (["net[0].width=64"], "m.cfg: has no section [net]"),
    (["net.width=wide"], "m.cfg:2: width= needs a whole number, found 'wide'"),
    (["net.width=64px"], "m.cfg:2: width=64px is read as 64"),
    (["net.policy=step-wise"], "m.cfg:1: policy= needs one of constant, step,"),
    (["net.width=60"], "m.cfg:2: [net] width=60 is no multiple of 8, the step of its coarsest cells; the nearest: 56"),
    (["net.width=128", "net.height=68"], "m.cfg:3: [net] height=68 is no multiple of 8"),
    (["net.height="], "m.cfg:1: [net] needs width, height and channels"),
    (["1.filters=15"], "m.cfg:13: [yolo] needs filters=14 in the layer before it (2 anchors x (5 + 2 classes)), got "
                       "15"),
    (["yolo.classes=4", "1.filters=14"], "m.cfg:13: [yolo] needs filters=18 in the layer before it"),
    (["net.momentum=.9", "net.max_batches=5", "1.filters=15"], "m.cfg:13: [yolo] needs filters=14"),
    (["yolo[0].mask=0,7"], "m.cfg:14: [yolo] mask= needs numbers from 0 to 2"),
    (["yolo[1].counters_per_class=1,2,3"], "m.cfg:23: [yolo] counters_per_class= needs 2 values, one a class, found 3"),
    (["route.layers=9"], "m.cfg:20: [route] layers=9 names layer 9"),
    (["0.stride=0"], "m.cfg:8: stride= needs at least 1, found 0"),
    (["yolo.classes=4\n[conv]"], "m.cfg: expected a value without comments and line ends"),
    (["yolo.classes=4 # more"], "m.cfg: expected a value without comments and line ends"),
    (["net.width=64", "-o", "n.cfg"], "n.cfg is there already: -force overwrites it, -o FILE writes another one"),
])
@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_what_no_edit_does(cli, changes, message):
    write({"m.cfg": CFG, "n.cfg": "mine"})
    code, out, err = cli("edit", "m.cfg", *changes)
    found = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert (code, out, len(found)) == (1, "", 1) and found[0].startswith(f"darknet-py: {message}"), found
    assert {path.name: path.read_text() for path in Path().iterdir()} == {"m.cfg": CFG, "n.cfg": "mine"}


def test_what_is_not_in_a_cfg():
    with raises(CfgError, Reason.UNKNOWN_NAME,
                re.escape("no section [yolo]; it has [net], [conv], [connected], [dropout], [detection]")):
        edit_cfg(parse_cfg(V1), {"yolo.classes": 3})
    with raises(CfgError, Reason.UNKNOWN_NAME,
                r"^m.cfg:12: \[softmax\] has no option classes=: its classes are the filters="):
        edit_cfg(parse_cfg(NAMES, "m.cfg"), {"softmax.classes": 3})


def test_edit(cli):
    text = CFG.replace("random=1\nrandom=0", "random=1")
    write({"m.cfg": text})
    code, out, err = cli("edit", "m.cfg", "net.momentum=.9", "yolo.classes=3", "yolo.random=")
    assert (code, err) == (0, "")
    assert out == ("m.cfg:5: [net] momentum: (none) -> .9\nm.cfg:13: [conv] filters: 14 -> 16\n"
                   "m.cfg:17: [yolo] classes: 2 -> 3\nm.cfg:23: [convolutional] filters: 7 -> 8\n"
                   "m.cfg:27: [yolo] classes: 2 -> 3\nm.cfg:28: [yolo] random: 1 -> (none)\nwrote m.cfg\n")
    assert cli("edit", "m.cfg", "net.momentum=.9") == (0, "m.cfg: says so already\n", "")
    code, out, _ = cli("edit", "m.cfg", "net.momentum=.95", "--out", "n.cfg")
    assert code == 0 and out == "m.cfg:5: [net] momentum: .9 -> .95\nwrote n.cfg\n"
    assert Path("n.cfg").read_text() == Path("m.cfg").read_text().replace("=.9\n", "=.95\n")
    assert sorted(os.listdir()) == ["m.cfg", "n.cfg"]
    os.symlink("n.cfg", "link.cfg")
    os.chmod("n.cfg", 0o640)
    cli("edit", "link.cfg", "net.momentum=.8")
    assert Path("link.cfg").is_symlink() and "momentum=.8\n" in Path("n.cfg").read_text()
    assert Path("n.cfg").stat().st_mode & 0o777 == 0o640


@pytest.mark.needs_shared("reference/cfg")
@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
def test_every_cfg_of_darknets(path):
    """Other classes for all heads, or a line that says why not; nothing but classes= and filters= changes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cfg = read_cfg(path)
        heads = [kind for kind in ("yolo", "Gaussian_yolo", "region", "detection")
                 if any(section.kind == kind for section in cfg.sections)]
        if not heads:
            with raises(CfgError, Reason.UNKNOWN_NAME):
                edit_cfg(cfg, {"yolo.classes": 4})
            return
        changes = {f"{kind}.classes": 4 for kind in heads}
        if "counters_per_class" in cfg.text or "tree" in cfg.text:
            with raises(CfgError, Reason.WRONG_COUNT, rf"^{re.escape(str(path))}:\d+: \[.*(counters_per_class=|tree=)"):
                edit_cfg(cfg, changes)
            return
        new = edit_cfg(cfg, changes)
    assert {change.key for change in differences(cfg, new)} <= {"classes", "filters", "output"}
    before, after = (cfg_.text.split("\n") for cfg_ in (cfg, new))
    changed = [(old, now) for old, now in zip(before, after, strict=True) if old != now]
    assert len(changed) == len(list(differences(cfg, new))) > 0
    for old, now in changed:
        assert re.sub(r"\d+", "", old) == re.sub(r"\d+", "", now)


def test_a_data_set_that_does_not_say_its_classes(tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg\n")
    assert new_cfg("yolov4-tiny", classes=3, data=tmp_path / "train.txt", memory=GIB).pictures == 1
    with raises(DataError, Reason.MISSING_KEY):
        new_cfg("yolov4-tiny", data=tmp_path / "train.txt", memory=GIB)
