"""Which flags each action of ``detector`` and ``classifier`` takes, whose parsers know those of all actions.

Darknet takes its own flags with every action and ignores those that it does not use there, so these stay accepted, most
with a warning; others are refused.
"""
from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

from darknet_py.cli import demo_flags
from darknet_py.cli.output import say


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


RUNTIME = names("i device strict backend precision")
MODEL = RUNTIME | {"names", "letter_box", "tiles", "overlap", "size", "set"}
SHOWING = names("thresh nms hier ext_output dontdraw_bbox benchmark_layers dont_show save_labels only "
                "blur crops")
TRAINING = RUNTIME | names(         # it refuses some of them itself, and says what to use instead
    "map map_epochs patience clear gpus seed workers amp statistics compile backup no_report tensorboard log v thresh "
    "iou_thresh points chart dashboard mjpeg_port bind dont_show show_imgs benchmark_layers letter_box")
TAKEN: dict[str, dict[str, frozenset[str]]] = {
    "detector": {
        "test": MODEL | SHOWING | {"out", "pictures"},
        "train": TRAINING,
        "map": MODEL | {"thresh", "nms", "iou_thresh", "points"},
        "recall": MODEL | {"nms"},
        "valid": MODEL | {"nms", "out"},
        "calc_anchors": names("num_of_clusters width height write plot show seed strict"),
        "demo": MODEL | SHOWING | demo_flags.DEFAULTS.keys(),
    },
    "classifier": {
        "train": TRAINING | {"topk"},
        "valid": RUNTIME | {"topk", "workers", "size", "set"},
        "predict": RUNTIME | {"topk", "names", "size", "set"},
        "demo": RUNTIME | names("topk names size set c s prefix out_filename codec json_file_output json_port "
                                "mjpeg_port bind time_limit_sec benchmark benchmark_layers loop dont_show "
                                "dontdraw_bbox"),
    },
}
OF_DARKNET = {
    "detector": names(
        "dont_show benchmark benchmark_layers show letter_box map points show_imgs mjpeg_port avgframes dontdraw_bbox "
        "json_port http_post_host time_limit_sec out_filename json_file_output out prefix thresh iou_thresh hier c s "
        "num_of_clusters width height ext_output save_labels chart map_epochs gpus clear i"),
    "classifier": names(
        "mjpeg_port gpus dont_show benchmark benchmark_layers show_imgs topk c clear chart i letter_box"),
}
SILENT = names("dont_show show show_imgs chart i gpus")      # nobody misses anything where these do nothing
INSTEAD = {("demo", "out"): "-json_file_output FILE writes the detections"}
ALIASES = {"t": "topk", "top": "topk"}


def check(verb: str, arguments: argparse.Namespace) -> None:
    """Refuse the flags on the command line that do nothing for an action, or warn of them.

    Raises:
        DarknetError: a flag of ours that another action takes.
    """
    from darknet_py.errors import DarknetError
    action, actions = arguments.action, TAKEN[verb]
    for name in typed_flags(arguments.typed):
        if name in actions[action]:
            continue
        others = users(actions, name)
        if name not in OF_DARKNET[verb]:
            known = f", which {verb} {others} does" if others else ""
            raise DarknetError(f"{verb} {action} does not take -{name}{known}")
        if name not in SILENT:
            instead = INSTEAD.get((action, name), f"{verb} {others} takes it" if others else "")
            say(f"warning: {verb} {action}: -{name} has no effect" + (f"; {instead}" if instead else ""), error=True)


def typed_flags(words: list[str]) -> list[str]:
    """The flags among the words of a command line, as ``argparse`` names their values."""
    found = [match[1].replace("-", "_").lower() for word in words if (match := re.match(r"--?([A-Za-z][\w-]*)", word))]
    return [ALIASES.get(name, name) for name in found]


def users(actions: Mapping[str, frozenset[str]], name: str) -> str:
    return ", ".join(action for action, taken in actions.items() if name in taken)
