"""Darknet's update of the weights."""
from __future__ import annotations

import torch

from darknet_py.network import Network


class Optimizer:
    """Stochastic gradient descent with momentum, as Darknet does it; ``adam=1`` where the cfg says so.

    ``parameter.grad`` holds sums over the images of a batch. Darknet: update_convolutional_layer_gpu and its siblings.
    Weights decay, biases and the scales of batch normalisation do not.
    """

    def __init__(self, network: Network):
        self.network, net = network, network.options
        groups: dict[tuple[float, bool], list] = {}
        for layer in network.layers:
            for parameter in layer.parameters():
                groups.setdefault((layer.options.learning_rate, parameter.dim() > 1), []).append(parameter)
        self.factors = [factor for factor, _ in groups]
        self.decays = [net.decay if decays else 0 for _, decays in groups]
        self.sgd = torch.optim.SGD([{"params": parameters} for parameters in groups.values()], lr=0,
                                   momentum=net.momentum)

    def step(self, rate: float, batch: int, iteration: int) -> None:
        """Update the weights and clear the gradients.

        Args:
            rate: the learning rate.
            batch: images that the gradients are sums over.
            iteration: this one's number, from 1.
        """
        for group, factor, decay in zip(self.sgd.param_groups, self.factors, self.decays, strict=True):
            group["lr"], group["weight_decay"] = rate * factor / batch, decay * batch
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)
