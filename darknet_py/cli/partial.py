"""Write the weights of the first N layers, as a start for training another network on top of them."""
from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help="the network, a .cfg file")
    parser.add_argument("weights", help="its .weights file")
    parser.add_argument("out", help="the file to write, such as yolov4.conv.137")
    parser.add_argument("count", metavar="N", type=int, help="how many layers")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.cfg import read_cfg
    from darknet_py.errors import DarknetError
    from darknet_py.network import Network
    network = Network(read_cfg(arguments.cfg))
    reached = network.load_weights(arguments.weights)
    if not 0 <= arguments.count <= reached:
        raise DarknetError(f"N needs a number from 0 to {reached}, the layers that {arguments.weights} holds, "
                           f"found {arguments.count}")
    network.save_weights(arguments.out, arguments.count)
    print(f"{arguments.out}: wrote {arguments.count} of {len(network.layers)} layers")
    return 0
