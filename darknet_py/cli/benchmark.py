"""Time of a network on each backend: milliseconds of a batch, images a second, memory, load time, difference.

Without CFG: yolov4-tiny of the zoo; without WEIGHTS: random weights. The network alone is timed, as Detector runs it,
without reading pictures or post-processing. Each backend has a process of its own, and they run in turn; medians are
shown. A backend that is not installed, or cannot run the network, is a row with the reason.

load: seconds from the files to the first outputs, first: when the model is compiled and checked, again: from the
cache. memory: that it adds at most to a process with PyTorch, once the model is cached. difference: the worst one from
PyTorch's outputs in float32, in parts of the value or of the largest one.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from darknet_py.cli import model
from darknet_py.cli.detect import device
from darknet_py.cli.output import say

if TYPE_CHECKING:
    from darknet_py.model.network import LazyNetwork
    from darknet_py.tools.benchmark import Row

DEFAULT = "yolov4-tiny"         # of the zoo


class Given(NamedTuple):
    """A network to time: its files, the size of its images where it is not the cfg's, and all that in words and for
    JSON."""

    cfg: str
    weights: str
    files: LazyNetwork
    size: tuple[int | None, int | None]
    title: str
    facts: dict[str, Any]


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """What ``benchmark`` and ``profile`` share, behind CFG."""
    parser.add_argument("weights", nargs="?", help="its .weights file (default: random weights)")
    model.add_cfg_flags(parser)
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images that run together (default 1)")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON too")
    parser.add_argument("--i", type=int, metavar="N", help="the GPU to use; -1 for none")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:0 ... (default auto)")
    parser.add_argument("--strict", action="store_true", help="what Darknet would pass over in the cfg is an error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", nargs="?", help=f"{model.CFG} (default: {DEFAULT})")
    add_network_flags(parser)
    parser.add_argument("--backends", metavar="NAME,...", help="pytorch, compile, ncnn, openvino, onnxruntime, "
                        "tensorrt, torchscript, torch.export (default: all)")
    parser.add_argument("--precision", metavar="NAME,...", default="float32", help="what they compute in: "
                        "float32 (default), bfloat16, float16")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="turns of each backend, of a quarter of a "
                        "second or a run (default 10)")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.cli.progress import Progress
    from darknet_py.errors import CfgWarning
    from darknet_py.tools.benchmark import Conditions, benchmark
    where = device(arguments)
    with opened(arguments) as given, Progress(0, sys.stderr) as bar, warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)         # of the cfg, which was read before
        rows = benchmark(given.cfg, given.weights, width=given.size[0], height=given.size[1], batch=arguments.batch,
                         backends=None if arguments.backends is None else names(arguments.backends),
                         precisions=names(arguments.precision),
                         rounds=arguments.runs, device=where, progress=bar.track)
    say(given.title)
    say(str(Conditions.here()))
    for line in table(rows):
        say(line)
    if arguments.json is not None:
        write_figures(arguments.json, given, {"rounds": arguments.runs, "rows": [row.figures() for row in rows]})
    return 0


def names(text: str) -> list[str]:
    """Of a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Given]:
    """The network that the arguments name. Files that they do not name are there as long as the context.

    Raises:
        DarknetError: a file that cannot be used, or images of a size that the network cannot take.
    """
    from darknet_py.errors import DarknetError, printable
    from darknet_py.model.network import LazyNetwork
    from darknet_py.tools.random_weights import randomize
    from darknet_py.zoo.models import is_name
    for flag in ("batch", "runs"):
        if getattr(arguments, flag) < 1:
            raise DarknetError(f"-{flag} needs a number from 1 on, found {getattr(arguments, flag)}")
    with tempfile.TemporaryDirectory(prefix="darknet-py-") as folder:
        arguments.cfg = cfg = DEFAULT if arguments.cfg is None else arguments.cfg
        weights, parsed = arguments.weights, model.cfg_of(arguments)
        if weights is None and parsed.stored is not None:
            weights = cfg
        width, height = model.size_of(arguments, parsed)
        if arguments.set:
            parsed.write(cfg := str(Path(folder, f"{Path(cfg).stem}.cfg")))
        files = LazyNetwork(parsed, weights, width=width, height=height)
        shape = files.outline.input_shape
        if weights is None:
            weights = str(Path(folder, "random.weights"))
            randomize(files.network).save_weights(weights)
        else:
            model.warn_of_random(files.outline, weights)
        shown = f"{arguments.cfg} of the zoo" if is_name(arguments.cfg) else arguments.cfg
        read = "random weights" if files.weights is None else weights
        facts = {"cfg": shown, "weights": None if files.weights is None else weights, "input": shape._asdict(),
                 "batch": arguments.batch}
        title = f"{printable(shown)}, {'' if read == shown else f'{read}, '}input {shape}, batch {arguments.batch}"
        yield Given(cfg, weights, files, (width, height), title, facts)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of the table of backends."""
    yield (f"{'backend':<14}{'precision':<11}{'ms':>9}  {'(least - most)':<21}{'images/s':>9}{'memory':>10}"
           f"{'load: first':>13}{'again':>8}{'difference':>12}")
    for row in rows:
        first = f"{row.backend:<14}{row.precision:<11}"
        if row.reason is not None:
            yield f"{first}  {row.reason}"
            continue
        median, least, most = (1000 * value for value in row.spread)
        memory = "-" if row.memory is None else f"{row.memory / 1e6:.0f} MB"
        yield (f"{first}{median:9.2f}  {f'({least:.2f} - {most:.2f})':<21}{row.rate:9.2f}{memory:>10}"
               f"{row.first_load:11.2f} s{row.load:6.2f} s{row.difference:12.2g}")


def write_figures(path: str, given: Given, figures: dict[str, Any]) -> None:
    """A report as JSON."""
    from darknet_py.tools.benchmark import Conditions
    from darknet_py.utils.files import write_file
    facts = {**given.facts, **Conditions.here()._asdict(), **figures}
    write_file(Path(path), json.dumps(facts, indent=1).encode() + b"\n")
