"""The networks of the zoo: BFLOPs, parameters, published AP and FPS, and whether their weights are here.

AP and AP50 (COCO test-dev, per cent) and FPS (Tesla V100) were measured by others, with an input as large as stands
under "at"; all else is counted. Weights are looked for in the current folder, in weights/ and in the cache.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from textwrap import fill
from typing import Any

from darknet_py.cli.download import MISSING, state
from darknet_py.zoo.manifest import OFFICIAL, SOURCE
from darknet_py.zoo.models import find_weights, places

COLUMNS = {             # -> width, format
    "network": ("<39", ""), "input": (">9", ""), "BFLOPs": (">9", ".3f"), "parameters": (">13", ","),
    "bytes": (">13", ","), "AP": (">6", ".1f"), "AP50": (">6", ".1f"), "FPS": (">5", ""), "at": (">6", ""),
    "weights": (">12", "")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON too")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.zoo.architectures import ARCHITECTURES, check_name
    cards = []
    for name in arguments.names:
        check_name(name)
    print("".join(f"{name:{width}}" for name, (width, _) in COLUMNS.items()))
    for name in arguments.names if arguments.names else ARCHITECTURES:
        cards.append(card(name))
        print("".join(f"{'-' if cards[-1][key] is None else format(cards[-1][key], kind):{width}}"
                      for key, (width, kind) in COLUMNS.items()), flush=True)
    print(fill(f"bytes: of a weights file. {MISSING}: darknet-py download NETWORK fetches it. -: none are published. "
               f"{SOURCE}.", 118))
    if arguments.json is not None:
        import json

        from darknet_py.utils.files import write_file
        write_file(Path(arguments.json), json.dumps(cards, indent=1).encode())
    return 0


def card(name: str) -> dict[str, Any]:
    """A network's row of the table, None where nothing is published. It is built without memory for weights."""
    import torch

    from darknet_py.cfg.language import parse_cfg
    from darknet_py.model.network import Network
    from darknet_py.model.summary import summarize
    from darknet_py.zoo.architectures import cfg_text
    with torch.device("meta"):
        network = Network(parse_cfg(cfg_text(name)))
    summary, (_, height, width) = summarize(network), network.input_shape
    figures, weights = None, None if find_weights(name) is None else "here"
    for file, facts in OFFICIAL.items():
        if facts.cfg == f"{name}.cfg" and facts.layers is None:
            figures = min(facts.figures, key=lambda one: one.size != width, default=None)   # the cfg's own size first
            states = [state(path, facts) for path in places(file)]
            weights = next((one for one in states if one != MISSING), MISSING)
    at, ap, ap50, fps = (None,) * 4 if figures is None else figures
    return {"network": name, "input": f"{width}x{height}", "BFLOPs": summary.flops / 1e9,
            "parameters": summary.parameters, "bytes": summary.file_size, "AP": ap, "AP50": ap50, "FPS": fps, "at": at,
            "weights": weights}
