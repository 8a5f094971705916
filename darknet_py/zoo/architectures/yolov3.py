"""YOLOv3 (Redmon, Farhadi 2018, arXiv:1804.02767) and Darknet-53."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from darknet_py.zoo.architectures.builder import Draft

ANCHORS = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
TINY_ANCHORS = (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319)
BDD_ANCHORS = (7, 10, 14, 24, 27, 43, 32, 97, 57, 64, 92, 109, 73, 175, 141, 178, 144, 291)
HEAD = {"jitter": .3, "ignore_thresh": .7, "truth_thresh": 1}
GAUSSIAN_HEAD = HEAD | {"ignore_thresh": .5, "iou_thresh": .213, "uc_normalizer": 1, "cls_normalizer": 1,
                        "iou_normalizer": .5, "iou_loss": "giou", "scale_x_y": 1}


def yolov3(d: Draft, *, own: Iterable[str] = (), anchors: Sequence[int] = ANCHORS, options: Mapping[str, Any] = HEAD
           ) -> None:
    """Darknet-53 and a feature pyramid with three heads. ``own``: the variants that it is."""
    d.own = frozenset(own)
    levels = darknet53(d)
    for turn, filters in enumerate((512, 256, 128)):
        d.part(f"head at 1/{32 >> turn} of the size: {('large', 'middle', 'small')[turn]} objects")
        if turn:
            d.conv(filters)
            d.route(d.upsample(), levels[-1 - turn])
        if turn == 0 and d.applies("spp"):
            d.convs(filters, 2 * filters, filters)
            d.spp()
            feature = d.convs(filters, 2 * filters, filters)
        else:
            feature = d.convs(filters, 2 * filters, filters, 2 * filters, filters)
        d.conv(2 * filters, 3)
        d.yolo(range(6 - 3 * turn, 9 - 3 * turn), anchors, **options, random=1)
        if turn < 2:
            d.at(feature)


def darknet53(d: Draft) -> list[int]:
    """The backbone. Returns the last layers of its stages, at 1/2 to 1/32 of the input's size."""
    d.part("Darknet-53: the stem")
    d.conv(32, 3)
    levels = []
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        d.part(f"{blocks} residual block{'s' if blocks > 1 else ''} of {filters} channels")
        d.conv(filters, 3, 2)
        for _ in range(blocks):
            d.residual(filters // 2, filters)
        levels.append(d.last)
    return levels


def darknet53_classifier(d: Draft) -> None:
    darknet53(d)
    d.classifier()


def tiny(d: Draft) -> None:
    """A plain stack of convolutions, and two heads."""
    level = tiny_backbone(d)
    d.part("neck")
    d.conv(1024, 3)
    d.optional_spp()
    feature = d.conv(256)
    d.part("head: large objects")
    d.conv(512, 3)
    d.yolo((3, 4, 5), TINY_ANCHORS, **HEAD, random=1)
    d.part("head: small objects")
    d.at(feature)
    d.conv(128)
    d.route(d.upsample(), level)
    d.conv(256, 3)
    d.yolo((0, 1, 2), TINY_ANCHORS, **HEAD, random=1)


def tiny_backbone(d: Draft, last_stride: int = 1) -> int:
    """Six convolutions and poolings. Returns the layer at 1/16 of the input's size."""
    d.part("backbone")
    for filters in (16, 32, 64, 128, 256, 512):
        if filters == 512:
            level = d.last - 1
        d.conv(filters, 3)
        d.maxpool(2, 2 if filters < 512 else last_stride)
    return level


spp = partial(yolov3, own=("spp",))
gaussian = partial(yolov3, own=("gaussian",), anchors=BDD_ANCHORS, options=GAUSSIAN_HEAD)
