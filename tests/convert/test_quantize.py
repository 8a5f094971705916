"""Quantization to INT8, and models in the place of weights."""
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, TINY_CFG, raises

from darknet_py import DarknetError, Detector, LazyNetwork, load_network, quantize, read_cfg, read_samples
from darknet_py.convert import convert
from darknet_py.convert.formats import ExportOptions
from darknet_py.convert.int8 import LEAST, Calibration, with_producers
from darknet_py.convert.quantize import check_request, rank, rounded, smallest
from darknet_py.data.datafile import read_names
from darknet_py.data.dataset import Sample
from darknet_py.errors import DataError, Reason, WeightsError
from darknet_py.inference.backends import open_backend
from darknet_py.inference.preprocess import as_input
from darknet_py.model.network import Network

DIGITS = ROOT / "cfg/digits.cfg", ROOT / "weights/digits.weights"


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    """What is measured is not looked at."""
    for name in ("PAUSE", "TURN"):
        monkeypatch.setattr(f"darknet_py.convert.quantize.{name}", .01)


@pytest.fixture
def digits(workdir):
    """digits.data: parts of cfg/digits.jpg to calibrate with, and that picture with its labels to measure with."""
    shutil.copy(ROOT / "cfg/digits.jpg", "digits.jpg")
    shutil.copy(ROOT / "cfg/digits.txt", "digits.txt")
    picture, draw = cv2.imread("digits.jpg"), np.random.default_rng(0)
    height, width = picture.shape[:2]
    for number in range(LEAST):
        top, left = draw.integers(0, height // 2), draw.integers(0, width // 2)
        cv2.imwrite(f"{number}.png", picture[top:top + height // 2, left:left + width // 2])
    Path("train.txt").write_text("".join(f"{number}.png\n" for number in range(LEAST)))
    Path("valid.txt").write_text("digits.jpg\n")
    Path("digits.names").write_text("".join(f"{number}\n" for number in range(10)))
    Path("digits.data").write_text("classes=10\ntrain=train.txt\nvalid=valid.txt\nnames=digits.names\n")
    return workdir


@pytest.fixture
def small(workdir):
    """A network of three layers at random."""
    Path("a.cfg").write_text(TINY_CFG)
    torch.manual_seed(0)
    load_network("a.cfg").save_weights("a.weights")
    return LazyNetwork("a.cfg", "a.weights")


@pytest.mark.parametrize("out, backend", [("digits.onnx", "onnxruntime"), ("digits.xml", "openvino")])
def test_quantize(cli, digits, out, backend):
    if out.endswith(".xml"):
        pytest.importorskip("nncf")
    code, text, errors = cli("quantize", *DIGITS, out, "-data", "digits.data", "-max_drop", "5")
    assert code == 0, errors
    lines = text.splitlines()
    assert re.fullmatch(r"float32 \((ncnn|openvino)\): mAP@0.50 [\d.]+ % on 1 pictures", lines[0])
    assert any(line.startswith(f"wrote {out}: ") for line in lines) and lines[-1].endswith(" times as fast")
    size = sum(path.stat().st_size for path in digits.glob("digits.*") if path.suffix in (".onnx", ".bin"))
    assert size < .4 * DIGITS[1].stat().st_size             # the weights have 8 bits instead of 32

    one, other = Detector(*DIGITS, thresh=.5, device="cpu"), Detector(DIGITS[0], out, thresh=.5)
    assert (other.backend.name, other.backend.precision) == (backend, "int8")
    x = torch.rand(3, *other.outline.input_shape)
    change = [float((a - b).abs().max()) for a, b in zip(one.backend(x), other.backend(x), strict=True)]
    assert all(change)                                      # it does compute in int8
    assert sorted(one("digits.jpg").labels) == sorted(other("digits.jpg").labels)

    alone = Detector(out, thresh=.5)                        # from its metadata
    assert (alone.backend.name, alone.backend.precision, alone.names) == (backend, "int8", list("0123456789"))
    np.testing.assert_array_equal(alone("digits.jpg").boxes, other("digits.jpg").boxes)

    code, text, errors = cli("detector", "map", "digits.data", DIGITS[0], out, "-precision", "int8")
    assert code == 0 and "mean average precision (mAP@0.50)" in text, errors
    with raises(WeightsError, Reason.WRONG_FORMAT, f"{out}: expected a .weights file"):
        other.network                                       # noqa: B018


def test_quantize_in_a_program(digits):
    """By the public names, with the backend that is fastest."""
    done = quantize(LazyNetwork(*DIGITS), "a.onnx", read_samples("digits.data"), read_samples("digits.data", "valid"),
                    read_names("digits.names"), max_drop=5)
    assert list(done.files) == [Path("a.onnx")] and len(done.layers) > 30 and abs(done.before - done.after) <= 5
    assert len(Detector(DIGITS[0], "a.onnx")("digits.jpg")) > 10


@pytest.fixture
def uneven(digits):
    """Weights of the same network with a channel so large that 8 bits leave nothing of the others of its layer."""
    network = load_network(*DIGITS)
    bias, scale, *_ = (blob.tensor for blob in network.layers[0].blobs())
    *_, weights = (blob.tensor for blob in network.layers[1].blobs())
    with torch.no_grad():
        for tensor in (bias[0], scale[0]):
            tensor *= 3000
        weights[:, 0] /= 3000
    network.save_weights("uneven.weights")
    return "uneven.weights"


def test_sensitive_layers_stay_in_float(cli, uneven):
    code, text, errors = cli("quantize", DIGITS[0], uneven, "a.onnx", "-data", "digits.data", "-max_drop", "5")
    assert code == 0, errors
    drops = [float(drop) for drop in re.findall(r"^int8 in .*, (\S+) points$", text, re.M)]
    assert drops[0] < -5 and drops[-1] >= -5
    assert re.search("^layers that are still in float: (.*)$", text, re.M)[1] == "0, 1"


def test_a_network_that_needs_float(cli, uneven, workdir, monkeypatch):
    monkeypatch.setattr("darknet_py.convert.quantize.smallest", lambda good, most: None)
    code, _, errors = cli("quantize", DIGITS[0], uneven, "a.onnx", "-data", "digits.data", "-max_drop", "5")
    assert code == 1 and re.search(r"^darknet-py: a.onnx: not written, for mAP@0.50 falls from \S+ % to \S+ % in int8, "
                                   r"and to .* max_drop allows 5 points$", errors, re.M), errors
    assert not list(workdir.glob("*.onnx")) and not list(workdir.glob("*.tmp"))


@pytest.mark.parametrize("out, options, message", [
    ("a.weights", {}, r"^a.weights: expected a format \(xml, onnx\), found weights$"),
    ("a", {}, r"^a: expected a format \(xml, onnx\), found no extension$"),
    ("a.onnx", {"max_drop": -1}, "max_drop needs points of mAP from 0 to 100, found -1"),
    ("a.onnx", {"max_drop": float("nan")}, "max_drop needs points of mAP from 0 to 100, found nan"),
    ("a.onnx", {"subset": 3}, "subset needs 32 pictures or more to calibrate with, found 3"),
    ("a.xml", {"symmetric": True}, r"^a.xml: symmetric is for TensorRT, which takes an ONNX model"),
])
def test_what_cannot_be_asked_for(out, options, message):
    with pytest.raises(DarknetError, match=message):
        check_request(out, **{"max_drop": .5, "subset": 300, "symmetric": False, **options})


def test_without_nncf(monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(DarknetError, match="needs the package nncf: pip install nncf"):
        check_request("a.xml", .5, 300, False)
    assert check_request("a.onnx", .5, 300, False) == "onnx"        # which needs it not


@pytest.mark.parametrize("change, message", [
    ({"train.txt": "0.png\n1.png\n"}, "needs 32 pictures of train= or more to calibrate with, found 2 that can be"),
    ({"digits.txt": ""}, "none of the images has an object of a class from 0 to 9"),
    ({"half.weights": None}, "the weights end after 10 of .* layers; an ONNX model needs all"),
    ({"half.weights": b"no weights"}, "half.weights: "),
])
def test_bad_input_is_one_line(cli, digits, change, message):
    for name, content in change.items():
        if content is None:
            load_network(*DIGITS).save_weights(name, 10)
        else:
            Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    weights = "half.weights" if "half.weights" in change else DIGITS[1]
    before = set(digits.iterdir())
    code, _, errors = cli("quantize", DIGITS[0], weights, "out.onnx", "-data", "digits.data")
    assert code == 1 and len([line for line in errors.splitlines() if line.startswith("darknet-py: ")]) == 1
    assert re.search(message, errors), errors
    assert set(digits.iterdir()) == before


def test_calibration(small, workdir):
    """Pictures as the network sees them, spread over the list; what cannot be read is left out."""
    draw, files = np.random.default_rng(0), []
    for number in range(100):
        cv2.imwrite(f"{number}.png", draw.integers(0, 255, (20, 40, 3), np.uint8))
        files.append(Sample(Path(f"{number}.png"), None, None, ""))
    told = []
    pictures = Calibration(files, 50, small.outline, False, lambda *said: told.append(said))
    assert [int(path.stem) // 2 for path in pictures.paths] == list(range(50)) and not pictures.problems
    assert pictures.paths == Calibration(files, 50, small.outline, False, lambda *_: None).paths
    expected = as_input(cv2.imread(str(pictures.paths[0])), small.outline.input_shape, False)
    np.testing.assert_array_equal(next(iter(pictures))["images"][0], expected)
    assert told[-1] == ("calibrating", 0, 50)
    Path("7.png").write_text("no picture")
    again = Calibration(files, 300, small.outline, True, lambda *_: None)
    assert len(again.paths) == 99 and again.problems[0].startswith("7.png: ")
    with raises(DataError, Reason.WRONG_COUNT, "found 31 that can be read"):
        Calibration(files[10:41], 300, small.outline, False, lambda *_: None)


def test_rank(small):
    """By the effect on the heads, of a layer alone; the network stays as it is."""
    with torch.no_grad():
        small.network.layers[1].weight[0, 0] = 1e4         # of 7 channels of a row nothing is left in 8 bits
    before = {name: value.clone() for name, value in small.network.state_dict().items()}
    pictures = [{"images": np.random.default_rng(seed).random((1, 3, 32, 32), np.float32)} for seed in range(6)]
    assert rank(small.network, [0, 1], pictures, lambda *_: None) == [1, 0]
    for name, value in small.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_with_producers():
    """Through layers without weights to those with; not beyond."""
    network = Network(read_cfg(DIGITS[0]))
    assert with_producers(network, [1]) == {0, 1}
    assert with_producers(network, [3]) == {1, 2, 3}        # by [route] 2
    assert with_producers(network, [6]) == {3, 4, 5, 6}     # [route] 5 joins two


def test_rounded():
    x = torch.linspace(-1, 3, 1000)
    assert len(rounded(x).unique()) == 256 and float((rounded(x) - x).abs().max()) <= 4 / 255 / 2 + 1e-6
    assert rounded(torch.tensor([0., 1., 2.]))[0] == 0      # 0 is a level of its own
    assert not rounded(torch.zeros(3)).any()


@pytest.mark.parametrize("most", [0, 1, 2, 7, 100])
def test_smallest(most):
    for least in range(1, most + 1):
        asked = []

        def good(count, least=least, asked=asked):
            asked.append(count)
            return count >= least

        assert smallest(good, most) == least
        assert len(asked) == len(set(asked)) <= 14
    assert smallest(lambda count: False, most) is None


@pytest.mark.parametrize("name, backends", [("b.xml", ["openvino"]), ("b.onnx", ["onnxruntime", "openvino"])])
def test_a_model_in_the_place_of_weights(small, name, backends):
    """As ``convert`` writes it, in float32."""
    convert("a.cfg", "a.weights", name)
    x = torch.rand(3, *small.outline.input_shape)
    expected = open_backend(small, "pytorch", device="cpu")(x)
    for backend in ("auto", *backends):
        run = open_backend(LazyNetwork("a.cfg", name), backend)
        assert (run.name, run.precision) == (backends[0] if backend == "auto" else backend, "float32")
        for one, other in zip(expected, run(x), strict=True):
            torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name, options, message", [
    ("b.onnx", {"backend": "pytorch"}, "b.onnx: expected backend=onnxruntime or tensorrt or openvino, found pytorch"),
    ("b.onnx", {"precision": "int8"}, "b.onnx: computes in float32, found precision=int8"),
    ("c.onnx", {}, "c.onnx: onnxruntime does not accept this model for the network: "),
    ("d.onnx", {}, "d.onnx: cannot read the model: No such file or directory"),
    ("e.onnx", {}, "e.onnx: expected a model that gives 2 x 14 x 8 x 8 for 2 images, .*, found 2 x 128 x 4 and "),
    ("b.xml", {"backend": "onnxruntime"}, "b.xml: expected backend=openvino, found onnxruntime"),
    ("c.xml", {}, "c.xml: openvino does not accept this model for the network: "),
    ("f.xml", {}, "f.xml: openvino does not accept this model for the network: Empty weights data in bin file"),
    ("b.onnx", {"layers": [0]}, "b.onnx: expected a model that gives .* the outputs of the network's heads"),
])
def test_models_that_do_not_fit(small, name, options, message):
    convert("a.cfg", "a.weights", "b.onnx", check=False)
    convert("a.cfg", "a.weights", "f.xml", check=False)
    Path("f.bin").unlink()
    convert("a.cfg", "a.weights", "e.onnx", options=ExportOptions("boxes"), check=False)
    for damaged in ("c.onnx", "c.xml", "b.xml"):
        Path(damaged).write_bytes(b"no model")
    with pytest.raises(DarknetError, match=message) as caught:
        open_backend(LazyNetwork("a.cfg", name), **options)
    assert "\n" not in str(caught.value)
