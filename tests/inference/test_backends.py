"""Backends, and the pipeline that runs on them."""
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

from darknet_py import DarknetError, DataError, Detector, Reason, load_network
from darknet_py.inference import pipeline
from darknet_py.inference.backends import BACKENDS, build_backend
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.pipeline import Pipeline, Preprocessed, batched

HERE = [name for name in BACKENDS if name not in ("compile", "tensorrt")]     # see test_engines.py for these


@pytest.mark.parametrize("name", ["auto", *HERE])
def test_all_backends_detect_the_same(demo, name):
    cfg, weights, picture = demo
    ours, others = (Detector(cfg, weights, device="cpu", backend=backend)([picture] * 3)
                    for backend in ("pytorch", name))
    for one, other in zip(ours, others, strict=True):
        assert len(one) and (one.labels == other.labels).all()
        np.testing.assert_allclose(other.boxes, one.boxes, atol=.05)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)


@pytest.mark.parametrize("name", HERE)
def test_what_a_backend_is(demo, name):
    network = load_network(*demo[:2])
    backend = build_backend(network, name, device="cpu")
    assert isinstance(backend, Backend) and backend.shape == network.input_shape and backend.precision == "float32"
    assert [head.place.index for head in backend.heads] == list(network.heads)
    x = torch.rand(2, *backend.shape)
    before = x.clone()
    first, second = backend(x), backend(torch.zeros_like(x))
    assert torch.equal(x, before) and not torch.equal(first[0], second[0])      # the first result is not overwritten
    assert all(a.shape == b.shape and a.device == backend.device for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name, device, message", [
    ("tflite", "cpu", "expected a backend .auto, pytorch, compile, ncnn, openvino, onnxruntime, tensorrt, torchscript, "
     "torch.export., found tflite"),
    ("openvino", "cuda", "backend=openvino runs on the CPU, found device=cuda"),
    ("ncnn", "cuda", "backend=ncnn runs on the CPU, found device=cuda"),
    ("onnxruntime", "cuda:1", "backend=onnxruntime runs on the CPU, found device=cuda:1"),
])
def test_backends_that_cannot_be_had(demo, name, device, message):
    with pytest.raises(DarknetError, match=message):
        Detector(*demo[:2], backend=name, device=device)


