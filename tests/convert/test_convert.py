"""Conversions: each layer kind, each format, other programs' tensors, and what cannot be."""
from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT, kit, raises
from safetensors.torch import save_file

from darknet_py import load_network, parse_cfg
from darknet_py.convert import convert, parity
from darknet_py.convert.formats import FORMATS, ExportOptions
from darknet_py.errors import DarknetError, Reason, WeightsError
from darknet_py.layers import KINDS as KINDS_BY_NAME
from darknet_py.layers.yolo import Yolo
from darknet_py.zoo.architectures import cfg_text

CONV = "[convolutional]\nfilters=6\nsize=3\npad=1\n"
KINDS = sorted((ROOT / "tests/goldens/kinds/forward").glob("*.npz"))


@pytest.fixture
def golden(request, workdir):
    """A golden's cfg and weights in the current folder: a.cfg, a.weights."""
    golden = kit.Golden(request.param)
    Path("a.cfg").write_text(golden.cfg)
    golden.write_weights("a.weights", seen=2 ** 33 + 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield golden


@pytest.mark.parametrize("golden", KINDS, indirect=True, ids=lambda path: path.stem)
@pytest.mark.parametrize("extension", ["safetensors", "pt", "weights"])
def test_there_and_back(golden, extension):
    convert("a.cfg", "a.weights", f"b.{extension}", check=False)
    convert("a.cfg", f"b.{extension}", "c.weights", check=False)
    assert Path("c.weights").read_bytes() == Path("a.weights").read_bytes()


@pytest.mark.parametrize("golden", KINDS, indirect=True, ids=lambda path: path.stem)
def test_every_kind_in_onnx(golden):
    if any(KINDS_BY_NAME[section.kind].stateful for section in parse_cfg(golden.cfg).sections[1:]):
        with pytest.raises(DarknetError, match=r"^a.cfg:\d+: \[\w+\] remembers earlier images"):
            convert("a.cfg", "a.weights", "b.onnx")
        assert not Path("b.onnx").exists()
    else:
        assert convert("a.cfg", "a.weights", "b.onnx").parity.error < 1e-4


@pytest.mark.parametrize("section", ["empty", "activation", "dropout", "avgpool", "batchnorm", "connected", "crop",
                                     "deconvolutional", "implicit", "local", "maxpool", "local_avgpool", "l2norm",
                                     "normalization", "reorg", "reorg3d", "sam]\nfrom=-2\n[empty", "upsample",
                                     "shortcut]\nfrom=-2\n[empty", "softmax", "logistic"])
def test_every_kind_in_onnx_with_default_options(section, workdir):
    """Also of networks without a head."""
    Path("a.cfg").write_text(f"[net]\nwidth=12\nheight=8\nchannels=3\n{CONV}{CONV}[{section}]\n")
    load_network("a.cfg").save_weights("a.weights")
    assert convert("a.cfg", "a.weights", "b.onnx").parity.error < 1e-5


@pytest.mark.parametrize("golden", KINDS, indirect=True, ids=lambda path: path.stem)
def test_every_kind_in_torchscript(golden):
    """Of any number of images: nothing takes the number of those that it was traced with for its own."""
    if not any(KINDS_BY_NAME[section.kind].stateful for section in parse_cfg(golden.cfg).sections[1:]):
        assert convert("a.cfg", "a.weights", "b.torchscript").parity.error < 1e-4


@pytest.mark.parametrize("text", ["[reorg]\nstride=2\n", "[avgpool]\n[softmax]\n", "[implicit]\nfilters=3\n"])
def test_any_number_of_images_in_an_exported_program(text, workdir):
    Path("a.cfg").write_text(f"[net]\nwidth=8\nheight=8\nchannels=3\n[conv]\nfilters=8\n{text}")
    load_network("a.cfg").save_weights("a.weights")
    assert convert("a.cfg", "a.weights", "b.pt2").parity.error < 1e-4


HEAD = "num=2\nanchors=4,6, 20,9\nclasses=3\n"
CFG = f"""[net]
width=64
height=32
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=mish
[convolutional]
filters=16
size=1
activation=linear
[yolo]
{HEAD}mask=0,1
scale_x_y=1.1
[route]
layers=0
[convolutional]
filters=16
size=1
stride=2
activation=logistic
[yolo]
{HEAD}new_coords=1
scale_x_y=2
[route]
layers=0
[convolutional]
filters=24
size=1
activation=linear
[Gaussian_yolo]
{HEAD}yolo_point=left_top
"""
REGION = CFG[:CFG.index("[yolo]")] + f"[region]\n{HEAD}softmax=1\ncoords=4\n"


@pytest.fixture
def here(workdir):
    """A folder with two detectors: a.cfg, r.cfg and their weights, and a picture."""
    for name, text in (("a", CFG), ("r", REGION)):
        Path(f"{name}.cfg").write_text(text)
        torch.manual_seed(0)
        network = load_network(f"{name}.cfg")
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(0, .5)            # objects everywhere
        network.seen = 77
        network.save_weights(f"{name}.weights")
    cv2.imwrite("p.png", np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))


