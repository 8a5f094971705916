"""The gradient of a box's loss: the mathematics of the kinds of overlap."""
from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from darknet_py.losses.yolo import overlap_deltas
from darknet_py.ops.boxes import IOU_KINDS, iou
from darknet_py.ops.iou_gradient import overlap_gradient

# ------------------------------------------------------------------------------------- the mathematics

def random_pairs(kind: str) -> tuple[Tensor, Tensor]:
    """Overlapping boxes (K, 4) in float64; for the kinds with a distance one lies within the other."""
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.rand(400, 4, generator=generator, dtype=torch.float64) * .5 + .2 for _ in range(2))
    if kind in ("diou", "ciou"):
        b = torch.cat([a[:, :2] + (b[:, :2] - .45) * .2, a[:, 2:] * (.1 + b[:, 2:] / 2)], 1)
        a[::2], b[::2] = b[::2].clone(), a[::2].clone()
    keep = iou(a, b) > .02
    if kind in ("diou", "ciou"):
        keep &= ((a[:, :2] - b[:, :2]).abs() < (a[:, 2:] - b[:, 2:]).abs() / 2).all(1)
        keep &= ((a[:, 2:] < b[:, 2:]).sum(1) != 1)
    assert keep.sum() > 50
    return a[keep].requires_grad_(), b[keep]


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
def test_overlap_gradient_is_the_derivative_with_c_factors(kind):
    """Twice for sizes where iou and giou are concerned; ciou's aspect times w^2 + h^2, its weight being constant."""
    predicted, truth = random_pairs(kind)

    def gradient(value: Tensor) -> Tensor:
        return torch.autograd.grad(value.sum(), predicted)[0]

    twice = torch.tensor([1., 1, 2, 2], dtype=torch.float64)
    expected = gradient(iou(predicted, truth, "giou" if kind == "giou" else "iou")) * twice
    if kind in ("diou", "ciou"):
        expected += gradient(iou(predicted, truth, "diou", beta=1)) - gradient(iou(predicted, truth))
    if kind == "ciou":
        turn = torch.atan(truth[:, 2] / truth[:, 3]) - torch.atan(predicted[:, 2] / predicted[:, 3])
        aspect = 4 / math.pi ** 2 * turn ** 2
        weight = (aspect / (1 - iou(predicted, truth) + aspect + 1e-6)).detach()
        expected -= gradient(weight * aspect) * predicted[:, 2:].square().sum(1, keepdim=True)
    torch.testing.assert_close(overlap_gradient(predicted, truth, kind), expected.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("wide", [True, False])
def test_the_two_sides_of_a_box_that_is_too_thin_for_float32_count_as_one(wide):
    """The union is .04; the thin side cuts .2 off what is shared and adds .4 - .2 to the union."""
    thin = [.5, .5, 1e-9, .4] if wide else [.5, .5, .4, 1e-9]
    gradient = overlap_gradient(torch.tensor([thin]), torch.tensor([[.5, .5, .2, .2]]), "iou")
    torch.testing.assert_close(gradient, torch.tensor([[10., 0, 0, 0] if wide else [0, 10., 0, 0]]))


def test_giou_has_no_gradient_where_the_box_is_its_truth():
    box = torch.tensor([.5, .5, .25, .5])
    assert not overlap_gradient(box, box, "giou").any()


def test_gradients_of_any_shape():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 2, 3, 4, generator=generator)
    for kind in IOU_KINDS:
        flat = overlap_gradient(a.flatten(0, 1), b.flatten(0, 1), kind)
        assert overlap_gradient(a, b, kind).flatten(0, 1).equal(flat)


def test_a_predicted_size_of_0_counts_as_1():
    truth, sizes = torch.tensor([[.5, .5, .2, .2]] * 3), [(0, .4, 1, .4), (.3, 0, .3, 1), (0, 0, 1, 1)]
    given, meant = (torch.tensor([[.6, .5, *size[at:at + 2]] for size in sizes]) for at in (0, 2))
    assert overlap_deltas(given, truth, "giou").equal(overlap_gradient(meant, truth, "giou"))
