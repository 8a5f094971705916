"""Random weights under which a network's values are of the size that a trained one's have."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.layers.batchnorm import Norm
from darknet_py.model.network import Network


def randomize(network: Network, seed: int = 0) -> Network:
    """Fill a network as C does before training, and its batch normalisation with the statistics of a smooth random
    image: without them the values of deep networks all but vanish, and so would differences between runtimes.

    Returns:
        The network itself.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network.reset_parameters()
        channels, *size = network.input_shape
        x = torch.rand(1, *network.input_shape)
        if channels in (1, 3):
            x = F.interpolate(torch.rand(1, channels, 12, 16), size, mode="bicubic").clamp(0, 1)
        handles = [part.register_forward_pre_hook(take_statistics) for part in network.modules()
                   if isinstance(part, Norm)]
        network(x)
        for handle in handles:
            handle.remove()
    network.reset_state()
    return network


def take_statistics(norm: Norm, inputs: tuple[Tensor, ...]) -> None:
    """Make the statistics of what comes in the running ones."""
    x, = inputs
    axes = [axis for axis in range(x.dim()) if axis != 1]
    if x.numel() > x.shape[1]:
        norm.running_mean.copy_(x.mean(axes))
        norm.running_var.copy_(x.var(axes, correction=0).clamp(min=1e-3))
