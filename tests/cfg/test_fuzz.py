"""Hostile input: any cfg text ends in a network or a DarknetError, any weights file in a load or a WeightsError.

``DARKNET_PY_FUZZ=20000 pytest tests/cfg/test_fuzz.py`` explores with so many random examples a test.
"""
from __future__ import annotations

import os
import struct
import warnings
from dataclasses import Field, fields
from random import Random

import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from darknet_py.cfg.language import parse_cfg
from darknet_py.cfg.options import NetOptions
from darknet_py.errors import DarknetError, WeightsError
from darknet_py.layers import KINDS, DetectionHead, base
from darknet_py.layers.convolutional import DEFORMATIONS
from darknet_py.model.network import Network, load_network
from darknet_py.model.weights import read_header

EXPLORE = int(os.environ.get("DARKNET_PY_FUZZ", 0))
SMALL = 2 ** 14             # weights of a network, and numbers in an output


def fuzz(examples: int) -> settings:
    """Stable in CI, random where asked for."""
    return settings(max_examples=EXPLORE or examples, derandomize=not EXPLORE, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True, scope="module")
def small_limits(tmp_path_factory):
    """Limits that keep every example small, and a working directory with a tree, a map and a folder to be named."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "tree").write_text("a -1\nb -1\nc 0\nd 0\n")
    (folder / "map").write_text("0\n1\n0\n")
    (folder / "folder").mkdir()
    (folder / "binary").write_bytes(bytes(range(256)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)                # many for so little work get into each other's way
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(base, "MAX_PARAMETERS", SMALL)
        patch.setattr(base, "MAX_OUTPUTS", SMALL)
        patch.setattr("darknet_py.model.plan.MAX_PARAMETERS", SMALL)
        yield
    torch.set_num_threads(threads)


HOSTILE = ["-1", "0", "", "-2147483648", "2147483647", "2147483648", "1000000000", "99999", "9" * 5000, "1e400", "nan",
           "inf", "-inf", ".", "-", "0x10", "1.5", "-0.5", "1e-40", "3e38", "1,2,3", ",", "1,,2", "-1,", "a b", "=",
           "\u0663", "\u00e9", "\U0001f600", "\x00", "\x1b[2J", "\ud800", "folder", "binary", "tree", "map", "..", "/",
           "/dev/null", "x" * 5000, "[net]", ",".join("0" * 2000)]
SANE = {"layers": ["-1", "-2", "-1,-2", "0", "-1,-3"], "from": ["-2", "-3", "0", "-1", "-2,-3"],
        "share_index": ["-1", "-2", "0"], "yolo_layer": ["-1", "-2"], "embedding_layer": ["-1", "-2"],
        "mask": ["0", "0,1", "1"], "anchors": ["1,2", "1,2,3,4", "1"], "tree": ["tree", "folder", "missing"],
        "map": ["map", "binary"], "filters": "1244448", "output": "1244448", "groups": "112", "size": "123",
        "stride": "1112", "stride_x": "12", "stride_y": "12", "padding": "012", "reverse": "0001", "num": "1123",
        "crop_height": "112", "crop_width": "112", "antialiasing": "00123", "coords": "45", "bottleneck": "0001",
        "batch_normalize": "01"}


class CfgMaker:
    """A random network that mostly makes sense, and then perhaps a few values that do not."""

    def __init__(self, seed: int):
        self.random = Random(seed)
        plain = [kind for kind in KINDS if not issubclass(KINDS[kind], DetectionHead)]
        self.kinds = plain + ["convolutional"] * 5 + ["heads"] * 3

    def text(self) -> str:
        pick = self.random.choice
        if self.chance(.05):
            lines = ["[net]", f"inputs={pick('1248')}"]
        else:
            side = pick("123457888")
            lines = ["[net]", f"width={side}", f"height={side if self.chance(.8) else pick('12345')}",
                     f"channels={pick('1244')}"]
        if self.chance(.3):
            lines += self.options(NetOptions, 3)
        if self.chance(.7):
            lines += ["[conv]", f"filters={pick('1248')}", "[conv]", f"filters={pick('1248')}", "size=3", "pad=1"]
        for _ in range(self.random.randint(1, 7)):
            lines += self.section()
        for _ in range(pick((0, 0, 0, 1, 1, 2))):
            at = self.random.randrange(len(lines))
            key, equals, _ = lines[at].partition("=")
            lines[at] = f"{key}={pick(HOSTILE)}" if equals else pick([lines[at], "[nothing]", "[yolo]", pick(HOSTILE)])
        text = "\n".join(lines) + "\n"
        if self.chance(.03):
            at = self.random.randrange(len(text))
            text = text[:at] + pick([*HOSTILE, "\n", "\r\n", "\t", "[", "]", "#", ";", "\ufeff"]) + text[at:]
        return text

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def section(self) -> list[str]:
        kind = self.random.choice(self.kinds)
        if kind == "heads":
            return self.head()
        options = KINDS[kind].Options
        lines = self.options(options, 6 if self.chance(.5) else 2)
        if kind in ("route", "shortcut", "sam", "scale_channels"):
            key = "layers" if kind == "route" else "from"
            lines.append(f"{key}={self.random.choice(SANE[key])}")
        if "pad" in options.__dataclass_fields__ and self.chance(.8):
            lines = ["pad=1", f"size={self.random.choice('133')}", "stride=1", "dilation=1", *lines]
        if kind == "scale_channels" and self.chance(.7):
            return ["[avgpool]", f"[{kind}]", "from=-2", *lines]
        return [f"[{kind}]", *lines]

    def head(self) -> list[str]:
        """A detection head with a layer before it that fits."""
        kind = self.random.choice(["yolo", "Gaussian_yolo", "region", "detection"])
        classes, count, coords, side = (self.random.randint(*ends) for ends in ((1, 4), (1, 3), (4, 6), (1, 3)))
        more = [f"classes={classes}", f"num={count}", *self.options(KINDS[kind].Options, 3)]
        if kind == "detection":
            return ["[connected]", f"output={side ** 2 * ((1 + coords) * count + classes)}",
                    "[detection]", f"side={side}", f"coords={coords}", *more]
        entries = {"yolo": 5, "Gaussian_yolo": 9, "region": coords + 1}[kind]
        return ["[convolutional]", f"filters={count * (entries + classes)}", f"[{kind}]",
                *([f"coords={coords}"] if kind == "region" else []), *more]

    def options(self, schema: type, most: int) -> list[str]:
        """Some of the options that the schema has, and now and then one that it has not."""
        known = {field.name.rstrip("_"): field for field in fields(schema)}
        own = [name for name in known if name not in base.LayerOptions.__dataclass_fields__] or [*known]
        own = [name for name in own if name not in DEFORMATIONS]
        names = self.random.sample(own, min(self.random.randint(0, most), len(own)))
        lines = [f"{name}={self.value(known[name])}" for name in names]
        if self.chance(.05):
            lines.append(self.random.choice(["dontload=1", "dontloadscales=1", "unknown=1", "clip=3", "filter=3"]))
        return lines

    def value(self, field: Field) -> str:
        """A text for one option that makes sense, or nearly."""
        name = field.name.rstrip("_")
        if field.metadata.get("choices") is not None:
            return self.random.choice([*field.metadata["choices"]])
        if name in SANE:
            return self.random.choice(SANE[name])
        if "float" in str(field.type):
            return self.random.choice(["0", "0.5", "1", "-1.5", "3"])
        return self.random.choice("0112" if field.default in (0, None) else "1223345")


def build(text: str) -> Network | None:
    """The network of a text, or None where it has none and the error says so in one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return load_network(parse_cfg(text, "fuzz.cfg"))
        except DarknetError as error:
            message = str(error)
            assert message.startswith("fuzz.cfg:") and message.isprintable() and len(message) < 500
            return None
        finally:
            assert all(str(warning.message).isprintable() for warning in caught)


