"""Draw the learning rate over the iterations that a cfg asks for, before training."""
from __future__ import annotations

import argparse
from pathlib import Path

from darknet_py.cli.model import CFG, cfg_of
from darknet_py.cli.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help=CFG)
    parser.add_argument("--out", metavar="FILE", help="the picture to write (default schedule_NAME.png)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def run(arguments: argparse.Namespace) -> int:
    import torch

    from darknet_py.model.network import Network
    from darknet_py.training.chart import plot_schedule
    from darknet_py.training.schedule import learning_rate
    with torch.device("meta"):
        net = Network(cfg_of(arguments)).options
    out = f"schedule_{Path(arguments.cfg).stem}.png" if arguments.out is None else arguments.out
    plot_schedule(net, out)
    turns = {1, net.burn_in, *(net.steps if net.policy == "steps" else ()), net.max_batches}
    for iteration in sorted(turn for turn in turns if 1 <= turn <= net.max_batches):
        print(f"iteration {iteration:>8,}   rate {learning_rate(net, iteration):.3g}")
    say(f"wrote {out}")
    return 0
