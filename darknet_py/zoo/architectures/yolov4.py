"""YOLOv4 (Bochkovskiy, Wang, Liao 2020, arXiv:2004.10934) and its relatives with the same neck."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from darknet_py.zoo.architectures import yolov3
from darknet_py.zoo.architectures.builder import Draft

ANCHORS = (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401)
SCALES = (1.2, 1.1, 1.05)         # grid sensitivity of the heads, the finest first
HEAD: dict[str, Any] = yolov3.HEAD | {"iou_thresh": .213, "cls_normalizer": 1, "iou_normalizer": .07,
                                      "iou_loss": "ciou", "nms_kind": "greedynms", "beta_nms": .6}
TINY_HEAD = {key: value for key, value in HEAD.items() if key != "iou_thresh"} | {"scale_x_y": 1.05, "resize": 1.5}


def yolov4(d: Draft, *, activation: str = "mish", **options: Any) -> None:
    levels = csp_darknet53(d, activation)
    d.activation = "leaky"
    pan(d, levels, **options)


def csp_darknet53(d: Draft, activation: str = "mish") -> list[int]:
    """The backbone. Returns the layers at 1/8, 1/16 and 1/32 of the input's size."""
    d.activation = activation
    d.part("CSPDarknet53: the stem")
    d.conv(32, 3)
    levels = [csp_stage(d, 64, 1, around=64, inside=64, bottleneck=32)]
    levels += [csp_stage(d, filters, blocks) for filters, blocks in ((128, 2), (256, 8), (512, 8), (1024, 4))]
    return levels[2:]


def csp_stage(d: Draft, filters: int, blocks: int, *, around: int | None = None, inside: int | None = None,
              bottleneck: int | None = None) -> int:
    """Downsampling; then two branches, one past and one through residual blocks, concatenated.

    Args:
        around, inside: the channels of these branches; None for filters // 2.
        bottleneck: the fewer channels within a block; None for ``inside``.
    """
    around, inside = filters // 2 if around is None else around, filters // 2 if inside is None else inside
    d.part(f"CSP stage: {blocks} residual block{'s' if blocks > 1 else ''} of {inside} channels")
    start = d.conv(filters, 3, 2)
    shortcut = d.conv(around)
    d.at(start)
    d.conv(inside)
    for _ in range(blocks):
        d.residual(inside if bottleneck is None else bottleneck, inside)
    d.conv(inside)
    d.route(d.last, shortcut)
    return d.conv(filters)


def csp_resnext50(d: Draft) -> list[int]:
    """The backbone of YOLOv4's ablations. Returns the layers at 1/8, 1/16 and 1/32 of the input's size."""
    d.part("CSPResNeXt50: the stem")
    d.conv(64, 7, 2)
    d.maxpool(2, 2)
    levels: list[int] = []
    for filters, blocks, halves in ((128, 3, "leaky"), (256, 3, "linear"), (512, 5, "linear"), (1024, 2, "leaky")):
        d.part(f"CSP stage: {blocks} ResNeXt blocks of {filters} channels in 32 groups")
        start = d.last
        if levels:
            start = d.conv(filters, 3, 2, groups=32)
        shortcut = d.conv(filters, activation=halves)
        d.at(start)
        d.conv(64 if not levels else filters, activation=halves)
        for _ in range(blocks):
            block = d.last
            d.conv(filters)
            d.conv(filters, 3, groups=32)
            d.conv(filters, activation="linear")
            d.shortcut(block, activation="leaky")
        d.conv(filters)
        d.route(d.last, shortcut)
        levels.append(d.conv(2 * filters))
    return levels[1:]


def spp_block(d: Draft) -> int:
    """SPP amid convolutions, at the deepest level."""
    d.part("SPP")
    d.convs(512, 1024, 512)
    d.spp()
    return d.convs(512, 1024, 512)