def run(network: Network) -> None:
    """Run a network, and hold it to the shapes it announced."""
    steps = network.options.time_steps
    if steps > 4:
        return
    x = torch.rand(2 * steps, *network.input_shape)
    with torch.no_grad():
        outputs = network(x)
        network.reset_state()
        held = network.trace(x)
    for head, output in zip(network.heads, outputs, strict=True):
        layer = network.layers[head]
        channels, height, width = layer.shape
        expected = (height, width, channels) if layer.kind == "region" else layer.shape
        assert output.shape == (len(x), *expected)
        if isinstance(layer, DetectionHead):
            found = layer.decode(output, 64, 64, .3, .5)
            count = len(found.boxes)
            assert found.boxes.shape == (count, 4) and found.scores.shape == (count, layer.classes)
            assert found.objectness.shape == found.image.shape == (count,)
    assert len(held) == len(network.layers)
    for layer in network.layers:
        assert layer.label() and layer.extra_repr()


@fuzz(400)
@given(st.integers(0, 2 ** 32))
def test_grammar_aware_cfgs(seed):
    text = CfgMaker(seed).text()
    note(text)
    network = build(text)
    if network is not None:
        run(network)


@fuzz(300)
@given(st.one_of(st.text(max_size=200), st.text("[]=#;\n\r\t netwidhs1,-.", max_size=200).map("[net]\n".__add__)))
def test_any_text_as_cfg(text):
    network = build(text)
    if network is not None:
        run(network)


PLAIN = """[net]
width=2
height=2
channels=2
[conv]
filters=3
batch_normalize=1
[conn]
output=2
[max]
[lstm]
output=1
dontload=1
[conv]
filters=7
[yolo]
classes=2
anchors=1,2
"""         # 18, 26 and 14 numbers


def damaged(draw) -> bytes:
    """A file that fits, and then something done to it."""
    data = bytearray(struct.pack("<iiiQ", 0, 2, 5, 64) + bytes(4 * 58))
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(["cut", "append", "flip", "numbers", "version"]))
        if what == "cut":
            del data[draw(st.integers(0, len(data))):]
        elif what == "append":
            data += draw(st.binary(max_size=40))
        elif what == "flip" and data:
            data[draw(st.integers(0, min(20, len(data)) - 1))] ^= 1 << draw(st.integers(0, 7))
        elif what == "numbers":
            data += bytes(4 * draw(st.integers(0, 200)))
        elif len(data) >= 8:
            data[:8] = draw(st.binary(min_size=8, max_size=8))
    return bytes(data)


@fuzz(300)
@given(st.one_of(st.binary(max_size=400), st.composite(damaged)()))
def test_any_bytes_as_weights(data):
    with open("x.weights", "wb") as file:
        file.write(data)
    network = load_network(parse_cfg(PLAIN))
    before = [blob.tensor.detach().clone() for layer in network.layers for blob in layer.blobs()]
    try:
        reached = network.load_weights("x.weights")
    except WeightsError as error:
        assert str(error).startswith("x.weights: ") and str(error).isprintable()
        after = [blob.tensor for layer in network.layers for blob in layer.blobs()]
        assert all(torch.equal(*pair) for pair in zip(before, after, strict=True)) and network.seen == 0
    else:
        numbers = (len(data) - read_header("x.weights").size) // 4
        assert (numbers, reached) in [(0, 0), (18, 1), (44, 4), (58, 6)]
        run(network)
