"""Typed binding and wiring: what a cfg means, and each way in which it can have no meaning, with its message."""
from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import pytest
import torch
from conftest import raises

from darknet_py.cfg.language import parse_cfg
from darknet_py.cfg.options import NetOptions, bind, option
from darknet_py.errors import CfgError, CfgWarning, Reason
from darknet_py.layers import KINDS
from darknet_py.model.network import Network

NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"      # lines 1 to 4: layers start at line 5
CONV = "[convolutional]\nfilters=6\n"               # lines 5 and 6


@dataclass(frozen=True)
class Options:
    whole: int = 7
    number: float = .5
    name: str = "none"
    maybe: int | None = None
    wholes: tuple[int, ...] = ()
    numbers: tuple[float, ...] | None = None
    from_: int = 0
    kind: str = option("a", choices=("alpha", "beta"))
    least: int = option(1, least=1)


def bound(line: str, strict: bool = True) -> Options:
    cfg = parse_cfg(f"[net]\n{line}\n", "x.cfg", strict=strict)
    return bind(cfg, cfg.sections[0], Options)


@pytest.mark.parametrize("line, field, value", [
    ("", "whole", 7), ("whole=-3", "whole", -3), ("whole=+3", "whole", 3), ("whole=3.0", "whole", 3),
    ("whole=3 # three", "whole", 3), ("whole=3;4", "whole", 3), ("whole=2147483647", "whole", 2 ** 31 - 1),
    ("number=1", "number", 1.), ("number=-.5e-1", "number", -.05), ("number=1.", "number", 1.),
    ("number=1E3", "number", 1e3),
    ("name=x y", "name", "xy"), ("maybe=0", "maybe", 0), ("", "maybe", None),
    ("wholes=1", "wholes", (1,)), ("wholes = 1, -2 ,3,", "wholes", (1, -2, 3)), ("wholes=,", "wholes", ()),
    ("numbers=.1,2", "numbers", (.1, 2.)), ("", "numbers", None), ("from=-1", "from_", -1),
    ("kind=beta", "kind", "beta"), ("least=1", "least", 1), ("# whole=1", "whole", 7),
])
def test_values(line, field, value):
    found = getattr(bound(line), field)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("line, field, value, message", [
    ("whole=12px", "whole", 12, "whole=12px is read as 12"),
    ("whole=1.5", "whole", 1, "whole=1.5 is read as 1"),
    ("whole=1e3", "whole", 1, "whole=1e3 is read as 1"),
    ("number=0x10", "number", 0., "number=0x10 is read as 0"),
    ("wholes=1,2b", "wholes", (1, 2), "wholes=2b is read as 2"),
    ("whole=1\nwhole=2", "whole", 1, "whole= stands twice in this [net]; the first one counts"),
    ("whole=", "whole", 7, "whole= has no value and is passed over"),
    ("whol=1", "whole", 7, "[net] has no option whol=; did you mean whole=?"),
    ("from_=1", "from_", 0, "[net] has no option from_=; did you mean from=?"),
    ("zzz=1", "whole", 7, "[net] has no option zzz="),
    ("\x1b=1", "whole", 7, r"[net] has no option \x1b="),
])
def test_what_c_tolerates_is_a_warning_and_with_strict_an_error(line, field, value, message):
    place = f"x.cfg:{2 + line.count(chr(10))}"
    with pytest.warns(CfgWarning) as caught:
        assert getattr(bound(line, strict=False), field) == value
    assert [str(warning.message) for warning in caught] == [f"{place}: {message}"]
    with raises(CfgError, Reason.TOLERATED, f"^{re.escape(f'{place}: {message}')}$"):
        bound(line)


