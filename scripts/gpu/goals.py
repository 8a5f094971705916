"""What the figures are compared with; needs no PyTorch, as the report."""
from __future__ import annotations

from typing import NamedTuple

TRAINING_GOAL, TRAINING_OTHERS = 600, "ScaledYOLOv4's port on a V100: about 58"     # images a second at 608, bf16


class Goal(NamedTuple):
    """Images a second to reach with float16, and what others published."""

    network: str
    size: int
    batch: int
    images: float
    others: str


GOALS = (Goal("yolov4", 608, 1, 400, "Darknet on a V100: 62; tkDNN float16 on an RTX 2080 Ti: 111"),
         Goal("yolov4", 608, 32, 3000, "tkDNN at batch 4: 153"),
         Goal("yolov4", 416, 1, 500, "Darknet on a V100: 96; tkDNN: 169"),
         Goal("yolov4", 416, 32, 6000, "tkDNN at batch 4: 294"))
