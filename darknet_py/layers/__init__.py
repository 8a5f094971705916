"""The layer kinds. Importing this package registers them all; a new kind needs its line here."""
from darknet_py.layers import (  # noqa: F401
    activation,
    avgpool,
    batchnorm,
    connected,
    convolutional,
    crop,
    deconvolutional,
    detection,
    gaussian_yolo,
    implicit,
    local,
    maxpool,
    normalization,
    recurrent,
    region,
    reorg,
    route,
    scale_channels,
    shortcut,
    softmax,
    upsample,
    yolo,
)
from darknet_py.layers.base import KINDS, Blob, Layer, Place, Shape, TrainingContext
from darknet_py.layers.head import Candidates, DetectionHead, Head

__all__ = ["KINDS", "Blob", "Candidates", "DetectionHead", "Head", "Layer", "Place", "Shape",
           "TrainingContext"]
