"""Summary of a network: the table of layers that Darknet prints, and totals; no weights are needed or allocated."""
from __future__ import annotations

import argparse

from darknet_py.cli.model import CFG, cfg_of
from darknet_py.cli.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help=CFG)
    parser.add_argument("weights", nargs="?", help="a weights file, to see whether it fits")
    parser.add_argument("--width", type=int, help="instead of the cfg's")
    parser.add_argument("--height", type=int, help="instead of the cfg's")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def run(arguments: argparse.Namespace) -> int:
    import torch

    from darknet_py.inference.backends import choose
    from darknet_py.model.network import Network
    from darknet_py.model.summary import describe
    from darknet_py.model.weights import check
    with torch.device("meta"):
        network = Network(cfg_of(arguments), width=arguments.width, height=arguments.height)
    for line in describe(network):
        print(line)
    if arguments.weights is not None:
        header, reached = check(arguments.weights, network.layers)
        network.reached = reached
    (backend, *_), why = choose(network)
    print(f"backend          {backend}, for {why} (-backend auto)")
    if arguments.weights is not None:
        whole = "all layers" if reached == len(network.layers) else f"the first {reached} layers"
        say(f"{arguments.weights}: version {header.major}.{header.minor}.{header.revision}, holds {whole}, "
            f"seen {header.seen:,} images ({header.seen // network.options.batch:,} batches)")
    return 0
