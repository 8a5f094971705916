"""[rnn], [gru], [lstm], [crnn], [conv_lstm] and [history]: recurrent layers.

Their input is (time_steps * batch, ...): all images of the first step, then all of the second, and so on, as in C.
Where time_steps does not divide the images they are one step, which is how C runs outside training. The state is
kept from one call to the next until ``reset_state``, or until the batch has another size.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from darknet_py.cfg.options import option
from darknet_py.errors import Reason
from darknet_py.layers.activations import ACTIVATIONS
from darknet_py.layers.base import Blob, Layer, LayerOptions, Place, Shape, layer
from darknet_py.layers.connected import Connected, ConnectedOptions
from darknet_py.layers.convolutional import Convolutional, ConvolutionalOptions


class Recurrent(Layer):
    """Runs ``step`` over time. ``state_shapes`` are what it carries from step to step, zero at first."""

    stateful = True
    starts_afresh = False       # C clears the state before every mini-batch of training

    def __init__(self, options: LayerOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        self.time_steps = self.steps = place.net.time_steps
        self.state: tuple[Tensor, ...] | None = None
        self.state_shapes: tuple[Shape, ...] = ()

    def step(self, *xs: Any, **_: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step: (N, ...) and the parts of the state -> the output and the new state."""
        raise AssertionError(f"{type(self).__name__} lacks step")

    def forward(self, x: Tensor) -> Tensor:
        self.steps = self.time_steps if len(x) % self.time_steps == 0 else 1
        batch, state, outputs = len(x) // self.steps, self.state, []
        if self.training and self.starts_afresh:
            state = None
        if state is None or (len(state[0]), state[0].device, state[0].dtype) != (batch, x.device, x.dtype):
            state = tuple(x.new_zeros(batch, *shape) for shape in self.state_shapes)
        for now in x.chunk(self.steps):
            output, state = self.step(now, *state)
            outputs.append(output)
        self.state = tuple(part.detach() for part in state)
        return torch.cat(outputs)

    def set_time_steps(self, time_steps: int) -> None:
        self.time_steps = time_steps

    def reset_state(self) -> None:
        self.state = None

    def parts(self) -> list[Layer]:
        """The layers inside."""
        return [part for part in self.children() if isinstance(part, Layer)]

    def blobs(self) -> Iterator[Blob]:
        for part in self.parts():
            yield from part.blobs()

    def reset_parameters(self) -> None:
        for part in self.parts():
            part.reset_parameters()

    def count_flops(self) -> int:
        return sum(part.flops for part in self.parts())

    def dense(self, inputs: int, outputs: int, activation: str) -> Connected:
        options = ConnectedOptions(output=outputs, activation=activation, batch_normalize=self.options.batch_normalize)
        return Connected(options, (Shape(inputs, 1, 1),), self.place)

    def convolution(self, shape: Shape, filters: int) -> Convolutional:
        o = self.options
        options = ConvolutionalOptions(
            filters=filters, size=o.size, stride=o.stride, dilation=o.dilation, pad=o.pad, padding=o.padding,
            groups=o.groups, activation=o.activation, batch_normalize=o.batch_normalize, xnor=o.xnor)
        return Convolutional(options, (shape,), self.place)


class Simple(Recurrent):
    """state = input(x) + self(state) [+ state]; output(state). Subclasses make the three layers."""

    starts_afresh = True
    input_layer: Layer
    self_layer: Layer
    output_layer: Layer

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        new = self.input_layer(x) + self.self_layer(state)
        if self.options.shortcut:
            new = new + state
        return self.output_layer(new), (new,)


@dataclass(frozen=True)
class RnnOptions(LayerOptions):
    output: int = option(1, least=1)  # numbers in the output
    hidden: int = option(1, least=1)  # numbers in the state
    activation: str = option("logistic", choices=ACTIVATIONS)  # function of all three layers
    batch_normalize: int = 0          # 1: batch normalisation instead of biases
    logistic: int = 0                 # the hidden layer's activation: 1 logistic, 2 loggy
    shortcut: int = 0                 # 1: the state adds up


