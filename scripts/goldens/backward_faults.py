"""Faults of C's CPU code in the backward passes of layers, each a function that builds it into a network.

What the GPU code does instead, or what the true gradient is where both are wrong, is what darknet_py does.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from darknet_py import Network
from darknet_py.layers.activations import gelu
from darknet_py.layers.batchnorm import EPSILON, MOMENTUM, Norm
from darknet_py.layers.connected import Connected
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.maxpool import LocalAvgPool
from darknet_py.layers.recurrent import Crnn, Gru, Rnn
from darknet_py.layers.shortcut import Shortcut, add_sampled

from .forward_faults import shortcut_compares_inputs


class _CpuNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: Norm, biased: bool) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean, var = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
        count = x.numel() // x.shape[1]
        norm.running_mean.lerp_(mean.flatten(), .05 if biased else MOMENTUM)
        norm.running_var.lerp_(var.flatten() * (1 if biased else count / max(1, count - 1)),
                               .05 if biased else MOMENTUM)
        ctx.norm, ctx.biased = norm, biased
        norm.latest = mean, var                     # type: ignore[assignment]
        normal = (x - mean) / (var + EPSILON).sqrt()
        ctx.save_for_backward(x, normal, weight)
        shape = [1, -1, *[1] * (x.dim() - 2)]
        return normal * weight.view(shape) + bias.view(shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, normal, weight = ctx.saved_tensors
        (mean, var), axes = ctx.norm.latest, [axis for axis in range(x.dim()) if axis != 1]
        count = x.numel() // x.shape[1]
        delta = gradient * weight.view(mean.shape)
        of_mean = -delta.sum(axes, keepdim=True) / (var + EPSILON).sqrt()
        of_var = -.5 * (delta * (x - mean)).sum(axes, keepdim=True) * (var + EPSILON) ** -1.5
        back = delta / (var.sqrt() + EPSILON) + (2 * of_var * (x - mean) + of_mean) / count
        return back, (gradient * normal).sum(axes), gradient.sum(axes) if ctx.biased else None, None, None


def batchnorm_backward(network: Network) -> None:
    """backward_batchnorm_layer() leaves out the biases ([connected] has its own code, with them), adds epsilon to the
    root where the forward pass adds it inside, and takes mean and variance of the layer's last run: another one where
    layers share weights or a recurrent layer ran for several steps. (The GPU's mean_gpu is shared as well.)"""
    connected = {module.norm for module in network.modules() if isinstance(module, Connected)}

    def forward(norm: Norm, biased: bool, x: Tensor) -> Tensor:
        return _CpuNorm.apply(x, norm.weight, norm.bias, norm, biased) if norm.training else Norm.forward(norm, x)

    for norm in network.modules():
        if isinstance(norm, Norm):
            norm.forward = partial(forward, norm, norm in connected)     # type: ignore[method-assign]
            norm.bias.requires_grad_(norm in connected)


def recurrent_backward(network: Network) -> None:
    """backward_gru_layer() is empty. backward_rnn_layer() and backward_crnn_layer() hand the input's part what is left
    in the delta of the state's part after that has gone back through activation and normalisation (the GPU's copy it
    before), and read the output's part from input + state without shortcut=. In [crnn] a step's own delta replaces
    what the step after it left (col2im_cpu_ext), so that nothing goes back in time."""
    def no_way_back(original: Callable, *xs: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        with torch.no_grad():
            return original(*xs)

    def changed(part: Any, x: Tensor, change: Callable[[Tensor], Tensor], **tensors: Tensor) -> Tensor:
        """What a part gives if its weighted sums are changed."""
        finish = type(part).finish
        part.finish = lambda z, norm: finish(part, change(z), norm)
        y = functional_call(part, tensors, (x,))
        del part.finish
        return y

    def weighted_sum(part: Any, x: Tensor) -> Tensor:
        part.finish = lambda z, norm: z
        z = part(x)
        del part.finish
        return z

    def step(layer: Rnn | Crnn, x: Tensor, state: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        into, part, end = layer.input_layer(x), layer.self_layer, layer.output_layer
        given = state.detach() if layer.kind == "crnn" else state
        back = into - into.detach()
        if layer.options.shortcut:
            back = back + given - given.detach()
        new = changed(part, given, lambda z: z + back.view_as(z))
        into = into.detach()
        if not layer.options.shortcut:
            new = new + into
            return end(new), (new if layer.kind == "rnn" else new.detach(),)
        z = weighted_sum(end, (new + into).detach())
        new = new + into + state.detach()
        frozen = {name: parameter.detach() for name, parameter in end.named_parameters(recurse=False)}
        y = changed(end, new, lambda total: total + (z - z.detach()).view_as(total), **frozen)
        return y, (new if layer.kind == "rnn" else new.detach(),)

    for layer in network.layers:
        if isinstance(layer, Gru):
            layer.step = partial(no_way_back, layer.step)
        elif isinstance(layer, (Rnn, Crnn)):
            layer.step = partial(step, layer)


def weighted_shortcuts(network: Network) -> None:
    """backward_shortcut_multilayer_cpu() takes 1 for the derivative of a normalised weight, update_shortcut_layer()
    lets weights decay and sets no bound; the GPU code of both differs (see [shortcut])."""
    for layer in network.layers:
        if isinstance(layer, Shortcut):
            layer.slope, layer.decays, layer.update_bound = torch.ones_like, True, 0


def connected_has_no_bound(network: Network) -> None:
    """backward_connected_layer() does not constrain its deltas, backward_connected_layer_gpu() does."""
    for layer in network.modules():
        if isinstance(layer, Connected):
            layer.bounded = lambda x: x


class _WrongSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activate: Callable, back: Callable) -> Tensor:
        y = activate(x)
        ctx.back = back
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return ctx.back(gradient, *ctx.saved_tensors), None, None


def gelu_back(gradient: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        return torch.autograd.grad(gelu(y), y, gradient)[0]


def softmax_back(gradient: Tensor, y: Tensor) -> Tensor:
    return -gradient * (gradient * y).sum(1, keepdim=True)


def normalize_back(gradient: Tensor, y: Tensor) -> Tensor:
    return torch.where(y > 0, softmax_back(gradient, y), gradient)


def relu6_back(gradient: Tensor, y: Tensor) -> Tensor:
    return torch.zeros_like(y)


WRONG_SLOPES = {"gelu": gelu_back, "normalize_channels": normalize_back, "normalize_channels_softmax": softmax_back,
                "normalize_channels_softmax_maxval": softmax_back, "relu6": relu6_back}


def slopes_of_activations(network: Network) -> None:
    """gelu_gradient() wants the input and is given the output; gradient_array_normalize_channels*() multiply by a sum
    over channels (the GPU's by y, or y (1 - y)); relu6 gives 0 (see ``relu6_is_missing``). darknet_py has the true
    derivatives."""
    for layer in network.layers:
        back = WRONG_SLOPES.get(getattr(layer.options, "activation", ""))
        if back is not None and hasattr(layer, "activate"):
            layer.activate = layer.activate_in_place = partial(
                lambda activate, back, x: _WrongSlope.apply(x, activate, back), layer.activate, back)


class _FlatBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, before: Tensor, after: Tensor, held: Tensor) -> Tensor:
        ctx.save_for_backward(held)
        return after.view_as(after)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        held, = ctx.saved_tensors
        flat = torch.zeros_like(held)
        flat.view(-1)[:gradient.numel()] = gradient.flatten()
        return flat * torch.where(held > 0, 1, .1), None, None      # leaky, in the goldens that have a blur


def blur_has_no_way_back(network: Network) -> None:
    """backward_convolutional_layer() knows no antialiasing: it takes the delta of the blurred output for the first
    values of that before the blur, and the slopes of the activation from what lies in l.output. The GPU goes back
    through the blur."""
    def blurred(layer: Convolutional, x: Tensor) -> Tensor:
        before: list[Tensor] = []

        def sums(z: Tensor, norm: Norm | None) -> Tensor:
            before.append(z if norm is None else norm(z))
            return before[0]

        layer.finish = sums
        layer.convolve(x)
        del layer.finish
        with torch.no_grad():
            y = layer.activate(before[0].clone())
            after = layer.blur(y)
        return _FlatBack.apply(before[0], after, layer.blur.darknet_output(after, y))

    for layer in network.layers:
        if isinstance(layer, Convolutional) and layer.blur is not None:
            layer.forward = partial(blurred, layer)


def average_counts_all(network: Network) -> None:
    """backward_local_avgpool_layer() divides by the window's size, cells outside included; the forward pass does
    not."""
    def forward(layer: LocalAvgPool, x: Tensor) -> Tensor:
        y = LocalAvgPool.forward(layer, x)
        back = F.avg_pool2d(F.pad(x, layer.border), layer.size, layer.inner_stride)
        return y.detach() + back - back.detach()

    for layer in network.layers:
        if isinstance(layer, LocalAvgPool):
            layer.forward = partial(forward, layer)


def shortcut_forward(network: Network) -> None:
    """``shortcut_compares_inputs``, which the backward pass does not."""
    def forward(layer: Shortcut, x: Tensor, other: Tensor) -> Tensor:
        total = add_sampled(x, other)
        flat = x + other.reshape(-1)[:x.numel()].view_as(x)
        return layer.activate(total + (flat - total).detach())

    plain = [layer.forward for layer in network.layers]
    shortcut_compares_inputs(network)
    for layer, before in zip(network.layers, plain, strict=True):
        if layer.forward != before:
            layer.forward = partial(forward, layer)
