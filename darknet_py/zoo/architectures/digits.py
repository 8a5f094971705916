"""A small detector of digits with YOLOv4's parts: the demonstration, trained by scripts/examples/digits/train.py."""
from __future__ import annotations

from darknet_py.zoo.architectures.builder import Draft
from darknet_py.zoo.architectures.yolov4 import HEAD, SCALES, grouped_csp

ANCHORS = (8, 14, 12, 16, 10, 22, 18, 20, 14, 27, 25, 29, 19, 37, 31, 49, 45, 77, 81, 135)
MASKS = ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9))
THRESHOLDS = (.4, .4, .6)           # an anchor that overlaps an object so much is trained for it too


def digits(d: Draft) -> None:
    """YOLOv4-tiny's backbone, SPP and PAN, all of them slim."""
    d.part("stem")
    d.conv(16, 3, 2)
    levels = []
    for filters in (32, 64, 96):
        grouped_csp(d, filters, stride=2)
        levels.append(d.last)
    d.maxpool(2, 2)
    d.part("SPP")
    d.convs(96, 96)
    d.spp((3, 5, 9))
    features = [d.conv(96)]
    for level, filters in ((levels[2], 64), (levels[1], 48)):
        d.part(f"PAN, top down: {filters} channels")
        d.lateral(level, filters)
        features.insert(0, d.conv(filters))
    feature = features[0]
    for turn, (filters, inside) in enumerate(((48, 80), (64, 96), (96, 96))):
        if turn:
            d.part(f"PAN, bottom up: {filters} channels")
            d.at(feature)
            d.conv(64, 3, 2)
            d.route(d.last, features[turn])
            feature = d.conv(filters)
        d.part(f"head at 1/{8 << turn} of the size")
        d.conv(inside, 3)
        own = {"iou_thresh": THRESHOLDS[turn], "scale_x_y": SCALES[turn], "jitter": .1, "max_delta": 5, "max": 150}
        d.yolo(MASKS[turn], ANCHORS, **HEAD | own)
