"""COCO's 80 categories: their names and ids, and what Darknet's coco.names calls six of them."""
from __future__ import annotations

from collections.abc import Sequence

NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush")
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)       # ids that no object has
IDS = tuple(number for number in range(1, 91) if number not in UNUSED)
OTHER_NAMES = {"motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant",
               "diningtable": "dining table", "tvmonitor": "tv"}


def category_name(name: str) -> str:
    """COCO's own name for a class."""
    return OTHER_NAMES.get(name, name)


def category_ids(names: Sequence[str]) -> list[int]:
    """The ids of classes: COCO's where the names are COCO's 80 in order, else 1, 2, 3 ...

    Darknet: coco_ids, which takes COCO's for any data set.
    """
    if tuple(map(category_name, names)) == NAMES:
        return list(IDS)
    return list(range(1, len(names) + 1))
