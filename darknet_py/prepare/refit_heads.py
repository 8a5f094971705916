"""Refitting of a cfg's heads to other anchors or classes, with the masks and filters that follow."""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from darknet_py.cfg.language import Cfg
from darknet_py.cfg.options import bind
from darknet_py.errors import Reason
from darknet_py.layers import KINDS, DetectionHead, Head, Layer, Shape
from darknet_py.model.network import Network
from darknet_py.prepare.anchors import CELLS, anchors_text, by_area


def pixel_anchors(head: Any, shape: Shape) -> np.ndarray:
    """A head's anchors (A, 2) in pixels of the network's input; [region] counts them in cells."""
    anchors = np.array(head.anchors, np.float32).reshape(-1, 2)
    step = (shape.width / head.shape.width, shape.height / head.shape.height) if _in_cells(head) else (1, 1)
    return anchors * np.array(step, np.float32)


def network_anchors(network: Network) -> np.ndarray:
    """The different anchors (A, 2) of all heads, in pixels of the network's input, by area. Negative ones become 0."""
    found = [pixel_anchors(head, network.input_shape) for head in _heads(network).values()]
    return by_area(np.unique(np.concatenate([np.zeros((0, 2), np.float32), *found]).clip(0), axis=0))


def anchor_count(network: Network) -> int:
    """How many anchors the heads of a network choose from; 0 without such heads."""
    return max((_listed(head.options) for head in _heads(network).values()), default=0)


def fit_heads(cfg: Cfg, *, anchors: np.ndarray | None = None, classes: int | None = None,
              new_masks: bool = False) -> Cfg:
    """A cfg whose heads have other anchors or classes, and the layers before them as many filters as that takes.

    Filters that do not fit the cfg as it is, the classic mistake, are put right too. All other text stays.

    Args:
        anchors: (A, 2) in pixels of the network's input, by area; None for the cfg's own. Where a cfg had as many, its
            masks stay. Else the heads share them evenly, the smallest going to the head with the finest cells, and what
            is left over to those with the coarsest. [region] has them all.
        classes: None for the cfg's own. [detection] and [softmax] take other ones as well, and no anchors.
        new_masks: share anchors even where there were as many, since some cfgs have an anchor that no head uses.

    Raises:
        CfgError: the cfg has no such heads, or more of them than anchors, or would not build.
        DataError: rounded, some anchors are equal, or nothing.
    """
    network = fitted(cfg)
    heads = _heads(network)
    named = [index for index, layer in enumerate(network.layers)        # whose classes are an option, or all they read
             if isinstance(layer, Head) and (_has(type(layer), "classes") or 0 < layer.classes == layer.shape.channels)]
    if not heads and (anchors is not None or classes is None or not named):
        raise cfg.error("expected a head with anchors, such as [yolo], found none", reason=Reason.WRONG_TASK)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = {} if anchors is None else _shares(heads, len(anchors), new_masks)
        values: dict[tuple[int, str], Any] = {}             # by layer and key
        for index, head in heads.items():
            if anchors is not None:
                values[index, "anchors"] = _head_text(anchors, head, network.input_shape)
                values[index, "num"] = len(anchors)
            if index in shares:
                values[index, "mask"] = ",".join(map(str, shares[index]))
        for index in named if classes is not None else ():
            if _has(type(network.layers[index]), "classes"):
                values[index, "classes"] = classes
            else:
                values |= dict.fromkeys(_feeders(network, index), classes)
        cfg = with_head_values(network, values)
        Network(cfg)
    return cfg