@pytest.mark.parametrize("name", ["a", "r"])
@pytest.mark.parametrize("out, options", [
    ("b.onnx", {}), ("b.onnx", {"outputs": "boxes"}), ("b.onnx", {"outputs": "nms"}), ("b.onnx", {"opset": 13}),
    ("b.onnx", {"opset": 18, "outputs": "nms"}), ("b.onnx", {"half": True}),
    ("b.onnx", {"half": True, "outputs": "nms"}),
    ("b.onnx", {"batch": 3}), ("b.onnx", {"resizable": True, "outputs": "boxes"}), ("b.xml", {}),
    ("b.xml", {"outputs": "nms"}), ("b.xml", {"half": True}), ("b.torchscript", {}), ("b.torchscript", {"batch": 1}),
    ("b.torchscript", {"half": True}), ("b.pt2", {}), ("b.pt2", {"batch": 1}), ("b.safetensors", {}), ("b.pt", {})])
def test_formats(here, name, out, options):
    if name == "r" and options.get("resizable"):
        pytest.skip("[region] has a size of its own")
    done = convert(f"{name}.cfg", f"{name}.weights", out, options=ExportOptions(**options), images=["p.png"])
    assert done.parity.images == 3 and done.parity.good
    assert Path(out) in done.files and sorted(done.files) == sorted(Path().glob("b.*"))


def test_a_resizable_model_takes_other_sizes(here):
    convert("a.cfg", "a.weights", "b.onnx", options=ExportOptions(outputs="boxes", resizable=True))
    session = onnxruntime.InferenceSession("b.onnx")
    x = torch.rand(2, 3, 48, 96)
    other = load_network("a.cfg", "a.weights", width=96, height=48)
    expected = parity.expected(other, x, ExportOptions(outputs="boxes"))
    for one, two in zip(expected, session.run(None, {"images": x.numpy()}), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)


NETWORKS = ["yolov4", "yolov4-tiny", "yolov4-csp", "yolov3-spp", "yolov2", "Gaussian_yolov3", "enet-coco", "darknet53"]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, workdir):
    """In both runtimes, all layers of each, most with a quarter of their filters."""
    text = cfg_text(name, width=64)
    if name != "enet-coco":             # which has as many groups as filters
        text = re.sub(r"^filters=(\d+)$", lambda match: f"filters={int(match[1]) // (1 if int(match[1]) % 32 else 4)}",
                      text, flags=re.MULTILINE)
    Path("a.cfg").write_text(text)
    torch.manual_seed(1)
    network = load_network("a.cfg")
    network.save_weights("a.weights")
    options = ExportOptions(outputs="heads" if name == "darknet53" else "boxes")
    assert convert("a.cfg", "a.weights", "b.onnx", options=options).parity.error < 1e-4
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 64, 64), np.float32))
    results = [FORMATS[kind].load(network, Path("b.onnx"))(x) for kind in ("onnx", "xml")]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def units(network):
    """The tensors of each convolution of a network, as a list a layer: weight, then batch normalisation or bias."""
    for layer in network.layers:
        if layer.kind == "convolutional":
            norm = layer.norm
            yield layer.weight, None if norm is None else norm, layer.bias


