"""One training step: forward, the heads' deltas, backward, update."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.losses import LOSSES, HeadLoss
from darknet_py.model.network import Network
from darknet_py.model.plan import HeadPass

Forward = Callable[[Tensor, int], list[HeadPass]]


class Outcome(NamedTuple):
    """The result of a mini-batch: C's cost, the mean over heads, and each head's figures."""

    loss: Tensor
    heads: list[tuple[HeadPass, HeadLoss]]


def accumulate(network: Network, x: Tensor, truth: Truth | Tensor, scale: float = 1,
               precision: torch.dtype | None = None, forward: Forward | None = None) -> Outcome:
    """Run a mini-batch forward and backward: every ``parameter.grad`` grows by minus C's updates, times ``scale``.

    Args:
        x: (N, C, H, W) images, see ``Network.forward``.
        truth: of all images.
        precision: of the forward pass, float32 if None.
        forward: a compiled ``network.train_heads``.

    Darknet: train_network_datum. Deltas are sums over images; the update divides by their number.
    """
    outcome = run_heads(network, x, truth, precision, forward)
    roots, gradients = _roots(outcome, scale)
    if roots:
        torch.autograd.backward(roots, gradients)
    return outcome


def attack(network: Network, x: Tensor, truth: Truth | Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """The first stage of self-adversarial training: images changed so that the network detects nothing in them.

    The images follow the deltas that they would get without any truth. Batch normalisation uses its running
    statistics, and no weight learns from it. Of a contrastive pair only the first image changes.

    Returns:
        (N, C, H, W) in [0, 1], and the deltas (N, C, H, W) of the images.

    Darknet: train_network_datum_gpu, backward_network_gpu.
    """
    hidden = Truth(*(part[:, :0] for part in truth)) if isinstance(truth, Truth) else torch.zeros_like(truth)
    x = x.detach().requires_grad_()
    network.context.adversarial = True
    try:
        roots, gradients = _roots(run_heads(network, x, hidden), 1)
        gradient, = torch.autograd.grad(roots, x, gradients, allow_unused=True) if roots else (None,)
    finally:
        network.context.adversarial = False
    if gradient is None:
        return x.detach(), torch.zeros_like(x)
    changed = (x.detach() - rate * gradient).clamp_(0, 1)
    if network.options.contrastive:
        changed[1::2] = x.detach()[1::2]
    return changed, -gradient


def run_heads(network: Network, x: Tensor, truth: Truth | Tensor, precision: torch.dtype | None = None,
              forward: Forward | None = None) -> Outcome:
    """The forward pass and the losses of its heads."""
    context = network.context
    _, context.height, context.width = network.input_shape
    passes = run_forward(network, x, truth, frozen_layers(network, context.iteration), precision, forward)
    with torch.no_grad():
        losses = [LOSSES[head.layer.kind](head.layer, head.input.detach().float(), head.output.float(), truth, context)
                  for head in passes]
    return Outcome(torch.stack([loss.loss.float() for loss in losses]).mean(), list(zip(passes, losses, strict=True)))


def run_forward(network: Network, x: Tensor, truth: Truth | Tensor, frozen: int, precision: torch.dtype | None = None,
                forward: Forward | None = None) -> list[HeadPass]:
    """The forward pass alone; ``frozen`` leading layers get no gradient."""
    network.context.boxes = truth.boxes if isinstance(truth, Truth) else None
    with torch.autocast(x.device.type, precision, enabled=precision is not None):
        return (forward or network.train_heads)(x, frozen)


def _roots(outcome: Outcome, scale: float) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors where the backward pass begins, and their gradients."""
    learning = [(head.input, loss) for head, loss in outcome.heads
                if head.input.requires_grad and not head.layer.options.onlyforward]
    return [x for x, _ in learning], [(-scale * loss.scale * loss.delta).to(x.dtype).view_as(x) for x, loss in learning]


def frozen_layers(network: Network, iteration: int) -> int:
    """How many leading layers get no gradient: those up to the last one with ``stopbackward=1``, or with a number that
    the iterations have not reached yet."""
    return max((index + 1 for index, layer in enumerate(network.layers)
                if layer.options.stopbackward == 1 or layer.options.stopbackward > iteration), default=0)
