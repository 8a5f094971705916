"""An exponential moving average of the weights, ``ema_alpha=``."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from darknet_py.model.network import Network

LAST = 1000             # iterations that go on from the average


class Average:
    """Exponential moving average of all weights; running statistics stay those of the network.

    Darknet: train_network_waitkey, ema_update, ema_apply. It starts in the middle of the run, and 1000 iterations
    before its end the network goes on from it. C averages convolutions only.
    """

    def __init__(self, network: Network):
        self.network, self.alpha, most = network, network.options.ema_alpha, network.options.max_batches
        self.start, self.apply_at = most // 2, most - LAST
        self.values: list[Tensor] = []

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Update the average with the weights after an iteration, counted from 1."""
        if not self.alpha or iteration < self.start:
            return
        parameters = [parameter.detach() for parameter in self.network.parameters()]
        if not self.values:
            self.values = [parameter.clone() for parameter in parameters]
        if iteration == self.apply_at:
            torch._foreach_copy_(parameters, self.values)
        elif iteration < self.apply_at or self.apply_at <= self.start:
            torch._foreach_lerp_(self.values, parameters, 1 - self.alpha)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """A context in which the network's weights are the average."""
        weights = [parameter.detach().clone() for parameter in self.network.parameters()]
        with torch.no_grad():
            torch._foreach_copy_(list(self.network.parameters()), self.values)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(self.network.parameters()), weights)
