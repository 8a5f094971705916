"""Models in INT8: calibration, quantization for OpenVINO by NNCF and for ONNX by ONNX Runtime."""
from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np

from darknet_py.data.dataset import Sample
from darknet_py.data.image import read_image
from darknet_py.errors import DataError, Reason
from darknet_py.inference.preprocess import as_input
from darknet_py.model.network import Network

LEAST = 32              # pictures to calibrate with

Progress = Callable[[str, int, int], None]      # takes what is done, how far it is, and of how much


class Calibration:
    """Pictures as the network sees them, evenly spread over a list, read anew in each iteration.

    Attributes:
        problems: why pictures were left out.

    Raises:
        DataError: fewer than ``LEAST`` can be read.
    """

    def __init__(self, samples: Sequence[Sample], count: int, network: Network, letterbox: bool, progress: Progress):
        self.shape, self.letterbox, self.progress = network.input_shape, letterbox, progress
        ends = np.linspace(0, len(samples), min(count, len(samples)) + 1).astype(int)
        self.paths: list[Path] = []
        self.problems: list[str] = []
        for number in np.random.default_rng(0).integers(ends[:-1], ends[1:]).tolist():      # one of each part
            progress("reading", len(self.paths), len(ends) - 1)
            try:
                read_image(samples[number].image, self.shape.channels)
                self.paths.append(samples[number].image)
            except DataError as error:
                self.problems.append(str(error))
        if len(self.paths) < LEAST:
            raise DataError(f"needs {LEAST} pictures of train= or more to calibrate with, found {len(self.paths)} that "
                            f"can be read" + (f"; {self.problems[0]}" if self.problems else ""), Reason.WRONG_COUNT)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for number, path in enumerate(self.paths):
            self.progress("calibrating", number, len(self.paths))
            image = read_image(path, self.shape.channels)
            yield {"images": as_input(image, self.shape, self.letterbox)[None].contiguous().numpy()}


def write_onnx(path: Path, source: Path, network: Network, pictures: Calibration, floats: Iterable[int],
               symmetric: bool, metadata: Mapping[str, str]) -> tuple[int, ...]:
    """Quantize an ONNX model of a network, but for the heads and the layers ``floats``. Returns those in int8.

    With ONNX Runtime's own quantization, since it computes convolutions in int8 only where their outputs are quantized
    at once, before the activation; NNCF quantizes behind it.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        inputs = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.inputs, None)

    names = [node.name for node in onnx.load(source).graph.node]
    left = {*network.heads, *with_producers(network, floats)}
    quantize_static(source, path, Reader(), per_channel=True, weight_type=QuantType.QInt8,
                    activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                    nodes_to_exclude=[name for name in names if not left.isdisjoint(_layers([name]))],
                    extra_options={"CalibMovingAverage": True, "ActivationSymmetric": symmetric,
                                   "QuantizeBias": not symmetric})         # TensorRT takes the bias in float
    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(metadata))
    path.write_bytes(model.SerializeToString(deterministic=True))
    nodes = model.graph.node
    held = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    return tuple(sorted(_layers(node.name for node in nodes if not held.isdisjoint(node.input)) - left))


def write_openvino(path: Path, source: Path, network: Network, pictures: Calibration, floats: Iterable[int],
                   symmetric: bool, metadata: Mapping[str, str]) -> tuple[int, ...]:
    """The same of OpenVINO's IR, with NNCF: a mixed preset, and biases corrected."""
    import nncf
    import openvino
    ignored = nncf.IgnoredScope(patterns=[f"{index}_" for index in (*network.heads, *floats)], validate=False)
    model = nncf.quantize(
        openvino.Core().read_model(source), nncf.Dataset(pictures), preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU, subset_size=len(pictures.paths), ignored_scope=ignored)
    layers = _layers(node.get_friendly_name() for node in model.get_ops() if any(
        value.get_node().get_type_name() == "FakeQuantize" for value in node.input_values()))
    for key, value in metadata.items():
        model.set_rt_info(value, key.split("."))
    openvino.save_model(model, str(path), compress_to_fp16=False)
    return tuple(sorted(layers))


def with_producers(network: Network, layers: Iterable[int]) -> set[int]:
    """Layers, and those with weights whose outputs they read: ONNX Runtime quantizes the output of a layer with it."""
    found = set(layers)
    waiting = sorted(found)
    while waiting:
        for source in network.plan[waiting.pop()].sources:
            if source >= 0 and source not in found:
                found.add(source)
                if next(network.layers[source].parameters(), None) is None:
                    waiting.append(source)
    return found


WRITE = {"xml": write_openvino, "onnx": write_onnx}


def _layers(nodes: Iterable[str]) -> set[int]:
    """The layers that nodes belong to, whose names begin with the layer's number."""
    return {int(match[1]) for match in map(re.compile(r"(\d+)_").match, nodes) if match is not None}


@contextmanager
def silent() -> Iterator[None]:
    """Without the packages' own logs, warnings and progress bars, which go to the standard output."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
