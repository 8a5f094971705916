"""The base class of layers: shapes, common options, wiring, and the registry of kinds."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from darknet_py.cfg.language import Cfg, Section
from darknet_py.cfg.options import NetOptions
from darknet_py.errors import CfgError, Reason

MAX_PARAMETERS = 2 ** 29        # 2 GiB of float32; the largest network that Darknet shipped has 277 million
MAX_OUTPUTS = 2 ** 29           # numbers in one output of one image


class Shape(NamedTuple):
    """The shape of one image's output, without the batch."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.width} x {self.height} x {self.channels}"


@dataclass(frozen=True)
class LayerOptions:
    """Options that every section may have. All but the two ``dontload`` ones matter to training alone."""

    dontload: int = 0        # the weights file has nothing for this layer
    dontloadscales: int = 0  # the weights file has no batch-norm values for this layer

    # for training alone
    learning_rate: float = 1  # a factor of the rate for this layer
    clip: float = 0           # weights are kept within -clip and clip; 0: no bound
    onlyforward: int = 0      # 1: the output takes no part in the loss, and no gradient comes back through it
    dont_update: int = 0      # weights change after this iteration only
    burnin_update: int = 0    # weights change after this many times burn_in iterations only
    stopbackward: int = 0     # 1: layers up to this one stay as they are; N above 1: until iteration N
    train_only_bn: int = 0    # 1: of this and all earlier layers only batch-norm statistics change


class StraightThrough(torch.autograd.Function):
    """``apply(x, value)``: the value, which sends its gradient to x as if it were x; of as many numbers as x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        ctx.shape = x.shape
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:    # type: ignore[override]
        return gradient.reshape(ctx.shape), None


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """The value, with ``StraightThrough``'s gradient where there is one to send: no exporter can write that down."""
    return StraightThrough.apply(x, value) if x.requires_grad else value


class Blob(NamedTuple):
    """A tensor that lies in weights files.

    ``norm``: absent under ``dontloadscales``. ``stored``: "plain", "flipped" (the file always holds the transpose), or
    "matrix" (the file holds the transpose if its header says so).
    """

    tensor: Tensor
    norm: bool = False
    stored: str = "plain"


@dataclass
class TrainingContext:
    """The state of a training run that layers and losses may know. All layers of a network share one,
    ``Network.context``, also at other sizes; it is written by the training step alone.

    net: the [net] section.
    width, height: of the network's input in pixels, in this mini-batch.
    iteration: how many updates the weights have had (C: get_current_iteration while a batch runs).
    seen: images, those of this mini-batch included (C: *net.seen).
    subdivision: which mini-batch of its batch this is, from 0 (C: net.current_subdivision).
    adversarial: the first stage of self-adversarial training: ground truth is hidden, and batch normalisation stays at
        its running statistics.
    boxes: (N, M, 4) cxcywh of the mini-batch's ground truth, relative; 0 where there is none.
    rolling: (4,) float64 statistics of deltas that outlive an iteration (see ``losses.yolo``): largest, mean, deviation
        and the threshold of rejection.
    assigned: by the index of a [yolo]: (N, A, H, W) int64, the number of the object (a track's, in C ``l.labels``)
        that is assigned to a cell's anchor, -1 for none, and another such tensor with its class (``l.class_ids``).
        [contrastive] reads it.
    """

    net: NetOptions
    width: int
    height: int
    iteration: int = 0
    seen: int = 0
    subdivision: int = 0
    adversarial: bool = False
    boxes: Tensor | None = None
    rolling: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64, device="cpu"))
    assigned: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """The position in the network at which a layer is built, for its options and wiring."""

    cfg: Cfg
    section: Section
    index: int
    net: NetOptions
    layers: Sequence[Layer]         # those before this one
    context: TrainingContext

    def error(self, message: str, key: str | None = None, reason: Reason = Reason.BAD_VALUE) -> CfgError:
        """A CfgError at this section, or at the line of one of its keys (see ``Cfg.error``)."""
        return self.cfg.error(f"[{self.section.kind}] {message}", self._line(key), reason)

    def warn(self, message: str, key: str | None = None) -> None:
        """The same as a CfgWarning (see ``Cfg.warn``)."""
        self.cfg.warn(f"[{self.section.kind}] {message}", self._line(key))

    def _line(self, key: str | None) -> int:
        entry = None if key is None else self.section.first.get(key)
        return self.section.line if entry is None else entry.line

    def resolve(self, reference: int, key: str) -> int:
        """The index of the layer that ``key`` names: negative counts back from here.

        Raises:
            CfgError: there is no such layer, or it lies ahead.
        """
        index = self.index + reference if reference < 0 else reference
        if not 0 <= index < self.index:
            expected = f"expected one from 0 to {self.index - 1}" if self.index else "but there is none before this one"
            raise self.error(f"{key}={reference} names layer {index}, {expected}", key, Reason.BAD_REFERENCE)
        return index


