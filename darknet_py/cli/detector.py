"""Darknet's verbs for detectors.

detector test DATA CFG WEIGHTS [IMAGE]...   find objects in pictures, as darknet-py detect does
"""
from __future__ import annotations

import argparse

from darknet_py.cli import detect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["test"], help="what to do")
    parser.add_argument("data", help="a .data file, for its names")
    parser.add_argument("cfg", help="the network, a .cfg file")
    parser.add_argument("weights", help="its .weights file")
    parser.add_argument("images", nargs="*", help="pictures, folders of them, or patterns such as 'photos/*.jpg'")
    detect.add_flags(parser, thresh=.25)


def run(arguments: argparse.Namespace) -> int:
    return detect.run(arguments)
