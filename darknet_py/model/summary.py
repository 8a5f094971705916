"""Summary of a network without running it: the table of layers that C prints, FLOPs, parameters and memory."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from darknet_py.layers import Layer, Shape
from darknet_py.model.network import Network
from darknet_py.model.weights import size_in_bytes


class Summary(NamedTuple):
    """Totals of a network, for one image.

    flops: multiplications and additions, as C counts them (convolutions, pooling, shortcuts).
    parameters: numbers in a weights file.
    file_size: bytes of a weights file.
    outputs_kept, outputs_freed: bytes of all layers' outputs, and of the most that ``forward`` holds at a time.
    receptive_field: (width, height) in pixels of the input that the largest layer's output depends on.
    """

    flops: int
    parameters: int
    file_size: int
    outputs_kept: int
    outputs_freed: int
    receptive_field: tuple[int, int]


def summarize(network: Network) -> Summary:
    """The totals over a network's layers."""
    size = size_in_bytes(network.layers)
    sizes = [4 * layer.shape.size for layer in network.layers]
    alive = most = 4 * network.input_shape.size
    for size_here, step in zip(sizes, network.plan, strict=True):
        alive += size_here
        most = max(most, alive)
        alive -= sum(sizes[source] for source in step.done if source >= 0)
    fields = receptive_fields(network)
    return Summary(sum(layer.flops for layer in network.layers), (size - 20) // 4, size, sum(sizes), most,
                   max(fields, default=(1, 1)))


def training_memory(network: Network) -> tuple[int, int]:
    """Bytes that training is expected to take, beyond the program itself: for the weights, and for each image of a
    mini-batch.

    Weights have a gradient, a momentum, and with adam= or ema_alpha= further tensors of their size. Outputs are kept
    for the backward pass, before normalisation and after, and half as much again is temporary (measured: 0.3 to 0.8).
    """
    net, summary = network.options, summarize(network)
    return (3 + bool(net.adam) + bool(net.ema_alpha)) * summary.file_size, 5 * summary.outputs_kept // 2


def receptive_fields(network: Network) -> list[tuple[int, int]]:
    """(width, height) in input pixels for each layer.

    Darknet: the loop in parse_network_cfg_custom, but that the layers before count, not those above in the file.
    """
    fields: list[tuple[int, int]] = []
    steps: list[tuple[float, float]] = []       # input pixels from one value to its neighbour
    for layer, sources, _ in network.plan:
        width, height = (max((fields[s][axis] for s in sources if s >= 0), default=1) for axis in (0, 1))
        across, down = (max((steps[s][axis] for s in sources if s >= 0), default=1.) for axis in (0, 1))
        size, stride_x, stride_y, dilation = layer.window
        power = -1 if layer.enlarges else 1
        fields.append((width + int((size - 1) * dilation * across), height + int((size - 1) * dilation * down)))
        steps.append((across * stride_x ** power, down * stride_y ** power))
    return fields


def operations(network: Network) -> list[int]:
    """Multiplications and additions by weights in each layer, for one image or one step of a recurrent network.

    Darknet: operations, which counts groups as if they were one, leaves out [local] and recurrent convolutions, and
    crashes for [gru].
    """
    return [sum(part.operations for part in layer.modules() if isinstance(part, Layer)) for layer in network.layers]


def layer_table(network: Network) -> Iterator[str]:
    """Lines of the table of layers: number, type, filters, size/stride, input, output, BFLOPs."""
    yield f"{'layer':>5} {'type':<15}{'filters':>9}  {'size/strd(dil)':<16}{'input':>19} -> {'output':>18}"
    for index, layer in enumerate(network.layers):
        name, filters = layer.label()
        size, stride_x, stride_y, dilation = layer.window
        window = ""
        if size > 1 or layer.shows_window:
            stride = f"{stride_x}" if stride_x == stride_y else f"{stride_x}x{stride_y}"
            window = f"{size} x {size} / {stride}" + (f"({dilation})" if dilation > 1 else "")
        elif stride_x > 1:
            window = f"{stride_x}x"
        cost = f" {layer.flops / 1e9:.3f} BF" if layer.flops else ""
        yield (f"{index:5d} {name:<15}{filters:>9}  {window:<16}{_columns(layer.shapes[0]):>19} -> "
               f"{_columns(layer.shape):>18}{cost}")


def describe(network: Network) -> Iterator[str]:
    """Lines of the table of layers, and of a network's totals behind it."""
    yield from layer_table(network)
    summary, options = summarize(network), network.options
    mib = 2 ** 20
    yield f"Total BFLOPS {summary.flops / 1e9:.3f}"
    yield (f"input            {network.input_shape} (width x height x channels), batch {options.batch} in "
           f"{options.subdivisions} subdivisions")
    yield f"layers           {len(network.layers)}, outputs of {', '.join(map(str, network.heads))}"
    yield f"parameters       {summary.parameters:,}"
    yield f"weights file     {summary.file_size:,} bytes"
    yield f"receptive field  {summary.receptive_field[0]} x {summary.receptive_field[1]} pixels"
    yield (f"memory           {(summary.file_size + summary.outputs_freed) / mib:.0f} MiB for one image: weights "
           f"{summary.file_size / mib:.0f}, outputs {summary.outputs_freed / mib:.0f} "
           f"(all outputs together {summary.outputs_kept / mib:.0f})")


def _columns(shape: Shape) -> str:
    return f"{shape.width:4d} x{shape.height:4d} x{shape.channels:4d}"
