"""Faults of C's CPU code in training, those of updates and of deltas between layers, and the list of all.

``TRAINING_FAULTS`` act on the layers that they concern, wherever they stand, and are built in for every training
golden. Each is a function that builds it into a network; backward_faults.py has those of layers' backward passes. What
the GPU code does instead, or what the true gradient is where both are wrong, is what darknet_py does.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from darknet_py import Network

from .backward_faults import (
    average_counts_all,
    batchnorm_backward,
    blur_has_no_way_back,
    connected_has_no_bound,
    recurrent_backward,
    shortcut_forward,
    slopes_of_activations,
    weighted_shortcuts,
)
from .forward_faults import Fault, relu6_is_missing, spatial_is_unknown

TRAINED = ("convolutional", "crnn", "conv_lstm", "batchnorm", "maxpool", "local_avgpool", "shortcut")
OVERWRITING = ("convolutional", "crnn", "activation", "batchnorm", "normalization")
FRESH = ("softmax", "cost", "yolo", "Gaussian_yolo", "region", "detection", "contrastive", "gru", "rnn", "lstm")


def deltas_are_overwritten(network: Network) -> None:
    """col2im_cpu_ext() clears what it writes to, so that a convolution's gradient replaces what other readers of its
    input left there; cuDNN adds to it. [activation], [batchnorm] and [lrn] copy (the GPU's do, too), and [sam] does so
    for the layer that it names (the GPU's adds)."""
    writer: dict[int, int] = {}
    for index, (layer, sources, _) in enumerate(network.plan):
        if layer.kind in OVERWRITING and sources[0] >= 0:
            writer[sources[0]] = min(index, writer.get(sources[0], index))
        if layer.kind == "sam":
            writer[sources[1]] = min(index, writer.get(sources[1], index))

    def forward(original: Callable, lost: list[bool], *xs: Tensor) -> Tensor:
        return original(*[x.detach() if gone else x for x, gone in zip(xs, lost, strict=True)])

    for index, (layer, sources, _) in enumerate(network.plan):
        lost = [writer.get(source, index) < index for source in sources]
        if any(lost):
            layer.forward = partial(forward, layer.forward, lost)


def deltas_outlive_iterations(network: Network) -> None:
    """forward_network() clears l.delta of the kinds that set l.train alone; for others the next iteration adds to it.
    forward_network_gpu() clears all."""
    def forward(layer: Any, original: Callable, *xs: Tensor) -> Tensor:
        def add(gradient: Tensor) -> Tensor:
            total = gradient + layer.outlived
            layer.outlived = total
            return total

        y = original(*xs)
        y = y.view_as(y)
        if y.requires_grad:
            y.register_hook(add)
        return y

    def keep(layer: Any, original: Callable, x: Tensor, *rest: Any) -> Tensor:
        def store(gradient: Tensor) -> None:
            layer.outlived = gradient.reshape(layer.outlived.shape)

        x = x.view_as(x)
        if x.requires_grad:
            x.register_hook(store)
        return original(x, *rest)

    for layer, reader in itertools.pairwise(network.layers):
        if layer.kind in (*TRAINED, *FRESH, "dropout", "empty") or reader.kind in OVERWRITING:
            continue
        layer.outlived = 0
        layer.forward = partial(forward, layer, layer.forward)
        name = "finish" if hasattr(layer, "finish") else "activate"
        if hasattr(layer, name):
            setattr(layer, name, partial(keep, layer, getattr(layer, name)))


def kinds_stay_as_they_are(network: Network) -> None:
    """update_network() passes over kinds that do not set l.train, and so does update_network_gpu(): [connected],
    [local], [implicit], [rnn], [gru] and [lstm] never learn. darknet_py trains them."""
    for layer in network.layers:
        if layer.kind not in TRAINED:
            layer.options = replace(layer.options, dont_update=10 ** 9)


def shared_weights_learn_twice(network: Network) -> None:
    """With share_index= both layers update the same weights with the same updates, one after the other, on the GPU as
    well: the second time with what momentum left, which (but for decay) is a higher learning rate."""
    for layer in network.layers:
        for owner in getattr(layer, "shared", ()):
            owner.options = replace(owner.options, learning_rate=1 + network.options.momentum)


# Each with a golden that needs it.
TRAINING_FAULTS: dict[Fault, str] = {
    relu6_is_missing: "activation_relu6",
    spatial_is_unknown: "softmax_spatial",
    shortcut_forward: "yolov3-tiny-prn",
    shared_weights_learn_twice: "conv_share_index",
    batchnorm_backward: "conv_stride2",
    weighted_shortcuts: "shortcut_per_channel_relu",
    connected_has_no_bound: "connected_bn",
    slopes_of_activations: "activation_gelu",
    blur_has_no_way_back: "conv_antialiasing",
    average_counts_all: "local_avgpool_odd",
    recurrent_backward: "crnn",
    kinds_stay_as_they_are: "avgpool",
    deltas_outlive_iterations: "cost_smooth",
    deltas_are_overwritten: "route_many",
}


def channels(count: int) -> tuple[int, ...]:
    """The first ``count`` of 8 channels in the weights of 3 inputs."""
    return tuple(row * 8 + channel for row in range(3) for channel in range(count))


# Keys of goldens that are not compared, or which of their values; none: all.
RACE = "OpenMP threads add to l.weight_updates at the same time until they are apart: the first sums are not whole"
LEFT_OUT: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "shortcut_per_channel_relu": (dict.fromkeys(("wgrad_003", "after1_0015", "afterK_0015"), channels(3)), RACE),
    "shortcut_per_channel_softmax": (dict.fromkeys(("wgrad_003", "after1_0015", "afterK_0015"), channels(4)), RACE),
    "shortcut_per_feature_relu": (dict.fromkeys(("wgrad_003", "after1_0015", "afterK_0015"), ()), RACE),
    "shortcut_per_feature_softmax": (dict.fromkeys(("wgrad_003", "after1_0015", "afterK_0015"), ()), RACE),
    "rnn": (dict.fromkeys(("after1_0001", "after1_0004"), ()),
            "they follow a gradient of 1e10, in which rounding shows: 9e-5"),
    "crnn.train": (dict.fromkeys(("wgrad_000", "after1_0003", "after1_0006", "after1_0011"), ()),
                   "C itself had NaN or infinity there"),
}


def build_in(network: Network) -> None:
    """All that a training golden records."""
    for fault in TRAINING_FAULTS:
        fault(network)
