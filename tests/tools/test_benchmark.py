"""The backends side by side, and the time of each layer."""
import json
import re

import pytest
import torch
from conftest import ROOT

from darknet_py import DarknetError, load_network, parse_cfg
from darknet_py.inference.backends import BACKENDS, build_backend
from darknet_py.inference.backends.openvino import OpenVino
from darknet_py.tools.benchmark import Row, benchmark, check_runs
from darknet_py.tools.layer_times import LayerTime, LayerTimer, by_kind, profile
from darknet_py.tools.random_weights import randomize

RNN = "[net]\ninputs=4\n[rnn]\noutput=4\nhidden=4\n"


def test_benchmark(cli, demo, workdir):
    """A row for each backend and precision: complete, or with the reason why not."""
    code, out, _ = cli("benchmark", *demo[:2], "-backends", "onnxruntime,tensorrt", "-precision", "float32,bfloat16",
                       "-size", "64", "-batch", "2", "-runs", "1", "-json", "figures.json")
    assert code == 0
    title, conditions, header, *lines = out.splitlines()
    assert title == f"{demo[0]}, {demo[1]}, input 64 x 64 x 3, batch 2" and "cores" in conditions
    assert header.split()[:3] == ["backend", "precision", "ms"] and len(lines) == 4
    assert re.fullmatch(r"onnxruntime   float32 +[\d.]+  \([\d.]+ - [\d.]+\) +[\d.]+ +\d+ MB +[\d.]+ s +[\d.]+ s +\S+",
                        lines[0])
    assert lines[1:] == ["onnxruntime   bfloat16     computes in float32"] + [
        f"tensorrt      {precision}  needs the package tensorrt: pip install tensorrt"
        for precision in ("float32    ", "bfloat16   ")]
    facts = json.loads((workdir / "figures.json").read_text())
    assert facts["batch"] == 2 and facts["input"] == {"channels": 3, "height": 64, "width": 64}
    assert facts["cpu"]
    assert facts["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    row = facts["rows"][0]
    times = row["milliseconds"]
    assert 0 < times["least"] <= times["median"] <= times["most"] and row["runs"] >= 1
    assert row["images_per_second"] == pytest.approx(2000 / times["median"])
    assert row["memory_bytes"] > 0 and row["load_seconds"] > 0 and row["first_load_seconds"] > 0
    assert 0 <= row["difference"] < 1e-3
    assert [row["reason"] is None for row in facts["rows"]] == [True, False, False, False]


def test_figures_of_a_row():
    row = Row("pytorch", "float32", batch=4, seconds=[.5, .25, 1.], first_load=2., load=1., memory=10, difference=0.)
    assert row.rate == 8 and row.figures() == {
        "backend": "pytorch", "precision": "float32", "reason": None, "runs": 3, "images_per_second": 8.,
        "milliseconds": {"median": 500., "least": 250., "most": 1000.}, "memory_bytes": 10, "first_load_seconds": 2.,
        "load_seconds": 1., "difference": 0.}


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend.exports and name != "tensorrt"])
def test_backends_that_cannot_take_a_network(name):
    network = randomize(load_network(parse_cfg(RNN, "r.cfg")))
    network.reached = len(network.layers)
    with pytest.raises(DarknetError, match=r"^r.cfg:3: \[rnn\] remembers earlier images"):
        check_runs(network, name, "float32", "cpu")
    check_runs(network, "pytorch", "float32", "cpu")


def test_a_precision_that_another_takes_the_place_of(monkeypatch):
    import openvino
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(DarknetError, match="this CPU does not compute in bfloat16"):
        check_runs(load_network(parse_cfg(RNN)), OpenVino.name, "bfloat16", "cpu")


@pytest.mark.parametrize("words, message", [
    (["-backends", "pytorch,torch"], "expected a backend (pytorch, compile, .*), found torch"),
    (["-backends", ","], "expected a backend .*, found none"),
    (["-precision", "int8"], "expected a precision (float32, bfloat16, float16), found int8"),
    (["-batch", "0"], "-batch needs a number from 1 on, found 0"),
    (["-runs", "0"], "-runs needs a number from 1 on, found 0"),
    (["-size", "big"], "-size needs a number of pixels, or two as in 416x320, found 'big'"),
    (["-device", "gpu"], "-device needs auto, cpu, cuda or cuda:N, found gpu"),
])
def test_what_benchmark_refuses(cli, demo, workdir, words, message):
    code, out, err = cli("benchmark", *demo[:2], *words)
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    assert code == 1 and out == "" and re.search(pattern, err) and err.startswith("darknet-py: ")
    assert err.count("\n") == 1


def test_a_size_that_the_network_cannot_take(cli):
    for verb in (["benchmark"], ["profile", ROOT / "cfg/yolov4-tiny.cfg"]):
        code, _, err = cli(*verb, "-size", "417")
        assert code == 1 and re.search(r"yolov4-tiny(.cfg)?:\d+: width=417 is no multiple of 32, the step", err)
        assert err.count("\n") == 1


def test_library_refuses(demo):
    for options in ({"batch": 0}, {"rounds": 0}):
        with pytest.raises(DarknetError, match="needs a number from 1 on, found 0"):
            benchmark(*demo[:2], **options)


