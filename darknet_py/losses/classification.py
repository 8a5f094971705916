"""[softmax] and [cost]."""
from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.layers.softmax import Cost, Softmax
from darknet_py.losses.base import HeadLoss, Moment, loss


@loss("softmax")
def softmax_loss(head: Softmax, x: Tensor, output: Tensor, truth: Tensor, moment: Moment) -> HeadLoss:
    """Cross entropy. Darknet: softmax_x_ent_gpu."""
    truth = truth.view_as(output)
    return HeadLoss(truth - output, -output.log().masked_fill(truth == 0, 0).sum())


@loss("cost")
def cost_loss(head: Cost, x: Tensor, output: Tensor, truth: Tensor, moment: Moment) -> HeadLoss:
    """Squares of differences, or their smooth absolute values. Darknet: forward_cost_layer_gpu."""
    difference = truth.view_as(x) - x
    if head.options.type == "smooth":
        size = difference.abs()
        return HeadLoss(difference.clamp(-1, 1), torch.where(size < 1, size * size, 2 * size - 1).sum(),
                        scale=head.options.scale)
    return HeadLoss(difference, difference.square().sum(), scale=head.options.scale)
