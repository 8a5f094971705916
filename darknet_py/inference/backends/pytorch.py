"""The PyTorch backend: a network prepared for inference."""
from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.errors import locate
from darknet_py.layers.base import Layer
from darknet_py.model.network import Network
from darknet_py.utils.distributed import local_device


def made_fast(network: Network, device: str | torch.device | None = None) -> Network:
    """The network itself, ready to run and no longer to train: on that device, folded, pictures without time."""
    if device is not None:
        network.to(local_device(device))
    if not network.folded:
        network.fold()
    network.set_time_steps(1)
    return network.to(memory_format=torch.channels_last)        # type: ignore[call-overload]   # up to 1.6 times as fast


def not_numbers(layer: Layer, output: Tensor) -> str:
    """What is wrong with a layer's output that is not finite throughout."""
    bad = output[~output.isfinite()]
    return (f"{locate(layer.place.cfg.path, layer.place.section.line)}: layer {layer.place.index} [{layer.kind}] gives "
            f"{bad[0]:f} in {len(bad)} of {output.numel()} values")
