"""Where the official weights are published."""
from __future__ import annotations

import os

_RELEASES = "https://github.com/AlexeyAB/darknet/releases/download"
_PJREDDIE = "https://pjreddie.com/media/files"
_V3, _V4 = f"{_RELEASES}/darknet_yolo_v3_optimal", f"{_RELEASES}/darknet_yolo_v4_pre"

OFFICIAL = {
    "yolov4.weights": _V3,
    "yolov4.conv.137": _V3,
    "yolov4-tiny.weights": _V4,
    "yolov4-tiny.conv.29": _V4,
    "yolov4-csp.weights": _V4,
    "yolov4-csp-swish.weights": _V4,
    "yolov4x-mish.weights": _V4,
    "yolov4-csp-x-swish.weights": _V4,
    "yolov4-p5.weights": _V4,
    "yolov4-p6.weights": _V4,
    "yolov7-tiny.weights": _V4,
    "yolov7.weights": _V4,
    "yolov7x.weights": _V4,
    "yolov3.weights": _PJREDDIE,
    "yolov3-tiny.weights": _PJREDDIE,
    "yolov3-spp.weights": _PJREDDIE,
    "yolov2.weights": _PJREDDIE,
    "darknet53.conv.74": _PJREDDIE,
}


def how_to_get(path: str | os.PathLike) -> str:
    """A sentence for a weights file that is not there."""
    name = os.path.basename(path)
    if name in OFFICIAL:
        return f"it is published at {OFFICIAL[name]}/{name}: download it to {path}"
    return "it is none of the official weights, so it has to be copied there, or trained"