@pytest.mark.parametrize("line, reason, message", [
    ("whole=x", Reason.BAD_VALUE, "whole= needs a whole number, found 'x'"),
    ("whole=-", Reason.BAD_VALUE, "whole= needs a whole number, found '-'"),
    ("whole=\u0663", Reason.BAD_VALUE, "whole= needs a whole number, found '\u0663'"),
    ("whole=2147483648", Reason.OUT_OF_RANGE, "whole= needs a whole number below 2147483648, found 2147483648"),
    ("whole=-2147483648", Reason.OUT_OF_RANGE, "whole= needs a whole number below 2147483648, found -2147483648"),
    ("whole=" + "9" * 5000, Reason.OUT_OF_RANGE, "whole= needs a whole number below 2147483648, found " + "9" * 40),
    ("number=nan", Reason.BAD_VALUE, "number= needs a number, found 'nan'"),
    ("number=inf", Reason.BAD_VALUE, "number= needs a number, found 'inf'"),
    ("number=1e400", Reason.OUT_OF_RANGE, "number= needs a number below 3.4e+38, found 1e400"),
    ("number=.", Reason.BAD_VALUE, "number= needs a number, found '.'"),
    ("wholes=1,,2", Reason.BAD_VALUE, "wholes= needs a whole number, found ''"),
    ("numbers=1,b", Reason.BAD_VALUE, "numbers= needs a number, found 'b'"),
    ("kind=bete", Reason.UNKNOWN_NAME, "kind= needs one of alpha, beta, found 'bete'; did you mean beta?"),
    ("kind=zzz", Reason.UNKNOWN_NAME, "kind= needs one of alpha, beta, found 'zzz'"),
    ("least=0", Reason.OUT_OF_RANGE, "least= needs at least 1, found 0"),
])
def test_values_that_have_no_meaning(line, reason, message):
    with raises(CfgError, reason) as caught:
        bound(line)
    assert str(caught.value) == f"x.cfg:2: {message}"
    assert caught.value.line == 2


YOLO = "[yolo]\nclasses=1\nnum=1\nanchors=1,2\n"


