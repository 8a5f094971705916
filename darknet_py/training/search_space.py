"""Hyper-parameter search space: the values of a cfg that can be tuned, and their ranges."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from darknet_py.cfg.language import Cfg
from darknet_py.errors import DarknetError, Reason, suggestion
from darknet_py.layers import Head
from darknet_py.model.network import Network


class Range(NamedTuple):
    """The range of a hyper-parameter.

    own: the cfg's value; that of its last head, if heads differ.
    low, high: own lies between them.
    log: the search is on a logarithmic scale.
    choices: the only values allowed; empty for all between low and high.
    places: (section, its own value) of all sections that have the key.
    """

    key: str
    own: float
    low: float
    high: float
    log: bool
    choices: tuple[int, ...]
    places: tuple[tuple[int, float], ...]


class Limits(NamedTuple):
    low: float
    high: float
    log: bool = False
    choices: tuple[int, ...] = ()


Rule = Callable[[float], Limits]


def times(factor: float) -> Rule:
    """Up to ``factor`` times more or less."""
    return lambda own: Limits(own / factor, own * factor, True)


def between(low: float, high: float) -> Rule:
    """From low to high, and as far as the own value lies."""
    return lambda own: Limits(min(low, own), max(high, own))


def near_one(factor: float) -> Rule:
    """The difference to 1, up to ``factor`` times more or less."""
    return lambda own: Limits(max(0, 1 - factor * (1 - own)), 1 - (1 - own) / factor)


def switch(own: float) -> Limits:
    """0, 1, or the cfg's own value."""
    choices = tuple(sorted({0, 1, int(own)}))
    return Limits(choices[0], choices[-1], False, choices)


NET: dict[str, Rule] = {
    "learning_rate": times(5), "momentum": near_one(3), "decay": times(10), "saturation": between(1, 2),
    "exposure": between(1, 2), "hue": between(0, .2), "mosaic": switch, "flip": switch}
HEAD: dict[str, Rule] = {
    "jitter": between(0, .5), "resize": between(1, 1.6), "iou_thresh": between(.2, 1), "ignore_thresh": between(.4, .9),
    "iou_normalizer": times(4), "obj_normalizer": times(4), "cls_normalizer": times(4), "uc_normalizer": times(4),
    "coord_scale": times(4), "object_scale": times(4), "noobject_scale": times(4), "class_scale": times(4),
    "thresh": between(.4, .8), "label_smooth_eps": between(0, .2)}


def find_ranges(network: Network, keys: Sequence[str] | None = None) -> list[Range]:
    """The ranges of all keys of [net] and of the heads that can be tuned in a network's cfg.

    Args:
        keys: only these; None for all.

    Raises:
        DarknetError: a key that cannot be tuned, here or at all.
    """
    heads = [layer for layer in network.layers if isinstance(layer, Head)]
    places: dict[str, list[tuple[int, float]]] = {
        key: [(0, getattr(network.options, key))] for key in NET if _matters(key, network)}
    for key in HEAD:
        places[key] = [(layer.place.index + 1, getattr(layer.options, key)) for layer in heads
                       if hasattr(layer.options, key)]
    ranges = [_range(key, found) for key, found in places.items() if found]
    able = {r.key: r for r in ranges if r.low < r.high}
    for key in keys or ():
        if key not in NET | HEAD:
            raise DarknetError(f"expected keys that can be tuned ({', '.join(NET | HEAD)}), found {key}"
                               + suggestion(key, NET | HEAD))
        if key not in able:
            raise network.cfg.error(f"{key}= cannot be tuned here; what can be is {', '.join(able)}",
                                    reason=Reason.UNKNOWN_NAME)
    if not able:
        raise network.cfg.error("has nothing that could be tuned", reason=Reason.WRONG_TASK)
    return [r for r in able.values() if not keys or r.key in keys]


def with_values(cfg: Cfg, ranges: Sequence[Range], values: Mapping[str, float]) -> Cfg:
    """A cfg with other values; the text of unchanged values stays as it is.

    Heads whose own values differ keep the ratio between them, where ratios are what is searched; else all get the
    same.
    """
    for r in ranges:
        for section, own in r.places if text_of(values[r.key]) != text_of(r.own) else ():
            value = text_of(values[r.key] * own / r.own if r.log else values[r.key])
            if value != text_of(own):
                cfg = cfg.with_value(section, r.key, value)
    return cfg


def text_of(value: float) -> str:
    """A value as text for a cfg, with four significant digits."""
    return f"{value:.4g}"


def _matters(key: str, network: Network) -> bool:
    """Whether a key of [net] has an effect on training."""
    net = network.options
    if key == "momentum":
        return not net.adam
    return key != "mosaic" or (not net.letter_box and bool(network.detection_heads))


def _range(key: str, places: Sequence[tuple[int, float]]) -> Range:
    own = places[-1][1]
    limits = (NET | HEAD)[key](own)
    if limits.log and not all(value > 0 for _, value in places):
        return Range(key, own, own, own, True, (), tuple(places))
    return Range(key, own, *limits, tuple(places))