def test_profile(cli, workdir):
    cfg = ROOT / "cfg/shapes.cfg"
    code, out, _ = cli("profile", cfg, "-size", "64", "-batch", "2", "-runs", "2", "-json", "p.json")
    assert code == 0 and "random weights, input 64 x 64 x 3, batch 2, in float32 on cpu" in out
    network = load_network(cfg, width=64, height=64)
    facts = json.loads((workdir / "p.json").read_text())
    assert [(row["index"], row["kind"], row["output"]) for row in facts["layers"]] == [
        (index, layer.kind, str(layer.shape)) for index, layer in enumerate(network.layers)]
    assert sum(row["share"] for row in facts["layers"]) == pytest.approx(1)
    assert all(row["milliseconds"] > 0 for row in facts["layers"]) and facts["milliseconds"] > 0
    for row, layer in zip(facts["layers"], network.layers, strict=True):
        rate = row["gflops_per_second"]
        assert rate is None if not layer.flops else rate == pytest.approx(2 * layer.flops / row["milliseconds"] / 1e6)
    assert {row["kind"] for row in facts["kinds"]} == {layer.kind for layer in network.layers}
    assert sum(row["milliseconds"] for row in facts["kinds"]) == pytest.approx(
        sum(row["milliseconds"] for row in facts["layers"]))
    assert len(re.findall(r"^ +\d+ convolutional +64 x 64 x \d+ ", out, re.M)) == 2 and "\nall layers " in out
    code, _, err = cli("profile", cfg, "-precision", "half")
    assert code == 1 and "expected a precision (float32, bfloat16, float16), found half" in err


def test_sums_by_kind():
    layers = [LayerTime("conv", 0, "1 x 1 x 1", 1, .5, 100), LayerTime("route", 1, "1 x 1 x 1", 1, 2., 0),
              LayerTime("conv", 2, "1 x 1 x 1", 1, 1., 200)]
    first, second = by_kind(layers)
    assert (first.name, first.seconds, first.count, first.rate, first.share(3.5)) == ("route", 2., 1, None, 2 / 3.5)
    assert (second.name, second.seconds, second.count, second.rate) == ("conv", 1.5, 2, 200.)


def test_timing_changes_nothing_and_ends():
    network = randomize(load_network(parse_cfg(RNN)))
    backend = build_backend(network, device="cpu")
    x = torch.rand(1, *network.input_shape)
    expected, = backend(x)
    backend.reset_state()
    with LayerTimer(network) as timer:
        torch.testing.assert_close(backend(x)[0], expected)
    backend(x)
    assert len(timer.calls) == 1 and len(timer.calls[0]) == 1 and timer.calls[0][0] > 0
    with pytest.raises(DarknetError, match="runs needs a number from 1 on, found 0"):
        profile(backend, runs=0)


def test_random_weights_keep_the_size_of_values():
    """Deep in a network too, where C's random start alone all but vanishes."""
    cfg = parse_cfg("[net]\nwidth=16\nheight=16\nchannels=3\n" + 20 * (
        "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"))
    torch.manual_seed(0)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert load_network(cfg)(x)[0].std() < .01 < .03 < randomize(load_network(cfg))(x)[0].std() < .3


@pytest.mark.parametrize("verb", ["detect", "detector test"])
def test_benchmark_layers(cli, demo, workdir, verb):
    """Darknet's lines for each picture; the averages are of both pictures, the order is by them."""
    (workdir / "obj.data").write_text(f"classes=3\nnames={demo[0].with_suffix('.names')}\n")
    data = ["obj.data"] if verb == "detector test" else []
    code, out, err = cli(*verb.split(), *data, *demo[:2], demo[2], "no.jpg", demo[2], "-benchmark_layers",
                         "-dontdraw_bbox")
    assert code == 1 and err.count("\n") == 1 and out.count("Sorted by time (forward):") == 2
    count = len(load_network(demo[0]).layers)
    lines = re.findall(r"^ fw-layer (\d+) - type: (\w+) - ([\d.]+) ms - avg_time ([\d.]+) ms $", out, re.M)
    assert len(lines) == 2 * count and [int(line[0]) for line in lines] == 2 * list(range(count))
    for first, second in zip(lines[:count], lines[count:], strict=True):
        assert first[2] == first[3]
        assert float(second[3]) == pytest.approx(.9 * float(first[2]) + .1 * float(second[2]), abs=2e-6)
    ranked = re.findall(r"^(\d+) - fw-sort-layer (\d+) - type: (\w+) - avg_time ([\d.]+) ms $", out, re.M)[count:]
    averages = [float(line[3]) for line in ranked]
    assert averages == sorted(averages, reverse=True) and [int(line[0]) for line in ranked] == list(range(count))
    assert {line[1]: line[3] for line in ranked} == {line[0]: line[3] for line in lines[count:]}


def test_benchmark_layers_are_those_of_pytorch(cli, demo, workdir):
    code, _, err = cli("detect", *demo, "-benchmark_layers", "-backend", "openvino")
    assert code == 1 and err == "darknet-py: -benchmark_layers needs -backend pytorch, found openvino\n"
