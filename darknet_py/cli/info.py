"""Summary of a network: the table of layers that Darknet prints, and totals; no weights are needed or allocated."""
from __future__ import annotations

import argparse

from darknet_py.cli.model import CFG, add_cfg_flags, cfg_of, size_of
from darknet_py.cli.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help=CFG)
    parser.add_argument("weights", nargs="?", help="a weights file, to see whether it fits")
    add_cfg_flags(parser)
    parser.add_argument("--width", type=int, help="the same as -size, of one side")
    parser.add_argument("--height", type=int, help="the same as -size, of one side")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def run(arguments: argparse.Namespace) -> int:
    import torch

    from darknet_py.inference.backends import backends_of, choose
    from darknet_py.model.network import Network
    from darknet_py.model.summary import describe
    cfg = cfg_of(arguments)
    width, height = size_of(arguments, cfg)
    with torch.device("meta"):
        network = Network(cfg, width=width, height=height)
    for line in describe(network):
        print(line)
    if arguments.weights is not None:
        header = network.check_weights(arguments.weights)
    able = [] if cfg.stored is None or cfg.path is None else backends_of(cfg.path)
    (backend, *_), why = (able, "the file is a model for it") if able else choose(network)
    print(f"backend          {backend}, for {why} (-backend auto)")
    if arguments.weights is not None:
        whole = "all layers" if network.reached == len(network.layers) else f"the first {network.reached} layers"
        say(f"{arguments.weights}: version {header.major}.{header.minor}.{header.revision}, holds {whole}, "
            f"seen {header.seen:,} images ({header.seen // network.options.batch:,} batches)")
    return 0
