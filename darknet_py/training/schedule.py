"""The learning rate of an iteration."""
from __future__ import annotations

import math
import random

from darknet_py.cfg.options import NetOptions


def learning_rate(net: NetOptions, iteration: int) -> float:
    """The rate of an iteration, counted from 1, before a layer's own factor.

    Darknet: get_current_rate. C's integer division makes ``step`` a staircase. policy=random draws from the iteration's
    number, so that a run can be repeated.
    """
    rate, n = net.learning_rate, iteration
    if n < net.burn_in:
        return rate * (n / net.burn_in) ** net.power
    match net.policy:
        case "step":
            return rate * net.scale ** (n // net.step)
        case "steps":
            return rate * math.prod(scale for step, scale in zip(net.steps, net.scales, strict=True) if step <= n)
        case "exp":
            return rate * net.gamma ** n
        case "poly":
            return rate * max(0, 1 - n / net.max_batches) ** net.power
        case "random":
            return rate * random.Random(n).random() ** net.power
        case "sigmoid":
            return rate / (1 + math.exp(min(700, net.gamma * (n - net.step))))
        case "sgdr":
            start, cycle = 0, net.max_batches if net.sgdr_cycle is None else net.sgdr_cycle
            while start + cycle < n:
                start, cycle = start + cycle, cycle * net.sgdr_mult
            least = net.learning_rate_min
            return least + (rate - least) / 2 * (1 + math.cos(math.pi * (n - start) / cycle))
        case _:
            return rate