@pytest.mark.parametrize("body, reason, message", [
    # [net]
    ("", Reason.EMPTY, "1: expected layers after [net], found none"),
    # kinds
    ("[convolution]\n", Reason.UNKNOWN_NAME,
     "5: expected a layer that Darknet knows, found [convolution]; did you mean [convolutional]?"),
    ("[Yolo]\n", Reason.UNKNOWN_NAME, "5: expected a layer that Darknet knows, found [Yolo]; did you mean [yolo]?"),
    ("[zzz]\n", Reason.UNKNOWN_NAME, "5: expected a layer that Darknet knows, found [zzz]"),
    ("[]\n", Reason.UNKNOWN_NAME, "5: expected a layer that Darknet knows, found []"),
    (CONV + NET, Reason.UNKNOWN_NAME, "7: expected a layer that Darknet knows, found [net]"),
    # references
    ("[route]\n", Reason.MISSING_KEY, "5: [route] needs layers=, the layers to take"),
    ("[shortcut]\n", Reason.MISSING_KEY, "5: [shortcut] needs from=, the layers to add"),
    ("[sam]\n", Reason.MISSING_KEY, "5: [sam] needs from=, the layer to scale"),
    ("[route]\nlayers=-1\n", Reason.BAD_REFERENCE,
     "6: [route] layers=-1 names layer -1, but there is none before this one"),
    (CONV + "[route]\nlayers=1\n", Reason.BAD_REFERENCE, "8: [route] layers=1 names layer 1, expected one from 0 to 0"),
    (CONV + "[route]\nlayers=-1,5\n" + CONV, Reason.BAD_REFERENCE,
     "8: [route] layers=5 names layer 5, expected one from 0 to 0"),
    (CONV + "[shortcut]\nfrom=-2\n", Reason.BAD_REFERENCE,
     "8: [shortcut] from=-2 names layer -1, expected one from 0 to 0"),
    (CONV + "[conv]\nshare_index=-2\n", Reason.BAD_REFERENCE,
     "8: [conv] share_index=-2 names layer -1, expected one from 0 to 0"),
    ("[max]\n[conv]\nshare_index=0\n",
     Reason.BAD_REFERENCE, "7: [conv] share_index=0 names layer 0, a [maxpool], expected a [convolutional]"),
    # shapes
    (CONV + "[max]\nstride=2\n[route]\nlayers=0,1\n",
     Reason.SHAPE_MISMATCH,
     "10: [route] layers= needs inputs of equal width and height, found 8 x 8 x 6 from 0 and 4 x 4 x 6 from 1"),
    (CONV + "[route]\nlayers=0\ngroups=4\n", Reason.INDIVISIBLE, "9: [route] groups=4 must divide the 6 channels of 0"),
    (CONV + "[route]\nlayers=0\ngroups=2\ngroup_id=2\n", Reason.OUT_OF_RANGE,
     "10: [route] group_id=2 needs a number from 0 to 1"),
    (CONV + "[sam]\nfrom=0\n[max]\nstride=2\n[sam]\nfrom=0\n",
     Reason.SHAPE_MISMATCH, "12: [sam] needs 8 x 8 x 6 from the layer before it to scale 8 x 8 x 6, found 4 x 4 x 6"),
    (CONV + "[scale_channels]\nfrom=0\n",
     Reason.SHAPE_MISMATCH,
     "8: [scale_channels] needs 1 x 1 x 6 from the layer before it to scale 8 x 8 x 6, found 8 x 8 x 6"),
    ("[conv]\nsize=9\n", Reason.OUT_OF_RANGE,
     "5: [conv] would have an output of 0 x 0 x 1 (width x height x channels) from 8 x 8 x 3, "
     "expected 1 to 536870912 values"),
    ("[conv]\nfilters=4\ngroups=2\n", Reason.INDIVISIBLE,
     "7: [conv] groups=2 must divide the 3 input channels and filters=4"),
    ("[crop]\ncrop_height=9\n", Reason.SHAPE_MISMATCH, "6: [crop] cannot take 1 x 9 out of 8 x 8"),
    ("[reorg]\nstride=2\n", Reason.INDIVISIBLE,
     "6: [reorg] stride=2 does not fit 8 x 8 x 3: expected sides that it divides and channels "
     "that its square 4 divides"),
    ("[upsample]\nstride=-3\n", Reason.INDIVISIBLE, "6: [upsample] stride=-3 must divide the sides of 8 x 8 x 3"),
    ("[upsample]\nstride=0\n", Reason.OUT_OF_RANGE, "6: [upsample] stride= needs a number other than 0"),
    ("[max]\nsize=2\npadding=3\n", Reason.OUT_OF_RANGE,
     "7: [max] padding=3 puts windows wholly outside, expected at most 2 for size=2"),
    # heads
    ("[conv]\nfilters=255\n" + YOLO,
     Reason.SHAPE_MISMATCH, "7: [yolo] needs filters=6 in the layer before it (1 anchors x (5 + 1 classes)), got 255"),
    (CONV + "[Gaussian_yolo]\nclasses=3\n",
     Reason.SHAPE_MISMATCH,
     "7: [Gaussian_yolo] needs filters=12 in the layer before it (1 anchors x (9 + 3 classes)), got 6"),
    (CONV + "[region]\nclasses=2\n",
     Reason.SHAPE_MISMATCH,
     "7: [region] needs filters=7 in the layer before it (1 anchors x (4 + 1 + 2 classes)), got 6"),
    (CONV + "[detection]\nside=2\ncoords=4\n", Reason.SHAPE_MISMATCH,
     "7: [detection] needs 24 values from the layer before it (2 x 2 cells x "
     "((4 coords + 1) x 1 boxes + 1 classes)), got 384"),
    (CONV + YOLO + "mask=0,1\n", Reason.OUT_OF_RANGE,
     "11: [yolo] mask= needs numbers from 0 to 0 (num=1), found (0, 1)"),
    (CONV + YOLO + "mask=,\n", Reason.OUT_OF_RANGE, "11: [yolo] mask= needs numbers from 0 to 0 (num=1), found ()"),
    (CONV + YOLO + "counters_per_class=1,2\n", Reason.WRONG_COUNT,
     "11: [yolo] counters_per_class= needs 1 values, one a class, found 2"),
    (CONV + YOLO + "map=no/such.map\n", Reason.MISSING_FILE, "11: [yolo] map=no/such.map: no such file in ., ., .."),
    ("[softmax]\ngroups=5\n", Reason.INDIVISIBLE, "6: [softmax] groups=5 must divide the 192 inputs"),
    ("[softmax]\ntree=.\n", Reason.MISSING_FILE, "6: [softmax] tree=.: no such file in ., ., .."),
    ("[conv]\nfilters=6\n[region]\nclasses=1\nanchors=1,2\n[softmax]\n",
     Reason.BAD_REFERENCE, "10: [softmax] reads layer 1, a [region], which no other layer can read"),
    # sizes: all refused before anything is allocated
    ("[conv]\nfilters=1000000000\n", Reason.TOO_LARGE,
     "5: [conv] would have an output of 8 x 8 x 1000000000 (width x height x channels) "
     "from 8 x 8 x 3, expected 1 to 536870912 values"),
    ("[avg]\n[conv]\nfilters=500000000\n", Reason.TOO_LARGE,
     "6: [conv] would need 1500000000 weights (500000000 x 3 x 1 x 1), "
     "more than the 536870912 allowed"),
    ("[conn]\noutput=2000000000\n", Reason.TOO_LARGE,
     "5: [conn] would have an output of 1 x 1 x 2000000000 (width x height x channels) "
     "from 8 x 8 x 3, expected 1 to 536870912 values"),
    ("[conv]\nsize=3\npad=1\ndilation=1000000\n", Reason.TOO_LARGE, "5: [conv] would pad its input from 8 x 8 x 3 to "
     "2000008 x 2000008 x 3 (width x height x channels), expected at most 536870912 values"),
    ("[max]\nsize=100000\n", Reason.TOO_LARGE, "5: [max] would pad its input from 8 x 8 x 3 to 100007 x 100007 x 3 "
     "(width x height x channels), expected at most 536870912 values"),
    ("[upsample]\nstride=100000\n", Reason.TOO_LARGE,
     "5: [upsample] would have an output of 800000 x 800000 x 3 (width x height x "
     "channels) from 8 x 8 x 3, expected 1 to 536870912 values"),
    ("[conv]\nfilters=6\n[yolo]\nnum=2147483647\n", Reason.SHAPE_MISMATCH,
     "7: [yolo] needs filters=53687091175 in the layer before it "
     "(2147483647 anchors x (5 + 20 classes)), got 6"),
    ("[conv]\nfilters=25\n[region]\nnum=2147483647\n", Reason.SHAPE_MISMATCH,
     "7: [region] needs filters=53687091175 in the layer before it "
     "(2147483647 anchors x (4 + 1 + 20 classes)), got 25"),
])
def test_networks_that_have_no_meaning(body, reason, message, workdir):
    with raises(CfgError, reason) as caught:
        Network(parse_cfg(NET + body, "x.cfg"))
    assert str(caught.value) == f"x.cfg:{message}"


