"""[convolutional]: convolution."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Blob, LayerOptions, Place, Shape, layer, straight_through
from darknet_py.layers.batchnorm import Normalized
from darknet_py.layers.blur import Blur

NOT_SHARED = -1_000_000_000
# Activations that oneDNN computes with the convolution: its name for each, and its numbers.
FUSED: dict[str, tuple[str, list[float]]] = {
    "leaky": ("leaky_relu", [.1]), "relie": ("leaky_relu", [.01]), "relu": ("relu", []), "tanh": ("tanh", []),
    "logistic": ("sigmoid", []), "swish": ("swish", [])}
DEFORMATIONS = ("sway", "rotate", "stretch", "stretch_sway")


@dataclass(frozen=True)
class ConvolutionalOptions(LayerOptions):
    filters: int = option(1, least=1)   # output channels
    size: int = option(1, least=1)      # side of the kernel, pixels
    stride: int = option(1, least=1)    # step of the window, pixels
    stride_x: int = -1                  # step along x; C: stride
    stride_y: int = -1                  # step along y; C: stride
    pad: int = 0                        # 1: padding = size / 2
    padding: int = option(0, least=0)   # pixels on each side
    dilation: int = option(1, least=1)  # distance of the kernel's taps, pixels
    groups: int = 1                     # channels are split into this many parts, each with filters of its own
    batch_normalize: int = 0  # 1: batch normalisation instead of a bias; 2: over the mini-batches of a batch (CmBN)
    cbn: int = 0                        # 1: batch_normalize = 2
    activation: str = option("logistic", choices=ACTIVATIONS)  # function of the output
    antialiasing: int = 0               # 1: blur 3x3 and then stride; 2: blur 2x2
    share_index: int = NOT_SHARED       # the layer whose weights this one uses; C: none
    flipped: int = 0                    # 1: the file holds the weights transposed
    binary: int = 0                     # 1: weights are -mean or +mean of their filter
    xnor: int = 0                       # 1: so are they, and inputs are -1 or +1
    bin_output: int = 0                 # 1: the signs of the output are enough
    coordconv: int = 0  # 1: the first three outputs are x, y and the distance from the centre (C: on a GPU alone)

    # for training alone
    assisted_excitation: float = 0  # activations at objects are raised until this iteration; 1: for half of max_batches
    sway: int = 0                   # 1: filters are shared in four poses, flipped and turned
    rotate: int = 0                 # 1: in four poses, turned
    stretch: int = 0                # 1: in four poses, stretched
    stretch_sway: int = 0           # 1: in eight poses, stretched, flipped and turned
    angle: float = 15               # of these poses, degrees
    grad_centr: int = 0             # 1: each filter's mean is taken off its updates (gradient centralization)
    reverse: float = 0              # p: steps are sign(u) (10 |u| + 1)^p instead of u

    # read, and without effect here
    dot: float = 0                  # weight of a penalty on filters that are alike
    stream: int = -1       # CUDA stream
    wait_stream: int = -1  # CUDA stream to wait for


@layer("convolutional", "conv", options=ConvolutionalOptions)
class Convolutional(Normalized):
    """Convolution, batch normalisation or bias, activation, and perhaps a blur before the stride.

    Darknet: parse_convolutional, make_convolutional_layer, forward_convolutional_layer_gpu. Quirks:
    - pad=1 means size / 2 pixels; a padding is multiplied by the dilation; size=1 has no dilation.
    - xnor=1 turns groups off. At inference the GPU packs signs into bits where there are 32 channels or more and one
      stride for both sides; a padded pixel is then a -1, and counts nothing otherwise.
    - bin_output=1 says that only the signs of an xnor layer's output are read; C then leaves out the activation at
      inference. Signs stay the same with it.
    - binary=1 acts on the GPU alone.
    - antialiasing runs the convolution with stride 1, then blurs each channel with the stride. C reports the size
      before the blur in its table and leaves old values behind the result in ``l.output`` (see ``darknet_output``).
    - Going back, binary and xnor pass the gradient of a sign straight on, xnor to inputs in (-1, 1) alone.
    - coordconv: C's GPU kernel divides its index before it writes and so hits a few values only; here all positions
      of the first three channels are set, which is what it is for.
    """

    clips = shows_window = True

    def __init__(self, options: ConvolutionalOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, (shape,) = options, shapes
        self.any_size = not o.coordconv
        self.groups = 1 if o.xnor or o.groups < 1 else o.groups
        if shape.channels % self.groups or o.filters % self.groups:
            raise place.error(f"groups={self.groups} must divide the {shape.channels} input channels "
                              f"and filters={o.filters}", "groups", Reason.INDIVISIBLE)
        deformations = [name for name in DEFORMATIONS if getattr(o, name)]
        if len(deformations) > 1:
            raise place.error(f"takes one of {', '.join(DEFORMATIONS)}, found {' and '.join(deformations)}",
                              deformations[1], Reason.CONFLICT)
        if deformations and o.size == 1:
            raise place.error(f"{deformations[0]}=1 needs size=3 or more, found size=1", deformations[0],
                              Reason.CONFLICT)
        self.stride = (o.stride if o.stride_y < 1 else o.stride_y, o.stride if o.stride_x < 1 else o.stride_x)
        self.dilation = 1 if o.size == 1 else o.dilation
        self.padding = (o.size // 2 if o.pad else o.padding) * self.dilation
        self.inner_stride = (1, 1) if o.antialiasing else self.stride
        self.check_padded(shape.height + 2 * self.padding, shape.width + 2 * self.padding)
        extent = self.dilation * (o.size - 1) + 1
        height, width = ((side + 2 * self.padding - extent) // stride + 1
                         for side, stride in zip(shape[1:], self.inner_stride, strict=True))
        self.shape = self.output(o.filters, height, width)
        self.blur = Blur.of(o.antialiasing, self.stride)
        if self.blur is not None:
            self.shape = self.output(o.filters, *self.blur.sides(self.shape))
        self.shared: tuple[Convolutional, ...] = self._shared()
        self.end_with(0 if self.shared else o.filters, 2 if o.cbn else o.batch_normalize, o.activation)
        if not self.shared:
            self.weight = self.parameter(o.filters, shape.channels // self.groups, o.size, o.size)
        weights = o.filters * (shape.channels // self.groups) * o.size ** 2
        self.operations = 2 * weights * height * width
        self.flops = self.operations // (32 if o.xnor else 1)
        self.window = (o.size, self.inner_stride[1], self.inner_stride[0], self.dilation)
        self.winograd = self.window == (3, 1, 1, 1) and self.groups == 1

    def _shared(self) -> tuple[Convolutional, ...]:
        """The layer whose weights this one uses, in a tuple so that it does not become a submodule."""
        o, place = self.options, self.place
        if o.share_index == NOT_SHARED:
            return ()
        index = place.resolve(o.share_index, "share_index")
        other = place.layers[index]
        if not isinstance(other, Convolutional):
            raise place.error(f"share_index={o.share_index} names layer {index}, a [{other.kind}], "
                              "expected a [convolutional]", "share_index", Reason.BAD_REFERENCE)
        mine, theirs = ((layer.options.size, layer.options.filters, layer.shapes[0].channels, layer.groups,
                         bool(layer.options.batch_normalize or layer.options.cbn)) for layer in (self, other))
        if mine != theirs:
            raise place.error(f"share_index={o.share_index} needs equal size, filters, input channels, groups and "
                              f"batch_normalize: layer {index} has {theirs}, this one {mine}", "share_index",
                              Reason.SHAPE_MISMATCH)
        return other.shared or (other,)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolve(x)
        if self.blur is not None:
            x = self.blur(x)
        if self.options.coordconv:
            x = with_coordinates(x)
        return x

    def convolve(self, x: Tensor) -> Tensor:
        """All that comes before the blur. (N, C, H, W) -> (N, filters, H', W')"""
        owner, o, padding = self.shared[0] if self.shared else self, self.options, self.padding
        weight = binarize(owner.weight) if o.binary or o.xnor else owner.weight
        if o.xnor:
            x = straight_through(F.hardtanh(x), torch.where(x > 0, 1., -1.).to(x.dtype))
            if not self.training and x.shape[1] >= 32 and self.stride[0] == self.stride[1]:
                x, padding = F.pad(x, [padding] * 4, value=-1), 0
        if weight.is_mkldnn:
            return self._packed_convolution(x, weight, owner.bias)
        x = F.conv2d(x, weight, owner.bias, self.inner_stride, padding, self.dilation, self.groups)
        x = self.finish(x, owner.norm)
        return self.excite(x) if o.assisted_excitation and self.training else x

    def pack(self) -> None:
        """So that convolutions need not do it at each call; the layer then only infers."""
        o, (shape,) = self.options, self.shapes
        if self.shared or self.norm is not None or o.xnor or o.binary or not torch.backends.mkldnn.is_available():
            return
        self.weight = nn.Parameter(torch.ops.mkldnn._reorder_convolution_weight(
            self.weight.detach(), [self.padding] * 2, self.inner_stride, [self.dilation] * 2, self.groups,
            [1, *shape]), requires_grad=False)

    def _packed_convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution with packed weights and the activation, at once where oneDNN can."""
        name, numbers = FUSED.get(self.options.activation, ("none", []))
        x = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, [self.padding] * 2, self.inner_stride, [self.dilation] * 2, self.groups, name, numbers, "")
        return x if name != "none" else self.activate_in_place(x)

    def _plain(self) -> dict[str, nn.Parameter | None]:
        """The parameters, with the weights as they were before ``pack``, channels last."""
        if self.shared or not self.weight.is_mkldnn:
            return self._parameters
        weight = self.weight.to_dense().contiguous(memory_format=torch.channels_last)
        return self._parameters | {"weight": nn.Parameter(weight, requires_grad=False)}

    def _apply(self, fn: Callable, recurse: bool = True) -> Convolutional:
        self._parameters.update(self._plain())         # of which networks of other sizes share the table
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which are plain."""
        return self.__dict__ | {"_parameters": self._plain()}

    def excite(self, x: Tensor) -> Tensor:
        """Add the mean over channels at the objects' places. Its share falls from 1 to 0 while the boxes grow to the
        whole image: until half of max_batches for assisted_excitation=1, else from burn_in until that iteration.
        (N, C, H, W) -> (N, C, H, W)

        Darknet: assisted_excitation_forward_gpu. Going back C passes the delta on as it is.
        """
        context, net, last = self.place.context, self.place.net, self.options.assisted_excitation
        first, last, span = (0, net.max_batches // 2, net.max_batches) if last == 1 else \
            (net.burn_in, last, net.burn_in + last)
        if context.boxes is None or not first <= context.iteration <= last:
            return x
        share = (1 + math.cos(math.pi * context.iteration / span)) / 2
        height, width = x.shape[2:]
        cx, cy, w, h = context.boxes.to(x).unbind(2)                                    # (N, M) each
        w, h, there = w + (1 - w) * (1 - share), h + (1 - h) * (1 - share), (w * h > 0)[:, :, None]
        column, row = (torch.arange(side, device=x.device) for side in (width, height))
        inside_x = (column >= ((cx - w / 2) * width).floor()[..., None]) & \
            (column <= ((cx + w / 2) * width).ceil()[..., None])
        inside_y = (row >= ((cy - h / 2) * height).floor()[..., None]) & \
            (row < ((cy + h / 2) * height).ceil()[..., None])
        at = ((inside_y & there)[..., None] & inside_x[:, :, None]).any(1)          # (N, H, W)
        return x + (share * at[:, None] * x.mean(1, keepdim=True)).detach()

    def darknet_output(self, output: Tensor, *xs: Tensor) -> Tensor:
        return output if self.blur is None else self.blur.darknet_output(output, self.convolve(*xs))

    def onnx(self, graph: Any, *xs: str) -> str:
        owner, o, x, padding = self.shared[0] if self.shared else self, self.options, xs[0], self.padding
        weight = binarize(owner.weight) if o.binary or o.xnor else owner.weight
        if o.xnor:
            x = graph("Where", graph("Greater", x, 0.), 1., -1.)
            if self.shapes[0].channels >= 32 and self.stride[0] == self.stride[1]:
                x, padding = graph.pad(x, -1., before=(padding, padding), after=(padding, padding)), 0
        x = graph("Conv", x, graph.constant(weight), graph.constant(owner.bias), strides=self.inner_stride,
                  pads=[padding] * 4, dilations=[self.dilation] * 2, group=self.groups)
        x = graph.activation(o.activation, x)
        if self.blur is not None:
            x = self.blur.onnx(graph, x, self.shape.channels)
        if o.coordconv:
            own, rest = graph.split(x, 1, [min(3, o.filters), max(0, o.filters - 3)])
            places = with_coordinates(torch.zeros(1, *self.shape))[:, :3]
            own = graph("Add", graph("Mul", own, 0.), graph.constant(places))
            x = graph("Concat", own, *[rest] * (rest != ""), axis=1)
        return x

    def blobs(self) -> Iterator[Blob]:
        if not self.shared:
            yield self.bias_blob()
            yield from self.norm_blobs()
            yield Blob(self.weight, stored="flipped" if self.options.flipped else "plain")

    def reset_parameters(self) -> None:
        if not self.shared:
            super().reset_parameters()

    def label(self) -> tuple[str, str]:
        o = self.options
        name = "convX" if o.xnor else "convS" if self.shared else "convAE" if o.assisted_excitation else "conv"
        return name, f"{o.filters}/{self.groups}" if self.groups > 1 else f"{o.filters}"


def binarize(weight: Tensor) -> Tensor:
    """Each filter's weights become plus or minus the mean of their absolute values; gradients go to the weights as they
    are. (n, ...) -> (n, ...)"""
    mean = weight.abs().flatten(1).mean(1).view(-1, *[1] * (weight.dim() - 1))
    return straight_through(weight, torch.where(weight > 0, mean, -mean))


def with_coordinates(x: Tensor) -> Tensor:
    """The first three channels replaced by x and y in [-1, 1) and by their distance from the centre."""
    height, width = x.shape[2:]
    across = (torch.arange(width, device=x.device, dtype=x.dtype) * 2 / width - 1).expand(height, width)
    down = (torch.arange(height, device=x.device, dtype=x.dtype) * 2 / height - 1)[:, None].expand(height, width)
    coordinates = torch.stack([across, down, torch.hypot(across, down)])[:x.shape[1]]
    return torch.cat([coordinates.expand(x.shape[0], -1, -1, -1), x[:, 3:]], 1)
