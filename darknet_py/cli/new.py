"""Write a cfg to train an architecture on a data set of one's own.

Sets classes and filters, the size of the input, how long to train and when the learning rate falls, subdivisions that
fit the memory, and with -anchors auto anchors that fit the boxes. NAME is one of those in cfg/, such as yolov4-tiny.
"""
from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.anchors import print_problems
from darknet_py.cli.edit import check_free
from darknet_py.cli.output import say
from darknet_py.cli.progress import Progress

if TYPE_CHECKING:
    from darknet_py.prepare.new_cfg import NewCfg, Pretrained

VARIANTS = {"sam": "spatial attention before the heads", "gaussian": "Gaussian YOLO heads, with uncertainties of boxes",
          "spp": "spatial pyramid pooling"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the architecture")
    parser.add_argument("--classes", type=int, metavar="N", help="how many (default: those of -data)")
    parser.add_argument("--size", metavar="SIZE", help="of the input, 416 or 416x320 (default: the architecture's)")
    parser.add_argument("--data", help="a .data file: its classes, and how many pictures there are to train on")
    parser.add_argument("--anchors", choices=["auto"], help="auto: those that fit the boxes of -data")
    for variant, text in VARIANTS.items():
        parser.add_argument(f"--{variant}", action="store_true", help=text)
    parser.add_argument("--memory", type=float, metavar="GIB", help="that training may take (default: what the GPU has "
                        "free, or without one this machine)")
    parser.add_argument("--out", "--o", metavar="FILE", help="the cfg to write (default NAME-custom.cfg)")
    parser.add_argument("--force", action="store_true", help="even if it is there already")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.prepare.new_cfg import new_cfg
    name, out = arguments.name, f"{arguments.name}-custom.cfg" if arguments.out is None else arguments.out
    check_free(out, arguments.force)
    from darknet_py.model.input_size import read_size
    size = None if arguments.size is None else read_size(arguments.size, "-size")
    memory = read_memory(arguments.memory)
    with Progress(0, sys.stderr) as progress:
        new = new_cfg(name, classes=arguments.classes, size=size, data=arguments.data, memory=memory,
                      auto_anchors=arguments.anchors == "auto",
                      variants=[name for name in VARIANTS if getattr(arguments, name)], progress=progress.track)
    print_problems(new.problems, arguments.data)
    new.cfg.write(out)
    for line in summary(new, arguments.data):
        say(line)
    say(f"wrote {out}")
    for line in next_steps(new, out, arguments.data):
        say(line)
    return 0


def read_memory(gib: float | None) -> int | None:
    """Bytes of a -memory."""
    from darknet_py.errors import DarknetError
    if gib is not None and not 0 < gib < 1e6:
        raise DarknetError(f"-memory needs a number of GiB above 0, found {gib:g}")
    return None if gib is None else int(gib * 2 ** 30)


def summary(new: NewCfg, data: str | None) -> Iterator[str]:
    """The values that were set, and why."""
    from darknet_py.layers import DetectionHead, Head
    from darknet_py.prepare.new_cfg import FALLS, LEAST, PER_CLASS, USED, gib
    net, layers = new.network.options, [new.network.layers[index] for index in new.network.heads]
    heads = [layer for layer in layers if isinstance(layer, Head)]
    yield row("classes", max(head.classes for head in heads), "")
    if filters := [str(head.shapes[0].channels) for head in heads
                   if isinstance(head, DetectionHead) and head.anchored]:
        yield row("filters", ", ".join(filters), "before the heads")
    yield row("size", f"{net.width} x {net.height}", "" if new.step == 1 else
              f"width and height are multiples of {new.step}")
    pictures = "" if new.pictures is None else f", and the {new.pictures:,} pictures of {data}"
    yield row("max_batches", f"{net.max_batches:,}", f"{PER_CLASS:,} a class, at least {LEAST:,}{pictures}")
    if net.policy == "steps":
        yield row("steps", ", ".join(f"{at:,}" for at in net.steps),
                  f"{' and '.join(f'{part * 100:.0f}' for part in FALLS)} % of that")
    yield row("batch", net.batch, "pictures an iteration")
    up_to = "up to " if new.largest != (net.width, net.height) else ""
    yield row("subdivisions", net.subdivisions, f"{net.batch // net.subdivisions} of them at once, at {up_to}"
              f"{new.largest[0]} x {new.largest[1]}, take about {gib(new.needed)}; {USED * 100:.0f} % of "
              f"{gib(new.memory.size)} of {new.memory.name} may be used")
    if new.fits is not None:
        before, after = (f"{100 * fit.iou:.1f} %" for fit in new.fits)
        yield row("anchors", after, f"mean overlap with the boxes of {data}; {before} with the published ones")


def row(key: str, value: object, why: str) -> str:
    return f"{key:<14}{value!s:<15} {why}".rstrip()


def next_steps(new: NewCfg, out: str, data: str | None) -> Iterator[str]:
    """The next commands."""
    from darknet_py.prepare.new_cfg import first_weights
    detects, beside = bool(new.network.detection_heads), Path(out).parent
    start, weights = first_weights(new.cfg, new.network, "weights", beside), None
    if start is not None and start.path is None:
        from darknet_py.zoo.manifest import how_to_get
        weights = start.file
        yield f"{weights}, to start from: {how_to_get(weights)}"
    elif start is not None and start.layers is None:
        weights = str(start.path)
        yield f"{weights} is here to start from"
    elif start is not None:
        weights = yield from cut(start, beside)
    words = ["detector" if detects else "classifier", "train", "obj.data" if data is None else data, out, weights]
    yield f"now: darknet-py {shlex.join(word for word in words if word is not None)}{' -map' if detects else ''}"


def cut(start: Pretrained, beside: Path) -> Generator[str, None, str]:
    """The commands that cut the layers that fit out of weights that are here; returns the new file's name."""
    from darknet_py.data.datafile import find_file
    from darknet_py.zoo.manifest import OFFICIAL
    cfg = OFFICIAL[start.file].cfg or ""
    name, path = cfg.removesuffix(".cfg"), find_file(cfg, "cfg", beside)
    weights = f"{name}.conv.{start.layers}"
    yield f"{start.path} is here to start from: its first {start.layers} layers fit"
    if path is None:
        yield f"first: darknet-py new {name} -classes 80 -o {cfg}"
    yield f"first: darknet-py partial {shlex.join([str(path or cfg), str(start.path), weights, str(start.layers)])}"
    return weights
