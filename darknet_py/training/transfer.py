"""Pretrained weights: of the same network, of its first layers, or of the network with another number of classes."""
from __future__ import annotations

import os
import warnings
from contextlib import suppress
from typing import NamedTuple

import torch

from darknet_py.cfg.language import Cfg
from darknet_py.errors import CfgError, WeightsError
from darknet_py.layers import Head
from darknet_py.model.network import Network, load_network
from darknet_py.model.tensors import holds_tensors
from darknet_py.model.weights import check, classes_for, read_header
from darknet_py.prepare.refit_heads import fit_heads

MOST_NAMED = 6          # layers


class Start(NamedTuple):
    """The initial weights of a network.

    path: their file, or None.
    classes: of the network that the file was written for, where that has another number of them; else None.
    total: how many layers have weights.
    fresh: indices of those that start from random values.
    what: for other classes, the kinds of these layers and of the heads after them.
    """

    path: str | os.PathLike | None
    classes: int | None
    total: int
    fresh: list[int]
    what: str = ""

    def text(self) -> str:
        """One line: the layers with loaded weights, and those that start fresh."""
        if self.path is None:
            return f"none: all {self.total} layers with weights start fresh"
        what = str(self.path) if self.classes is None else f"{self.path} was trained for {self.classes} classes"
        loaded = f"{what}: {self.total - len(self.fresh)} of {self.total} layers with weights loaded"
        if not self.fresh:
            return loaded
        named = ", ".join(map(str, self.fresh[:MOST_NAMED]))
        more = f" and {len(self.fresh) - MOST_NAMED} more" if len(self.fresh) > MOST_NAMED else ""
        layers, start = ("layer", "starts") if len(self.fresh) == 1 else ("layers", "start")
        return f"{loaded}; {layers} {named}{more}{self.what} {start} fresh"


def start_network(cfg: Cfg, weights: str | os.PathLike | None,
                  device: str | torch.device = "cpu") -> tuple[Network, Start]:
    """Build a network to train, and fill it from a .weights file.

    The file may end between two layers, or be that of the same network with another number of classes, which C refuses:
    then what fits is taken over, and the layers right before the heads get C's random start.

    Returns:
        The network, and what of it was loaded. ``seen`` is 0 for weights of other classes.

    Raises:
        CfgError, WeightsError: see ``load_network``.
    """
    source, classes = (None, None) if weights is None else _source(cfg, weights)
    network = load_network(cfg, weights, device=device, source=source)
    with_weights = [index for index, layer in enumerate(network.layers) if any(layer.blobs())]
    fresh = with_weights if weights is None else network.fresh
    return network, Start(weights, classes, len(with_weights), fresh,
                          "" if classes is None else _described(network, fresh))


def _source(cfg: Cfg, weights: str | os.PathLike) -> tuple[Network | None, int | None]:
    """The network with another number of classes that a file was written for, and that number; None where the file
    fits as it is, or not at all."""
    if holds_tensors(weights):
        return None, None
    size = os.path.getsize(weights) - read_header(weights).size if os.path.isfile(weights) else 0
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")             # whoever builds the network is warned
        layers = Network(cfg).layers
        try:
            check(weights, layers)
        except WeightsError:
            classes = classes_for(size, layers)
            if classes is not None:
                with suppress(CfgError, WeightsError):
                    source = Network(fit_heads(cfg, classes=classes))
                    check(weights, source.layers)
                    return source, classes
    return None, None


def _described(network: Network, fresh: list[int]) -> str:
    """The kinds of fresh layers, and of the heads that they feed."""
    heads = [next((layer.kind for layer in network.layers[index:] if isinstance(layer, Head)
                   and layer.channels_per_class), "") for index in fresh]
    kinds, heads = ([f"[{kind}]" for kind in dict.fromkeys(names)]
                    for names in ((network.layers[index].kind for index in fresh), heads))
    return f" ({' and '.join(kinds)}, before {' and '.join(heads)})"
