"""[contrastive]: supervised contrastive learning, of whole images or of the objects that a [yolo] assigned."""
from __future__ import annotations

import torch
from torch import Tensor

from darknet_py.data.targets import Truth
from darknet_py.layers.base import TrainingContext
from darknet_py.layers.softmax import Contrastive
from darknet_py.losses.base import HeadLoss, loss

CERTAIN = .9999     # the probability of a pair that no other competes with


@loss("contrastive")
def contrastive_loss(head: Contrastive, x: Tensor, output: Tensor, truth: Truth | Tensor,
                     context: TrainingContext) -> HeadLoss:
    """Supervised contrastive loss by cosine similarity: embeddings of one label attract, those of others repel.

    With ``yolo_layer=`` the embeddings are those of the cells and anchors in ``context.assigned``, compared within a
    class; without, one an image, or one a place of it. Images of different time steps are not compared.

    Darknet: forward_contrastive_layer. The loss is the sum of the deltas' squares. Embeddings of length 0, where C
    ends, have no delta, nor have those that no other shares the label with.
    """
    delta = torch.zeros_like(x)
    if head.yolo is None:
        embeddings, labels, step = _of_images(head, x, truth, context)
        scatter = delta.movedim(1, -1)
        at: tuple[Tensor, ...] = torch.ones_like(scatter[..., 0]).nonzero(as_tuple=True)
        classes = torch.zeros_like(labels)
    elif head.yolo in context.assigned:
        objects, kinds = context.assigned[head.yolo]
        scatter = delta.unflatten(1, (objects.shape[1], -1)).movedim(2, -1)     # (N, A, H, W, E)
        at = (objects >= 0).nonzero(as_tuple=True)
        embeddings = x.unflatten(1, (objects.shape[1], -1)).movedim(2, -1)[at]
        labels, classes, step = objects[at], kinds[at], _time_step(at[0], len(x), context)
    else:
        return HeadLoss(delta, delta.sum())

    norm = embeddings.norm(dim=1)
    similarity = embeddings @ embeddings.T
    size = norm[:, None] * norm
    similarity = torch.where(size > 0, similarity / size, 0)
    same = labels[:, None] == labels
    pair = (step[:, None] == step) & (classes[:, None] == classes)
    same.fill_diagonal_(False)
    pair.fill_diagonal_(False)
    similarity = torch.where(pair, similarity, 0)
    probability = _probability(head, similarity, pair)

    # how strongly i is drawn to j, and from j
    shared = same.sum(1, keepdim=True)
    if head.yolo is None:
        draw = same * (1 - probability)
        push = (shared - same.long()) * probability
    else:
        draw = (same & pair) * (1 - probability)
        push = _counted(same, pair, labels, classes, head.options.contrastive_neg_max) * probability
    strength = (draw - push) / (shared * head.options.temperature * norm[:, None])
    strength = torch.where((shared > 0) & (norm[:, None] > 0), strength, 0)
    found = strength @ embeddings - (strength * similarity).sum(1, keepdim=True) * embeddings
    most = head.options.max_delta
    scatter[at] = (head.options.cls_normalizer * found).clamp(-most, most)
    return HeadLoss(delta, delta.square().sum(), figures={"accuracy": _accuracy(similarity, same, pair)})


def _of_images(head: Contrastive, x: Tensor, truth: Truth | Tensor,
               context: TrainingContext) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (K, C) of all places of all images, with their labels and time steps.

    An image's label is the last class whose truth is above ``label_smooth_eps``. Without such a class the two views of
    a picture, which stand next to each other, share a label.
    """
    n, channels, height, width = x.shape
    number = torch.arange(n, device=x.device)
    labels = number % 2 if context.adversarial else number // 2
    if isinstance(truth, Tensor):
        above = truth.reshape(n, -1)[:, :head.options.classes] > context.net.label_smooth_eps
        last = (above * torch.arange(1, above.shape[1] + 1, device=x.device)).amax(1) - 1
        labels = torch.where(last >= 0, last, labels)
    image = number.repeat_interleave(height * width)
    return x.movedim(1, -1).reshape(-1, channels), labels[image], _time_step(image, n, context)


def _time_step(image: Tensor, images: int, context: TrainingContext) -> Tensor:
    return image // max(1, images // context.net.time_steps)


def _probability(head: Contrastive, similarity: Tensor, pair: Tensor) -> Tensor:
    """(K, K): the probability of the pair i, j, relative to all others that are compared with j. 0 where not compared.

    Darknet: P_constrastive, P_constrastive_f_det_kernel. C divides by zero for images that nothing competes with.
    """
    e = torch.where(pair, (similarity.double() / head.options.temperature).exp(), 0)    # in double, for the difference
    others = e.sum(0) - e
    alone = pair.sum(0) - pair.long() == 0
    p = torch.where(alone, CERTAIN, e / others)
    if head.yolo is not None:
        p = torch.where(p > 1, CERTAIN, p)
        if pair.sum() <= 2:             # then C's GPU code computes none, and they are 0
            p = torch.zeros_like(p)
    return torch.where(pair, p, 0).to(similarity.dtype)


def _counted(same: Tensor, pair: Tensor, labels: Tensor, classes: Tensor, most: int) -> Tensor:
    """(K, K) how many times i is pushed from k: C counts, for every other j of i's label, the objects k of j's class
    with another label, and stops at the first push where the count has reached ``most``.

    Darknet: grad_contrastive_loss_negative_f.
    """
    foreign = (labels[:, None] != labels) & (classes[:, None] == classes)
    rank = foreign.long().cumsum(1)                                     # of k among those of i, from 1
    before = same * foreign.sum(1)
    before = before.cumsum(1) - before                                  # what was counted before j
    end = torch.iinfo(before.dtype).max // 2
    before = torch.where(same & (classes[:, None] == classes), before, end).sort(1).values
    open_ = foreign & pair
    times = torch.searchsorted(before, most - rank)                     # how many j have a count below most with k
    following = torch.cat([before, torch.full_like(before[:, :1], end)], 1).gather(1, times) + rank
    following = torch.where(open_ & (following < end), following, end)
    least = following.amin(1, keepdim=True) if len(labels) else following
    return torch.where(open_, times + ((following == least) & (least < end)), 0)


def _accuracy(similarity: Tensor, same: Tensor, pair: Tensor) -> Tensor:
    """The share of embeddings that are nearer to one of their own label than to any other, of those that have both."""
    own, other = pair & same, pair & ~same
    both = own.any(1) & other.any(1)
    if not both.any():
        return similarity.new_zeros(())
    nearest = torch.where(own, similarity, -2).amax(1) > torch.where(other, similarity, -2).amax(1)
    return (nearest & both).sum() / both.sum()
