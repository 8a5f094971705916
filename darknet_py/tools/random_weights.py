"""Random weights under which a network's values neither vanish nor amplify rounding."""
from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py.layers.batchnorm import Norm
from darknet_py.model.network import Network

# of what batch normalisation gives; with 1, activations are far from linear, and rounding grows by 10,000 in yolov4
DEVIATION = .1


def randomize(network: Network, seed: int = 0) -> Network:
    """Fill a network as C does before training, and its batch normalisation with the statistics of two random
    images, a smooth one and noise: without them the values of deep networks all but vanish, and so would differences
    between runtimes.

    Returns:
        The network itself.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network.reset_parameters()
        channels, *size = network.input_shape
        x = torch.rand(2, *network.input_shape)
        if channels in (1, 3):
            x[0] = F.interpolate(torch.rand(1, channels, 12, 16), size, mode="bicubic")[0].clamp(0, 1)
        hook = partial(take_statistics, deviation=DEVIATION)
        handles = [part.register_forward_pre_hook(hook) for part in network.modules() if isinstance(part, Norm)]
        network(x)
        for handle in handles:
            handle.remove()
    network.reset_state()
    return network


def take_statistics(norm: Norm, inputs: tuple[Tensor, ...], deviation: float = 1.) -> None:
    """Make the statistics of what comes in the running ones, so that what goes out has this deviation."""
    x, = inputs
    axes = [axis for axis in range(x.dim()) if axis != 1]
    if x.numel() > x.shape[1]:
        norm.running_mean.copy_(x.mean(axes))
        norm.running_var.copy_(x.var(axes, correction=0).clamp(min=1e-3) / deviation ** 2)
