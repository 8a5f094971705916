"""CFG [WEIGHTS] [IMAGE]... of a command line: what the words name, and the network that they make.

CFG is a .cfg file; or a network of the zoo by its name, or a model that convert made, which need no WEIGHTS.
"""
from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli.order import kind_of
from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.cfg.language import Cfg
    from darknet_py.inference.classifier import Classifier
    from darknet_py.inference.detector import Detector
    from darknet_py.model.network import LazyNetwork, Network

CFG = "the network: a .cfg file, a name that darknet-py zoo lists, such as yolov4, or a model that convert made"
WEIGHTS = "its weights file (of a name: the official one, which is fetched once)"
MB = 1_000_000
SHOWING = (None, "test", "demo")        # actions that show what is found: no mAP, whose thresholds are a convention
CHANGE = re.compile(r"(\d+|[A-Za-z]\w*(\[-?\d+\])?)\.\w+=")         # the beginning of a SECTION.KEY=VALUE
# by these ends of their names files are told from pictures: of Darknet, of models, of other programs
OF_WEIGHTS = re.compile(r"\.(weights|backup|[0-9]+|xml|onnx|safetensors|pt|pth|ckpt|bin|torchscript|ts|pt2)", re.I)


def add_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """CFG and WEIGHTS. optional: both may be missing; the verb says what that means."""
    parser.add_argument("cfg", nargs="?" if optional else None, help=CFG)
    parser.add_argument("weights", nargs="?", help=WEIGHTS)
    parser.set_defaults(weights_needed=not optional)


def add_cfg_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of CFG, of whatever runs a network."""
    parser.add_argument("--size", metavar="SIZE", help="of the network's input, instead of the cfg's: 608, or 608x416, "
                        "width first")
    add_set_flag(parser)


def add_set_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE ...", help="other values in "
                        "the cfg, as darknet-py edit takes them, for this run: net.width=608 yolo[2].beta_nms=.7")


def spread(words: Sequence[str]) -> list[str]:
    """The words of a command line with a --set=VALUE for each of those that follow --set, so that it takes no word
    behind them."""
    found: list[str] = []
    setting = False
    for word in words:
        if found[-1:] == ["--set"] and not word.startswith("--"):
            found[-1] = f"--set={word}"
            setting = True
        elif setting and CHANGE.match(word) is not None:
            found.append(f"--set={word}")
        else:
            found.append(word)
            setting = word.startswith("--set=")
    return found


def sort_out(parsed: argparse.Namespace, error: Callable[[str], Any]) -> None:
    """Behind a CFG that needs no WEIGHTS the next word is one of those behind them, unless it names weights. Thresholds
    that were not typed are those of a model, else the usual ones of the verb.

    Args:
        parsed: as argparse gives it.
        error: ends the program with a message, where WEIGHTS are needed and missing.
    """
    from darknet_py.zoo.models import stands_alone
    cfg, weights = getattr(parsed, "cfg", None), getattr(parsed, "weights", None)
    if hasattr(parsed, "usual_thresh"):
        _take_thresholds(parsed, cfg)
    if cfg is None:
        return
    if weights is None:
        # of a file that is missing the message comes later: it may be a name that is not spelt right
        if getattr(parsed, "weights_needed", False) and os.path.exists(cfg) and not stands_alone(cfg):
            typed = kind_of(str(getattr(parsed, "out", None))) == "weights"         # WEIGHTS, and no OUT behind them
            error(f"the following arguments are required: {'out' if typed else 'weights'}")
    elif stands_alone(cfg) and getattr(parsed, "action", "") != "train" and not names_weights(weights):
        if hasattr(parsed, "images"):
            parsed.images, parsed.weights = [weights, *parsed.images], None
        elif parsed.verb == "visualize":
            parsed.out, parsed.weights = weights, None


def _take_thresholds(parsed: argparse.Namespace, cfg: str | None) -> None:
    from darknet_py.cfg.metadata import is_model, stored_cfg
    shows = getattr(parsed, "action", None) in SHOWING
    stored = stored_cfg(cfg).stored if cfg is not None and shows and is_model(cfg) else None
    if parsed.nms is None and stored is not None:
        parsed.nms = stored.nms
    if parsed.thresh is None:
        parsed.thresh = parsed.usual_thresh if stored is None or stored.thresh is None else stored.thresh


def names_weights(word: str) -> bool:
    """Whether this is the path of weights or a model, by its end."""
    return OF_WEIGHTS.fullmatch(Path(word).suffix) is not None


def require_weights(arguments: argparse.Namespace, message: str) -> None:
    """Raises:
        DarknetError: the message, where WEIGHTS are needed and missing.
    """
    from darknet_py.errors import DarknetError
    from darknet_py.zoo.models import stands_alone
    if arguments.weights is None and (arguments.cfg is None or (
            os.path.exists(arguments.cfg) and not stands_alone(arguments.cfg))):
        raise DarknetError(f"{message}, found no weights")


def check_found(cfg: str) -> None:
    """Raises:
        CfgError: CFG is neither a file nor a name; see ``open_cfg``.
    """
    from darknet_py.zoo.models import open_cfg, stands_alone
    if not os.path.exists(cfg) and not stands_alone(cfg):
        open_cfg(cfg)


def cfg_of(arguments: argparse.Namespace) -> Cfg:
    """The cfg that CFG names, with the values of -set."""
    from darknet_py.zoo.models import open_cfg
    cfg = open_cfg(arguments.cfg, strict=arguments.strict)
    if getattr(arguments, "set", None):
        from darknet_py.prepare.edit_cfg import edit_cfg, read_changes
        cfg = edit_cfg(cfg, read_changes(arguments.set, "-set"))
    return cfg


def given_size(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """Width and height of -size."""
    from darknet_py.model.input_size import read_size
    return None if arguments.size is None else read_size(arguments.size, "-size")


def size_of(arguments: argparse.Namespace, cfg: Cfg) -> tuple[int | None, int | None]:
    """The arguments width and height of ``load_network``: of -size, or of -width and -height."""
    from darknet_py.model.input_size import input_sides
    if getattr(arguments, "size", None) is not None:
        return input_sides(cfg, given_size(arguments))
    return getattr(arguments, "width", None), getattr(arguments, "height", None)


def weights_of(cfg: str, weights: str | None) -> str:
    """The path of WEIGHTS; where there are none, CFG itself if it is a model, else that of the official ones of a
    network of the zoo, which are fetched."""
    from darknet_py.cfg.metadata import is_model
    from darknet_py.cli.progress import Progress
    from darknet_py.zoo.models import official_weights
    if weights is not None:
        return weights
    if is_model(cfg):
        return cfg
    with Progress(0, sys.stderr) as bar:
        return str(official_weights(cfg, begin=lambda line: say(line, error=True),
                                    progress=lambda done, total: bar.track(done // MB, total // MB, "MB")))


def ready(arguments: argparse.Namespace) -> Cfg:
    """The cfg, once it is known to take -size, and the path of the weights is among the arguments."""
    cfg = cfg_of(arguments)
    size_of(arguments, cfg)                     # before weights are fetched
    arguments.weights = weights_of(arguments.cfg, arguments.weights)
    return cfg


def detector_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``Detector`` that CFG, WEIGHTS and the flags of whatever shows detections give, but for its
    device."""
    return {"cfg": ready(arguments), "weights": arguments.weights, "names": arguments.names, "data": arguments.data,
            "size": given_size(arguments), "letterbox": arguments.letter_box or None}


