"""Darknet's verbs for classifiers.

classifier train DATA CFG [WEIGHTS]     train a network that names whole pictures, as darknet-py train does
"""
from __future__ import annotations

import argparse

from darknet_py.cli import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["train"], help="what to do")
    train.add_arguments(parser)
    parser.add_argument("--topk", action="store_true", help="the same as -map: measure accuracy, and keep the "
                        "best weights")


def run(arguments: argparse.Namespace) -> int:
    arguments.map |= arguments.topk
    return train.run(arguments)
