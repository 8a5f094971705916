"""The losses of [softmax], [cost], and pjreddie's [logistic] and [iseg]."""
from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.layers.base import TrainingContext
from darknet_py.layers.softmax import Cost, Iseg, Logistic, Softmax
from darknet_py.losses.base import HeadLoss, later_wins, loss

SECRET_NUM = -1234      # a truth that nobody knows: no delta
LEAST = torch.finfo(torch.float32).tiny
SMALL = 1e-7            # added inside the logarithms of [logistic]
PULL = .1               # of [iseg]: how hard an embedding is drawn to its object's mean and away from the others'
EMBEDDING_SCALE = .01


@loss("softmax")
def softmax_loss(head: Softmax, x: Tensor, output: Tensor, truth: Tensor, context: TrainingContext) -> HeadLoss:
    """Target minus output, whatever the temperature. The loss counts every class whose target is not 0 in full.

    Darknet: forward_softmax_layer_gpu. In a tree, targets of -1234 (of groups that are unknown for an image) have no
    delta; C's CPU code does not know them. An output of 0 counts as the smallest float, where C's loss is infinite and
    its delta is not. ``noloss=1``: no loss, a layer that reads this one has one instead.
    """
    if head.options.noloss:
        return HeadLoss(torch.zeros_like(x), x.new_zeros(()))
    truth = truth.view_as(output)
    silent = truth == 0
    delta = truth - output
    if head.tree is not None:
        hidden = truth == SECRET_NUM
        silent |= hidden
        delta.masked_fill_(hidden, 0)
    return HeadLoss(delta, -output.clamp(min=LEAST).log().masked_fill(silent, 0).sum())


@loss("cost")
def cost_loss(head: Cost, x: Tensor, output: Tensor, truth: Tensor, context: TrainingContext) -> HeadLoss:
    """Squares of differences, or their smooth absolute values; ``masked`` passes over truths of -1234.

    Darknet: forward_cost_layer_gpu. ``ratio`` computes a threshold and then takes 0 for it, so it has no effect.
    """
    difference = truth.view_as(x) - x
    if head.options.type == "masked":
        difference.masked_fill_(truth.view_as(x) == SECRET_NUM, 0)
    if head.options.type == "smooth":
        size = difference.abs()
        return HeadLoss(difference.clamp(-1, 1), torch.where(size < 1, size * size, 2 * size - 1).sum(),
                        scale=head.options.scale)
    return HeadLoss(difference, difference.square().sum(), scale=head.options.scale)


@loss("logistic")
def logistic_loss(head: Logistic, x: Tensor, output: Tensor, truth: Tensor, context: TrainingContext) -> HeadLoss:
    """Binary cross entropy of each label. Darknet (pjreddie's): logistic_x_ent_gpu."""
    truth = truth.view_as(output)
    entropy = -truth * (output + SMALL).log() - (1 - truth) * (1 - output + SMALL).log()
    return HeadLoss(truth - output, entropy.sum())


@loss("iseg")
def iseg_loss(head: Iseg, x: Tensor, output: Tensor, truth: Tensor, context: TrainingContext) -> HeadLoss:
    """Instance segmentation: class maps are trained towards the objects' masks, embeddings towards the mean of their
    object and away from the means of other objects.

    Args:
        truth: (N, M * (1 + H * W)), of each object its class and its mask; a class below 0 ends the list.

    Darknet (pjreddie's): forward_iseg_layer. Where masks of a class overlap, the later object counts. Deltas of
    embeddings are of constant size, and add up for a pixel of several objects. The loss is the sum of the deltas'
    squares.
    """
    (n, _, height, width), classes = x.shape, head.options.classes
    truth = truth.reshape(n, -1, 1 + height * width)
    labels, masks = truth[..., 0].long(), truth[..., 1:]
    open_ = (labels < 0).long().cumsum(1) == 0
    inside_mask = (masks != 0) & (open_ & (labels < classes))[..., None]           # (N, M, H * W)
    maps, embedding = output.flatten(2).split((classes, head.options.ids), 1)
    delta = -maps
    image, number, pixel = inside_mask.nonzero(as_tuple=True)
    place, last = later_wins((image * classes + labels[image, number]) * (height * width) + pixel)
    delta.view(-1)[place] += masks[image, number, pixel][last]

    inside = inside_mask.to(x.dtype)
    count = inside.sum(2)                                                   # (N, M)
    means = inside @ embedding.transpose(1, 2) / count.clamp(1)[..., None]  # (N, M, ids)
    pull = torch.where(means[..., None] < embedding[:, None], -PULL, PULL)  # (N, M, ids, H * W)
    pull = pull * (count > 0)[..., None, None]
    own = torch.einsum("nmk,nmik->nik", inside, pull)
    others = torch.einsum("nk,nik->nik", inside.sum(1), pull.sum(1)) - own
    delta = torch.cat([delta, EMBEDDING_SCALE * (-PULL * embedding + own - others)], 1)
    return HeadLoss(delta.view_as(x), delta.square().sum())
