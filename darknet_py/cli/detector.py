"""Darknet's verbs for detectors.

detector train DATA CFG [WEIGHTS]           train a network, as darknet-py train does
detector test DATA CFG WEIGHTS [IMAGE]...   find objects in pictures, as darknet-py detect does
detector map DATA CFG WEIGHTS               mean average precision on the pictures that DATA names under valid
detector recall DATA CFG WEIGHTS            recall of the proposals, whatever their class, on these pictures
detector valid DATA CFG WEIGHTS             files of detections in the format that DATA names under eval: voc (default),
                                            coco, bdd, kitti or imagenet; -out gives them another name
detector demo DATA CFG WEIGHTS [SOURCE]... find objects in a video, a camera or a stream, as darknet-py demo does
detector calc_anchors DATA [CFG]            anchors that fit the boxes of train, into anchors.txt
"""
from __future__ import annotations

import argparse
from importlib import import_module

from darknet_py.cli import action_flags, anchors, demo_flags, demo_tracking, detect, evaluate, model, train

ACTIONS = {"test": ("detect", "run"), "train": ("train", "run"), "map": ("measure", "run_map"),
           "recall": ("measure", "run_recall"), "valid": ("measure", "run_valid"),
           "calc_anchors": ("anchors", "run"), "demo": ("demo", "run")}                  # -> module and function
# flags that Darknet accepts with any of its verbs, and that have no effect here: accepted and ignored
IGNORED = ("show-imgs",)


prepared = demo_tracking.prepared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=list(ACTIONS), help="what to do")
    parser.add_argument("data", help="a .data file, for its names")
    parser.add_argument("cfg", nargs="?", help=f"{model.CFG}; calc_anchors does without")
    parser.add_argument("weights", nargs="?", help=f"{model.WEIGHTS}; for train one to start from, if any")
    parser.add_argument("images", nargs="*", help=f"{detect.IMAGES}; for demo SOURCEs")
    detect.add_flags(parser, thresh=.25)
    evaluate.add_flags(parser)
    train.add_flags(parser)
    anchors.add_flags(parser)
    demo_flags.add_flags(parser)
    for name in IGNORED:
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DarknetError
    if arguments.cfg is None and arguments.action != "calc_anchors":
        raise DarknetError(f"detector {arguments.action} needs DATA CFG, found no cfg")
    if arguments.action not in ("train", "calc_anchors"):
        model.require_weights(arguments, f"detector {arguments.action} needs DATA CFG WEIGHTS")
    action_flags.check("detector", arguments)
    if arguments.images and arguments.action == "train":
        raise DarknetError(f"detector train takes DATA CFG [WEIGHTS], found {arguments.images[0]} after them")
    module, function = ACTIONS[arguments.action]
    return getattr(import_module(f"darknet_py.cli.{module}"), function)(arguments)
