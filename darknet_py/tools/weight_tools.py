"""Darknet's maintenance verbs on weights, as functions: average, oneoff, rgbgr, rescale, reset, denormalize ..."""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from darknet_py.errors import DarknetError, Reason, WeightsError
from darknet_py.layers import Layer
from darknet_py.layers.batchnorm import Norm, Normalized
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.head import Head
from darknet_py.model import weights
from darknet_py.model.network import Network

KINDS = {"norm.weight": "Scales", "norm.bias": "Biases", "bias": "Biases", "weight": "Weights"}     # in C's order


class WeightStatistics(NamedTuple):
    """Statistics of one kind of weights in a layer. part: of a recurrent layer, as ``input_z_layer``; else empty."""

    layer: int
    part: str
    kind: str               # Scales, Biases, Weights
    root_mean_square: float
    mean: float
    variance: float


@torch.no_grad()
def average(networks: Iterable[Network]) -> Network:
    """The mean of all weights and running statistics, in the first network, which keeps its ``seen``; of an iterator
    only two need exist at a time.

    Raises:
        DarknetError: the networks differ in their weights.

    Darknet: average, which knows the weights of [convolutional] and [connected] alone, without the latter's
    normalisation: all else is what the first file has. With groups= it goes beyond its memory.
    """
    networks = iter(networks)
    mean, count = next(networks), 1
    total = [blob.tensor for layer in mean.layers for blob in layer.blobs()]
    for network in networks:
        others = [blob.tensor for layer in network.layers for blob in layer.blobs()]
        if [tensor.shape for tensor in others] != [tensor.shape for tensor in total]:
            raise DarknetError("only weights of equal shapes have a mean")
        for tensor, other in zip(total, others, strict=True):
            tensor += other
        count += 1
    for tensor in total:
        tensor *= 1 / count
    return mean


@torch.no_grad()
def oneoff(network: Network, path: str | os.PathLike, layer: int | None = None) -> None:
    """Fill a network from the file of another one; what the file does not reach stays. ``seen`` becomes 0.

    Args:
        layer: the file fills the layers from 0 on, and once more those from this one on. With None it is the file of a
            classifier, whose last convolution has a filter a class, and the network is that with a detection head:
            there each anchor gets the filters of the classes; those of box and objectness are random, and the same for
            all anchors.

    Raises:
        WeightsError: the file does not fit.
        CfgError: the network does not end in a convolution and such a head.
        DarknetError: no such layer.

    Darknet: oneoff, for 9372 classes and 3 anchors alone; oneoff2 of pjreddie/darknet, which takes what it needs of a
    file that is too long.
    """
    layers = list(network.layers)
    network.seen = 0
    if layer is not None:
        if not 0 <= layer < len(layers):
            raise DarknetError(f"LAYER needs a number from 0 to {len(layers) - 1}, found {layer}")
        for start in (0, layer):
            weights.load(path, layers[start:])
        return
    head, last = layers[-1], layers[-2] if len(layers) > 1 else None
    if not isinstance(last, Convolutional) or last.shared or not isinstance(head, Head) or not head.channels_per_class:
        raise head.place.error("ends the network, which oneoff without LAYER expects to end in a [convolutional] and a "
                               "head with anchors", reason=Reason.WRONG_TASK)
    classes = head.options.classes
    classifier = Convolutional(replace(last.options, filters=classes), last.shapes, last.place)
    _, reached, _ = weights.load(path, [*layers[:-2], classifier])
    if reached < len(layers) - 1:
        raise WeightsError(f"{path}: holds the first {reached} layers, expected {len(layers) - 1}, the last of "
                           f"{classes} filters", Reason.TRUNCATED)
    last.reset_parameters()
    start = getattr(head, "entries", 5)         # box and objectness come before the classes
    for blob, given in zip(last.blobs(), classifier.blobs(), strict=True):
        anchors = blob.tensor.view(head.channels_per_class, -1, *blob.tensor.shape[1:])
        anchors[0, start:start + classes] = given.tensor
        anchors[1:] = anchors[0]