@pytest.mark.parametrize("net, reason, message", [
    ("width=8\n", Reason.OUT_OF_RANGE,
     "1: [net] needs width, height and channels, or inputs, from 1 to 536870912 values in all; "
     "found width=8, height=0, channels=0, inputs=None"),
    ("width=100000\nheight=100000\nchannels=3\n", Reason.OUT_OF_RANGE,
     "1: [net] needs width, height and channels, or inputs, from 1 to "
     "536870912 values in all; found width=100000, height=100000, channels=3, inputs=None"),
    ("inputs=-1\n", Reason.OUT_OF_RANGE,
     "1: [net] needs width, height and channels, or inputs, from 1 to 536870912 values in all; "
     "found width=0, height=0, channels=0, inputs=-1"),
    ("inputs=1\nwidth=-1\n", Reason.OUT_OF_RANGE, "3: width= needs at least 0, found -1"),
    ("inputs=1\nbatch=0\n", Reason.OUT_OF_RANGE, "3: batch= needs at least 1, found 0"),
    ("inputs=1\npolicy=step_s\n", Reason.UNKNOWN_NAME,
     "3: policy= needs one of constant, step, exp, poly, steps, sigmoid, random, sgdr, "
     "found 'step_s'; did you mean steps?"),
    ("inputs=1\npolicy=CosineAnnealing\n", Reason.UNKNOWN_NAME,
     "3: policy= needs one of constant, step, exp, poly, steps, sigmoid, random, "
     "sgdr, found 'CosineAnnealing' (cosine is policy=sgdr here)"),
])
def test_net_sections_that_have_no_meaning(net, reason, message):
    with raises(CfgError, reason) as caught:
        Network(parse_cfg(f"[net]\n{net}[conn]\n", "x.cfg"))
    assert str(caught.value) == f"x.cfg:{message}"


