"""What every loss takes and gives."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from darknet_py.cfg.options import NetOptions


class HeadLoss(NamedTuple):
    """What a head says of a mini-batch.

    delta: shaped as the head's input: what C leaves in ``l.delta``, the negative of a gradient with respect to that
        input, summed (not averaged) over images. Detached.
    loss: (), what C leaves in ``*l.cost``; for the log alone, since ``delta`` need not be its derivative.
    scale: what C multiplies ``delta`` by when it hands it back.
    figures: () each, for the log: an average over the objects of this head, or a ``count`` of them.
    """

    delta: Tensor
    loss: Tensor
    scale: float = 1
    figures: dict[str, Tensor] = {}


@dataclass
class Moment:
    """What a loss may know of the run beyond its head's values.

    net: the [net] section.
    width, height: of the network's input in pixels, this time.
    iteration: how many updates the weights have had (C: get_current_iteration while a batch runs).
    seen: images, those of this mini-batch included (C: *net.seen).
    subdivision: which mini-batch of its batch this is, from 0.
    adversarial: the first stage of self-adversarial training, where truths are hidden.
    rolling: (4,) float64 statistics of deltas that outlive an iteration (see ``yolo``): largest, mean, deviation and
        the threshold of rejection.
    assigned: by the index of a [yolo]: (N, A, H, W) int64, the number of the object (a
        track's, in C ``l.labels``) that a cell's anchor stands for, -1 for none, and another such tensor with its
        class (``l.class_ids``). [contrastive] reads it.
    """

    net: NetOptions
    width: int
    height: int
    iteration: int = 0
    seen: int = 0
    subdivision: int = 0
    adversarial: bool = False
    rolling: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    assigned: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


def later_wins(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(K,) integers -> the U different ones, and for each the number of the last that has it: who writes last in a
    loop over all K."""
    unique, inverse = keys.unique(return_inverse=True)
    order = torch.arange(len(keys), device=keys.device)
    return unique, torch.zeros_like(unique).scatter_reduce_(0, inverse, order, "amax")


def mean(x: Tensor) -> Tensor:
    """The mean of a figure; 0 where there is nothing."""
    return x.sum() / max(1, x.numel())


# (head, its input, its output (C's l.output), truth, moment) -> HeadLoss. Truth is a ``Truth`` for heads that detect,
# else a tensor (N, values).
Loss = Callable[[Any, Tensor, Tensor, Any, Moment], HeadLoss]

LOSSES: dict[str, Loss] = {}


def loss(*kinds: str) -> Callable[[Loss], Loss]:
    """Register the loss of a head's kind."""
    def register(function: Loss) -> Loss:
        for kind in kinds:
            if kind in LOSSES:
                raise AssertionError(f"[{kind}] has two losses: {LOSSES[kind]} and {function}")
            LOSSES[kind] = function
        return function

    return register


def differentiable(function: Callable[[Any, Tensor, Any, Moment], Tensor]) -> Loss:
    """A loss written as an ordinary differentiable function, in the form of ``Loss``.

    Args:
        function: (head, its output with a way back to its input, truth, moment) -> (), summed over images.
    """
    def run(head: Any, x: Tensor, output: Tensor, truth: Any, moment: Moment) -> HeadLoss:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = function(head, head(x), truth, moment)
        gradient, = torch.autograd.grad(value, x)
        return HeadLoss(-gradient, value.detach())

    return run
