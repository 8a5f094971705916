"""Anchors written into cfgs, and the command that fits them."""
import difflib
import re
import warnings
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SHARED, raises, write

from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.errors import CfgError, Reason
from darknet_py.model.network import Network
from darknet_py.prepare.anchors import (
    find_anchors,
    fit_of,
    read_boxes,
)
from darknet_py.prepare.refit_heads import anchor_count, fit_heads, network_anchors

REFERENCE = sorted(path for path in (SHARED / "reference/cfg").glob("*.cfg")
                   if re.search(r"^\s*anchors\s*=", path.read_text("utf-8", "replace"), re.M))
HEAD = ("[conv]\nfilters={filters}   # as many as the head reads\n"
        "[{kind}]\n{mask}anchors = {anchors}\nclasses=2\nnum={num}\n")
FINE, COARSE = "[net]\nwidth=64\nheight=64\nchannels=3\n[conv]\nfilters=4\nstride=8\n", "[conv]\nfilters=4\nstride=2\n"
OLD = "4,4, 8,8, 16,16, 30,30"
FOUR = np.array([[5, 6], [9.7, 10], [20, 22], [41, 40.]])


def heads(*masks: str, kind: str = "yolo", coarse_first: bool = False, filters: int = 14) -> str:
    """A cfg with two heads, on 8 x 8 and 4 x 4 cells."""
    fine, coarse = (HEAD.format(filters=filters, kind=kind, mask=f"mask = {mask}\n", anchors=OLD, num=4)
                    for mask in masks)
    if coarse_first:
        return FINE + COARSE + coarse + "[route]\nlayers=0\n" + fine
    return FINE + fine + "[route]\nlayers=0\n" + COARSE + coarse


@pytest.mark.parametrize("coarse_first", [False, True])
@pytest.mark.parametrize("masks, count, expected", [        # of the fine head, then of the coarse one
    (("0,1", "2,3"), 4, ((0, 1), (2, 3))),
    (("1,2", "2,3"), 4, ((1, 2), (2, 3))),
    (("0,1", "2,3"), 2, ((0,), (1,))),
    (("0,1", "2,3"), 6, ((0, 1, 2), (3, 4, 5))),
    (("0,1", "2,3"), 3, ((0,), (1, 2))),
    (("1,2", "2,3"), 7, ((0, 1, 2), (3, 4, 5, 6))),
])
def test_masks(masks, coarse_first, count, expected):
    new = np.arange(1, count + 1)[:, None] * [2., 3]
    network = Network(fit_heads(parse_cfg(heads(*masks, coarse_first=coarse_first)), anchors=new))
    found = [network.layers[head] for head in network.heads]
    fine, coarse = found[::-1] if coarse_first else found
    assert (fine.shape.width, coarse.shape.width) == (8, 4)
    assert (fine.mask, coarse.mask) == expected and anchor_count(network) == count
    assert fine.all_anchors == coarse.all_anchors == tuple(map(tuple, new.tolist()))
    assert [head.shape.channels for head in found] == [len(head.mask) * 7 for head in found]


@pytest.mark.parametrize("kind, filters, classes, expected", [("yolo", 14, 3, 16), ("Gaussian_yolo", 22, 4, 26)])
def test_classes(kind, filters, classes, expected):
    text = heads("0,1", "2,3", kind=kind, filters=filters)
    new = fit_heads(parse_cfg(text), classes=classes).text
    assert new == text.replace(f"filters={filters}", f"filters={expected}").replace("classes=2", f"classes={classes}")


def test_wrong_filters_are_put_right():
    text = heads("0,1", "2,3")
    broken = text.replace("filters=14", "filters=255")
    assert fit_heads(parse_cfg(broken)).text == text and fit_heads(parse_cfg(text)).text == text


def test_all_other_text_stays():
    text = heads("0,1", "2,3").replace("\n", "\r\n").replace("classes=2", "classes=2   # cats, dogs\r\n\r\n; more")
    new = fit_heads(parse_cfg(text), anchors=FOUR).text
    assert new == text.replace(OLD, "5,  6,  10, 10,  20, 22,  41, 40")
    three = fit_heads(parse_cfg(text), anchors=FOUR[:3]).text
    changed = {line[2:].split("=")[0].strip() for line in difflib.ndiff(text.splitlines(), three.splitlines())
               if line[0] in "+-"}
    assert changed == {"anchors", "mask", "num", "filters"}
    assert three.count("filters=7   # as many as the head reads\r\n") == 1