def test_an_unknown_activation_is_an_error():
    message = r"^x.cfg:6: activation= needs one of linear, .* found 'leeky'; did you mean leaky\?$"
    with raises(CfgError, Reason.UNKNOWN_NAME, message):
        Network(parse_cfg(NET + "[conv]\nactivation=leeky\n", "x.cfg"))


def test_total_of_weights_is_bounded(monkeypatch):
    monkeypatch.setattr("darknet_py.model.plan.MAX_PARAMETERS", 200)
    message = "x.cfg:15: [convolutional] brings the network to 234 weights, more than the 200 allowed"
    with raises(CfgError, Reason.TOO_LARGE, f"^{re.escape(message)}$"):
        Network(parse_cfg(NET + CONV * 6, "x.cfg"))


def test_number_of_layers_is_bounded():
    with raises(CfgError, Reason.TOO_LARGE, r"^x.cfg: has 10001 layers, more than the 10000 allowed$"):
        Network(parse_cfg(NET + "[empty]\n" * 10_001, "x.cfg"))


ALIASES = [("net", "network"), ("conv", "convolutional"), ("conn", "connected"), ("max", "maxpool"), ("avg", "avgpool"),
           ("soft", "softmax"), ("lrn", "normalization"), ("local_avg", "local_avgpool"), ("silence", "empty")]


@pytest.mark.parametrize("short, long", ALIASES)
def test_aliases(short, long):
    layers = [type(Network(parse_cfg(text)).layers[0]) for text in (
        NET + f"[{short}]\n" if short != "net" else NET + "[empty]\n",
        NET + f"[{long}]\n" if short != "net" else NET.replace("[net]", "[network]") + "[empty]\n")]
    assert layers[0] is layers[1]


def test_options_that_all_layers_share():
    text = NET + "[conv]\nclip=1\nonlyforward=1\ndont_update=1\nburnin_update=1\nstopbackward=1\ntrain_only_bn=1\n" \
                 "dontload=1\ndontloadscales=1\nlearning_rate=.5\n"
    (layer,) = Network(parse_cfg(text, strict=True)).layers
    assert (layer.options.dontload, layer.options.learning_rate) == (1, .5)


@pytest.mark.parametrize("schema", dict.fromkeys([NetOptions, *(kind.Options for kind in KINDS.values())]),
                         ids=lambda schema: schema.__name__)
def test_every_schema_binds_an_empty_section(schema):
    cfg = parse_cfg("[net]\n", strict=True)
    assert bind(cfg, cfg.sections[0], schema) == schema()


@pytest.mark.parametrize("body, message", [
    ("[conv]\nfilter=6\n", "6: [conv] has no option filter=; did you mean filters=?"),
    ("[conv]\nfilters=6\n[yolo]\nclasses=1\n",
     "7: [yolo] anchors= has 0 values, expected 2 for num=1; the others are .5"),
    ("[conv]\nfilters=6\n[yolo]\nclasses=1\nmask=1\nanchors=1,2,3,4\n",
     "9: [yolo] mask= names anchor 1, num=1 counts fewer; it is taken from anchors="),
])
def test_networks_with_a_warning(body, message):
    with pytest.warns(CfgWarning) as caught:
        Network(parse_cfg(NET + body, "x.cfg"))
    assert [str(warning.message) for warning in caught] == [f"x.cfg:{message}"]
    with raises(CfgError, Reason.TOLERATED, re.escape(message)):
        Network(parse_cfg(NET + body, "x.cfg", strict=True))


