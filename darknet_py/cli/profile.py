"""Time of each layer of a network in PyTorch, and of all layers of a kind.

Medians over -runs, on random images. GFLOP/s: multiplications and additions as darknet-py info counts them, in
billions a second. Without WEIGHTS the network has random ones.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from darknet_py.cli.benchmark import add_network_flags, opened, write_figures
from darknet_py.cli.detect import device
from darknet_py.cli.model import CFG
from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.model.network import Network
    from darknet_py.tools.layer_times import LayerTime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help=CFG)
    add_network_flags(parser)
    parser.add_argument("--precision", metavar="NAME", default="float32", help="what it computes in: float32 "
                        "(default), bfloat16, float16")
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="of the network (default 20)")


def run(arguments: argparse.Namespace) -> int:
    import sys

    from darknet_py.cli.progress import Progress
    from darknet_py.inference.backends import PRECISIONS, build_backend
    from darknet_py.tools.benchmark import Conditions, check_names
    from darknet_py.tools.layer_times import by_kind, profile
    check_names("precision", [arguments.precision], PRECISIONS)
    where = device(arguments)
    with opened(arguments) as given:
        backend = build_backend(given.files.network, "pytorch", arguments.precision, where)
    with Progress(arguments.runs, sys.stderr) as bar:
        layers, whole = profile(backend, arguments.batch, arguments.runs, bar.track)
    kinds = by_kind(layers)
    say(f"{given.title}, in {arguments.precision} on {backend.device}, median of {arguments.runs}")
    say(str(Conditions.here()))
    for line in (*table(layers), "", *table(kinds, total=True)):
        print(line)
    total = sum(layer.seconds for layer in layers)
    print(f"{'all layers':<29}{1000 * total:>9.3f} ms; the network without timing of layers {1000 * whole:.3f} ms")
    if arguments.json is not None:
        write_figures(arguments.json, given, {
            "precision": arguments.precision, "device": str(backend.device), "runs": arguments.runs,
            "milliseconds": 1000 * whole, "layers": [layer.figures(total) for layer in layers],
            "kinds": [kind.figures(total) for kind in kinds]})
    return 0


def table(times: Iterable[LayerTime], total: bool = False) -> Iterator[str]:
    """Lines of the table of layers, or with ``total`` of kinds."""
    times = list(times)
    yield (f"{'layers':>5} " if total else f"{'layer':>5} ") + (
        f"{'kind':<17}{'' if total else 'output':>18}{'ms':>10}{'share':>8}{'GFLOP/s':>10}")
    whole = sum(one.seconds for one in times)
    for one in times:
        rate = "" if one.rate is None else f"{one.rate / 1e9:.1f}"
        yield (f"{one.count if one.index is None else one.index:5d} {one.name:<17}{one.shape:>18}"
               f"{1000 * one.seconds:10.3f}{one.share(whole):8.1%}{rate:>10}").rstrip()


class LayerReport:
    """Times of a network's layers, as Darknet prints them for an image with -benchmark_layers.

    Darknet: forward_network_gpu; the type is a name here, a number there, and its CPU code prints nothing.
    """

    ALPHA = .9                          # of the average so far, the rest is the image's

    def __init__(self, network: Network):
        from darknet_py.tools.layer_times import LayerTimer
        self.kinds, self.averages = [layer.kind for layer in network.layers], [0.] * len(network.layers)
        self.timer = LayerTimer(network)

    def lines(self) -> Iterator[str]:
        """Of the next image: its layers in the cfg's order, then all by their average time."""
        for index, (kind, seconds) in enumerate(zip(self.kinds, self.timer.calls.pop(0), strict=False)):
            average = self.averages[index]
            self.averages[index] = average = (self.ALPHA * average + (1 - self.ALPHA) * seconds) if average else seconds
            yield f"\n fw-layer {index} - type: {kind} - {1e3 * seconds:f} ms - avg_time {1e3 * average:f} ms "
        yield "\n\nSorted by time (forward):"
        order = sorted(range(len(self.kinds)), key=lambda index: -self.averages[index])
        for rank, index in enumerate(order):
            yield (f"{rank} - fw-sort-layer {index} - type: {self.kinds[index]} - avg_time "
                   f"{1e3 * self.averages[index]:f} ms ")
