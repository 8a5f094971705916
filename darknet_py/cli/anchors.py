"""detector calc_anchors: anchors that fit a data set's boxes, as text, or written into a cfg."""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.output import say
from darknet_py.cli.progress import Progress
from darknet_py.utils.files import write_file

if TYPE_CHECKING:
    import numpy as np

    from darknet_py.data.dataset import Problem
    from darknet_py.model.network import Network

CLUSTERS = 5            # as in Darknet
FEW = 10                # problems that are printed
PICTURE = "anchors.png"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of calc_anchors alone."""
    group = parser.add_argument_group("calc_anchors")
    group.add_argument("--num-of-clusters", type=int, metavar="N", help="how many anchors (default: as many as the cfg "
                       f"has, {CLUSTERS} without one)")
    group.add_argument("--width", type=int, metavar="PIXELS", help="of the network (default: the cfg's)")
    group.add_argument("--height", type=int, metavar="PIXELS", help="of the network (default: the cfg's)")
    group.add_argument("--write", metavar="CFG", help="put the anchors into this cfg, with masks and filters")
    group.add_argument("--plot", metavar="FILE", help="draw boxes and anchors")
    group.add_argument("--show", action="store_true", help=f"the same as -plot {PICTURE}: no window is ever opened")


def run(arguments: argparse.Namespace) -> int:
    """Find anchors by Darknet's k-means and by ``find_anchors``; write anchors.txt and counters_per_class.txt here."""
    from darknet_py.errors import DataError, Reason, printable
    from darknet_py.prepare.anchors import anchors_text, counters_text, find_anchors, fit_of, read_boxes
    from darknet_py.prepare.refit_heads import fit_heads, network_anchors
    network = read_network(arguments)
    width, height = input_size(arguments, network)
    count = cluster_count(arguments, network)
    print(f"\n num_of_clusters = {count}, width = {width}, height = {height} ", flush=True)
    with Progress(0, sys.stderr) as progress:
        boxes = read_boxes(arguments.data, progress=tracker(progress, "label files"))
    print(f" read labels from {boxes.pictures} images, {len(boxes.sizes)} boxes ", flush=True)
    print_problems(boxes.problems, arguments.data)
    if not len(boxes.sizes):
        raise DataError(f"{arguments.data}: the pictures under train have no boxes", Reason.EMPTY)
    sizes = boxes.sizes * (width, height)
    with Progress(0, sys.stderr) as progress:
        found = find_anchors(sizes, count, seed=0 if arguments.seed is None else arguments.seed,
                             progress=tracker(progress, "searches"))
    text, counters = anchors_text(found.best, width), counters_text(boxes.counts)
    cfg = None if network is None or arguments.write is None else fit_heads(network.cfg, anchors=found.best)
    rows = {"Darknet's k-means": found.darknet, "k-means++ and gradient ascent": found.best}
    if network is not None:
        rows = {printable(f"{Path(network.cfg.path or '').name} as it is"): network_anchors(network)} | rows
    print("\n".join(["", *table(sizes, rows), "", counters]))
    print(f"\n avg IoU = {100 * fit_of(sizes, found.best).iou:2.2f} % ")
    print("\nSaving anchors to the file: anchors.txt ")
    write_file(Path("counters_per_class.txt"), counters.encode())
    write_file(Path("anchors.txt"), text.encode())
    print(f"anchors = {text}")
    if cfg is not None:
        cfg.write(arguments.write)
        say(f"wrote {arguments.write}")
    if arguments.plot is not None or arguments.show:
        from darknet_py.prepare.anchor_plot import plot_anchors
        picture = PICTURE if arguments.plot is None else arguments.plot
        plot_anchors(sizes, found.best, (width, height), picture)
        say(f"wrote {picture}")
    return 0


def read_network(arguments: argparse.Namespace) -> Network | None:
    """The network of the cfg that is named, if any, with the filters before its heads corrected."""
    import torch

    from darknet_py.errors import DarknetError
    from darknet_py.model.network import Network
    from darknet_py.prepare.refit_heads import fit_heads
    from darknet_py.zoo.models import open_cfg
    path, target = arguments.cfg, arguments.write
    if arguments.weights is not None:
        raise DarknetError(f"detector calc_anchors takes DATA [CFG], found {arguments.weights} after them")
    if path is not None and target is not None and os.path.abspath(path) != os.path.abspath(target):
        raise DarknetError(f"detector calc_anchors takes one cfg, which -write reads too; found {path} and {target}")
    if path is None and target is None:
        return None
    with torch.device("meta"):
        return Network(fit_heads(open_cfg(path if target is None else target, strict=arguments.strict)))


def input_size(arguments: argparse.Namespace, network: Network | None) -> tuple[int, int]:
    """Width and height of the network's input: those of the flags, else those of the cfg."""
    from darknet_py.cfg.options import LIMIT
    from darknet_py.errors import DarknetError
    sizes: dict[str, int] = {}
    for key in ("width", "height"):
        given: int | None = getattr(arguments, key)
        own: int | None = None if network is None else getattr(network.input_shape, key)
        value = own if given is None else given
        if value is None:
            raise DarknetError("detector calc_anchors needs the network's size: -width and -height, or a cfg")
        if not 0 < value < LIMIT:
            raise DarknetError(f"-{key} needs a number of pixels from 1 to {LIMIT - 1}, found {value}")
        if arguments.write is not None and given not in (None, own):
            raise DarknetError(f"{arguments.write} has {key}={own}, found -{key} {given}: leave that out, or change "
                               "the cfg first")
        sizes[key] = value
    return sizes["width"], sizes["height"]


def cluster_count(arguments: argparse.Namespace, network: Network | None) -> int:
    """How many anchors to find; where they are to be written, a number that the cfg can take."""
    import numpy as np

    from darknet_py.errors import DarknetError
    from darknet_py.prepare.anchors import MOST_ANCHORS
    from darknet_py.prepare.refit_heads import anchor_count, fit_heads
    count = arguments.num_of_clusters
    if count is None:
        count = CLUSTERS if network is None else anchor_count(network)
    if not 0 < count <= MOST_ANCHORS:
        raise DarknetError(f"-num_of_clusters needs a number from 1 to {MOST_ANCHORS}, found {count}")
    if network is not None and arguments.write is not None:         # better now than after the search
        fit_heads(network.cfg, anchors=np.arange(1., count + 1)[:, None].repeat(2, 1))
    return count


def tracker(progress: Progress, unit: str) -> Callable[[int, int], None]:
    """A progress callback that shows the number of units done."""
    return lambda done, total: progress.track(done, total, unit)


def print_problems(problems: Sequence[Problem], data: str) -> None:
    """Print the first problems with the labels, errors before warnings."""
    problems = sorted(problems, key=lambda problem: not problem.error)
    for problem in problems[:FEW]:
        print(f"{'error' if problem.error else 'warning'}: {problem}", file=sys.stderr)
    if len(problems) > FEW:
        say(f"... and {len(problems) - FEW:,} more: darknet-py check {data} -all prints them", error=True)


def table(sizes: np.ndarray, rows: Mapping[str, np.ndarray]) -> Iterator[str]:
    """How well anchors fit, a line each."""
    from darknet_py.prepare.anchors import RECALL_IOU, fit_of
    width = max(map(len, rows))
    yield f" {'':<{width}}   average IoU   best possible recall (IoU above {RECALL_IOU:g})"
    for name, anchors in rows.items():
        fit = fit_of(sizes, anchors)
        yield f" {name:<{width}}{100 * fit.iou:>12.2f} %{100 * fit.recall:>13.2f} %"