def test_region_counts_in_cells():
    text = FINE + HEAD.format(filters=14, kind="region", mask="", anchors="1,1, 2,2", num=2)
    new = fit_heads(parse_cfg(text), anchors=FOUR[:3])
    assert "anchors = 0.6250,0.7500, 1.2125,1.2500, 2.5000,2.7500\nclasses=2\nnum=3\n" in new.text
    network = Network(new)
    assert network.layers[-2].shape.channels == 21
    np.testing.assert_allclose(network_anchors(network), FOUR[:3])


def test_a_head_that_has_all_anchors_needs_no_mask():
    text = FINE + HEAD.format(filters=28, kind="yolo", mask="", anchors=OLD, num=4)
    new = fit_heads(parse_cfg(text), anchors=FOUR[:3]).text
    assert "mask" not in new and "num=3\n" in new and "filters=21 " in new


def test_filters_lie_behind_layers_that_keep_their_number():
    body = ("[conv]\nfilters=14\n[conv]\nfilters=14\n[shortcut]\nfrom=-2\n[implicit]\nfilters=14\n"
            "[scale_channels]\nfrom=-2\n")
    text = FINE + body + "[yolo]\nmask=0,1\nnum=2\nanchors=4,4, 8,8\nclasses=2\n"
    new = fit_heads(parse_cfg(text), classes=3).text
    assert new == text.replace("filters=14", "filters=16").replace("classes=2", "classes=3")


@pytest.mark.parametrize("text, anchors, reason, message", [
    (FINE, FOUR, Reason.WRONG_TASK, r"m.cfg: expected a head with anchors, such as \[yolo\], found none"),
    (heads("0,1", "2,3"), FOUR[:1], Reason.WRONG_COUNT,
     r"m.cfg:10: \[yolo\] is one of 2 heads, which need an anchor each at least, found 1"),
    (FINE + "[conv]\nfilters=7\n[route]\nlayers=-1,-1\n[yolo]\nclasses=2\nnum=2\nanchors=1,1, 2,2\n", FOUR,
     Reason.UNSUPPORTED,
     r"m.cfg:10: \[route\] decides how many channels the head reads, expected a layer with filters="),
    (heads("0,1", "2,7"), FOUR, Reason.OUT_OF_RANGE, r"m.cfg:23: \[yolo\] mask= needs numbers from 0 to 3"),
    (heads("0,1", "2,3").replace("filters=14 ", "groups=2\nfilters=14 "), FOUR[:3], Reason.INDIVISIBLE,
     r"m.cfg:\d+: \[conv"),
])
def test_what_cannot_be_fitted(text, anchors, reason, message):
    with raises(CfgError, reason, message):
        fit_heads(parse_cfg(text, "m.cfg"), anchors=anchors)


