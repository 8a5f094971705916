"""Boxes: C's numbers for the overlap family, and suppression against a plain loop."""
from __future__ import annotations

import resource

import pytest
import torch

from darknet_py.ops import boxes
from darknet_py.ops import nms as nms_module
from darknet_py.ops.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from darknet_py.ops.nms import nms

# Measured with box.c compiled at -O1: iou, giou, diou, ciou, and box_diounms with beta 0.8.
C_OVERLAPS = [
    ((0.5, 0.5, 0.4, 0.4), (0.5, 0.5, 0.4, 0.4), (0.9999996, 1.0, 0.9999996, 0.9999996, 0.9999996)),
    ((0.5, 0.5, 0.4, 0.2), (0.6, 0.55, 0.3, 0.5), (0.2777777, 0.07777785, 0.161693, 0.2302749, 0.2211495)),
    ((0.2, 0.2, 0.1, 0.1), (0.8, 0.7, 0.3, 0.1), (0.0, -0.9166667, -0.7433578, -0.6169822, -0.6733856)),
    ((0.5, 0.5, 0.2, 0.2), (0.7, 0.5, 0.2, 0.2), (1.490116e-07, 0.0, -0.3807306, -0.1999998, -0.2759457)),
    ((0.5, 0.5, 0.0, 0.0), (0.5, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0)),
    ((0.5, 0.5, 0.0, 0.3), (0.5, 0.6, 0.0, 0.3), (0.0, 0.0, -0.1894646, -0.06250002, -0.1088189)),
    ((5.0, 5.0, 8.0, 2.0), (6.0, 6.0, 3.0, 7.0), (0.1935484, -0.2528802, 0.1046752, 0.07312933, 0.1538876)),
]


@pytest.mark.parametrize("a, b, expected", C_OVERLAPS)
@pytest.mark.parametrize("column, kind, beta", [(0, "iou", 0.6), (1, "giou", 0.6), (2, "diou", 0.6), (3, "ciou", 0.6),
                                                (4, "diou", 0.8)])
def test_overlap_is_that_of_c(a, b, expected, column, kind, beta):
    for first, second in ((a, b), (b, a)):
        value = iou(torch.tensor(first), torch.tensor(second), kind, beta)
        assert value.item() == pytest.approx(expected[column], abs=1e-6)


def test_overlap_of_a_flat_box_with_ciou_is_nan_as_in_c():
    assert iou(torch.tensor([0.5, 0.5, 0.0, 0.0]), torch.tensor([0.6, 0.5, 0.1, 0.1]), "ciou").isnan()


def test_overlaps_broadcast():
    a, b = torch.rand(5, 1, 4), torch.rand(7, 4)
    for kind in boxes.IOU_KINDS:
        table = iou(a, b, kind)
        assert table.shape == (5, 7)
        torch.testing.assert_close(table[3, 2], iou(a[3, 0], b[2], kind))


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"kind must be one of iou, giou.* got 'mse'"):
        iou(torch.rand(4), torch.rand(4), "mse")
    with pytest.raises(ValueError, match=r"kind must be one of default.* got 'soft'"):
        nms(torch.rand(1, 4), torch.rand(1, 1), 0.5, "soft")


def test_formats():
    assert torch.equal(cxcywh_to_xyxy(torch.tensor([[[3.0, 5.0, 2.0, 4.0]]])), torch.tensor([[[2.0, 3.0, 4.0, 7.0]]]))
    assert torch.equal(xyxy_to_cxcywh(torch.tensor([2.0, 3.0, 4.0, 7.0])), torch.tensor([3.0, 5.0, 2.0, 4.0]))


def plain_nms(box: torch.Tensor, scores: torch.Tensor, threshold: float, kind: str, beta: float) -> torch.Tensor:
    """The double loop of do_nms_sort and diounms_sort, with a stable sort."""
    exponent = {"greedynms": 0.6, "diounms": beta}.get(kind)
    overlaps = iou(box[:, None], box[None]) if exponent is None else iou(box[:, None], box[None], "diou", exponent)
    above, result = (overlaps > threshold).tolist(), scores.clone()
    for label in range(scores.shape[1]):
        order = scores[:, label].argsort(descending=True, stable=True).tolist()
        for place, i in enumerate(order):
            if result[i, label] > 0:
                for j in order[place + 1:]:
                    if above[i][j]:
                        result[j, label] = 0
    return result


def clustered(count: int, centres: int, generator: torch.Generator) -> torch.Tensor:
    middle = torch.rand(centres, 4, generator=generator) * 0.3 + 0.2
    return middle[torch.randint(centres, (count,), generator=generator)] \
        + torch.randn(count, 4, generator=generator) * 0.02


def chain(count: int) -> torch.Tensor:
    """Unit boxes, each overlapping its neighbours (iou 0.54) but hardly the next but one (0.25)."""
    return torch.stack((torch.arange(count) * 0.3, *torch.ones(3, count)), 1)


