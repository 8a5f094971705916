"""One training step: forward, the heads' deltas, backward, update."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from darknet_py.boxes import Truth
from darknet_py.losses import LOSSES, HeadLoss, Moment
from darknet_py.network import HeadPass, Network


class Outcome(NamedTuple):
    """What a mini-batch gave: C's cost, the mean over heads, and what each head said."""

    loss: Tensor
    heads: list[tuple[HeadPass, HeadLoss]]


def accumulate(network: Network, x: Tensor, truth: Truth | Tensor, moment: Moment) -> Outcome:
    """Run a mini-batch forward and backward: every ``parameter.grad`` grows by minus C's updates.

    Args:
        x: (N, C, H, W) images, see ``Network.forward``. If it requires a gradient it gets one.
        truth: of all images.

    Darknet: train_network_datum. Deltas are sums over images; the update divides by their number.
    """
    now = network.now
    now.iteration, now.subdivision, now.adversarial = moment.iteration, moment.subdivision, moment.adversarial
    now.boxes = truth.boxes if isinstance(truth, Truth) else None
    passes = network.train_heads(x, frozen_layers(network, moment.iteration))
    with torch.no_grad():
        losses = [LOSSES[head.layer.kind](head.layer, head.input.detach().float(), head.output.float(), truth, moment)
                  for head in passes]
    lead = [(head.input, (-loss.scale * loss.delta).to(head.input.dtype).view_as(head.input))
            for head, loss in zip(passes, losses, strict=True)
            if head.input.requires_grad and not head.layer.options.onlyforward]
    if lead:
        torch.autograd.backward([x for x, _ in lead], [gradient for _, gradient in lead])
    return Outcome(torch.stack([loss.loss.float() for loss in losses]).mean(), list(zip(passes, losses, strict=True)))


def frozen_layers(network: Network, iteration: int) -> int:
    """How many leading layers get no gradient: those up to the last one with ``stopbackward=1``, or with a number that
    the iterations have not reached yet."""
    return max((index + 1 for index, layer in enumerate(network.layers)
                if layer.options.stopbackward == 1 or layer.options.stopbackward > iteration), default=0)
