"""[batchnorm], and the normalisation that convolutional and connected layers share."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.layers.activations import ACTIVATIONS, IN_PLACE, OF_RESULT
from darknet_py.layers.base import Blob, Layer, LayerOptions, Place, Shape, layer

MOMENTUM = .01
EPSILON = 1e-5
FOLDED = 16         # channels at a time, for large temporaries cost more than the arithmetic


class _CrossNorm(torch.autograd.Function):
    """Normalisation by statistics of several mini-batches, with the gradient as if they were this one's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, mean, (var + EPSILON).rsqrt(), weight)
        return F.batch_norm(x, mean, var, weight, bias, eps=EPSILON)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:        # type: ignore[override]
        x, mean, inverse, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), x, weight, None, None, mean, inverse, True, EPSILON, [True, True, True])
        return of_x, None, None, of_weight, of_bias


class Norm(nn.Module):
    """Batch normalisation over (N, C, ...): scale, shift and the running statistics of C channels.

    Darknet: batchnorm_layer.c, the GPU code (cuDNN): the biased variance normalises, the unbiased one enters the
    running average with weight .01; epsilon 1e-5 stands inside the root.

    cross: batch_normalize=2 (CmBN, fast_v_cbn_kernel): in training mean and mean square are averages over the
    mini-batches of the batch so far. What is left of the variance may be 0 at least; it enters the running average
    with every mini-batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, owner: Layer, channels: int, cross: bool = False):
        super().__init__()
        self.cross, self.context = cross, owner.place.context
        self.so_far: tuple[Tensor, Tensor] | None = None
        self.weight, self.bias = owner.parameter(channels), owner.parameter(channels)
        self.register_buffer("running_mean", owner.parameter(channels).data)
        self.register_buffer("running_var", owner.parameter(channels).data)

    def forward(self, x: Tensor) -> Tensor:
        learning = self.training and not self.context.adversarial
        if learning and self.cross:
            return _CrossNorm.apply(x, *self._crossed(x.detach().float()), self.weight, self.bias)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, learning,
                            MOMENTUM, EPSILON)

    def _crossed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over the mini-batches of this batch up to x, of which C divides the squares by N - 1."""
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean = x.mean(axes)
        square = (x.square().sum(axes) / max(1, x.numel() // x.shape[1] - 1)).maximum(mean.square())
        if self.context.subdivision and self.so_far is not None:
            part = 1 / (self.context.subdivision + 1)
            mean, square = (torch.lerp(old, new, part) for old, new in
                            zip(self.so_far, (mean, square), strict=True))
        self.so_far = mean, square
        var = (square - mean.square()).clamp(min=0)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), MOMENTUM)
        self.running_var.lerp_(var.to(self.running_var.dtype), MOMENTUM)
        return mean.to(self.weight.dtype), var.to(self.weight.dtype)

    def statistics(self) -> Iterator[Blob]:
        """All but the bias, which stands before them in a weights file, and for some kinds not next to them."""
        for tensor in (self.weight, self.running_mean, self.running_var):
            yield Blob(tensor, norm=True)

    def reset_parameters(self) -> None:
        """C starts both running statistics at zero; a variance of one is what makes sense until the first batch."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)


class Normalized(Layer):
    """A layer with weights that ends in batch normalisation or a bias, and an activation. Subclasses set ``weight``."""

    weight: nn.Parameter
    norm: Norm | None
    bias: nn.Parameter | None       # None where ``norm`` has one
    output_axis = 0                 # of ``weight``

    def end_with(self, channels: int, batch_normalize: int, activation: str) -> None:
        """Choose the end of the layer. With no channels it has no parameters of its own."""
        self.norm = Norm(self, channels, batch_normalize == 2) if channels and batch_normalize else None
        self.bias = self.parameter(channels) if channels and not batch_normalize else None
        self.activate_in_place = IN_PLACE.get(activation, ACTIVATIONS[activation])
        self.activate = self.activate_in_place if activation in OF_RESULT else ACTIVATIONS[activation]

    def finish(self, x: Tensor, norm: Norm | None) -> Tensor:
        """Normalisation (``norm``: the layer's own, or that of the layer whose weights it shares; None where the bias
        was added already), and activation. It may overwrite x."""
        x = x if norm is None else norm(x)
        return self.activate(x) if x.requires_grad else self.activate_in_place(x)

    def fold(self) -> None:
        """Darknet: fuse_conv_batchnorm, in double precision as there."""
        if self.norm is None:
            return
        norm, weight = self.norm, self.weight
        scale = norm.weight.double() / (norm.running_var.double() + EPSILON).sqrt()
        axis = self.output_axis
        factors = scale.view([-1 if index == axis else 1 for index in range(weight.dim())])
        for some, factor in zip(weight.data.split(FOLDED, axis), factors.split(FOLDED, axis), strict=True):
            some.copy_(some * factor)
        self.norm = None
        self.bias = nn.Parameter((norm.bias - norm.running_mean * scale).to(weight.dtype))

    def bias_blob(self) -> Blob:
        bias = self.bias if self.norm is None else self.norm.bias
        assert bias is not None
        return Blob(bias)

    def norm_blobs(self) -> Iterator[Blob]:
        return iter(()) if self.norm is None else self.norm.statistics()

    def blobs(self) -> Iterator[Blob]:
        """C's order for convolutions: biases, [scales, mean, variance], weights."""
        yield self.bias_blob()
        yield from self.norm_blobs()
        yield Blob(self.weight)

    def reset_parameters(self) -> None:
        """Darknet draws weights uniformly with a bound of sqrt(2 / fan-in)."""
        bound = math.sqrt(2 / self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        if self.norm is not None:
            self.norm.reset_parameters()
        elif self.bias is not None:
            nn.init.zeros_(self.bias)


@layer("batchnorm")
class BatchNorm(Layer):
    """Batch normalisation as a layer of its own.

    Darknet: make_batchnorm_layer. In files: biases, scales, mean, variance.
    """

    any_size = True

    def __init__(self, options: LayerOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.norm = Norm(self, self.shape.channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def onnx(self, graph: Any, *xs: str) -> str:
        norm = self.norm
        return graph("BatchNormalization", xs[0], *map(graph.constant, (
            norm.weight, norm.bias, norm.running_mean, norm.running_var)), epsilon=EPSILON)

    def blobs(self) -> Iterator[Blob]:
        yield Blob(self.norm.bias)
        for blob in self.norm.statistics():
            yield blob._replace(norm=False)     # dontloadscales means nothing here

    def reset_parameters(self) -> None:
        self.norm.reset_parameters()
