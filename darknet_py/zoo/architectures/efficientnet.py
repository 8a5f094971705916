"""EfficientNet-B0 (Tan, Le 2019, arXiv:1905.11946), the classifier, and a detector on it."""
from __future__ import annotations

from darknet_py.zoo.architectures.builder import Draft
from darknet_py.zoo.architectures.yolov3 import HEAD, TINY_ANCHORS

# The paper's table 1: kernel, stride, channels and number of MBConv blocks. The paper has the stride of the stage of
# 112 channels a stage earlier.
STAGES = ((3, 1, 16, 1), (3, 2, 24, 2), (5, 2, 40, 2), (3, 1, 80, 3), (5, 2, 112, 3), (5, 2, 192, 4), (3, 1, 320, 1))
# Channels that a block reads -> those that it expands them to, and those that it squeezes these to. The expansions are
# MobileNetV2's, six times its own channels; the paper has six times the channels read.
INSIDE = {32: (32, 8), 16: (96, 16), 24: (144, 8), 40: (192, 16), 80: (384, 24), 112: (576, 32), 192: (960, 64)}


def classifier(d: Draft) -> None:
    backbone(d, dropout=.2)
    d.classifier(dropout=.2)


def backbone(d: Draft, dropout: float) -> int:
    """EfficientNet-B0 up to its last features. Returns the last layer at 1/16 of the input's size.

    dropout: the probability, where a block's output joins its input.
    """
    d.activation = "swish"
    d.part("EfficientNet-B0: the stem")
    d.conv(32, 3, 2)
    for size, stride, filters, blocks in STAGES:
        d.part(f"{blocks} MBConv block{'s' if blocks > 1 else ''} of {filters} channels, {size} x {size}")
        expansion = mbconv(d, filters, size, stride)
        if stride > 1:
            finer = expansion
        for _ in range(blocks - 1):
            start = d.last
            mbconv(d, filters, size)
            d.add("dropout", filters, probability=dropout)
            d.shortcut(start)
    d.part("the last features")
    d.conv(1280)
    return finer


def mbconv(d: Draft, filters: int, size: int, stride: int = 1) -> int:
    """An inverted bottleneck (Sandler et al. 2018, arXiv:1801.04381) with squeeze-and-excitation (Hu et al. 2018).

    Returns the layer that expands the channels, the last one before the stride.
    """
    channels, squeezed = INSIDE[d.channels()]
    expansion = d.conv(channels)
    depthwise = d.conv(channels, size, stride, groups=channels)
    d.add("avgpool", channels)
    d.conv(squeezed, norm=False)
    d.conv(channels, norm=False, activation="logistic")
    d.scale(depthwise)
    d.conv(filters, activation="linear")
    return expansion


def coco(d: Draft) -> None:
    """Two heads on features that are added; where channels differ in number, the last layer's count."""
    level = backbone(d, dropout=0)
    d.activation = "leaky"
    d.part("neck")
    d.conv(256)
    d.optional_spp()
    start = d.last
    feature = d.conv(256, 3)
    d.part("head at 1/32 of the size")
    d.shortcut(start, activation="leaky")
    d.yolo((3, 4, 5), TINY_ANCHORS, **HEAD, random=0)
    d.part("head at 1/16 of the size")
    d.at(feature)
    d.conv(128)
    above = d.upsample()
    d.shortcut(level, activation="leaky")
    d.conv(128, 3)
    for layer in (above, level):
        d.shortcut(layer, activation="leaky")
    d.yolo((1, 2, 3), TINY_ANCHORS, **HEAD, random=0)