def test_a_package_that_is_missing(demo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(DarknetError, match="backend=openvino needs the package openvino: pip install openvino"):
        Detector(*demo[:2], backend="openvino", device="cpu")


class Sum(Backend):
    """Sums each image."""

    name = "sum"

    def __init__(self):
        self.sizes = []

    @classmethod
    def build(cls, network, device="auto", layers=None, precision="float32"):
        return cls()

    def run(self, x):
        self.sizes.append(len(x))
        return (x.flatten(1).sum(1),)


def load(item):
    if item % 7 == 3:
        raise DataError(f"{item} cannot be read", Reason.CORRUPT)
    return Preprocessed(torch.full((1, 2, 2), float(item)), item)


def read(ran):
    return [(context, float(value)) for context, value in zip(ran.contexts, ran.outputs[0], strict=True)]


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
@pytest.mark.parametrize("overlapped, quick", [(True, True), (True, False), (False, True)])
def test_results_are_in_order_and_errors_belong_to_their_items(batch, overlapped, quick, monkeypatch):
    monkeypatch.setattr(pipeline, "QUICK", 10 if quick else 0)
    backend = Sum()
    results = list(Pipeline(backend, load, read, overlapped=overlapped).stream(batched(range(50), batch), batch))
    assert [item for item, _ in results] == list(range(50))
    for item, result in results:
        assert str(result) == f"{item} cannot be read" if item % 7 == 3 else result == (item, 4. * item)
    assert sum(backend.sizes) == 43 and max(backend.sizes) <= batch


def test_a_batch_without_items_that_can_be_read():
    assert [str(result) for _, result in Pipeline(Sum(), load, read).stream([[3], [10]])] == [
        "3 cannot be read", "10 cannot be read"]


@pytest.mark.parametrize("quick", [True, False])
def test_only_so_many_items_are_taken_ahead(quick, monkeypatch):
    monkeypatch.setattr(pipeline, "QUICK", 10 if quick else 0)
    taken = []

    def source():
        for item in range(1000):
            taken.append(item)
            yield item * 7

    stream = Pipeline(Sum(), load, read, workers=2).stream(batched(source(), 4), 4)
    for _ in range(12):
        next(stream)
    assert 12 < len(taken) < 60


def test_a_slow_source_is_not_waited_for():
    """Results of a camera's frames come soon after them, with a backend that could take many at a time."""
    taken = []

    def source():
        for item in range(12):
            time.sleep(.02)
            taken.append(item)
            yield item * 7

    stream = Pipeline(Sum(), load, read, workers=2).stream(batched(source(), 1))
    assert max(len(taken) - number for number, _ in enumerate(stream)) <= 4


def test_a_source_that_waits_for_results_is_not_read_ahead():
    taken = []

    def source():
        for item in (0, 1, 2):
            taken.append(item)
            yield item

    for count, _ in enumerate(Pipeline(Sum(), load, read, overlapped=False).stream(batched(source(), 1)), 1):
        assert len(taken) == count


def test_loading_goes_on_while_a_slow_backend_runs(monkeypatch):
    """The fourth batch is loaded before the third has run."""
    monkeypatch.setattr(pipeline, "QUICK", 0)
    loaded = threading.Event()

    class Waits(Sum):
        def run(self, x):
            assert len(self.sizes) < 2 or loaded.wait(10)
            return super().run(x)

    def load_and_tell(item):
        if item == 14:
            loaded.set()
        return load(item % 2)

    assert len(list(Pipeline(Waits(), load_and_tell, read, workers=2).stream(batched(range(16), 4), 4))) == 16


def test_a_quick_backend_has_the_cpu_to_itself():
    """Items are loaded, and results made, before and after its runs, several of each at a time."""
    running, together, most = threading.Event(), 0, 0

    class Alone(Sum):
        def run(self, x):
            running.set()
            time.sleep(.002)
            assert together == 0
            running.clear()
            return super().run(x)

    def beside(function, given):
        nonlocal together, most
        together += 1
        most = max(most, together)
        time.sleep(.002)
        assert not running.is_set()
        together -= 1
        return function(given)

    results = list(Pipeline(Alone(), partial(beside, load), partial(beside, read), workers=4).stream(
        batched(range(40), 1)))
    assert len(results) == 40 and most >= 2


def test_values_that_are_not_finite(demo):
    network = load_network(*demo[:2])
    index = next(index for index, layer in enumerate(network.layers) if layer.kind == "convolutional")
    network.layers[index].weight.data[0, 0, 0, 0] = torch.nan
    backend = PyTorch.build(network, "cpu")
    with pytest.raises(DarknetError, match=rf"layer {index} \[convolutional\] gives nan in \d+ of \d+ values, for x"):
        backend.checked(torch.rand(1, *backend.shape), "for x")


def test_a_network_that_changes_its_precision(demo):
    detector = Detector(*demo[:2], device="cpu", backend="pytorch")
    before = detector(demo[2])
    detector.network.to(torch.bfloat16)
    assert detector.backend.precision == "bfloat16"
    np.testing.assert_allclose(detector(demo[2]).scores, before.scores, atol=.05)


def test_a_detector_stream_and_its_frames(demo, tmp_path):
    detector = Detector(*demo[:2], device="cpu")
    missing = tmp_path / "missing.png"
    (first, frame), (second, error) = detector.stream([demo[2], missing])
    assert (first, second) == (demo[2], missing) and isinstance(error, DataError)
    assert frame.image.ndim == 3 and frame.seconds > 0 and len(frame.detections) == len(detector(demo[2]))