class Layer(nn.Module):
    """One section of a cfg.

    A layer is built from its options and the shapes that it reads, checks them, and knows its output ``shape``, that of
    its (first) input unless it says otherwise.
    Parameters are allocated but not filled: ``reset_parameters`` or a weights file does that.
    """

    kind: ClassVar[str]             # the section's name
    aliases: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[LayerOptions]]
    final: ClassVar[bool] = False       # its output has another form than ``shape``, so no layer may read it
    stateful: ClassVar[bool] = False    # it remembers earlier images
    passes_on: ClassVar[bool] = False   # it only trains: at inference its answer is what it reads
    clips: ClassVar[bool] = False       # ``clip=`` bounds its weights
    shows_window: ClassVar[bool] = False    # the table of layers shows a window of 1 x 1 too

    any_size: bool = False          # it takes images of any size, in ONNX too
    enlarges: bool = False          # its strides make the output larger
    decays: bool = True             # its weights do under ``decay=``
    update_bound: float = 0         # what its gathered updates are kept within; 0 for no bound

    options: Any                    # an instance of Options
    shape: Shape
    flops: int = 0                  # multiplications and additions for one image, as C counts them
    winograd: bool = False          # Winograd's algorithm can compute it, with fewer
    operations: int = 0             # those by weights alone, without those of layers inside
    window: tuple[int, int, int, int] = (1, 1, 1, 1)    # kernel size, stride x, stride y, dilation

    def __init__(self, options: Any, shapes: Sequence[Shape], place: Place):
        super().__init__()
        self.options, self.shapes, self.place = options, tuple(shapes), place
        self.shape = self.shapes[0]

    @classmethod
    def sources(cls, options: Any, place: Place) -> tuple[int, ...]:
        """Indices of the layers whose outputs ``forward`` takes, in that order; -1 is the network's input."""
        return (place.index - 1,)

    def forward(self, *xs: Any, **_: Any) -> Tensor:     # subclasses take the tensors that they read
        raise AssertionError(f"{type(self).__name__} lacks forward")

    def blobs(self) -> Iterator[Blob]:
        """The layer's tensors in the order of the weights file."""
        return iter(())

    def reset_parameters(self) -> None:
        """Fill the parameters as C does for a network without weights."""

    def fold(self) -> None:
        """Fold batch normalisation into the weights, for inference; it cannot be undone."""
        for part in self.children():
            if isinstance(part, Layer):
                part.fold()

    def pack(self) -> None:
        """Lay folded weights out for this CPU; a move to another device or type undoes it."""
        for part in self.children():
            if isinstance(part, Layer):
                part.pack()

    def set_time_steps(self, time_steps: int) -> None:
        """How many steps the images of one call make up, for a recurrent layer."""

    def reset_state(self) -> None:
        """Reset the state of a recurrent layer."""

    def darknet_output(self, output: Tensor, *xs: Tensor) -> Tensor:
        """What C has in ``l.output`` after this layer ran, where that is not simply ``forward``'s result."""
        return output

    def onnx(self, graph: Any, *xs: str) -> str:
        """Add to a graph (``onnx_graph.Graph``) what ``forward`` computes at inference, batch normalisation folded.

        Args:
            xs: names of the values read.

        Returns:
            The name of the output.

        Raises:
            CfgError: ONNX cannot express it.
        """
        raise self.place.error("cannot be said in ONNX", reason=Reason.UNSUPPORTED)

    def onnx_shape(self, resizable: bool) -> Sequence[Any]:
        """The output's shape in ONNX, without the batch; None for a side that depends on the input's."""
        return (self.shape.channels, None, None) if resizable else self.shape

    def label(self) -> tuple[str, str]:
        """(name, filters) for the table of layers."""
        return self.kind, ""

    def parameter(self, *shape: int) -> nn.Parameter:
        """An unfilled parameter, after a check that it can exist."""
        count = math.prod(shape)
        if count > MAX_PARAMETERS:
            raise self.place.error(f"would need {count} weights ({' x '.join(map(str, shape))}), "
                                   f"more than the {MAX_PARAMETERS} allowed", reason=Reason.TOO_LARGE)
        return nn.Parameter(torch.empty(shape))

    def output(self, channels: int, height: int, width: int) -> Shape:
        """The output's shape, after a check that it is one."""
        shape = Shape(channels, height, width)
        if min(shape) < 1 or shape.size > MAX_OUTPUTS:
            raise self.place.error(f"would have an output of {shape} (width x height x channels) from "
                                   f"{' and '.join(map(str, self.shapes))}, expected 1 to {MAX_OUTPUTS} values",
                                   reason=Reason.OUT_OF_RANGE if min(shape) < 1 else Reason.TOO_LARGE)
        return shape

    def check_padded(self, height: int, width: int) -> None:
        """Check that the input with its padding can exist, for PyTorch builds it."""
        shape = Shape(self.shapes[0].channels, height, width)
        if shape.size > MAX_OUTPUTS:
            raise self.place.error(f"would pad its input from {self.shapes[0]} to {shape} (width x height x channels), "
                                   f"expected at most {MAX_OUTPUTS} values", reason=Reason.TOO_LARGE)

    def extra_repr(self) -> str:
        return f"{' + '.join(map(str, self.shapes))} -> {self.shape}"


def check_filters(place: Place, shape: Shape, what: str, expected: int) -> None:
    """Check the number of filters before a head, which must match its classes and anchors."""
    if shape.channels != expected:
        raise place.error(f"needs filters={expected} in the layer before it ({what}), got {shape.channels}",
                          reason=Reason.SHAPE_MISMATCH)


KINDS: dict[str, type[Layer]] = {}


def layer(kind: str, *aliases: str, options: type[LayerOptions] = LayerOptions) -> Callable[[type[Layer]], type[Layer]]:
    """Register a layer class for a section's name and its aliases."""
    def register(cls: type[Layer]) -> type[Layer]:
        cls.kind, cls.aliases, cls.Options = kind, aliases, options
        for name in (kind, *aliases):
            if name in KINDS:
                raise AssertionError(f"[{name}] is registered twice: {KINDS[name].__name__} and {cls.__name__}")
            KINDS[name] = cls
        return cls

    return register
