"""The PyTorch backend: the network itself, prepared for inference."""
from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py.inference.backends.base import PRECISIONS, Backend
from darknet_py.layers.base import Layer
from darknet_py.model.network import Network
from darknet_py.utils.device import local_device
from darknet_py.utils.memory import free_memory


def prepare_for_inference(network: Network, device: str | int | torch.device | None = None,
                          dtype: torch.dtype | None = None, packed: bool = False) -> Network:
    """The network itself, no longer to train: on that device, folded, of that type, images without time steps, channels
    last.

    Args:
        packed: see ``Layer.pack``; on a GPU and in float16, of which oneDNN has not everything, it changes nothing.
    """
    if device is not None:
        network.to(local_device(device))
    if not network.folded:
        network.fold()
    network.set_time_steps(1)
    if dtype is not None:
        network.to(dtype)
    weight = next(network.parameters(), torch.zeros(()))
    if not packed or weight.device.type != "cpu" or weight.dtype == torch.float16:
        return network.to(memory_format=torch.channels_last)    # type: ignore[call-overload]   # up to 1.6 x as fast
    for layer in network.layers:
        layer.pack()
    free_memory()
    return network


class PyTorch(Backend):
    """A network, prepared or not; see ``prepare_for_inference``.

    Args:
        layers: indices of the layers whose outputs it gives; None: the network's heads.
    """

    name = "pytorch"
    precisions = PRECISIONS
    packed = True                       # weights

    def __init__(self, network: Network, layers: Sequence[int] | None = None):
        super().__init__(network, layers)
        self.network = network

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._weight.dtype

    @property
    def precision(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def _weight(self) -> Tensor:
        """A weight; the network may move to another device or precision at any time."""
        return next(self.network.parameters(), torch.zeros(()))

    @classmethod
    def build(cls, network: Network, device: str | int | torch.device | None = "auto",
              layers: Sequence[int] | None = None, precision: str = "float32") -> PyTorch:
        """Of the network itself, which is folded; None leaves it on its device."""
        dtype = None if precision == "float32" else getattr(torch, precision)       # None: what it is
        return cls(prepare_for_inference(network, device, dtype, cls.packed), layers)

    @classmethod
    def check_device(cls, device: str | int | torch.device) -> None:
        """All that PyTorch has."""

    @classmethod
    def copy_of(cls, network: Network, device: str | int | torch.device | None = None,
                layers: Sequence[int] | None = None) -> PyTorch:
        """Of a copy, so that a network may go on training."""
        return cls.build(copy.deepcopy(network).eval(), device, layers)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.outputs_of(self._input(x), self.indices))

    def reset_state(self) -> None:
        self.network.reset_state()

    def first_not_finite(self, x: Tensor, outputs: tuple[Tensor, ...]) -> tuple[Layer, Tensor]:
        self.reset_state()
        with torch.inference_mode():
            for layer, output in zip(self.network.layers, self.network.trace(self._input(x)), strict=True):
                if not output.isfinite().all():
                    return layer, output
        return super().first_not_finite(x, outputs)

    def _input(self, x: Tensor) -> Tensor:
        form = torch.channels_last if x.dim() == 4 else torch.preserve_format
        return x.to(self.device, self.dtype, memory_format=form)
