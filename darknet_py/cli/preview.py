"""Draw a grid of augmented training pictures with their boxes.

The options are those of the cfg: of [net] and of the last head. Views of one picture (contrastive=1) stand side by
side, the pictures of a sequence (track=1) in a row.
"""
from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.detect import write_picture
from darknet_py.cli.model import CFG
from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.cfg.options import NetOptions

LARGEST_SIDE = 16_000       # pixels of the grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a .data file, a list of pictures, a folder, a COCO JSON or a Pascal VOC folder")
    parser.add_argument("cfg", help=CFG)
    parser.add_argument("--out", metavar="FILE", default="preview.jpg", help="the grid (default preview.jpg)")
    parser.add_argument("--count", type=int, metavar="N", default=16, help="pictures (default 16)")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="another number, other pictures (default 0)")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.data.datafile import find_names
    from darknet_py.data.dataset import class_names, read_samples
    from darknet_py.data.loader import Loader
    from darknet_py.data.targets import Truth
    from darknet_py.errors import DarknetError
    from darknet_py.model.network import load_network
    from darknet_py.prepare.refit_heads import detecting_head
    from darknet_py.training.augmentation import augmentation_of
    from darknet_py.training.pictures import labelled
    from darknet_py.viz.draw import grid
    from darknet_py.zoo.models import open_cfg
    for name, least in (("count", 1), ("seed", 0)):
        if getattr(arguments, name) < least:
            raise DarknetError(f"-{name} needs at least {least}, found {getattr(arguments, name)}")
    network = load_network(open_cfg(arguments.cfg))
    classes = detecting_head(network).options.classes
    names = find_names(arguments.cfg, None, classes, class_names(arguments.data))
    samples = read_samples(arguments.data, names=names)
    loader = Loader(samples, classes, augmentation_of(network), channels=network.input_shape.channels,
                    seed=arguments.seed)
    plan, columns = layout(arguments.count, network.options)
    if max(columns * plan.width, -(-plan.images // columns) * plan.height) > LARGEST_SIDE:
        raise DarknetError(f"-count {arguments.count}: so many pictures of {plan.width} x {plan.height} pixels make a "
                           f"grid of more than {LARGEST_SIDE} pixels a side")
    batch = next(loader.batches(0, lambda iteration: plan))
    assert isinstance(batch.truth, Truth)
    for problem in loader.problems:
        print(f"warning: {problem}", file=sys.stderr)
    order = [step * plan.images // plan.time_steps + line       # from (step, line) to (line, step)
             for line in range(plan.images // plan.time_steps) for step in range(plan.time_steps)]
    write_picture(Path(arguments.out), grid([labelled(batch, number, names) for number in order], columns))
    say(f"{arguments.out}: {plan.images} training pictures of {plan.width} x {plan.height}, "
        f"{(batch.truth.labels >= 0).sum()} objects")
    return 0


def layout(count: int, net: NetOptions):
    """The plan of one mini-batch with at least count pictures, and the columns of its grid."""
    from darknet_py.data.loader import Plan
    steps, group = net.time_steps if net.track else 1, 2 if net.contrastive else 1
    count = -(-count // (steps * group)) * steps * group
    columns = steps if steps > 1 else min(count, -(-math.ceil(math.sqrt(count)) // group) * group)
    return Plan(net.width, net.height, count, time_steps=steps), columns
