"""The interface of backends: a network's forward pass in one runtime."""
from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from darknet_py.errors import DarknetError, locate
from darknet_py.layers.base import Layer
from darknet_py.model.network import Network


class Backend(ABC):
    """A network's forward pass in one runtime.

    Attributes:
        shape: of one input image.
        heads: the layers whose outputs it gives; their weights are not used.
        precision: what it computes in.
        device: where its outputs lie.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()    # that it needs beyond ours

    def __init__(self, network: Network):
        self.shape, self.heads = network.input_shape, [network.layers[index] for index in network.heads]

    @property
    def precision(self) -> str:
        return "float32"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @classmethod
    @abstractmethod
    def build(cls, network: Network, device: str | torch.device = "auto") -> Backend:
        """The backend of a network that has its weights.

        Raises:
            DarknetError: a package is missing, or the runtime cannot express the network or use the device.
        """

    @classmethod
    def load(cls, network: Network, path: Path) -> Backend:
        """The backend of a file in the runtime's own format, as ``convert`` writes it of this network."""
        raise AssertionError(f"{cls.__name__} has no files of its own")

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run it.

        Args:
            x: (N, C, H, W) float32, RGB in [0, 1], on any device.

        Returns:
            A tensor a head, as C's ``l.output``: (N, ...).
        """
        with torch.inference_mode():
            return self.run(x)

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
        if torch.stack([output.isfinite().all() for output in outputs]).all():
            return outputs
        raise DarknetError(f"{not_finite(*self.first_not_finite(x, outputs))}, {where}")

    def first_not_finite(self, x: Tensor, outputs: tuple[Tensor, ...]) -> tuple[Layer, Tensor]:
        """The first layer known to give values that are not finite, and its output."""
        return next((head, output) for head, output in zip(self.heads, outputs, strict=True)
                    if not output.isfinite().all())

    @classmethod
    def require(cls) -> None:
        """DarknetError for a package that is missing."""
        for package in cls.packages:
            try:
                import_module(package)
            except ImportError:
                raise DarknetError(f"backend={cls.name} needs the package {package}: pip install {package}") from None

    @classmethod
    def require_cpu(cls, device: str | torch.device) -> None:
        """DarknetError for a device other than the CPU."""
        if str(device) not in ("auto", "cpu"):
            raise DarknetError(f"backend={cls.name} runs on the CPU, found device={device}")


class OnnxBackend(Backend):
    """A backend that runs ONNX models, on the CPU.

    Args:
        model: a path, or the model's bytes.
    """

    @abstractmethod
    def __init__(self, network: Network, model: str | bytes):
        super().__init__(network)

    @classmethod
    def build(cls, network: Network, device: str | torch.device = "auto") -> OnnxBackend:
        cls.require()
        cls.require_cpu(device)
        from darknet_py.model.onnx_model import onnx_model  # needs the package onnx
        return cls(network, onnx_model(network.exportable("an ONNX model")).SerializeToString())

    @classmethod
    def load(cls, network: Network, path: Path) -> OnnxBackend:
        return cls(network, str(path))


def not_finite(layer: Layer, output: Tensor) -> str:
    """The error text for a layer's output that has NaN or infinite values."""
    bad = output[~output.isfinite()]
    return (f"{locate(layer.place.cfg.path, layer.place.section.line)}: layer {layer.place.index} [{layer.kind}] gives "
            f"{bad[0]:f} in {len(bad)} of {output.numel()} values")
