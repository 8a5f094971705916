"""Darknet's verbs for detectors.

detector test DATA CFG WEIGHTS [IMAGE]...   find objects in pictures, as darknet-py detect does
"""
from __future__ import annotations

import argparse

from darknet_py.cli import detect

# flags that Darknet takes with any of its verbs, and that mean nothing to ``test``: accepted, as there
IDLE = ("benchmark-layers", "clear", "map", "show-imgs")
IDLE_VALUES = ("avgframes", "c", "chart", "gpus", "http-post-host", "iou-thresh", "json-port", "map-epochs",
               "mjpeg-port", "num-of-clusters", "out-filename", "points", "prefix", "time-limit-sec")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["test"], help="what to do")
    parser.add_argument("data", help="a .data file, for its names")
    parser.add_argument("cfg", help="the network, a .cfg file")
    parser.add_argument("weights", help="its .weights file")
    parser.add_argument("images", nargs="*", help="pictures, folders of them, or patterns such as 'photos/*.jpg'")
    detect.add_flags(parser, thresh=.25)
    for name in IDLE:
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    for name in IDLE_VALUES:
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    return detect.run(arguments)
