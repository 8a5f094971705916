"""Detectors and classifiers with inputs of another size than the cfg's."""
import numpy as np
import pytest
from conftest import ROOT, raises

from darknet_py import CfgError, Classifier, DarknetError, Detector, Reason, load_network, parse_cfg
from darknet_py.convert import convert
from darknet_py.model.input_size import input_sides, read_size
from darknet_py.zoo.architectures import cfg_text

PICTURE = ROOT / "cfg/digits.jpg"
OURS = (ROOT / "cfg/digits.cfg", ROOT / "weights/digits.weights")
PLAIN = {"device": "cpu", "backend": "pytorch"}
CLASSIFIER = """[net]
width=8
height=8
channels=3
[convolutional]
filters=4
size=3
stride=1
pad=1
activation=linear
[{last}]
{options}
[softmax]
"""


@pytest.mark.parametrize("size, expected", [
    (416, (416, 416)), ("416", (416, 416)), ("608x416", (608, 416)), ((608, 416), (608, 416)), ([608, 416], (608, 416)),
    (np.int64(96), (96, 96))])
def test_what_a_size_may_be(size, expected):
    assert read_size(size) == expected


@pytest.mark.parametrize("size", ["", "x", "608x", "608 x 416", "-1", -1, (1, 2, 3), (), 3.5, "1234567", None, {}, "٣"])
def test_what_is_no_size(size):
    with pytest.raises(DarknetError, match=r"^size needs a number of pixels, or two as in 416x320, found "):
        read_size(size)


@pytest.mark.parametrize("size", [160, "192x96"])
def test_detectors(size):
    width, height = read_size(size)
    detector = Detector(*OURS, size=size, **PLAIN)
    assert tuple(detector.backend.shape) == (3, height, width)
    cfg = parse_cfg(OURS[0].read_text()).with_values({(0, "width"): width, (0, "height"): height})
    expected, found = Detector(cfg, OURS[1], **PLAIN)(PICTURE), detector(PICTURE)
    assert np.array_equal(found.boxes, expected.boxes) and np.array_equal(found.scores, expected.scores)


def test_compiled_models_are_of_one_size(model_cache):
    """A model in the cache is not taken for another size."""
    counts = [len(Detector(*OURS, size=size, device="cpu", backend="auto")(PICTURE)) for size in (288, 64, 288)]
    plain = [len(Detector(*OURS, size=size, **PLAIN)(PICTURE)) for size in (288, 64)]
    assert counts == [*plain, plain[0]]


@pytest.mark.parametrize("size, message", [
    (300, "width=300 is no multiple of 32, the step of its coarsest cells; the nearest: 288 and 320"),
    ((64, 8), "height=8 is no multiple of 32"), (0, "width=0 is no multiple of 32")])
def test_sizes_that_do_not_fit(size, message):
    with raises(CfgError, Reason.INDIVISIBLE, message):
        Detector(*OURS, size=size, **PLAIN)


def test_dense_layers_have_one_size():
    cfg = parse_cfg(cfg_text("yolov1-tiny", width=64))
    with raises(CfgError, Reason.SHAPE_MISMATCH, r"\[connected\] has weights \(1470, 256\) that would be \(1470, 1024\)"
                " for images of 128 x 128, so this network cannot change its size"):
        input_sides(cfg, 128)
    assert input_sides(cfg, 64) == (64, 64) and input_sides(cfg, None) == (None, None)


def test_classifiers(tmp_path):
    cfg = parse_cfg(CLASSIFIER.format(last="avgpool", options=""))
    load_network(cfg).save_weights(tmp_path / "a.weights")
    assert tuple(Classifier(cfg, tmp_path / "a.weights", size="12x10", **PLAIN).backend.shape) == (3, 10, 12)
    cfg = parse_cfg(CLASSIFIER.format(last="connected", options="output=4"))
    load_network(cfg).save_weights(tmp_path / "b.weights")
    with raises(CfgError, Reason.SHAPE_MISMATCH, "cannot change its size"):
        Classifier(cfg, tmp_path / "b.weights", size=12, **PLAIN)


def test_models_have_one_size(tmp_path):
    """A model in the place of weights."""
    pytest.importorskip("onnxruntime")
    convert(*OURS, tmp_path / "m.onnx", width=64, height=64, check=False)
    assert len(Detector(OURS[0], tmp_path / "m.onnx", size=64, thresh=.01)(PICTURE)) >= 0
    with pytest.raises(DarknetError, match=r"m\.onnx: was made for an input of 64 x 64, found 96 x 96; darknet-py co"):
        Detector(OURS[0], tmp_path / "m.onnx", size=96)
