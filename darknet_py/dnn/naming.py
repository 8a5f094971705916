"""OpenCV's layers of a Darknet network: their names, types and order."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from darknet_py.layers import DetectionHead
from darknet_py.layers.base import Layer as DarknetLayer
from darknet_py.layers.softmax import TrainingHead
from darknet_py.model.network import Network

# OpenCV's names of the sections: the prefix of the layer's name, and the type.
TYPES = {
    "convolutional": ("conv", "Convolution"), "connected": ("fullyConnected", "InnerProduct"),
    "maxpool": ("pool", "Pooling"), "avgpool": ("avgpool", "Pooling"), "softmax": ("softmax", "Softmax"),
    "dropout": ("identity", "Identity"), "cost": ("identity", "Identity"), "reorg": ("reorg", "Reorg"),
    "crop": ("crop", "Slice"), "shortcut": ("shortcut", "Eltwise"), "sam": ("sam", "Eltwise"),
    "scale_channels": ("scale_channels", "Scale"), "upsample": ("upsample", "Resize"),
}
ACTIVATED = ("convolutional", "connected", "shortcut", "sam", "scale_channels")
ACTIVATION_TYPES = {"relu": "ReLU", "leaky": "ReLU", "swish": "Swish", "mish": "Mish", "logistic": "Sigmoid",
                    "tanh": "TanH"}


class Layer(NamedTuple):
    """A layer of OpenCV: a section of the cfg becomes one to three of them, the last of which has its output."""

    name: str
    type: str
    section: int        # the number of Darknet's layer
    form: str           # "whole"; "permuted": a head's input, channels last; "inner": never computed separately


def layers_of(network: Network) -> Iterator[Layer]:
    """OpenCV's layers of all sections, in its order."""
    number = 0                                          # in names; it differs from the section's index
    for index, layer in enumerate(network.layers):
        parts = _parts(layer)
        for part in parts:
            name = part.name if part.name == "detection_out" else f"{part.name}_{number}"
            form = "whole" if part is parts[-1] else "permuted" if part.name == "permute" else "inner"
            yield Layer(name, part.type, index, form)
            number += part.advance


class _Part(NamedTuple):
    """``name``: the prefix. ``advance``: increment of the number in the next name."""

    name: str
    type: str
    advance: int = 1


def _parts(layer: DarknetLayer) -> list[_Part]:
    """OpenCV's layers of one section."""
    kind, o = layer.kind, layer.options
    if isinstance(layer, DetectionHead):
        return [_Part("permute", "Permute", 0), _Part("detection_out" if kind == "region" else kind, "Region")]
    if kind == "route":
        slices = [_Part("slice", "Slice")] * (len(o.layers) if o.groups > 1 else 0)
        if len(o.layers) > 1:
            return [*slices, _Part("concat", "Concat")]
        return slices if slices else [_Part("identity", "Identity")]
    if kind == "crop" and not o.noadjust:
        return [_Part("crop", "Slice"), _Part("adjust_crop", "Scale")]
    parts = [_Part(*TYPES.get(kind, (kind, kind)))]
    if kind in ("convolutional", "connected") and (o.batch_normalize or getattr(o, "cbn", 0)):
        parts = [parts[0]._replace(advance=0), _Part("bn", "BatchNorm")]
    if kind in ACTIVATED and o.activation != "linear":
        parts.append(_Part(o.activation, ACTIVATION_TYPES.get(o.activation, o.activation), 0))
    return parts


def output_layers(network: Network) -> list[int]:
    """The layers whose output no other layer reads, except those that are for training alone."""
    read = {source for step in network.plan for source in step.sources}
    return [index for index, layer in enumerate(network.layers)
            if index not in read and (layer.passes_on or not isinstance(layer, TrainingHead))]
