"""Losses of the heads: Darknet's own deltas, as functions of a head's output and the ground truth.

Each is registered for a head's kind, in ``LOSSES``.
"""
from darknet_py.losses import (  # noqa: F401
    classification,
    contrastive,
    detection,
    gaussian_yolo,
    region,
    yolo,
)
from darknet_py.losses.base import LOSSES, HeadLoss, differentiable, loss

__all__ = ["LOSSES", "HeadLoss", "differentiable", "loss"]