@layer("rnn", options=RnnOptions)
class Rnn(Simple):
    """Connected layers. Darknet: forward_rnn_layer_gpu."""

    def __init__(self, options: RnnOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o = options
        self.input_layer = self.dense(shapes[0].size, o.hidden, o.activation)
        self.self_layer = self.dense(o.hidden, o.hidden, {1: "logistic", 2: "loggy"}.get(o.logistic, o.activation))
        self.output_layer = self.dense(o.hidden, o.output, o.activation)
        self.shape, self.state_shapes = self.output_layer.shape, (self.self_layer.shape,)


@dataclass(frozen=True)
class CrnnOptions(LayerOptions):
    output: int = option(1, least=1)    # output channels
    hidden: int = option(1, least=1)    # channels of the state
    size: int = option(3, least=1)      # side of the kernels, pixels
    stride: int = option(1, least=1)    # step of the window, pixels
    dilation: int = option(1, least=1)  # distance of the kernels' taps, pixels
    pad: int = 0                        # 1: padding = size / 2
    padding: int = option(0, least=0)   # pixels on each side
    groups: int = 1                     # channels are split into this many parts, each with filters of its own
    activation: str = option("logistic", choices=ACTIVATIONS)  # function of all three layers
    batch_normalize: int = 0            # 1: batch normalisation instead of biases
    xnor: int = 0                       # 1: weights and inputs are signs, see [convolutional]
    shortcut: int = 0                   # 1: the state adds up


@layer("crnn", options=CrnnOptions)
class Crnn(Simple):
    """[rnn] with convolutions. Darknet: make_crnn_layer, forward_crnn_layer_gpu."""

    def __init__(self, options: CrnnOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        hidden = Shape(options.hidden, *shapes[0][1:])
        self.input_layer = self.convolution(shapes[0], options.hidden)
        self.self_layer = self.convolution(hidden, options.hidden)
        self.output_layer = self.convolution(hidden, options.output)
        if self.input_layer.shape != hidden or self.self_layer.shape != hidden:
            raise place.error(f"needs a size, stride and padding that keep {hidden}, found {self.input_layer.shape}",
                              reason=Reason.SHAPE_MISMATCH)
        self.shape, self.state_shapes = self.output_layer.shape, (hidden,)
        self.flops = self.count_flops()



@dataclass(frozen=True)
class GateOptions(LayerOptions):
    output: int = option(1, least=1)  # numbers in the output and the state
    batch_normalize: int = 0          # 1: batch normalisation instead of biases


@layer("gru", options=GateOptions)
class Gru(Recurrent):
    """A gated recurrent unit whose candidate is logistic, not tanh. Darknet: forward_gru_layer_gpu."""

    input_z_layer: Connected
    input_r_layer: Connected
    input_h_layer: Connected
    state_z_layer: Connected
    state_r_layer: Connected
    state_h_layer: Connected

    def __init__(self, options: GateOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        for gate in "zrh":
            self.add_module(f"input_{gate}_layer", self.dense(shapes[0].size, options.output, "linear"))
        for gate in "zrh":
            self.add_module(f"state_{gate}_layer", self.dense(options.output, options.output, "linear"))
        self.shape = self.state_z_layer.shape
        self.state_shapes = (self.shape,)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        z = torch.sigmoid(self.input_z_layer(x) + self.state_z_layer(state))
        r = torch.sigmoid(self.input_r_layer(x) + self.state_r_layer(state))
        h = torch.sigmoid(self.input_h_layer(x) + self.state_h_layer(r * state))
        state = z * state + (1 - z) * h
        return state, (state,)


@layer("lstm", options=GateOptions)
class Lstm(Recurrent):
    """Long short-term memory. Darknet: forward_lstm_layer_gpu; w are the layers of the state, u those of the input."""

    wf: Connected
    wi: Connected
    wg: Connected
    wo: Connected
    uf: Connected
    ui: Connected
    ug: Connected
    uo: Connected

    def __init__(self, options: GateOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        for gate in "figo":
            self.add_module(f"w{gate}", self.dense(options.output, options.output, "linear"))
        for gate in "figo":
            self.add_module(f"u{gate}", self.dense(shapes[0].size, options.output, "linear"))
        self.shape = self.wf.shape
        self.state_shapes = (self.shape, self.shape)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        f = torch.sigmoid(self.wf(h) + self.uf(x))
        i = torch.sigmoid(self.wi(h) + self.ui(x))
        g = torch.tanh(self.wg(h) + self.ug(x))
        o = torch.sigmoid(self.wo(h) + self.uo(x))
        c = f * c + i * g
        h = o * torch.tanh(c)
        return h, (h, c)


@dataclass(frozen=True)
class ConvLstmOptions(LayerOptions):
    output: int = option(1, least=1)    # channels of the output and the state
    size: int = option(3, least=1)      # side of the kernels, pixels
    stride: int = option(1, least=1)    # step of the window, pixels
    dilation: int = option(1, least=1)  # distance of the kernels' taps, pixels
    pad: int = 0                        # 1: padding = size / 2
    padding: int = option(0, least=0)   # pixels on each side
    groups: int = 1                     # channels are split into this many parts, each with filters of its own
    activation: str = option("linear", choices=ACTIVATIONS)  # of the convolutions
    lstm_activation: str = option("tanh", choices=ACTIVATIONS)  # of the new cell and the output
    batch_normalize: int = 0            # 1: batch normalisation instead of biases
    xnor: int = 0                       # 1: weights and inputs are signs, see [convolutional]
    peephole: int = 0                   # 1: gates see the cell
    bottleneck: int = 0                 # 1: one convolution of state and input feeds all gates
    shortcut: int = 0                   # 1, with bottleneck: the output has its first half added
    state_constrain: int | None = None  # bound of the cell's values, 0 for none; C: 32 * time_steps
    time_normalizer: float = 1          # in training, factor of the gradient that goes back in time


@layer("conv_lstm", options=ConvLstmOptions)
class ConvLstm(Recurrent):
    """[lstm] with convolutions.

    Darknet: make_conv_lstm_layer, forward_conv_lstm_layer_gpu (the CPU code knows neither bottleneck nor
    lstm_activation). For bottleneck C lays state and input of a batch one behind the other, which is their
    concatenation along the channels for one image; here it is that for every batch. The same holds for the half of
    the channels that shortcut adds. Gradients go back in time through the cell; through the output with
    bottleneck alone, times time_normalizer (backward_conv_lstm_layer_gpu).
    """

    wf: Convolutional

    def __init__(self, options: ConvLstmOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        o, shape = options, shapes[0]
        hidden = Shape(o.output, *shape[1:])
        if o.bottleneck and shape != hidden:
            raise place.error(f"bottleneck=1 needs output={shape.channels}, the channels of its input, "
                              f"found {o.output}", "output", Reason.SHAPE_MISMATCH)
        if o.peephole:
            for gate in "fio":
                self.add_module(f"v{gate}", self.convolution(hidden, o.output))
        for gate in "f" if o.bottleneck else "figo":
            inner = Shape(2 * o.output, *shape[1:]) if o.bottleneck else hidden
            self.add_module(f"w{gate}", self.convolution(inner, o.output))
        for gate in "figo":
            self.add_module(f"u{gate}", self.convolution(shape, o.output))
        if self.wf.shape != hidden:
            raise place.error(f"needs a size, stride and padding that keep {hidden}, found {self.wf.shape}",
                              reason=Reason.SHAPE_MISMATCH)
        self.activate = ACTIVATIONS[o.lstm_activation]
        self.shape, self.state_shapes = hidden, (hidden, hidden)
        self.bound = 32 * place.net.time_steps if o.state_constrain is None else o.state_constrain
        self.flops = self.count_flops() + (12 if o.peephole else 9) * hidden.size

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        o, bottleneck = self.options, None
        h = h.detach() + o.time_normalizer * (h - h.detach()) if o.bottleneck else h.detach()
        if o.bottleneck:
            bottleneck = x = self.activate(self.wf(torch.cat([h, x], 1)))

        def gate(name: str, cell: Tensor | None) -> Tensor:
            total = getattr(self, f"u{name}")(x)
            if not o.bottleneck:
                total = getattr(self, f"w{name}")(h) + total
            return total if cell is None or not o.peephole else total + getattr(self, f"v{name}")(cell)

        new = torch.sigmoid(gate("f", c)) * c + torch.sigmoid(gate("i", c)) * self.activate(gate("g", None))
        h = torch.sigmoid(gate("o", new)) * self.activate(new)
        if self.bound:
            new = new.clamp(-self.bound, self.bound)
        output = h
        if o.shortcut and bottleneck is not None:
            half = o.output // 2
            output = torch.cat([h[:, :half] + bottleneck[:, :half], h[:, half:]], 1)
        return output, (h, new)


@dataclass(frozen=True)
class HistoryOptions(LayerOptions):
    history_size: int = option(4, least=1)  # steps whose inputs are stacked


@layer("history", options=HistoryOptions)
class History(Recurrent):
    """The input and its last history_size - 1 predecessors along the channels, newest first.

    Darknet: make_history_layer, forward_history_layer. For a single step C copies the input alone, and leaves zeros
    for the others. No gradient goes back to the predecessors, as in C.
    """

    def __init__(self, options: HistoryOptions, shapes: Sequence[Shape], place: Place):
        super().__init__(options, shapes, place)
        channels, height, width = shapes[0]
        self.shape = self.output(channels * options.history_size, height, width)
        self.state_shapes = (self.shape,)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        state = state.detach()
        past = state[:, :-x.shape[1]] if self.options.history_size > 1 else state[:, :0]
        output = torch.cat([x, past], 1)
        return output, (output if self.steps > 1 else state,)
