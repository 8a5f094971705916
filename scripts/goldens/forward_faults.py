"""Faults of C's CPU code, each a function that builds it into a network, so that the goldens which record it fit.

Here are those of the forward pass, by the goldens that show them; backward_faults.py and training_faults.py have those
of training. darknet_py does what the GPU code does.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from darknet_py import Network
from darknet_py.layers.convolutional import Convolutional, binarize
from darknet_py.layers.maxpool import MaxPool
from darknet_py.layers.shortcut import Shortcut
from darknet_py.layers.softmax import Softmax

Fault = Callable[[Network], None]


def relu6_is_missing(network: Network) -> None:
    """activate() of activations.c has no case for RELU6 and returns 0; activate_kernel() of the GPU has one."""
    for layer in network.layers:
        if getattr(layer.options, "activation", "") == "relu6":
            layer.activate = layer.activate_in_place = torch.zeros_like


def spatial_is_unknown(network: Network) -> None:
    """forward_softmax_layer() never looks at l.spatial; forward_softmax_layer_gpu() does."""
    for layer in network.layers:
        if isinstance(layer, Softmax) and layer.options.spatial:
            layer.forward = lambda x: x.flatten(1).softmax(1).view_as(x)


def avx_border_is_wrong(network: Network) -> None:
    """forward_maxpool_layer_avx() takes 8 columns at a time with stride 1, and skips a window's column for all of
    them where it lies left of the image for the first."""
    def maximum(layer: MaxPool, x: Tensor) -> Tensor:
        y = MaxPool.maximum(layer, x)
        before = layer.border[0]
        for start in range(0, max(0, y.shape[3] - 8 - (layer.size - 1)), 8):
            skipped = max(0, before - start)
            columns = F.pad(x, layer.border, value=-torch.inf)[..., start + skipped:start + 8 + layer.size - 1]
            y[..., start:start + 8] = F.max_pool2d(columns, (layer.size, layer.size - skipped), 1)
        return y

    for layer in network.layers:
        if isinstance(layer, MaxPool) and layer.inner_stride == (1, 1):
            layer.maximum = partial(maximum, layer)


def xnor_path_is_for_one_image(network: Network) -> None:
    """The bit-packed path of forward_convolutional_layer() returns after the first image of a batch and adds biases,
    nothing else: it relies on fuse_conv_batchnorm(), which the reference did not run. It is also taken for fewer than
    32 channels, where the GPU code multiplies floats and pads with zeros."""
    def convolve(layer: Convolutional, x: Tensor) -> Tensor:
        x = F.pad(torch.where(x > 0, 1., -1.), [layer.padding] * 4, value=-1)
        y = F.conv2d(x, binarize(layer.weight), None, layer.stride)
        y[1:] = 0
        y = y + (layer.bias if layer.norm is None else layer.norm.bias)[:, None, None]
        return layer.activate(y)

    for layer in network.layers:
        if isinstance(layer, Convolutional) and layer.options.xnor and layer.stride[0] == layer.stride[1]:
            layer.convolve = partial(convolve, layer)


def shortcut_compares_inputs(network: Network) -> None:
    """forward_shortcut_layer() compares its size with the *input* size of the layer that it adds, and adds flat arrays
    where they agree: wrong from the second image on if the outputs differ. shortcut_singlelayer_simple_kernel() of the
    GPU takes the outputs."""
    def add_flat(layer: Shortcut, x: Tensor, other: Tensor) -> Tensor:
        return layer.activate(x + other.reshape(-1)[:x.numel()].view_as(x))

    for layer in network.layers:
        if isinstance(layer, Shortcut) and len(layer.shapes) == 2 and layer.shapes[0] != layer.shapes[1] \
                and network.layers[layer.sources(layer.options, layer.place)[1]].shapes[0] == layer.shape:
            layer.forward = partial(add_flat, layer)


FAULTS: dict[str, Fault] = {
    "activation_relu6": relu6_is_missing,
    "efficientnet-lite3": relu6_is_missing,
    "softmax_spatial": spatial_is_unknown,
    "maxpool_spp": avx_border_is_wrong,
    "conv_xnor": xnor_path_is_for_one_image,
    "darknet53_448_xnor": xnor_path_is_for_one_image,
    "tiny-yolo_xnor": xnor_path_is_for_one_image,
    "yolov1_xyolo.test": xnor_path_is_for_one_image,
    "yolov3-tiny-prn": shortcut_compares_inputs,
    "yolov3-tiny_xnor": xnor_path_is_for_one_image,
}