@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
@pytest.mark.needs_shared("reference/cfg")
@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
def test_every_cfg_of_darknets(path):
    """6, 9, 12 anchors, and two other numbers of classes, each onto the original."""
    cfg = read_cfg(path)
    tree = "tree=" in cfg.text
    counters = any("counters_per_class" in section.first for section in cfg.sections)
    for count, classes in ((6, 3), (9, None), (12, 81)):
        if (tree or counters) and classes is not None:
            classes = None
        new = np.arange(1, count + 1)[:, None] * [10., 14]
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network, before = Network(fit_heads(cfg, anchors=new, classes=classes)), Network(cfg)
        found = [layer for layer in network.layers if hasattr(layer, "anchors")]
        masked = [layer for layer in found if hasattr(layer, "mask")]
        for layer in found:
            entries = 9 if layer.kind == "Gaussian_yolo" else 5
            assert layer.options.num == count and layer.shapes[0].channels == layer.count * (entries + layer.classes)
            assert classes is None or layer.classes == classes
        np.testing.assert_allclose(network_anchors(network), new[sorted({k for layer in masked for k in layer.mask})]
                                   if masked else new, rtol=1e-3)
        if masked and count == anchor_count(before):
            assert [layer.mask for layer in masked] == [old.mask for old in before.layers if hasattr(old, "mask")]
        elif masked:
            by_cells = sorted(masked, key=lambda layer: (-layer.shape.width, layer.mask))
            assert sum((layer.mask for layer in by_cells), ()) == tuple(range(count))
            assert {layer.count for layer in masked} <= {count // len(masked), -(-count // len(masked))}
        assert len(network.cfg.text.splitlines()) == len(cfg.text.splitlines())


DATA = {"o.data": "classes=2\ntrain=train.txt\n", "train.txt": "a.jpg\n",
        "a.txt": "".join(f"{k % 2} .5 .5 {w} {h}\n" for k in range(9) for w, h in ((.1, .2), (.5, .25), (.7, .9)))}


@pytest.fixture
def run(cli, workdir):
    """Run detector calc_anchors in a folder with a data set: (exit code, stdout, stderr)."""
    write(DATA | {"m.cfg": heads("0,1", "2,3")})
    return partial(cli, "detector", "calc_anchors")


def test_calc_anchors(run):
    code, out, err = run("o.data", "-num_of_clusters", "3", "-width", "64", "-height", "32", "-dont_show")
    assert (code, err) == (0, "")
    assert out.startswith("\n num_of_clusters = 3, width = 64, height = 32 \n read labels from 1 images, 27 boxes \n")
    assert re.search(r"^ Darknet's k-means +\d+\.\d\d % +\d+\.\d\d %$", out, re.M)
    assert "\n avg IoU = 100.00 % \n" in out and "\ncounters_per_class = 15, 12\n" in out
    assert out.endswith("\nSaving anchors to the file: anchors.txt \nanchors =   6,  6,  32,  8,  45, 29\n")
    assert Path("anchors.txt").read_bytes() == b"  6,  6,  32,  8,  45, 29"
    assert Path("counters_per_class.txt").read_bytes() == b"counters_per_class = 15, 12"
    assert sorted(path.name for path in Path().iterdir()) == sorted([*DATA, "m.cfg", "anchors.txt",
                                                                     "counters_per_class.txt"])


def test_writing_into_a_cfg(run):
    write({"a.txt": DATA["a.txt"] + "0 .5 .5 .05 .05\n"})
    before = Path("m.cfg").read_text()
    code, out, err = run("o.data", "-write", "m.cfg")
    assert (code, err) == (0, "") and out.startswith("\n num_of_clusters = 4, width = 64, height = 64 \n")
    assert re.search(r"^ m.cfg as it is +\d+\.\d\d %", out, re.M) and out.endswith("\nwrote m.cfg\n")
    new = Path("m.cfg").read_text()
    assert new == before.replace(OLD, "3,  3,   6, 13,  32, 16,  45, 58")
    assert run("o.data", "m.cfg", "-write", "m.cfg", "-num_of_clusters", "3")[0] == 0
    network = Network(read_cfg("m.cfg"))
    assert [network.layers[head].mask for head in network.heads] == [(0,), (1, 2)]


def test_a_cfg_that_is_only_read(run):
    before = Path("m.cfg").read_text()
    code, out, _ = run("o.data", "m.cfg", "-num_of_clusters", "2", "-height", "128")
    assert code == 0 and out.startswith("\n num_of_clusters = 2, width = 64, height = 128 \n")
    assert "m.cfg as it is" in out and Path("m.cfg").read_text() == before


@pytest.mark.rendered
@pytest.mark.parametrize("flags, name", [(("-show",), "anchors.png"), (("-plot", "x.jpg"), "x.jpg"),
                                         (("-plot", "y.png", "-show"), "y.png")])
def test_the_plot(run, flags, name):
    code, out, _ = run("o.data", "-width", "64", "-height", "32", "-num_of_clusters", "2", *flags)
    assert code == 0 and out.endswith(f"\nwrote {name}\n")
    assert len(np.unique(cv2.imread(name).reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize("files, words, message", [
    ({}, ["o.data"], "detector calc_anchors needs the network's size: -width and -height, or a cfg"),
    ({}, ["o.data", "-width", "416"], "detector calc_anchors needs the network's size: -width and -height, or a cfg"),
    ({}, ["o.data", "-width", "0", "-height", "9"], "-width needs a number of pixels from 1 to 2147483647, found 0"),
    ({}, ["o.data", "-write", "m.cfg", "-height", "32"],
     "m.cfg has height=64, found -height 32: leave that out, or change the cfg first"),
    ({}, ["o.data", "-write", "m.cfg", "-num_of_clusters", "1"],
     "m.cfg:10: [yolo] is one of 2 heads, which need an anchor each at least, found 1"),
    ({}, ["o.data", "m.cfg", "-num_of_clusters", "-1"], "-num_of_clusters needs a number from 1 to 256, found -1"),
    ({}, ["o.data", "-write", "m.cfg", "-num_of_clusters", "99999999"],
     "-num_of_clusters needs a number from 1 to 256, found 99999999"),
    ({}, ["o.data", "m.cfg"], "4 anchors need boxes of as many different sizes, found 3"),
    ({}, ["o.data", "m.cfg", "m.weights"], "detector calc_anchors takes DATA [CFG], found m.weights after them"),
    ({}, ["o.data", "m.cfg", "-write", "n.cfg"],
     "detector calc_anchors takes one cfg, which -write reads too; found m.cfg and n.cfg"),
    ({}, ["o.data", "-write", "n.cfg"], "n.cfg: cannot read the cfg file: No such file or directory"),
    ({}, ["x.data", "m.cfg"], "x.data: cannot read the file: No such file or directory"),
    ({"a.txt": ""}, ["o.data", "m.cfg"], "o.data: the pictures under train have no boxes"),
    ({"m.cfg": FINE}, ["o.data", "-write", "m.cfg"], "m.cfg: expected a head with anchors, such as [yolo], found none"),
    ({"a.txt": "0 .5 .5 .1 .1\n0 .5 .5 .101 .1\n"}, ["o.data", "m.cfg", "-num_of_clusters", "2"],
     "only 1 of 2 anchors differ when rounded: the boxes are too much alike for so many"),
    ({}, ["o.data", "m.cfg", "-num_of_clusters", "2", "-plot", "a.xyz"], "a.xyz: "),
])
def test_mistakes(run, files, words, message):
    write(files)
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    code, _, err = run(*words)
    assert code == 1 and err.startswith(f"darknet-py: {message}") and err.count("\n") == 1
    written = {"anchors.txt", "counters_per_class.txt"} if "-plot" in words else set()
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.name not in written} == before


def test_wrong_labels_are_told_and_left_out(run):
    write({"a.txt": DATA["a.txt"] + "0 .5 .5 0 .5\n" * 12 + "7 .5 .5 .5 .5\n"})
    code, out, err = run("o.data", "m.cfg")
    assert code == 0 and "28 boxes" in out and "counters_per_class = 15, 12, 0, 0, 0, 0, 0, 1\n" in out
    lines = err.splitlines()
    assert lines[0] == ("error: a.txt:28: expected a width and height above 0, found x 0.5 y 0.5 width 0 height 0.5")
    assert len(lines) == 11 and lines[-1] == "... and 3 more: darknet-py check o.data -all prints them"


@pytest.mark.parametrize("action, needs", [("map", "DATA CFG"), ("train", "DATA CFG"), ("test", "DATA CFG")])
def test_other_actions_need_a_cfg(cli, action, needs):
    assert cli("detector", action, "o.data") == (1, "", f"darknet-py: detector {action} needs {needs}, found no cfg\n")


@pytest.mark.needs_shared("data/bccd")
def test_bccd():
    """C gave 87.58 to 87.70 % in three calls."""
    found = read_boxes(SHARED / "data/bccd/obj.data")
    assert (found.pictures, found.counts.tolist(), found.problems) == (292, [3348, 301, 292], [])
    sizes = found.sizes * 416
    anchors = find_anchors(sizes, 9, restarts=10)
    assert .875 < fit_of(sizes, anchors.darknet).iou < .879 < fit_of(sizes, anchors.best).iou < .885
