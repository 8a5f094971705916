"""Formats of conversion: a table of how each is written, and loaded into its runtime."""
from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from darknet_py.errors import DarknetError
from darknet_py.inference.backends.base import Backend, OnnxBackend
from darknet_py.inference.backends.onnxruntime import OnnxRuntime
from darknet_py.inference.backends.openvino import OpenVino
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.backends.torchscript import Exported, TorchScript, export, trace
from darknet_py.model import weights as weights_file
from darknet_py.model.network import Network
from darknet_py.model.tensors import checkpoint_bytes, fill, holds_tensors, read_tensors, safetensors_bytes
from darknet_py.model.weights import Header
from darknet_py.utils.files import write_file


@dataclass(frozen=True)
class ExportOptions:
    """Options of an exported model.

    outputs: "heads", "boxes" or "nms" (see ``model.onnx_model.onnx_model``); the last two are for ONNX and OpenVINO.
    opset: of ONNX.
    half: float16.
    batch: images that a model takes at once; None for any number.
    resizable: the sides of images are free.
    threshold, nms: of outputs="nms", and what ``Detector`` takes when it has the model alone; None: .25, .45.
    """

    outputs: str = "heads"
    opset: int = 17
    half: bool = False
    batch: int | None = None
    resizable: bool = False
    threshold: float | None = None
    nms: float | None = None

    @property
    def score(self) -> float:
        """The threshold of scores."""
        return .25 if self.threshold is None else self.threshold

    @property
    def overlap(self) -> float:
        """The overlap that suppresses."""
        return .45 if self.nms is None else self.nms


class Format(NamedTuple):
    """A format.

    about: its name in words.
    write: takes network, header, path, options, metadata (see ``describe``).
    load: makes a backend of the written file.
    graph: it holds the computation, not the weights alone.
    offers: fields of ``ExportOptions`` that it supports.
    packages: that it needs beyond ours.
    """

    about: str
    write: Callable[[Network, Header, Path, ExportOptions, Mapping[str, str]], None]
    load: Callable[[Network, Path], Backend]
    graph: bool = True
    offers: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def check(self, network: Network, options: ExportOptions) -> None:
        """Check that the network can be written with these options.

        Raises:
            DarknetError
        """
        for name, value in vars(options).items():
            if value != getattr(ExportOptions, name) and name not in self.offers:
                raise DarknetError(f"{self.about} cannot be had with {name}={value}")
        if options.batch is not None and options.batch < 1:
            raise DarknetError(f"expected a batch of 1 image or more, found {options.batch}")
        for package in self.packages:
            try:
                import_module(package)
            except ImportError:
                raise DarknetError(f"{self.about} needs the package {package}: pip install {package}") from None
        if self.graph:
            network.check_exportable(self.about)


def write_weights(network: Network, header: Header, path: Path, options: ExportOptions, metadata: Mapping[str, str]
                  ) -> None:
    weights_file.save(path, network.layers[:network.reached], header.seen, header[:3])


def write_safetensors(network: Network, header: Header, path: Path, options: ExportOptions, metadata: Mapping[str, str]
                      ) -> None:
    write_file(path, safetensors_bytes(network, header, metadata))


def write_checkpoint(network: Network, header: Header, path: Path, options: ExportOptions, metadata: Mapping[str, str]
                     ) -> None:
    write_file(path, checkpoint_bytes(network, header, metadata))


def read_back(network: Network, path: Path) -> PyTorch:
    """A copy of the network with the weights of a file."""
    other = Network(network.cfg, width=network.input_shape.width, height=network.input_shape.height)
    other.reset_parameters()
    if holds_tensors(path):
        fill(other, read_tensors(path), path)
    else:
        other.load_weights(path)
    return PyTorch(other.eval())


class Halved(nn.Module):
    """A network in float16, between inputs and outputs in float32."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(output.float() for output in self.network(x.half()))


def _module(network: Network, options: ExportOptions) -> tuple[nn.Module, Tensor]:
    module = network.exportable()
    example = torch.zeros(2 if options.batch is None else options.batch, *network.input_shape)
    return (Halved(module) if options.half else module), example


def write_torchscript(network: Network, header: Header, path: Path, options: ExportOptions, metadata: Mapping[str, str]
                      ) -> None:
    module, example = _module(network, options)
    file = io.BytesIO()             # of a path, the name would be in the file
    torch.jit.save(trace(module, example), file, _extra_files=dict(metadata))
    write_file(path, file.getvalue())


def write_exported(network: Network, header: Header, path: Path, options: ExportOptions, metadata: Mapping[str, str]
                   ) -> None:
    module, example = _module(network, options)
    file = io.BytesIO()
    torch.export.save(export(module, example, options.batch), file, extra_files=dict(metadata))
    write_file(path, file.getvalue())


def _onnx_bytes(network: Network, options: ExportOptions, metadata: Mapping[str, str]) -> bytes:
    from onnx import helper

    from darknet_py.model.onnx_model import onnx_model
    model = onnx_model(network.exportable(), outputs=options.outputs, opset=options.opset, half=options.half,
                       resizable=options.resizable, batch=options.batch, threshold=options.score, nms=options.overlap)
    helper.set_model_props(model, dict(metadata))
    return model.SerializeToString(deterministic=True)


def write_onnx(network: Network, header: Header, path: Path, options: ExportOptions, metadata: Mapping[str, str]
               ) -> None:
    write_file(path, _onnx_bytes(network, options, metadata))


def write_openvino(network: Network, header: Header, path: Path, options: ExportOptions, metadata: Mapping[str, str]
                   ) -> None:
    import openvino
    model = openvino.Core().read_model(_onnx_bytes(network, options, {}))   # convert_model would send usage data
    for key, value in metadata.items():
        model.set_rt_info(value, key.split("."))
    openvino.save_model(model, str(path), compress_to_fp16=options.half)


ONNX = OnnxBackend.builds_with
_CHOSEN = ("threshold", "nms")
_MODEL = ("outputs", "opset", "half", "batch", "resizable", *_CHOSEN)
FORMATS = {
    "weights": Format("a .weights file", write_weights, read_back, graph=False),
    "safetensors": Format("a .safetensors file", write_safetensors, read_back, graph=False, offers=_CHOSEN),
    "pt": Format("a PyTorch state dict", write_checkpoint, read_back, graph=False),
    "torchscript": Format("TorchScript", write_torchscript, TorchScript.load, offers=("half", "batch", *_CHOSEN)),
    "pt2": Format("a torch.export program", write_exported, Exported.load, offers=("half", "batch", *_CHOSEN)),
    "onnx": Format("an ONNX model", write_onnx, OnnxRuntime.load, offers=_MODEL, packages=ONNX + OnnxRuntime.packages),
    "xml": Format("OpenVINO IR", write_openvino, OpenVino.load, offers=_MODEL, packages=ONNX + OpenVino.packages),
}
