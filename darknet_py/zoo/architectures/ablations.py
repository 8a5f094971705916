"""Ablations of the YOLOv4 paper on CSPResNeXt50-PANet-SPP (table 5, section 3.4): RFB, SAM, Gaussian, ASFF, BiFPN.

No original cfg of these is published, so they follow the papers.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from darknet_py.zoo.architectures.builder import Draft
from darknet_py.zoo.architectures.yolov4 import (
    HEAD,
    SCALES,
    bottom_up,
    csp_resnext50,
    csp_resnext50_optimal,
    head,
    spp_block,
    top_down,
)


def sam(d: Draft, *, gaussian: bool = False) -> None:
    """With spatial attention before each head."""
    d.own = frozenset({"sam", "gaussian"} if gaussian else {"sam"})
    csp_resnext50_optimal(d)


def with_rfb(d: Draft, *, asff: bool = False) -> None:
    """RFB behind SPP; with ``asff`` each head sees the features of all levels."""
    levels = csp_resnext50(d)
    spp_block(d)
    tops = top_down(d, levels, rfb(d))
    features = tops[:1]
    for top in tops[1:]:
        features.append(bottom_up(d, features[-1], top))
    for turn, feature in enumerate(features):
        head(d, turn, fuse(d, features, turn) if asff else feature, **HEAD, scale_x_y=SCALES[turn])


def rfb(d: Draft) -> int:
    """The receptive field block (Liu et al. 2018, arXiv:1711.07767): three dilations in parallel, and a shortcut."""
    d.part("RFB")
    start, channels = d.last, d.channels()
    ends = []
    for count, dilation in enumerate((1, 3, 5)):
        d.at(start)
        d.conv(channels // 8)
        for _ in range(count):
            d.conv(channels // 8, 3)
        ends.append(d.conv(channels // 4, 3, dilation=dilation))
    d.route(*ends)
    d.conv(channels, activation="linear")
    return d.shortcut(start, activation="leaky")


def fuse(d: Draft, features: Sequence[int], target: int) -> int:
    """Adaptively spatial feature fusion (Liu et al. 2019, arXiv:1911.09516): at each place the levels' features, at
    the target's size, are weighed against each other."""
    d.part(f"ASFF for the head at 1/{8 << target} of the size")
    channels, resized = d.channels(features[target]), []
    for level, feature in enumerate(features):
        if level != target:
            d.at(feature)
            feature = shrink(d, channels, target - level) if level < target else grow(d, channels, level - target)
        resized.append(feature)
    votes = []
    for feature in resized:
        d.at(feature)
        votes.append(d.conv(8))
    d.route(*votes)
    weights = d.conv(len(features), norm=False, activation="normalize_channels_softmax")
    weighed = []
    for number, feature in enumerate(resized):
        d.route(weights, groups=len(features), group_id=number)
        weighed.append(d.scale(feature, scale_wh=1))
    return d.shortcut(*weighed[:-1])


def grow(d: Draft, channels: int, octaves: int) -> int:
    d.conv(channels)
    return d.upsample(2 ** octaves)


def shrink(d: Draft, channels: int, octaves: int) -> int:
    if octaves > 1:
        d.maxpool(2 ** (octaves - 1), 2 ** (octaves - 1))
    return d.conv(channels, 3, 2)


def bifpn(d: Draft, *, channels: int = 256, times: int = 2) -> None:
    """The bidirectional pyramid (Tan, Pang, Le 2019, arXiv:1911.09070): sums with learnt weights, which YOLOv4 calls
    multi-input weighted residual connections (MiWRC)."""
    levels = [*csp_resnext50(d)[:-1], spp_block(d)]
    d.part(f"BiFPN: {channels} channels at each level")
    for turn, level in enumerate(levels):
        d.at(level)
        levels[turn] = d.conv(channels)
    for time in range(times):
        d.part(f"BiFPN, top down: layer {time + 1} of {times}")
        middle = levels[:]
        for turn in (1, 0):
            d.at(middle[turn + 1])
            d.upsample()
            middle[turn] = weighted(d, levels[turn])
        d.part(f"BiFPN, bottom up: layer {time + 1} of {times}")
        out = middle[:1]
        for turn in (1, 2):
            d.at(out[-1])
            d.maxpool(2, 2)
            out.append(weighted(d, *dict.fromkeys((levels[turn], middle[turn]))))
        levels = out
    for turn, level in enumerate(levels):
        head(d, turn, level, **HEAD, scale_x_y=SCALES[turn])


def weighted(d: Draft, *layers: int) -> int:
    """The weighted sum of the last layer and others, and a convolution."""
    d.shortcut(*layers, weights_type="per_feature", weights_normalization="relu")
    return d.conv(d.channels(), 3)


sam_gaussian = partial(sam, gaussian=True)
asff_rfb = partial(with_rfb, asff=True)