def pan(d: Draft, levels: Sequence[int], *, options: Mapping[str, Any] = HEAD | {"max_delta": 5},
        scales: Sequence[float | None] = SCALES, anchors: Sequence[int] = ANCHORS, random: Sequence[int] = (2,)
        ) -> None:
    """The path aggregation network (Liu et al. 2018): down to the finest level and up again, with a head at each.

    Args:
        levels: layers at 1/8, 1/16 and 1/32 of the input's size.
        options, scales: of the heads; scale_x_y of each.
        random: which heads name random=1.
    """
    features = top_down(d, levels, spp_block(d))
    feature = features[0]
    for turn, top in enumerate(features):
        if turn:
            feature = bottom_up(d, feature, top)
        head(d, turn, feature, anchors, **options, scale_x_y=scales[turn], random=1 if turn in random else None)


def top_down(d: Draft, levels: Sequence[int], deepest: int) -> list[int]:
    """From the deepest features to the finest. Returns those at each level, the finest first."""
    features = [deepest]
    for level, filters in ((levels[1], 256), (levels[0], 128)):
        d.part(f"PAN, top down: {filters} channels")
        d.lateral(level, filters)
        features.insert(0, d.convs(filters, 2 * filters, filters, 2 * filters, filters))
    return features


def bottom_up(d: Draft, feature: int, top: int) -> int:
    """From finer features to those of the next level, concatenated with the top-down ones there."""
    filters = d.channels(top)
    d.part(f"PAN, bottom up: {filters} channels")
    d.at(feature)
    d.conv(filters, 3, 2)
    d.route(d.last, top)
    return d.convs(filters, 2 * filters, filters, 2 * filters, filters)


def head(d: Draft, turn: int, feature: int, anchors: Sequence[int] = ANCHORS, **options: Any) -> None:
    d.part(f"head at 1/{8 << turn} of the size: {('small', 'middle', 'large')[turn]} objects")
    d.at(feature)
    d.conv(2 * d.channels(feature), 3)
    d.yolo(range(3 * turn, 3 * turn + 3), anchors, **options)


def csp_resnext50_panet(d: Draft, **options: Any) -> None:
    pan(d, csp_resnext50(d), **options)


def tiny(d: Draft, *, heads: int = 2) -> None:
    """YOLOv4-tiny: CSP with half the channels of a group, and a feature pyramid."""
    d.part("stem")
    d.conv(32, 3, 2)
    d.conv(64, 3, 2)
    levels = []
    for filters in (64, 128, 256):
        levels.append(grouped_csp(d, filters))
        d.maxpool(2, 2)
    d.part("neck")
    d.conv(512, 3)
    d.optional_spp()
    feature = d.conv(256)
    anchors = yolov3.TINY_ANCHORS if heads == 2 else ANCHORS
    masks = ((3, 4, 5), (1, 2, 3)) if heads == 2 else ((6, 7, 8), (3, 4, 5), (0, 1, 2))
    for turn, mask in enumerate(masks):
        filters = 512 >> turn
        d.part(f"head at 1/{32 >> turn} of the size")
        if turn:
            d.at(feature)
            d.conv(filters // 2)
            d.route(d.upsample(), levels[-turn])
            feature = d.conv(filters, 3)
        else:
            d.conv(filters, 3)
        d.yolo(mask, anchors, **TINY_HEAD, random=0)


def grouped_csp(d: Draft, filters: int, stride: int = 1) -> int:
    """A CSP stage in which one half of the channels is a group of them. Returns the layer before the halves meet."""
    d.part(f"CSP stage of {filters} channels")
    start = d.conv(filters, 3, stride)
    d.route(start, groups=2, group_id=1)
    first = d.conv(filters // 2, 3)
    d.route(d.conv(filters // 2, 3), first)
    end = d.conv(filters)
    d.route(start, end)
    return end


def csp_darknet53_classifier(d: Draft) -> None:
    csp_darknet53(d)
    d.classifier()


csp_resnext50_optimal = partial(csp_resnext50_panet, options=HEAD)
csp_resnext50_plain = partial(csp_resnext50_panet, options=yolov3.HEAD, anchors=yolov3.ANCHORS, scales=(None,) * 3,
                              random=(0, 1, 2))
cd53_leaky = partial(yolov4, activation="leaky", options=HEAD)
tiny_3l = partial(tiny, heads=3)
