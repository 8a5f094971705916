"""Other sizes of a network's input than the cfg's: what they may be."""
from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import torch

from darknet_py.cfg.language import Cfg
from darknet_py.errors import CfgError, DarknetError, Reason, shown
from darknet_py.model.network import Network

PROBE = 1024            # pixels: a size that all steps of cells divide


def read_size(size: int | str | Sequence[int], name: str = "size") -> tuple[int, int]:
    """Width and height in pixels.

    Args:
        size: one number for both; "608x416", or (608, 416), width first.
        name: of the argument, for the message.

    Raises:
        DarknetError: it is something else.
    """
    text = "x".join(map(str, size)) if isinstance(size, (tuple, list)) else str(size)
    match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text)
    if match is None:
        raise DarknetError(f"{name} needs a number of pixels, or two as in 416x320, found {shown(size)}")
    return int(match[1]), int(match[1] if match[2] is None else match[2])


def input_sides(cfg: Cfg, size: int | str | Sequence[int] | None) -> tuple[int | None, int | None]:
    """The arguments width and height of ``load_network`` for inputs of a size; None for None.

    Args:
        size: see ``read_size``.

    Raises:
        DarknetError: see ``read_size``.
        CfgError: the network cannot take that size: it is no multiple of its coarsest cells, or the weights depend on
            the size, as those of [connected] do.
    """
    if size is None:
        return None, None
    width, height = read_size(size)
    net = cfg.sections[0]
    if (problem := size_problem(coarsest_step(cfg), width=width, height=height)) is not None:
        raise cfg.error(problem, net.line, Reason.INDIVISIBLE)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")             # whoever builds the network is warned
        Network(cfg).resized(width, height)
    return width, height


def coarsest_step(cfg: Cfg) -> int:
    """The pixels that a cell of the coarsest head with anchors spans, of which width and height must be multiples; 1
    without such heads, and for what has no other size or does not build."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            network = Network(cfg, width=PROBE, height=PROBE)
        except CfgError:
            return 1
    return max((PROBE // head.shape.width for head in network.detection_heads if head.anchored), default=1)


def size_problem(step: int, **sides: int) -> str | None:
    """The error of a width or height that is no multiple of ``coarsest_step``; None if all are."""
    for key, side in sides.items():
        below = side // step * step
        if side != below or side < 1:
            nearest = " and ".join(str(near) for near in (below, below + step) if near > 0)
            return f"{key}={side} is no multiple of {step}, the step of its coarsest cells; the nearest: {nearest}"
    return None
