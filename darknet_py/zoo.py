"""Where the official weights are published, and how to know them."""
from __future__ import annotations

import os
from typing import NamedTuple

_RELEASES = "https://github.com/AlexeyAB/darknet/releases/download"
_PJREDDIE = "https://pjreddie.com/media/files"
_V3, _V4 = f"{_RELEASES}/darknet_yolo_v3_optimal", f"{_RELEASES}/darknet_yolo_v4_pre"


class Published(NamedTuple):
    """A file on the web: the folder's URL, and the size in bytes and the SHA-256, where they are known."""

    folder: str
    size: int | None = None
    sha256: str | None = None


# Sizes follow from the cfgs. Hashes are those that several public mirrors state; yolov4-tiny.weights was also released
# with cf9fbfd0f6d4869b35762f56100f50ed05268084078805f0e7989efe5bb8ca87.
OFFICIAL = {
    "yolov4.weights": Published(
        _V3, 257_717_640, "e8a4f6c62188738d86dc6898d82724ec0964d0eb9d2ae0f0a9d53d65d108d562"),
    "yolov4.conv.137": Published(_V3, 170_038_676),
    "yolov4-tiny.weights": Published(
        _V4, 24_251_276, "037676f0d929c24e1bd9a0037fe30dc416fc26e0ca2a4491a44d024873316061"),
    "yolov4-tiny.conv.29": Published(_V4, 19_789_716),
    "yolov4-csp.weights": Published(_V4, 211_944_840),
    "yolov4-csp-swish.weights": Published(_V4, 211_944_840),
    "yolov4x-mish.weights": Published(_V4, 399_388_168),
    "yolov4-csp-x-swish.weights": Published(_V4, 399_388_168),
    "yolov4-p5.weights": Published(_V4, 283_669_892),
    "yolov4-p6.weights": Published(_V4, 510_868_180),
    "yolov7-tiny.weights": Published(_V4, 24_967_560),
    "yolov7.weights": Published(_V4, 147_898_248),
    "yolov7x.weights": Published(_V4, 285_638_760),
    "yolov3.weights": Published(
        _PJREDDIE, 248_007_048, "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297"),
    "yolov3-tiny.weights": Published(
        _PJREDDIE, 35_434_956, "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"),
    "yolov3-spp.weights": Published(
        _PJREDDIE, 252_209_544, "87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4"),
    "yolov2.weights": Published(
        _PJREDDIE, 203_934_260, "d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f"),
    "darknet53.conv.74": Published(_PJREDDIE, 162_482_580),
}


def how_to_get(path: str | os.PathLike) -> str:
    """A sentence for a weights file that is not there."""
    name = os.path.basename(path)
    if name in OFFICIAL:
        return f"it is published at {OFFICIAL[name].folder}/{name}: download it to {path}"
    return "it is none of the official weights, so it has to be copied there, or trained"
