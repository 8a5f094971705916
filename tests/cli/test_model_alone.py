"""Models that run from their file alone, in the verbs that take more than pictures."""
import argparse
from pathlib import Path

import pytest
from conftest import TINY_CFG

from darknet_py import load_network
from darknet_py.cli import benchmark, serve
from darknet_py.convert import convert
from darknet_py.convert.formats import ExportOptions
from darknet_py.live.service.settings import models_of


@pytest.fixture
def model(workdir):
    """a.onnx, of a small network, with thresholds."""
    Path("a.cfg").write_text(TINY_CFG)
    load_network("a.cfg").save_weights("a.weights")
    convert("a.cfg", "a.weights", "a.onnx", options=ExportOptions(threshold=.4, nms=.3), names=["light", "dark"],
            check=False)


def parsed(module, *words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words, config, expected", [
    ([], None, (.4, .3)), (["--thresh", ".1"], None, (.1, .3)), (["--nms", ".2"], "thresh = 0.6", (.6, .2)),
    ([], "nms = 0.7", (.4, .7))])
def test_thresholds_of_a_service(model, words, config, expected):
    """Those typed, else of the file of settings, else of the model."""
    if config is not None:
        Path("s.toml").write_text(config)
        words = [*words, "--config", "s.toml"]
    values = serve.settings_of(parsed(serve, "a.onnx", *words))
    assert (values["thresh"], values["nms"]) == expected
    assert [(one.name, one.cfg, one.weights) for one in models_of(values)] == [("a", "a.onnx", None)]
    detector = serve.make_detector(models_of(values)[0], parsed(serve, "a.onnx"), values)
    assert detector.backend.name == "onnxruntime" and detector.names == ["light", "dark"]


def test_more_networks_of_a_service(model):
    values = serve.settings_of(parsed(serve, "a.cfg", "a.weights", "--model", "b=a.onnx"))
    assert [(one.name, one.cfg, one.weights) for one in models_of(values)] == [
        ("a", "a.cfg", "a.weights"), ("b", "a.onnx", None)]
    assert values["thresh"] == .25          # of no model in particular


def test_benchmark(model):
    with benchmark.opened(parsed(benchmark, "a.onnx")) as given:
        assert given.title == "a.onnx, input 32 x 32 x 3, batch 1" and str(given.weights) == "a.onnx"
        assert given.facts["weights"] == "a.onnx"


@pytest.mark.parametrize("words, says", [
    ([], "a.onnx is a model: -o FILE names the cfg to write"),
    (["-o", "a.onnx", "-force"], "a.onnx: is a model, which its cfg alone would overwrite; name another file")])
def test_edit_leaves_a_model(model, cli, words, says):
    before = Path("a.onnx").read_bytes()
    assert cli("edit", "a.onnx", "net.width=64", *words) == (1, "", f"darknet-py: {says}\n")
    assert Path("a.onnx").read_bytes() == before
    assert cli("edit", "a.onnx", "net.width=64", "-o", "own.cfg")[0] == 0
    assert Path("own.cfg").read_text() == TINY_CFG.replace("width=32", "width=64")


@pytest.mark.parametrize("words, expected", [
    (["detect", "a.onnx"], "thresh .4"), (["detector", "test", "a.data", "a.onnx"], "thresh .4"),
    (["detect", "a.onnx", "-thresh", "0"], "typed"), (["detect", "a.cfg", "a.onnx"], "usual")])
def test_thresholds_of_pictures(model, cli, words, expected, monkeypatch):
    """The model's count where it runs alone."""
    Path("a.data").write_text("classes=2\n")
    seen = {}

    def make(arguments, **options):
        seen.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("darknet_py.cli.model.make_detector", make)
    cli(*words, "a.png")
    thresh = {"thresh .4": .4, "typed": 0, "usual": .24}[expected]
    assert (seen["thresh"], seen["nms"]) == (thresh, .45 if expected == "usual" else .3)