def make_detector(arguments: argparse.Namespace, **options: Any) -> Detector:
    """The detector that they describe. options: further ones of ``Detector``."""
    from darknet_py.cli.detect import device
    from darknet_py.inference.detector import Detector
    detector = Detector(**detector_options(arguments), device=device(arguments), **options)
    warn_of_random(detector.outline, arguments.weights)
    return detector


def make_classifier(arguments: argparse.Namespace, **options: Any) -> Classifier:
    """The same for classifiers. options: of ``Classifier``."""
    from darknet_py.cli.detect import device
    from darknet_py.inference.classifier import Classifier
    cfg = ready(arguments)
    classifier = Classifier(cfg, arguments.weights, arguments.names, data=arguments.data, size=given_size(arguments),
                            device=device(arguments), **options)
    warn_of_random(classifier.outline, arguments.weights)
    return classifier


def read_network(arguments: argparse.Namespace, warned: bool = True) -> LazyNetwork:
    """The network of CFG and WEIGHTS, with a warning where the weights do not fill it."""
    from darknet_py.model.network import LazyNetwork
    cfg = ready(arguments)
    width, height = size_of(arguments, cfg)
    files = LazyNetwork(cfg, arguments.weights, width=width, height=height)
    if warned:
        warn_of_random(files.outline, arguments.weights)
    return files


def warn_of_random(network: Network, weights: str) -> None:
    """Warn where a weights file does not have all layers of a network."""
    if network.reached < len(network.layers):
        say(f"warning: {weights}: holds the first {network.reached} of {len(network.layers)} layers; the others have "
            "random weights", error=True)
