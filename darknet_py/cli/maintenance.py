"""Darknet's maintenance verbs, which inspect and change weights. OUT may be WEIGHTS.

average CFG OUT WEIGHTS...      the mean of several files' weights
partial CFG WEIGHTS OUT N       the first N layers, as a start for training another network on top of them
oneoff CFG WEIGHTS OUT          CFG is a detector, WEIGHTS a classifier of its classes: all anchors get their filters
oneoff CFG WEIGHTS OUT LAYER    WEIGHTS, of a smaller network, fill CFG's layers from 0 on and again from LAYER on
rgbgr CFG WEIGHTS OUT           for pictures whose red and blue are swapped
rescale CFG WEIGHTS OUT         for inputs in [0, 1] instead of [-1, 1]
reset CFG WEIGHTS OUT           fold batch normalisation into the weights, and keep an identity normalisation
denormalize CFG WEIGHTS OUT     fold batch normalisation into the weights; for a cfg without batch_normalize=
normalize CFG WEIGHTS OUT       add identity batch normalisation; for a cfg with batch_normalize=1 throughout
statistics CFG WEIGHTS          root mean square ("MSE", as C calls it), mean and variance of each layer's weights
ops CFG                         the table of layers; multiplications and additions by weights, for one image
visualize CFG WEIGHTS [OUT]     a picture of a layer's filters, the first layer's without -layer
"""
from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli.model import CFG, WEIGHTS, cfg_of, weights_of
from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.cfg.language import Cfg
    from darknet_py.model.network import Network

ARGUMENTS = {"average": ("cfg", "out", "files"), "partial": ("cfg", "weights", "out", "count"),
             "oneoff": ("cfg", "weights", "out", "layer"), "statistics": ("cfg", "weights"), "ops": ("cfg",)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verb = parser.get_default("verb")
    arguments: dict[str, dict[str, Any]] = {
        "cfg": {"help": CFG},
        "weights": {"help": WEIGHTS, "nargs": "?"} if verb != "oneoff" else {"help": "the .weights file"},
        "files": {"metavar": "WEIGHTS", "nargs": "+", "help": "its .weights files"},
        "out": {"help": "the file to write"},
        "count": {"metavar": "N", "type": int, "help": "how many layers"},
        "layer": {"type": int, "nargs": "?", "help": "where the layers of WEIGHTS come again"},
    }
    if verb == "visualize":
        arguments["out"] |= {"nargs": "?", "default": "filters.png"}
        parser.add_argument("--layer", metavar="N", type=int, help="as darknet-py info counts them")
    for name in ARGUMENTS.get(verb, ("cfg", "weights", "out")):
        parser.add_argument(name, **arguments[name])
    parser.set_defaults(weights_needed="weights" in ARGUMENTS.get(verb, ("weights",)))
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def run(arguments: argparse.Namespace) -> int:
    actions = {"average": _average, "partial": _partial, "oneoff": _oneoff, "statistics": _statistics, "ops": _ops,
               "visualize": _visualize}
    cfg = cfg_of(arguments)
    if arguments.weights_needed:
        arguments.weights = weights_of(arguments.cfg, arguments.weights)
    actions.get(arguments.verb, _change)(cfg, arguments)
    return 0


def _change(cfg: Cfg, arguments: argparse.Namespace) -> None:
    from darknet_py.tools import weight_tools as maintenance
    (network,) = _whole(cfg, [arguments.weights])
    getattr(maintenance, arguments.verb)(network)
    _save(network, arguments.out)


def _average(cfg: Cfg, arguments: argparse.Namespace) -> None:
    from darknet_py.tools.weight_tools import average
    _save(average(_whole(cfg, arguments.files)), arguments.out)


def _oneoff(cfg: Cfg, arguments: argparse.Namespace) -> None:
    from darknet_py.model.network import load_network
    from darknet_py.tools.weight_tools import oneoff
    network = load_network(cfg)
    oneoff(network, arguments.weights, arguments.layer)
    _save(network, arguments.out)


def _partial(cfg: Cfg, arguments: argparse.Namespace) -> None:
    from darknet_py.errors import DarknetError
    from darknet_py.model.network import load_network
    network = load_network(cfg, arguments.weights)
    if not 0 <= arguments.count <= network.reached:
        raise DarknetError(f"N needs a number from 0 to {network.reached}, the layers that {arguments.weights} holds, "
                           f"found {arguments.count}")
    _save(network, arguments.out, arguments.count)


def _statistics(cfg: Cfg, arguments: argparse.Namespace) -> None:
    from darknet_py.layers.recurrent import Recurrent
    from darknet_py.tools.weight_tools import statistics
    (network,) = _whole(cfg, [arguments.weights])
    for index, rows in groupby(statistics(network), lambda row: row.layer):
        layer = network.layers[index]
        print(f"{layer.kind.upper() if isinstance(layer, Recurrent) else layer.kind.capitalize()} Layer {index}")
        for part, numbers in groupby(rows, lambda row: row.part):
            if part:
                print(part.removesuffix("_layer").replace("_", " ").title() if "_" in part else part)
            for _, _, kind, root, mean, variance in numbers:
                print(f"{kind} MSE: {root:.6f}, Mean: {mean:.6f}, Variance: {variance:.6f}")
        print()


def _ops(cfg: Cfg, _: argparse.Namespace) -> None:
    import torch

    from darknet_py.model.network import Network
    from darknet_py.model.summary import layer_table, operations, summarize
    with torch.device("meta"):
        network = Network(cfg)
    for line in layer_table(network):
        print(line)
    total = sum(operations(network))
    print(f"Total BFLOPS {summarize(network).flops / 1e9:.3f}")
    print(f"Floating Point Operations: {total}")
    print(f"Floating Point Operations: {total / 1e9:.2f} Bn")


def _visualize(cfg: Cfg, arguments: argparse.Namespace) -> None:
    from darknet_py.cli.detect import write_picture
    from darknet_py.tools.filter_image import picture_of_filters
    (network,) = _whole(cfg, [arguments.weights])
    write_picture(Path(arguments.out), picture_of_filters(network, arguments.layer))
    say(f"wrote {arguments.out}")


def _whole(cfg: Cfg, paths: Sequence[str]) -> Iterator[Network]:
    """The network with the weights of each file; all but the first are one network, filled anew."""
    from darknet_py.errors import Reason, WeightsError
    from darknet_py.model.network import load_network
    network = load_network(cfg, paths[0])
    for number, path in enumerate(paths):
        if number > 0:
            network = copy.deepcopy(network) if number == 1 else network
            network.load_weights(path)
        if network.reached < len(network.layers):
            raise WeightsError(f"{path}: holds the first {network.reached} of {len(network.layers)} layers, "
                               "expected all", Reason.TRUNCATED)
        yield network


def _save(network: Network, out: str, count: int | None = None) -> None:
    network.save_weights(out, count)
    say(f"{out}: wrote {len(network.layers) if count is None else count} of {len(network.layers)} layers")
