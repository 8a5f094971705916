"""Losses of the heads: Darknet's own deltas, as functions of a head's values and the truth.

Each is registered for a head's kind; ``LOSSES[kind]`` is how the others get at it.
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
