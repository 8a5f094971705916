"""The interface of losses, and their registry by the kind of head."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from darknet_py.layers.base import TrainingContext


class HeadLoss(NamedTuple):
    """A head's loss for a mini-batch.

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


def later_wins(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(K,) integers -> the U different ones, and for each the number of the last that has it: who writes last in a
    loop over all K."""
    unique, inverse = keys.unique(return_inverse=True)
    order = torch.arange(len(keys), device=keys.device)
    return unique, torch.zeros_like(unique).scatter_reduce_(0, inverse, order, "amax")


def mean(x: Tensor) -> Tensor:
    """The mean of a figure; 0 where there is nothing."""
    return x.sum() / max(1, x.numel())


# (head, its input, its output (C's l.output), truth, context) -> HeadLoss. Truth is a ``Truth`` for heads that detect,
# else a tensor (N, values).
Loss = Callable[[Any, Tensor, Tensor, Any, TrainingContext], HeadLoss]

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


def differentiable(function: Callable[[Any, Tensor, Any, TrainingContext], Tensor]) -> Loss:
    """A loss written as an ordinary differentiable function, in the form of ``Loss``.

    Args:
        function: (head, its output with a way back to its input, truth, context) -> (), summed over images.
    """
    def run(head: Any, x: Tensor, output: Tensor, truth: Any, context: TrainingContext) -> HeadLoss:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = function(head, head(x), truth, context)
        gradient, = torch.autograd.grad(value, x)
        return HeadLoss(-gradient, value.detach())

    return run