def fitted(cfg: Cfg) -> Network:
    """The network of a cfg, without memory for weights, and with as many filters right before each head as it needs."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")         # warnings are given once, by whoever reads the cfg
        values = {}
        for index, section in enumerate(cfg.sections[1:]):
            kind: Any = KINDS.get(section.kind)
            before = KINDS.get(cfg.sections[index].kind)
            if index and before is not None and _is_detecting(kind) and _has(before, kind.counted):
                values[index - 1, kind.counted] = kind.needed_filters(bind(cfg, section, kind.Options))
        return Network(_with(cfg, values))


def with_head_values(network: Network, values: Mapping[tuple[int, str], Any]) -> Cfg:
    """A network's cfg with the values of some layers, by index and key, and before each head as many filters as it then
    needs; None takes a key out. The new cfg need not build."""
    cfg = _with(network.cfg, values)
    filters: dict[tuple[int, str], int] = {}
    for index, head in enumerate(network.layers):
        kind: Any = type(head)
        if _is_detecting(kind):
            needed = kind.needed_filters(bind(cfg, cfg.sections[index + 1], kind.Options))
            if needed != kind.needed_filters(head.options):
                filters |= dict.fromkeys(_feeders(network, index), needed)
    return _with(cfg, filters)


def _heads(network: Network) -> dict[int, Any]:
    """The heads with anchors, by index."""
    return {index: layer for index, layer in enumerate(network.layers)
            if isinstance(layer, DetectionHead) and layer.anchored}


def _with(cfg: Cfg, values: Mapping[tuple[int, str], Any]) -> Cfg:
    """The cfg with the values of some layers, by index and key."""
    return cfg.with_values({(layer + 1, key): value for (layer, key), value in values.items()})


def _is_detecting(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, DetectionHead)


def _has(kind: type[Layer], option: str) -> bool:
    return any(field.name == option for field in fields(kind.Options))


def _in_cells(head: Layer) -> bool:
    """Whether a head counts its anchors in cells and has them all: [region]."""
    return not _has(type(head), "mask")


def _listed(options: Any) -> int:
    """How many anchors a head's list has, and its mask may name."""
    return max([options.num, *(number + 1 for number in getattr(options, "mask", None) or ())])


def _shares(heads: dict[int, Any], count: int, always: bool) -> dict[int, tuple[int, ...]]:
    """A new mask for each head that needs one."""
    masked = {index: head for index, head in heads.items() if not _in_cells(head)}
    if not masked or (not always and all(_listed(head.options) == count for head in masked.values())):
        return {}
    if count < len(masked):
        place = next(iter(masked.values())).place
        raise place.error(f"is one of {len(masked)} heads, which need an anchor each at least, found {count}",
                          reason=Reason.WRONG_COUNT)
    if len(masked) == 1 and next(iter(masked.values())).options.mask is None:
        return {}
    finest = sorted(masked, key=lambda index: (-masked[index].shape.width * masked[index].shape.height,
                                               min(masked[index].mask)))
    each, rest = divmod(count, len(finest))
    shares, start = {}, 0
    for turn, index in enumerate(finest):
        end = start + each + (turn >= len(finest) - rest)
        shares[index], start = tuple(range(start, end)), end
    return shares


def _head_text(anchors: np.ndarray, head: Layer, shape: Shape) -> str:
    """Anchors in pixels as the text of a head's anchors=, in its unit."""
    if not _in_cells(head):
        return anchors_text(anchors, CELLS + 1).strip()
    return anchors_text(anchors * (head.shape.width / shape.width, head.shape.height / shape.height), CELLS).strip()


def _feeders(network: Network, head: int) -> Iterator[tuple[int, str]]:
    """The layers and their keys that decide how much a head reads, beyond layers that keep their number of channels.

    Raises:
        CfgError: something else decides it.
    """
    reader = network.layers[head]
    assert isinstance(reader, Head)
    shape = reader.shapes[0]
    keys = [reader.counted] if shape.size > shape.channels else ["filters", "output"]
    waiting: Sequence[int] = network.plan[head].sources
    while waiting:
        source, *rest = waiting
        layer = network.layers[source] if source >= 0 else reader
        key = next((key for key in keys if source >= 0 and _has(type(layer), key)), None)
        if key is not None:
            yield source, key
        elif source < 0 or any(shape.channels != layer.shape.channels for shape in layer.shapes):
            raise layer.place.error("decides how many channels the head reads, expected a layer with "
                                    f"{' or '.join(f'{key}=' for key in keys)}", reason=Reason.UNSUPPORTED)
        else:
            rest += network.plan[source].sources
        waiting = rest


def detecting_head(network: Network) -> DetectionHead:
    """The head whose classes, jitter, resize, random and max count for training.

    Raises:
        CfgError: the network has no head that detects.

    Darknet: train_detector: the last [yolo], [Gaussian_yolo] or [region], else the last layer.
    """
    heads = network.detection_heads
    if not heads:
        raise network.cfg.error("has no layer that detects: expected [yolo], [Gaussian_yolo], [region] or [detection]",
                                reason=Reason.WRONG_TASK)
    return next((head for head in reversed(heads) if head.anchored), heads[-1])