PORTS = {               # how other programs call the tensors of the n-th convolution
    "a module list of sections": ("module_list.{n}.Conv2d.{part}", "module_list.{n}.BatchNorm2d.{part}"),
    "names with numbers": ("module_list.{n}.conv_{n}.{part}", "module_list.{n}.batch_norm_{n}.{part}"),
    "sequences in sequences": ("down.conv{n}.conv.0.{part}", "down.conv{n}.conv.1.{part}"),
    "models": ("models.{n}.conv{n}.{part}", "models.{n}.bn{n}.{part}"),
}


def of_a_port(network, port):
    named = {}
    for n, (weight, norm, bias) in enumerate(units(network)):
        conv, batch_norm = PORTS[port]
        named[conv.format(n=n, part="weight")] = weight.detach()
        if norm is None:
            named[conv.format(n=n, part="bias")] = bias.detach()
        else:
            for part in ("weight", "bias", "running_mean", "running_var"):
                named[batch_norm.format(n=n, part=part)] = getattr(norm, part).detach()
            named[batch_norm.format(n=n, part="num_batches_tracked")] = torch.tensor(9)
    named["yolo.anchors"] = torch.ones(3, 2)
    return named


@pytest.mark.parametrize("nested", [None, "model", "state_dict"])
@pytest.mark.parametrize("port", PORTS)
def test_weights_of_other_programs(here, port, nested):
    named = of_a_port(load_network("a.cfg", "a.weights"), port)
    torch.save(named if nested is None else {nested: named, "epoch": 3, "best": np.float64(.5), "optimizer": None},
               "port.pt")
    done = convert("a.cfg", "port.pt", "b.weights")
    assert done.source == "11 tensors of 9 layers, by order and shape; 1 of another kind passed over"
    load_network("a.cfg", "a.weights").save_weights("a.weights")
    assert Path("b.weights").read_bytes()[20:] == Path("a.weights").read_bytes()[20:]


class Evil:
    def __reduce__(self):
        return open, ("evil", "w")


def prepare_wrong(name):
    network = load_network("a.cfg", "a.weights")
    named = of_a_port(network, "models")
    own = network.state_dict()
    match name:
        case "evil.pt":
            torch.save({"model": Evil()}, name)
        case "empty.pt":
            torch.save({"epoch": 3}, name)
        case "broken.pt":
            torch.save(named, name)
            Path(name).write_bytes(Path(name).read_bytes()[:-200])
        case "other.pt":
            torch.save({key: value for key, value in named.items() if ".3." not in key}, name)
        case "shape.pt":
            torch.save(named | {"models.1.conv1.weight": torch.zeros(16, 9, 1, 1)}, name)
        case "missing.safetensors":
            save_file({key: value for key, value in own.items() if key != "layers.1.bias"}, name)
        case "short.safetensors":
            save_file(own, name)
            Path(name).write_bytes(Path(name).read_bytes()[:-5])
        case "header.safetensors":
            save_file(own, name, {"header": "[1, 2]", "layers": "9"})
        case "few.weights":
            network.save_weights(name, 2)


