"""CFG [WEIGHTS] [IMAGE]... of a command line: what the words name, and the network that they make.

CFG is a .cfg file, or a network of the zoo by its name, which needs no WEIGHTS.
"""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.cfg.language import Cfg
    from darknet_py.inference.classifier import Classifier
    from darknet_py.inference.detector import Detector
    from darknet_py.model.network import LazyNetwork, Network

CFG = "the network: a .cfg file, or a name that darknet-py zoo lists, such as yolov4"
WEIGHTS = "its weights file (of a name: the official one, which is fetched once)"
MB = 1_000_000
# by these ends of their names files are told from pictures: of Darknet, of models, of other programs
OF_WEIGHTS = re.compile(r"\.(weights|backup|[0-9]+|xml|onnx|safetensors|pt|pth|ckpt|bin)", re.I)


def add_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """CFG and WEIGHTS. optional: both may be missing; the verb says what that means."""
    parser.add_argument("cfg", nargs="?" if optional else None, help=CFG)
    parser.add_argument("weights", nargs="?", help=WEIGHTS)
    parser.set_defaults(weights_needed=not optional)


def sort_out(parsed: argparse.Namespace, error: Callable[[str], Any]) -> None:
    """Behind a CFG that needs no WEIGHTS the next word is one of those behind them, unless it names weights.

    Args:
        parsed: as argparse gives it.
        error: ends the program with a message, where WEIGHTS are needed and missing.
    """
    cfg, weights = getattr(parsed, "cfg", None), getattr(parsed, "weights", None)
    if cfg is None:
        return
    if weights is None:
        if getattr(parsed, "weights_needed", False) and not stands_alone(cfg):
            error("the following arguments are required: weights")
    elif stands_alone(cfg) and getattr(parsed, "action", "") != "train" and not names_weights(weights):
        if hasattr(parsed, "images"):
            parsed.images, parsed.weights = [weights, *parsed.images], None
        elif parsed.verb == "visualize":
            parsed.out, parsed.weights = weights, None


def stands_alone(cfg: str) -> bool:
    """Whether CFG is a whole network, which needs no WEIGHTS."""
    from darknet_py.zoo.models import is_name
    return is_name(cfg)


def names_weights(word: str) -> bool:
    """Whether this is the path of weights or a model, by its end."""
    return OF_WEIGHTS.fullmatch(Path(word).suffix) is not None


def require_weights(arguments: argparse.Namespace, message: str) -> None:
    """Raises:
        DarknetError: the message, where WEIGHTS are needed and missing.
    """
    from darknet_py.errors import DarknetError
    if arguments.weights is None and not stands_alone(arguments.cfg):
        raise DarknetError(f"{message}, found no weights")


def cfg_of(arguments: argparse.Namespace) -> Cfg:
    """The cfg that CFG names, as the flags have it."""
    from darknet_py.zoo.models import open_cfg
    return open_cfg(arguments.cfg, strict=arguments.strict)


def weights_of(cfg: str, weights: str | None) -> str:
    """The path of WEIGHTS; where there are none, of the official ones of a network of the zoo, which are fetched."""
    from darknet_py.cli.progress import Progress
    from darknet_py.zoo.models import official_weights
    if weights is not None:
        return weights
    with Progress(0, sys.stderr) as bar:
        return str(official_weights(cfg, begin=lambda line: bar.print(line, error=True),
                                    progress=lambda done, total: bar.track(done // MB, total // MB, "MB")))


def make_detector(arguments: argparse.Namespace, **options: Any) -> Detector:
    """The detector that CFG, WEIGHTS and the flags of whatever shows detections describe. options: of ``Detector``."""
    from darknet_py.cli.detect import device
    from darknet_py.inference.detector import Detector
    cfg = cfg_of(arguments)
    arguments.weights = weights_of(arguments.cfg, arguments.weights)
    detector = Detector(cfg, arguments.weights, arguments.names, data=arguments.data,
                        letterbox=arguments.letter_box or None, device=device(arguments), **options)
    warn_of_random(detector.outline, arguments.weights)
    return detector


def make_classifier(arguments: argparse.Namespace, **options: Any) -> Classifier:
    """The same for classifiers. options: of ``Classifier``."""
    from darknet_py.cli.detect import device
    from darknet_py.inference.classifier import Classifier
    cfg = cfg_of(arguments)
    arguments.weights = weights_of(arguments.cfg, arguments.weights)
    classifier = Classifier(cfg, arguments.weights, arguments.names, data=arguments.data, device=device(arguments),
                            **options)
    warn_of_random(classifier.outline, arguments.weights)
    return classifier


def read_network(arguments: argparse.Namespace, warned: bool = True) -> LazyNetwork:
    """The network of CFG and WEIGHTS, with a warning where the weights do not fill it."""
    from darknet_py.model.network import LazyNetwork
    cfg = cfg_of(arguments)
    arguments.weights = weights_of(arguments.cfg, arguments.weights)
    files = LazyNetwork(cfg, arguments.weights)
    if warned:
        warn_of_random(files.outline, arguments.weights)
    return files


def warn_of_random(network: Network, weights: str) -> None:
    """Warn where a weights file does not have all layers of a network."""
    if network.reached < len(network.layers):
        say(f"warning: {weights}: holds the first {network.reached} of {len(network.layers)} layers; the others have "
            "random weights", error=True)
