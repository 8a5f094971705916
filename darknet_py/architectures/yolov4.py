"""YOLOv4 (Bochkovskiy, Wang, Liao 2020, arXiv:2004.10934) and its relatives with the same neck."""
from __future__ import annotations

from functools import partial
from typing import Any

from darknet_py.architectures.draft import Draft

ANCHORS = (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401)
YOLOV3_ANCHORS = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
TINY_ANCHORS = (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319)

YOLOV3_HEAD = {"jitter": .3, "ignore_thresh": .7, "truth_thresh": 1}
HEAD = YOLOV3_HEAD | {"iou_thresh": .213, "cls_normalizer": 1, "iou_normalizer": .07, "iou_loss": "ciou",
                      "nms_kind": "greedynms", "beta_nms": .6}
TINY_HEAD = {key: value for key, value in HEAD.items() if key != "iou_thresh"} | {"scale_x_y": 1.05, "resize": 1.5}


def yolov4(d: Draft, *, activation: str = "mish", **head: Any) -> None:
    levels = csp_darknet53(d, activation)
    d.activation = "leaky"
    pan(d, *levels, **head)


def csp_darknet53(d: Draft, activation: str = "mish") -> tuple[int, int, int]:
    """The backbone. Returns the layers at 1/8, 1/16 and 1/32 of the input's size."""
    d.activation = activation
    d.part("CSPDarknet53: the stem")
    d.conv(32, 3)
    levels = [csp_stage(d, 64, 1, around=64, inside=64, bottleneck=32)]
    levels += [csp_stage(d, filters, blocks) for filters, blocks in ((128, 2), (256, 8), (512, 8), (1024, 4))]
    return levels[2], levels[3], levels[4]


def csp_stage(d: Draft, filters: int, blocks: int, *, around: int | None = None, inside: int | None = None,
              bottleneck: int | None = None) -> int:
    """Half the size; then one half of the channels goes around residual blocks, the other one through them.

    Args:
        around, inside: the channels of the halves; None for filters // 2.
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


def csp_resnext50(d: Draft) -> tuple[int, int, int]:
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
    return levels[1], levels[2], levels[3]


def spp_block(d: Draft) -> int:
    """SPP amid convolutions, at the deepest level."""
    d.part("SPP")
    d.convs(512, 1024, 512)
    d.spp()
    return d.convs(512, 1024, 512)


def pan(d: Draft, fine: int, middle: int, coarse: int, *, scales: tuple[float, ...] = (1.2, 1.1, 1.05),
        anchors: tuple[int, ...] = ANCHORS, options: dict[str, Any] = HEAD | {"max_delta": 5},
        random: tuple[int, ...] = (2,)) -> None:
    """The path aggregation network (Liu et al. 2018): down to the finest level and up again, with a head at each.

    Args:
        scales: scale_x_y of the heads, the finest first.
        random: which of them name random=1.
    """
    tops = [spp_block(d)]
    for level, filters in ((middle, 256), (fine, 128)):
        d.part(f"PAN, top down: {filters} channels")
        d.conv(filters)
        above = d.upsample()
        d.at(level)
        d.route(d.conv(filters), above)
        tops.append(d.convs(filters, 2 * filters, filters, 2 * filters, filters))
    for turn, filters in enumerate((128, 256, 512)):
        feature = d.last
        d.part(f"head: {('small', 'middle', 'large')[turn]} objects")
        d.conv(2 * filters, 3)
        scale = {"scale_x_y": scales[turn]} if scales else {}
        d.yolo(range(3 * turn, 3 * turn + 3), anchors, **options, **scale, random=1 if turn in random else None)
        if turn < 2:
            d.part(f"PAN, bottom up: {2 * filters} channels")
            d.at(feature)
            d.conv(2 * filters, 3, 2)
            d.route(d.last, tops[1 - turn])
            d.convs(*(2 * filters, 4 * filters) * 2, 2 * filters)


def csp_resnext50_panet(d: Draft, **head: Any) -> None:
    pan(d, *csp_resnext50(d), **head)


def tiny(d: Draft, *, heads: int = 2) -> None:
    """YOLOv4-tiny: CSP with half the channels of a group, and a feature pyramid."""
    d.part("stem")
    d.conv(32, 3, 2)
    d.conv(64, 3, 2)
    levels = []
    for filters in (64, 128, 256):
        d.part(f"CSP stage of {filters} channels")
        start = d.conv(filters, 3)
        d.route(start, groups=2, group_id=1)
        first = d.conv(filters // 2, 3)
        d.route(d.conv(filters // 2, 3), first)
        levels.append(d.conv(filters))
        d.route(start, d.last)
        d.maxpool(2, 2)
    d.part("neck")
    d.conv(512, 3)
    d.spp_if_wished()
    feature = d.conv(256)
    anchors = TINY_ANCHORS if heads == 2 else ANCHORS
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


def csp_darknet53_classifier(d: Draft) -> None:
    csp_darknet53(d)
    d.part("classes")
    d.add("avgpool", d.channels())
    d.conv(d.classes, norm=False, activation="linear")
    d.add("softmax", d.classes, groups=1)


csp_resnext50_optimal = partial(csp_resnext50_panet, options=HEAD)
csp_resnext50_plain = partial(csp_resnext50_panet, options=YOLOV3_HEAD, anchors=YOLOV3_ANCHORS, scales=(),
                              random=(0, 1, 2))
cd53_leaky = partial(yolov4, activation="leaky", options=HEAD)
tiny_3l = partial(tiny, heads=3)