@pytest.mark.parametrize("weights, out, flags, message", [
    ("evil.pt", "b.weights", [], "evil.pt: holds Python objects, which would have to be executed to be read"),
    ("empty.pt", "b.weights", [], "empty.pt: expected a state dict (names and tensors), found dict"),
    ("broken.pt", "b.weights", [], "broken.pt: not a whole PyTorch checkpoint"),
    ("nothing.pt", "b.weights", [], "nothing.pt: cannot read the file: No such file"),
    ("other.pt", "b.weights", [], "other.pt: has 3 layers with weights, the network 4: these are of another network"),
    ("shape.pt", "b.weights", [], "shape.pt: models.1.conv1.weight is 16 x 9 x 1 x 1, layer 1 ([convolutional], line "
     "12 of the cfg) needs 16 x 8 x 1 x 1"),
    ("missing.safetensors", "b.weights", [], "missing.safetensors: lacks layers.1.bias of layer 1 ([convolutional], "),
    ("short.safetensors", "b.weights", [], "short.safetensors: not a whole .safetensors file"),
    ("header.safetensors", "b.weights", [], "header.safetensors: expected a header of five whole numbers"),
    ("few.weights", "b.onnx", [], "the weights end after 4 of 9 layers; an ONNX model needs all"),
    ("a.weights", "b.tflite", [], "b.tflite: expected a format (weights, safetensors, pt, torchscript, pt2, onnx, "
     "xml), found tflite"),
    ("a.weights", "b", [], "b: expected a format (weights, safetensors, pt, torchscript, pt2, onnx, xml), found no"),
    ("a.weights", "no/b.onnx", [], "no/b.onnx: cannot write there: "),
    ("a.weights", "b.pt2", ["-outputs", "nms"], "a torch.export program cannot be had with outputs=nms"),
    ("a.weights", "b.onnx", ["-opset", "12"], "expected an opset from 13 to "),
    ("a.weights", "b.onnx", ["-batch", "0"], "expected a batch of 1 image or more, found 0"),
])
def test_what_cannot_be(here, cli, weights, out, flags, message):
    prepare_wrong(weights)
    before = sorted(Path().rglob("*"))
    code, _, error = cli("convert", "a.cfg", weights, out, *flags)
    assert code == 1 and error.startswith(f"darknet-py: {message}") and error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("weights, reason", [
    ("evil.pt", Reason.UNSAFE), ("empty.pt", Reason.WRONG_FORMAT), ("broken.pt", Reason.CORRUPT),
    ("nothing.pt", Reason.MISSING_FILE), ("other.pt", Reason.INCOMPATIBLE), ("shape.pt", Reason.SHAPE_MISMATCH),
    ("missing.safetensors", Reason.INCOMPATIBLE), ("short.safetensors", Reason.CORRUPT),
    ("header.safetensors", Reason.WRONG_FORMAT),
])
def test_why_weights_are_refused(here, weights, reason):
    prepare_wrong(weights)
    with raises(WeightsError, reason):
        convert("a.cfg", weights, "b.weights")


def test_a_package_that_is_missing(here, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    code, _, error = cli("convert", "a.cfg", "a.weights", "b.xml")
    assert code == 1 and error == "darknet-py: OpenVINO IR needs the package openvino: pip install openvino\n"


def test_a_model_that_computes_something_else_is_not_written(here, cli, monkeypatch):
    monkeypatch.setattr(Yolo, "onnx_scaled", lambda self, graph, xy: xy)
    code, _, error = cli("convert", "a.cfg", "a.weights", "b.onnx")
    assert code == 1 and "b.onnx: not written, for it computes something else: worst error" in error
    assert not list(Path().glob("*b.onnx*"))


def test_the_command(here, cli):
    code, out, _ = cli("convert", "a.cfg", "a.weights", "b.onnx", "-image", "p.png")
    out = out.splitlines()
    assert code == 0 and out[0] == "read a.weights: 9 of 9 layers" and out[1].startswith("wrote b.onnx: ")
    assert out[2].startswith("compared: worst error ") and out[2].endswith("over 3 images (allowed: 0.001)")
    code, out, _ = cli("convert", "a.cfg", "a.weights", "c", "-to", "safetensors", "-no-check")
    assert code == 0 and out.endswith("not compared\n")
