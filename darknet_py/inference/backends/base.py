"""The interface of backends: a network's forward pass in one runtime."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import DarknetError, locate, suggestion
from darknet_py.layers.base import Layer
from darknet_py.model.network import Network

PRECISIONS = ("float32", "bfloat16", "float16")
INT8 = "int8"           # of models that ``convert.quantize`` writes
QUANTIZED = {".xml": b'type="FakeQuantize"', ".onnx": b"DequantizeLinear"}     # the kind of operation that tells them

SHORT = {"fp32": "float32", "single": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def suggested_precision(name: str) -> str:
    """The end of a message about an unknown precision."""
    return suggestion(SHORT.get(name.lower(), name), (*PRECISIONS, INT8))


class Backend(ABC):
    """A network's forward pass in one runtime.

    Args:
        layers: indices of the layers whose outputs it gives; None: the network's heads.
        precision: what it computes in, one of ``PRECISIONS``, or ``INT8``.

    Attributes:
        shape: of one input image.
        heads: the layers whose outputs it gives; their weights are not used.
        device: where its outputs lie.
        own_threads: it runs in threads of its own; else in PyTorch's.
        count: of images that it takes at once; None: any number.
        joins: it gives boxes and scores, which become one tensor (see ``decoded.DecodedBoxes``).
    """

    own_threads = False
    count: int | None = None
    joins = False

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()                # that it needs beyond ours
    builds_with: ClassVar[tuple[str, ...]] = ()             # that it needs besides to build a model
    precisions: ClassVar[tuple[str, ...]] = ("float32",)    # that it can compute in
    exports: ClassVar[str | None] = None                    # what it makes of a network, in words; None: nothing
    cached: ClassVar[bool] = False                          # a model can be had as bytes, and restored from them
    reads: ClassVar[tuple[str, ...]] = ()                   # the ``MODELS`` that ``load`` takes
    batches: ClassVar[bool] = True                          # images together take less time than one after the other

    def __init__(self, network: Network, layers: Sequence[int] | None = None, precision: str = "float32"):
        self.indices = network.heads if layers is None else tuple(layers)
        self.shape, self.heads = network.input_shape, [network.layers[index] for index in self.indices]
        self._precision = precision

    @property
    def precision(self) -> str:
        return self._precision

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def leave_cores(self) -> None:
        """Take one thread for PyTorch from now on, where this runtime has threads of its own: on the same cores they
        would only wait for each other. For programs, once all networks are built."""
        if self.own_threads:
            torch.set_num_threads(1)

    @classmethod
    @abstractmethod
    def build(cls, network: Network, device: str | int | torch.device = "auto", layers: Sequence[int] | None = None,
              precision: str = "float32") -> Backend:
        """The backend of a network that has its weights.

        Raises:
            DarknetError: a package is missing, or the runtime cannot express the network or use the device.
        """

    @classmethod
    def load(cls, network: Network, path: Path, device: str | int | torch.device = "cpu") -> Backend:
        """The backend of a file in the runtime's own format, as ``convert`` writes it of this network."""
        raise AssertionError(f"{cls.__name__} has no files of its own")

    @classmethod
    def restore(cls, network: Network, content: memoryview, layers: Sequence[int] | None = None,
                precision: str = "float32") -> Backend:
        """The backend of what ``stored`` gave; the network need not have its weights. May raise anything where the
        runtime does not accept it."""
        raise AssertionError(f"{cls.__name__} stores nothing")

    def stored(self) -> bytes:
        """The compiled model, for ``restore``."""
        raise AssertionError(f"{type(self).__name__} stores nothing")

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run it.

        Args:
            x: (N, C, H, W) float32, RGB in [0, 1], on any device.

        Returns:
            A tensor a head, as C's ``l.output``: (N, ...).
        """
        with torch.inference_mode():
            if self.count is None or len(x) == self.count:
                outputs = self.run(x)
            else:
                last = x.new_zeros(-len(x) % self.count, *x.shape[1:])
                parts = [self.run(part) for part in torch.cat([x, last]).split(self.count)]
                outputs = tuple(torch.cat(some)[:len(x)] for some in zip(*parts, strict=True))
            return (torch.cat(outputs, 2),) if self.joins else outputs

    @abstractmethod
    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """The forward pass, which subclasses implement; gradients are off."""

    def reset_state(self) -> None:      # noqa: B027   # most have none
        """Reset the state of recurrent layers."""

    def checked(self, x: Tensor, where: str) -> tuple[Tensor, ...]:
        """``self(x)``, after a check that it is finite.

        Raises:
            DarknetError: it is not; says which layer gives what, and ``where``.
        """
        outputs = self(x)
        if all_finite(outputs):
            return outputs
        raise DarknetError(f"{not_finite(*self.first_not_finite(x, outputs))}, {where}")

    def first_not_finite(self, x: Tensor, outputs: tuple[Tensor, ...]) -> tuple[Layer, Tensor]:
        """The first layer known to give values that are not finite, and its output."""
        return next((head, output) for head, output in zip(self.heads, outputs, strict=True)
                    if not output.isfinite().all())

    @classmethod
    def require(cls, packages: Sequence[str] | None = None) -> None:
        """DarknetError for a package that is missing or cannot be imported; None: those that it runs with."""
        for package in cls.packages if packages is None else packages:
            try:
                import_module(package)
            except ImportError as error:
                missing = isinstance(error, ModuleNotFoundError) and error.name == package
                why = f"pip install {package}" if missing else f"it is here, and fails: {error}".splitlines()[0]
                raise DarknetError(f"backend={cls.name} needs the package {package}: {why}") from None

    @classmethod
    def check_device(cls, device: str | int | torch.device) -> None:
        """DarknetError for a device other than the CPU, where it runs on that alone."""
        if str(device) not in ("auto", "cpu"):
            raise DarknetError(f"backend={cls.name} runs on the CPU, found device={device}")

    @classmethod
    def supported(cls, precision: str) -> str:
        """The precision itself, or one that takes its place on this machine, with a ``BackendWarning``.

        Raises:
            DarknetError: it never computes in that.
        """
        if precision not in cls.precisions:
            raise DarknetError(f"backend={cls.name} computes in {' or '.join(cls.precisions)}, found "
                               f"precision={precision}")
        return precision

    @classmethod
    def exported(cls, network: Network, layers: Sequence[int] | None) -> Network:
        """A folded copy of a network, that gives the outputs of these layers.

        Raises:
            DarknetError: it cannot be exported.
        """
        copied = network.exportable(cls.exports)
        copied.heads = network.heads if layers is None else tuple(layers)
        return copied

    @classmethod
    def versions(cls) -> str:
        """Of the packages, as what they store may suit one version alone."""
        return " ".join(f"{package} {version(package)}" for package in cls.packages)


class OnnxBackend(Backend):
    """A backend that is built from an ONNX model."""

    builds_with = ("onnx",)
    exports = "an ONNX model"
    cached = own_threads = True
    reads: ClassVar[tuple[str, ...]] = (".onnx",)

    @classmethod
    def build(cls, network: Network, device: str | int | torch.device = "auto", layers: Sequence[int] | None = None,
              precision: str = "float32") -> OnnxBackend:
        cls.require((*cls.builds_with, *cls.packages))
        cls.check_device(device)
        from darknet_py.model.onnx_model import onnx_model  # needs the package onnx
        model = onnx_model(cls.exported(network, layers)).SerializeToString()
        return cls.of_model(network, model, layers, precision)

    @classmethod
    def load(cls, network: Network, path: Path, device: str | int | torch.device = "cpu") -> OnnxBackend:
        return cls.of_model(network, str(path), precision=precision_of(path))

    @classmethod
    @abstractmethod
    def of_model(cls, network: Network, model: str | bytes, layers: Sequence[int] | None = None,
                 precision: str = "float32") -> OnnxBackend:
        """The backend of an ONNX model: a path, or the model's bytes."""


def all_finite(outputs: Sequence[Tensor]) -> bool:
    """Whether all values are finite. On the CPU in one thread, as those of PyTorch would wait on the cores that the
    other runtimes' threads need next."""
    if outputs[0].device.type != "cpu" or outputs[0].dtype != torch.float32:
        return bool(torch.stack([output.isfinite().all() for output in outputs]).all())
    with np.errstate(over="ignore", invalid="ignore"):
        # A finite sum has finite terms; a sum may overflow where no term does.
        return all(np.isfinite(array.sum()) or np.isfinite(array).all()
                   for array in (output.detach().numpy() for output in outputs))


def precision_of(model: Path) -> str:
    """The precision of an .xml or .onnx file: ``INT8``, or "float32" for all others."""
    return INT8 if QUANTIZED[model.suffix.lower()] in model.read_bytes() else PRECISIONS[0]


def not_finite(layer: Layer, output: Tensor) -> str:
    """The error text for a layer's output that has NaN or infinite values."""
    bad = output[~output.isfinite()]
    return (f"{locate(layer.place.cfg.path, layer.place.section.line)}: layer {layer.place.index} [{layer.kind}] gives "
            f"{bad[0]:f} in {len(bad)} of {output.numel()} values")