def random_case(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    if name == "dense":
        return clustered(60, 4, generator), rand(60, 5)
    if name == "sparse":
        return clustered(80, 9, generator), rand(80, 6) * (rand(80, 6) < 0.3)
    if name == "ties":
        return clustered(60, 3, generator), (rand(60, 4) * 4).floor() / 4
    if name == "falling chain":
        return chain(70), torch.stack((torch.linspace(1, 0.1, 70), torch.linspace(0.1, 1, 70)), 1)
    if name == "shuffled chain":
        return chain(70), rand(70, 3)
    return rand(1, 4), rand(1, 2)


@pytest.mark.parametrize("name", ["dense", "sparse", "ties", "falling chain", "shuffled chain", "one"])
@pytest.mark.parametrize("kind", nms_module.NMS_KINDS)
@pytest.mark.parametrize("sizes", [{}, {"CHUNK": 200, "EDGES": 60}, {"CHUNK": 200, "EDGES": 20, "OPEN": 20},
                                   {"FIRST_ROWS": 5}, {"EDGES": 0, "OPEN": -1, "CLASSES": 2, "CHUNK": 300},
                                   {"EDGES": 0, "OPEN": -1, "TABLE": 0, "FIRST_BLOCK": 2, "BLOCK": 8},
                                   {"FIRST_ROWS": 2, "SWEEP": 0},
                                   {"FIRST_ROWS": 2, "SWEEP": 0, "CHUNK": 20, "EDGES": 10}])
def test_nms_is_the_plain_loop(name, kind, sizes, monkeypatch):
    for constant, value in sizes.items():
        monkeypatch.setattr(nms_module, constant, value)
    box, scores = random_case(name)
    before = scores.clone()
    result = nms(box, scores, 0.45, kind, beta=0.8)
    assert torch.equal(result, plain_nms(box, scores, 0.45, kind, beta=0.8))
    assert torch.equal(scores, before)


def test_nms_of_more_classes_than_numbers_at_a_time(monkeypatch):
    monkeypatch.setattr(nms_module, "CHUNK", 1)
    box, scores = random_case("dense")
    assert torch.equal(nms(box[:9], scores[:9], 0.45), plain_nms(box[:9], scores[:9], 0.45, "default", 0.6))


def test_nms_suppresses_only_above_the_threshold():
    box = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 0.5, 1.0]])           # iou 0.5 exactly
    scores = torch.tensor([[0.9], [0.8]])
    assert torch.equal(nms(box, scores, 0.5), scores)
    assert nms(box, scores, 0.499).tolist() == [[pytest.approx(0.9)], [0]]


@pytest.mark.parametrize("shape", [(0, 80), (0, 0), (3, 0), (3, 2)])
def test_nms_of_nothing(shape):
    assert torch.equal(nms(torch.rand(shape[0], 4), torch.zeros(shape), 0.45), torch.zeros(shape))


def test_nms_keeps_the_type_of_the_scores_and_takes_any_layout():
    box, scores = random_case("dense")
    result = nms(box.half(), scores.half().T.contiguous().T, 0.45)
    assert result.dtype == torch.float16
    assert torch.equal(result, plain_nms(box.half().float(), scores.half(), 0.45, "default", 0.6))


@pytest.mark.parametrize("kind", nms_module.NMS_KINDS)
@pytest.mark.parametrize("wide", [False, True])
def test_nms_of_many_boxes_that_lie_apart(kind, wide, monkeypatch):
    """Pairs come from a sweep, along the edges that give the fewest, and are those of the comparison of all."""
    generator = torch.Generator().manual_seed(1)
    box = torch.rand(4000, 4, generator=generator) * torch.tensor([1, 1, .02, .02]) + torch.tensor([0, 0, .01, .01])
    box[:, 2] = 1 if wide else box[:, 2]
    box[::700] *= torch.tensor([1, 1, -1, 1])                       # what a diverged network may give
    box[3::900, 2], box[4::900, 0], box[5::900, 1:] = torch.inf, torch.nan, 0
    scores = torch.rand(4000, 2, generator=generator)
    swept = nms(box, scores, .3, kind)
    assert 0 < (swept > 0).sum() < (scores > 0).sum()
    monkeypatch.setattr(nms_module, "SWEEP", torch.inf)
    monkeypatch.setattr(nms_module, "_near_pairs_of_sweep", None)
    assert torch.equal(swept, nms(box, scores, .3, kind))


@pytest.mark.parametrize("boxes, table", [("equal", 0), ("equal", 2 ** 28), ("random", 2 ** 28)])
def test_nms_of_many_overlapping_boxes(boxes, table, monkeypatch):
    """What a diverged network gives: time and memory stay bounded where the pairs of boxes and classes do not fit."""
    monkeypatch.setattr(nms_module, "TABLE", table)
    count, classes = 4000, 300
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(count, classes, generator=generator) + .1
    box = torch.rand(count, 4, generator=generator) if boxes == "random" else torch.rand(1, 4).repeat(count, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = nms(box, scores, .45)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 ** 20       # KiB; the pairs would take 75 GB
    assert torch.equal(result.argmax(0), scores.argmax(0))
    if boxes == "equal":
        assert (result > 0).sum(0).tolist() == [1] * classes
    else:
        last = scores[:, -1:].contiguous()                          # a class alone, by the way of few pairs
        assert torch.equal(result[:, -1:], nms(box, last, .45)) and (result[:, -1] > 0).sum() > 500
