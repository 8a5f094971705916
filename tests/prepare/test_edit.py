"""Edits of a cfg: classes, anchors and sizes, and what no edit does."""
from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import pytest
from conftest import SHARED, raises, write

from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.errors import CfgError, DataError, Reason
from darknet_py.prepare.edit_cfg import differences, edit_cfg
from darknet_py.prepare.new_cfg import new_cfg
from darknet_py.prepare.refit_heads import fit_heads

pytestmark = pytest.mark.usefixtures("workdir")
REFERENCE = sorted((SHARED / "reference/cfg").rglob("*.cfg"))
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
    assert new_cfg("yolov4-tiny", classes=3, data=tmp_path / "train.txt", memory=2 ** 30).pictures == 1
    with raises(DataError, Reason.MISSING_KEY):
        new_cfg("yolov4-tiny", data=tmp_path / "train.txt", memory=2 ** 30)
