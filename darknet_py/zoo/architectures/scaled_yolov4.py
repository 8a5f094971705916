"""Scaled-YOLOv4 (Wang, Bochkovskiy, Liao 2021, arXiv:2011.08036): CSP in the neck too."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from darknet_py.zoo.architectures.builder import Draft
from darknet_py.zoo.architectures.yolov4 import ANCHORS, csp_stage

P5_ANCHORS = (13, 17, 31, 25, 24, 51, 61, 45, 48, 102, 119, 96, 97, 189, 217, 184, 171, 384, 324, 451, 616, 618,
              800, 800)
P6_ANCHORS = (13, 17, 31, 25, 24, 51, 61, 45, 61, 45, 48, 102, 119, 96, 97, 189, 97, 189, 217, 184, 171, 384, 324, 451,
              324, 451, 545, 357, 616, 618, 1024, 1024)
HEAD = {"jitter": .1, "resize": 1.5, "scale_x_y": 2, "ignore_thresh": .7, "truth_thresh": 1, "iou_thresh": .2,
        "iou_normalizer": .05, "cls_normalizer": .5, "iou_loss": "ciou", "nms_kind": "diounms", "beta_nms": .6,
        "new_coords": 1}
SWISH = {key: value for key, value in HEAD.items() if key != "iou_thresh"} | {
    "obj_normalizer": .4, "objectness_smooth": 1, "max_delta": 2}
EVEN = HEAD | {"obj_normalizer": 1, "objectness_smooth": 1, "max_delta": 2}
FINE_FIRST = (HEAD | {"obj_normalizer": 4, "objectness_smooth": 0, "max_delta": 5},
              HEAD | {"obj_normalizer": 1, "objectness_smooth": 1, "max_delta": 5},
              HEAD | {"obj_normalizer": .4, "objectness_smooth": 1, "max_delta": 2})


def csp(d: Draft, *, n: int = 64, blocks: tuple[int, ...] = (2, 8, 8, 4), activation: str = "mish", **necks: Any
        ) -> None:
    """YOLOv4-CSP, and the wider and deeper YOLOv4x.

    Args:
        n: channels of the first stage.
        blocks: residual blocks in the CSP stages.
        necks: see ``neck``.
    """
    d.activation = activation
    d.part("backbone: the stem, and a residual block")
    d.conv(32, 3)
    d.conv(n, 3, 2)
    d.residual(n // 2, n)
    levels = [csp_stage(d, n << turn, count) for turn, count in enumerate(blocks, 1)]
    neck(d, levels[1:], (2 * n, 4 * n, 8 * n), ANCHORS, **necks)


def large(d: Draft, *, blocks: tuple[int, ...], widths: tuple[int, ...], anchors: tuple[int, ...]) -> None:
    """YOLOv4-P5 and P6. ``blocks``: residual blocks in the CSP stages."""
    d.activation = "mish"
    d.part("backbone: the stem")
    d.conv(32, 3)
    levels = [csp_stage(d, min(64 << turn, 1024), count) for turn, count in enumerate(blocks)]
    neck(d, levels[2:], widths, anchors, pairs=3)


def neck(d: Draft, levels: Sequence[int], widths: Sequence[int], anchors: Sequence[int], *, pairs: int = 2,
         spp_pairs: int = 1, heads: dict[str, Any] | Sequence[dict[str, Any]] = EVEN, stop: int | None = None) -> None:
    """CSP-PAN and the heads.

    Args:
        levels: of the backbone, the finest first.
        widths: channels of the neck's CSP blocks at these levels.
        pairs, spp_pairs: of convolutions in these blocks, and behind SPP.
        heads: options of heads behind the neck; or of each, and then they stand in the neck where their features are.
        stop: for how many iterations training leaves alone all up to the layer before the first head.
    """
    end = {"stopbackward": stop}
    behind, top = isinstance(heads, dict), len(levels) - 1
    each = [heads] * len(widths) if isinstance(heads, dict) else heads
    features = [csp_spp(d, widths[top], spp_pairs)]
    for turn in reversed(range(top)):
        features.insert(0, top_down(d, levels[turn], widths[turn], pairs, {} if behind or turn else end))
    for turn, filters in enumerate(widths):
        if turn:
            d.at(features[turn - 1])
            features[turn] = bottom_up(d, features[turn], filters, pairs, end if behind and turn == top else {})
        if not behind:
            head(d, turn, features[turn], filters, anchors, each[turn])
    if behind:
        for turn, filters in enumerate(widths):
            head(d, turn, features[turn], filters, anchors, each[turn])


def head(d: Draft, turn: int, feature: int, filters: int, anchors: Sequence[int], options: dict[str, Any]) -> None:
    count = 3 if len(anchors) == len(ANCHORS) else 4
    d.part(f"head at 1/{8 << turn} of the size")
    d.at(feature)
    d.conv(2 * filters, 3)
    d.yolo(range(count * turn, count * turn + count), anchors, **options)


def csp_spp(d: Draft, filters: int, pairs: int, *, ascending: bool = False) -> int:
    """SPP in one of the two branches of a CSP block, with ``pairs`` of convolutions behind it. YOLOv7's SPPCSPC."""
    d.part("CSPSPP")
    start = d.last
    around = d.conv(filters)
    d.at(start)
    d.convs(filters, filters, filters)
    d.spp(ascending=ascending)
    d.convs(*(filters, filters) * pairs)
    d.route(d.last, around)
    return d.conv(filters)


def top_down(d: Draft, level: int, filters: int, pairs: int, last: dict[str, Any]) -> int:
    d.part(f"CSP-PAN, top down: {filters} channels")
    d.lateral(level, filters)
    return csp_block(d, filters, pairs, last)


def bottom_up(d: Draft, top: int, filters: int, pairs: int, last: dict[str, Any]) -> int:
    d.part(f"CSP-PAN, bottom up: {filters} channels")
    d.conv(filters, 3, 2)
    d.route(d.last, top)
    return csp_block(d, filters, pairs, last)


def csp_block(d: Draft, filters: int, pairs: int, last: dict[str, Any]) -> int:
    """Two branches, concatenated: one convolution, and ``pairs`` of convolutions."""
    start = d.conv(filters)
    around = d.conv(filters)
    d.at(start)
    d.convs(*(filters, filters) * pairs)
    d.route(d.last, around)
    return d.conv(filters, **last)


interleaved = partial(csp, heads=FINE_FIRST)
swish = partial(csp, activation="swish", stop=900, heads=SWISH)
wide = {"n": 80, "blocks": (3, 10, 10, 5), "pairs": 3, "spp_pairs": 2}
x_mish = partial(interleaved, **wide, stop=800)
x_swish = partial(swish, **wide)
p5 = partial(large, blocks=(1, 3, 15, 15, 7), widths=(128, 256, 512), anchors=P5_ANCHORS)
p6 = partial(large, blocks=(1, 3, 15, 15, 7, 7), widths=(128, 256, 512, 512), anchors=P6_ANCHORS)
