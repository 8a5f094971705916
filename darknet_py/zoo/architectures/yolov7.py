"""YOLOv7 (Wang, Bochkovskiy, Liao 2022, arXiv:2207.02696), with the heads of Scaled-YOLOv4."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from darknet_py.zoo.architectures.builder import Draft
from darknet_py.zoo.architectures.scaled_yolov4 import EVEN, csp_spp, head
from darknet_py.zoo.architectures.yolov3 import ANCHORS as YOLOV3_ANCHORS
from darknet_py.zoo.architectures.yolov4 import ANCHORS

INSIDE = (128, 256, 512)        # channels inside the neck's ELAN blocks, which YOLOv7-X leaves as they are


def elan(d: Draft, filters: int, out: int, *, convs: int, every: int = 1, divide: int = 1, ascending: bool = False
         ) -> int:
    """An efficient layer aggregation network: the outputs along a chain of convolutions are concatenated.

    Args:
        filters, out: channels of the two 1 x 1 convolutions at the start, and of the one at the end.
        convs, divide: how many 3 x 3 convolutions stand in the row, with ``filters // divide`` channels.
        every: 1: all of them are concatenated; 2: each second one.
        ascending: the deepest one comes last, else first.
    """
    d.part(f"ELAN: {convs} convolutions of {filters // divide} channels, to {out}")
    start = d.last
    parts = [d.conv(filters)]
    d.at(start)
    parts.append(d.conv(filters))
    for turn in range(1, convs + 1):
        d.conv(filters // divide, 3)
        if turn % every == 0:
            parts.append(d.last)
    d.route(*(parts if ascending else reversed(parts)))
    return d.conv(out)


def mp(d: Draft, filters: int, *beside: int) -> int:
    """Half the size in two ways, a half of the channels by each: max pooling and a convolution with a stride."""
    start = d.last
    d.maxpool(2, 2)
    pooled = d.conv(filters // 2)
    d.at(start)
    d.conv(filters // 2)
    return d.route(d.conv(filters // 2, 3, 2), pooled, *beside)


def strided(d: Draft, filters: int, *beside: int) -> int:
    return d.route(d.conv(filters, 3, 2), *beside)


def yolov7(d: Draft, *, n: int, block: Callable[..., int], neck_block: Callable[..., int]) -> None:
    """YOLOv7 and YOLOv7-X.

    Args:
        n: channels of the first convolution.
        block, neck_block: ELAN, called with the draft, ``filters`` and ``out``.
    """
    d.activation = "swish"
    d.part("stem")
    d.conv(n, 3)
    d.conv(2 * n, 3, 2)
    d.conv(2 * n, 3)
    d.conv(4 * n, 3, 2)
    levels: list[int] = []
    for turn, filters in enumerate((64, 128, 256, 256)):
        if turn:
            d.part("MP: half the size")
            mp(d, d.channels())
        levels.append(block(d, filters, min(8 * n << turn, 32 * n)))
    csp_spp(d, 16 * n, 1, ascending=True)
    neck(d, levels[1:3], (4 * n, 8 * n, 16 * n), INSIDE, neck_block, mp, ANCHORS)


def tiny(d: Draft) -> None:
    block = partial(elan, convs=2, ascending=True)
    d.part("stem")
    d.conv(32, 3, 2)
    d.conv(64, 3, 2)
    levels: list[int] = []
    for filters in (32, 64, 128, 256):
        if levels:
            d.maxpool(2, 2)
        levels.append(block(d, filters, 2 * filters))
    tiny_spp(d, 256)
    neck(d, levels[1:3], (64, 128, 256), (32, 64, 128), block, strided, YOLOV3_ANCHORS)


def tiny_spp(d: Draft, filters: int) -> int:
    """CSPSPP without its convolutions of 3 x 3."""
    d.part("CSPSPP")
    start = d.last
    around = d.conv(filters)
    d.at(start)
    d.conv(filters)
    d.spp()
    d.route(around, d.conv(filters))
    return d.conv(filters)


def neck(d: Draft, levels: Sequence[int], widths: Sequence[int], inside: Sequence[int], block: Callable[..., int],
         down: Callable[..., int], anchors: Sequence[int]) -> None:
    """A path aggregation network of ELAN blocks, and the heads behind it.

    Args:
        levels: of the backbone at 1/8 and 1/16 of the input's size; the last layer has 1/32.
        widths, inside: channels of the three levels, and inside their ELAN blocks.
        block, down: ELAN, and the step to half the size.
    """
    features = [d.last]
    for turn in (1, 0):
        d.part(f"PAN, top down: {widths[turn]} channels")
        d.lateral(levels[turn], widths[turn])
        features.insert(0, block(d, inside[turn], widths[turn]))
    for turn in (1, 2):
        d.part(f"PAN, bottom up: {widths[turn]} channels")
        down(d, widths[turn], features[turn])
        features[turn] = block(d, inside[turn], widths[turn])
    for turn, filters in enumerate(widths):
        head(d, turn, features[turn], filters, anchors, EVEN)


base = partial(yolov7, n=32, block=partial(elan, convs=4, every=2), neck_block=partial(elan, convs=4, divide=2))
x = partial(yolov7, n=40, block=partial(elan, convs=6, every=2), neck_block=partial(elan, convs=6, every=2))
