"""YOLOv1 and YOLOv2 (Redmon and others, arXiv:1506.02640, 1612.08242), and Darknet-19."""
from __future__ import annotations

from darknet_py.zoo.architectures.builder import Draft
from darknet_py.zoo.architectures.yolov3 import tiny_backbone

ANCHORS = (.57273, .677385, 1.87446, 2.06253, 3.33843, 5.47434, 7.88282, 3.52778, 9.77052, 9.16828)     # in cells
REGION = {"bias_match": 1, "softmax": 1, "object_scale": 5, "noobject_scale": 1, "class_scale": 1, "coord_scale": 1,
          "absolute": 1, "thresh": .6, "random": 1}


def yolov2(d: Draft) -> None:
    """Darknet-19 with a passthrough layer: finer features, reorganised, beside the coarse ones."""
    level = darknet19(d)
    d.part("neck")
    d.conv(1024, 3)
    coarse = d.conv(1024, 3)
    d.at(level)
    d.conv(64)
    fine = d.add("reorg", 4 * 64, stride=2)
    d.route(fine, coarse)
    d.optional_spp()
    d.part("head")
    d.conv(1024, 3)
    d.region(ANCHORS, **REGION, jitter=.3, rescore=1)


def darknet19(d: Draft) -> int:
    """The backbone. Returns the layer at 1/16 of the input's size."""
    d.part("Darknet-19")
    d.conv(32, 3)
    for filters, count in ((64, 1), (128, 3), (256, 3), (512, 5), (1024, 5)):
        level = d.last
        d.maxpool(2, 2)
        for turn in range(count):
            d.conv(filters // (1 + turn % 2), 1 if turn % 2 else 3)
    return level


def darknet19_classifier(d: Draft) -> None:
    darknet19(d)
    d.part("classes")
    d.conv(d.classes, norm=False, activation="linear")
    d.add("avgpool", d.classes)
    d.add("softmax", d.classes, groups=1)
    d.add("cost", d.classes, type="sse")


def tiny(d: Draft) -> None:
    """YOLOv2-tiny."""
    tiny_backbone(d)
    d.part("head")
    d.conv(1024, 3)
    d.optional_spp()
    d.conv(512, 3)
    d.region(ANCHORS, **REGION, jitter=.2, rescore=0)


def yolov1_tiny(d: Draft, *, side: int = 7, boxes: int = 2) -> None:
    """Fully connected to ``side`` x ``side`` places with two boxes each."""
    tiny_backbone(d, last_stride=2)
    d.part("head")
    d.conv(1024, 3)
    d.optional_spp()
    d.conv(256, 3)
    values = side * side * (5 * boxes + d.classes)
    d.add("connected", values, output=values, activation="linear")
    d.add("detection", values, classes=d.classes, coords=4, rescore=1, side=side, num=boxes, softmax=0, sqrt=1,
          jitter=.2, object_scale=1, noobject_scale=.5, class_scale=1, coord_scale=5)