def test_files_that_a_cfg_names(tmp_path, monkeypatch):
    (tmp_path / "cfg").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "data" / "a.map").write_text("2\n0\n2\n\n")
    (tmp_path / "cfg" / "a.tree").write_text("animal -1\nplant -1\ncat 0\n")
    text = NET + "[conv]\nfilters=8\n[region]\nclasses=3\ntree=elsewhere/a.tree\nmap=data/a.map\nanchors=1,2\n"
    (layer,) = Network(parse_cfg(text, tmp_path / "cfg" / "x.cfg", strict=True)).layers[1:]
    assert layer.class_map == (2, 0, 2)
    assert layer.tree.names == ["animal", "plant", "cat"]
    assert [level.tolist() for level in layer.tree.levels] == [[2]]


@pytest.mark.parametrize("content, message", [
    ("0\nx\n", "line 2 of FILE: expected a number from 0 to 0, found 'x'"),
    ("1\n", "line 1 of FILE: expected a number from 0 to 0, found '1'"),
    ("-1\n", "line 1 of FILE: expected a number from 0 to 0, found '-1'"),
    ("0\n\n0", "line 2 of FILE: expected a number from 0 to 0, found ''"),
    ("9" * 5000, f"line 1 of FILE: expected a number from 0 to 0, found '{'9' * 40}'"),
])
def test_maps_that_have_no_meaning(content, message, tmp_path):
    path = tmp_path / "map"
    path.write_text(content)
    with raises(CfgError, Reason.BAD_VALUE) as caught:
        Network(parse_cfg(NET + CONV + f"{YOLO}map={path}\n", "x.cfg"))
    assert str(caught.value) == f"x.cfg:11: [yolo] map={path}, {message.replace('FILE', str(path))}"


@pytest.mark.parametrize("content, reason, message", [
    ("", Reason.EMPTY, "FILE is empty"),
    ("a\n\nb\n", Reason.SYNTAX, "line 2 of FILE: expected a name and the number of an earlier line or -1, found ''"),
    ("a 0\n", Reason.SYNTAX, "line 1 of FILE: expected a name and the number of an earlier line or -1, found 'a 0'"),
    ("a -1\nb 2\n", Reason.SYNTAX,
     "line 2 of FILE: expected a name and the number of an earlier line or -1, found 'b 2'"),
    ("a x\n", Reason.SYNTAX, "line 1 of FILE: expected a name and the number of an earlier line or -1, found 'a x'"),
    ("a -2\n", Reason.SYNTAX, "line 1 of FILE: expected a name and the number of an earlier line or -1, found 'a -2'"),
    ("a -1\nb -1\n", Reason.WRONG_COUNT, "has 2 classes for 192 inputs"),
])
def test_trees_that_have_no_meaning(content, reason, message, tmp_path):
    path = tmp_path / "tree"
    path.write_text(content)
    with raises(CfgError, reason) as caught:
        Network(parse_cfg(NET + f"[softmax]\ntree={path}\n", "x.cfg"))
    found = str(caught.value).replace(f"tree={path}", "").replace(str(path), "FILE")
    assert found.startswith("x.cfg:6: [softmax] ") and found.endswith(message)


def test_a_deep_tree_takes_no_longer(tmp_path):
    path = tmp_path / "tree"
    path.write_text("".join(f"c{index} {index - 1}\n" for index in range(20_000)))
    text = f"[net]\ninputs=20000\n[softmax]\ntree={path}\n"
    (layer,) = Network(parse_cfg(text)).layers
    assert len(layer.tree.levels) == 19_999
    with torch.no_grad(), warnings.catch_warnings():
        assert layer(torch.rand(1, 20_000, 1, 1)).eq(1).all()
