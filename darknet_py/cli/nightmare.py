"""Gradient ascent on a picture (DeepDream) that amplifies the strong activations of a layer.

Writes IMAGE_CFG_LAYER_000000.jpg, a picture a round.
"""
from __future__ import annotations

import argparse
from pathlib import Path

from darknet_py.cli import model
from darknet_py.cli.detect import device, write_picture
from darknet_py.cli.detect_outputs import stem_of
from darknet_py.cli.output import say

FLAGS = {           # flag -> (type, default, help)
    "range": (int, 1, "layers about LAYER, one of which each step takes"),
    "iters": (int, 10, "steps a round"),
    "octaves": (int, 4, "sizes, one of which each step takes"),
    "rate": (float, .04, "how far a step goes"),
    "thresh": (float, 1, "deviations above the mean that count as strong"),
    "norm": (int, 1, "0: take the gradient as it is"),
    "rounds": (int, 1, "pictures"),
    "zoom": (float, 1, "after each round only the middle of this share stays"),
    "rotate": (float, 0, "after each round the picture turns by so many radians"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model.add_arguments(parser)
    parser.add_argument("image", help="a picture: a file, an URL, or - for the standard input")
    parser.add_argument("layer", type=int, help="the number of a layer, as darknet-py info counts them")
    for name, (kind, default, text) in FLAGS.items():
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{text} (default {default})")
    model.add_cfg_flags(parser)
    parser.add_argument("--prefix", metavar="FOLDER", default="", help="where pictures go")
    parser.add_argument("--format", choices=["jpg", "png"], default="jpg", help="of the pictures (default jpg)")
    parser.add_argument("--seed", type=int, metavar="N", help="makes a run repeatable (default: another every time)")
    parser.add_argument("--i", type=int, metavar="N", help="the GPU to use; -1 for none")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from darknet_py.data.given import as_uint8, decode
    from darknet_py.errors import DarknetError
    from darknet_py.tools.nightmare import NightmareOptions, nightmare
    from darknet_py.utils.device import local_device
    if arguments.seed is not None and arguments.seed < 0:
        raise DarknetError(f"-seed needs a number from 0 on, found {arguments.seed}")
    options = NightmareOptions(**{name: getattr(arguments, name) for name in FLAGS})
    network = model.read_network(arguments).network.to(local_device(device(arguments)))
    stem = "_".join([*(name.partition(".")[0] for name in (stem_of(arguments.image), Path(arguments.cfg).name)),
                     str(arguments.layer)])
    pictures = nightmare(network, as_uint8(decode(arguments.image)), arguments.layer, options,
                         np.random.default_rng(arguments.seed))
    for number, picture in enumerate(pictures):
        path = Path(arguments.prefix, f"{stem}_{number:06}.{arguments.format}")
        write_picture(path, picture)
        say(f"{number} {path}")
    return 0
