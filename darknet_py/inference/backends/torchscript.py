"""The backends that run traced networks: TorchScript, and programs of torch.export."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py.inference.backends.base import Backend
from darknet_py.model.network import Network
from darknet_py.utils.device import local_device


class _Traced(Backend):
    """A backend of a traced module, which gives a tensor or a tuple of them."""

    def __init__(self, network: Network, module: Any, device: torch.device | None = None,
                 layers: Sequence[int] | None = None):
        super().__init__(network, layers)
        self.module, self.place = module, torch.device("cpu") if device is None else device

    @property
    def device(self) -> torch.device:
        return self.place

    @classmethod
    def check_device(cls, device: str | int | torch.device) -> None:
        """All that PyTorch has."""

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(x.to(self.device))
        return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


class TorchScript(_Traced):
    """A network traced to TorchScript."""

    name = "torchscript"
    exports = "TorchScript"
    reads = (".torchscript", ".ts")

    @classmethod
    def build(cls, network: Network, device: str | int | torch.device = "auto", layers: Sequence[int] | None = None,
              precision: str = "float32") -> TorchScript:
        where, module = local_device(device), cls.exported(network, layers)
        return cls(network, trace(module.to(where), _example(network).to(where)), where, layers)

    @classmethod
    def load(cls, network: Network, path: Path, device: str | int | torch.device = "cpu") -> TorchScript:
        where = local_device(device)
        return cls(network, torch.jit.load(str(path), map_location=where), where)


class Exported(_Traced):
    """A network as a program of torch.export."""

    name = "torch.export"
    exports = "a torch.export program"
    reads = (".pt2",)

    @classmethod
    def build(cls, network: Network, device: str | int | torch.device = "auto", layers: Sequence[int] | None = None,
              precision: str = "float32") -> Exported:
        where, module = local_device(device), cls.exported(network, layers)
        return cls(network, export(module.to(where), _example(network).to(where), None).module(), where, layers)

    @classmethod
    def load(cls, network: Network, path: Path, device: str | int | torch.device = "cpu") -> Exported:
        where, program = local_device(device), torch.export.load(str(path))
        if where.type != "cpu":
            from torch.export.passes import move_to_device_pass
            program = move_to_device_pass(program, where)
        return cls(network, program.module(), where)


def trace(module: nn.Module, example: Tensor) -> Any:
    """A module as TorchScript."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")             # of checks on shapes, which are what the cfg says
        return torch.jit.trace(module, example, check_trace=False)


def export(module: nn.Module, example: Tensor, batch: int | None) -> Any:
    """A module as a program; it takes ``batch`` images at once, or any number."""
    shapes = ({0: torch.export.Dim("batch")},) if batch is None else None
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=shapes)


def _example(network: Network) -> Tensor:
    return torch.zeros(2, *network.input_shape)
