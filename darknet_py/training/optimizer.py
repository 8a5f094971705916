"""Darknet's update of the weights."""
from __future__ import annotations

import torch

from darknet_py.network import Network


class Optimizer:
    def __init__(self, network: Network):
        self.network, net = network, network.options
        groups: dict[tuple, list] = {}
        for layer in network.layers:
            for parameter in layer.parameters():
                groups.setdefault((layer.options.learning_rate, layer.decays and parameter.dim() > 1, layer.update_bound), []).append(parameter)
        self.factors = [factor for factor, *_ in groups]
        self.decays = [net.decay if decays else 0 for _, decays,_ in groups]
        self.sgd = torch.optim.SGD([{"params": parameters} for parameters in groups.values()], lr=0,
                                   momentum=net.momentum)

    def step(self, rate: float, batch: int, iteration: int) -> None:
        for group, factor, decay in zip(self.sgd.param_groups, self.factors, self.decays, strict=True):
            group["lr"], group["weight_decay"] = rate * factor / batch, decay * batch
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)