@torch.no_grad()
def rgbgr(network: Network) -> None:
    """For pictures whose red and blue are swapped: the first layer's filters swap theirs. Darknet: rgbgr_net."""
    weight = _first(network).weight
    weight.copy_(weight.flip(1))


@torch.no_grad()
def rescale(network: Network) -> None:
    """For inputs in [0, 1] instead of [-1, 1]: w(2x - 1) = 2wx - sum(w). Padding is 0 in both, so borders change.

    Darknet: rescale_net, which takes the sum from the bias even where normalisation comes in between; here it is then
    added to the running mean.
    """
    layer = _first(network)
    total = layer.weight.double().sum((1, 2, 3)).float()
    layer.weight.mul_(2)
    if layer.norm is None:
        layer.bias_blob().tensor.sub_(total)
    else:
        layer.norm.running_mean.add_(total)


@torch.no_grad()
def reset(network: Network) -> None:
    """Fold batch normalisation into the weights and keep an identity normalisation, for the same cfg.

    Darknet: reset_normalize_net, which goes beyond its memory for [convolutional] (pjreddie's does not), and for
    [connected], [gru] and [lstm] takes an epsilon of 1e-6, with which they do not compute. It knows no other kinds.
    """
    for part in _normalized(network):
        if (norm := part.norm) is not None:
            part.fold()
            _put_norm(part, norm)


@torch.no_grad()
def denormalize(network: Network) -> None:
    """Fold batch normalisation into the weights and remove it: the weights are for a cfg without batch_normalize=.

    Darknet: denormalize_net, with the faults of ``reset``; it crashes for [gru] and leaves [lstm] as it is.
    """
    for part in _normalized(network):
        part.fold()


@torch.no_grad()
def normalize(network: Network) -> None:
    """Add an identity batch normalisation where there is none: the weights are for a cfg with batch_normalize=1.

    Darknet: normalize_net, whose variances are 0, so that all outputs become 316 times as large; of [gru] and [lstm] it
    overwrites the normalisation of those that have one.
    """
    for part in _normalized(network):
        if part.bias is not None:
            _put_norm(part, Norm(part, len(part.bias)))


def statistics(network: Network) -> Iterator[WeightStatistics]:
    """Root mean square, mean and variance of each layer's scales, biases and weights.

    Darknet: statistics_net, which knows [connected], [gru] and [lstm] with batch normalisation alone, and looks at as
    many weights as there are outputs.
    """
    for index, layer in enumerate(network.layers):
        for name, part in _parts(layer):
            tensors = dict(part.named_parameters())
            for key, kind in KINDS.items():
                if key in tensors:
                    values = tensors[key].detach().double()
                    yield WeightStatistics(index, name, kind, values.square().mean().sqrt().item(),
                                           values.mean().item(), values.var(correction=0).item())


def _first(network: Network) -> Convolutional:
    """The first layer with weights, which reads the pictures."""
    layer = next((layer for layer in network.layers if any(layer.blobs())), network.layers[0])
    if not isinstance(layer, Convolutional) or layer.shared or layer.weight.shape[1] != 3:
        raise layer.place.error("comes first, where a [convolutional] whose filters have 3 channels is expected",
                                reason=Reason.WRONG_TASK)
    return layer


def _parts(layer: Layer) -> list[tuple[str, Layer]]:
    """The layers that a recurrent one consists of, or the layer."""
    return [(name, part) for name, part in layer.named_children() if isinstance(part, Layer)] or [("", layer)]


def _normalized(network: Network) -> list[Normalized]:
    return [part for part in network.modules() if isinstance(part, Normalized)]


def _put_norm(part: Normalized, norm: Norm) -> None:
    """Replace the bias by an identity normalisation with that bias."""
    norm.reset_parameters()
    norm.bias.copy_(part.bias_blob().tensor)
    part.norm, part.bias = norm, None


