"""Check a data set before training, and whether a cfg fits it.

Prints a line a problem, with file and line, then statistics of the data set. Exit status: 0 without errors (warnings
are no errors), else 1.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from darknet_py.cli.output import counted
from darknet_py.cli.progress import Progress

if TYPE_CHECKING:
    from darknet_py.data.check import SplitStatistics
    from darknet_py.prepare.check_dataset import DatasetReport

MANY = 100          # problems that are printed unless -all asks for more, and classes in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", help="a .data file, a list of pictures, or anything that the verb dataset reads")
    parser.add_argument("cfg", nargs="?", help="the network that is to be trained on it: a .cfg file, or a name that "
                        "darknet-py zoo lists")
    parser.add_argument("--quick", action="store_true", help="do not decode the pictures whole")
    parser.add_argument("--all", action="store_true", help=f"print all problems, not only {MANY}")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.prepare.check_dataset import check_dataset
    with Progress(0, sys.stderr) as progress:
        report = check_dataset(arguments.data, arguments.cfg, decode=not arguments.quick,
                               progress=lambda done, total: progress.track(done, total, "pictures"))
    problems = sorted(report.problems, key=lambda problem: not problem.error)
    for problem in problems if arguments.all else problems[:MANY]:
        print(f"{'error' if problem.error else 'warning'}: {problem}")
    if len(problems) > MANY and not arguments.all:
        print(f"... and {len(problems) - MANY:,} more: -all prints them")
    if problems:
        print()
    for line in summary(report):
        print(line)
    return int(report.errors > 0)


def summary(report: DatasetReport) -> Iterator[str]:
    """The tables of pictures, classes and sizes."""
    from darknet_py.errors import printable
    if report.splits:
        yield (f"{'':<10}{'pictures':>12}{'broken':>10}{'without objects':>18}{'objects':>12}{'a picture':>12}"
               f"{'at most':>10}")
    for split in report.splits:
        yield (f"{split.name:<10}{split.pictures:>12,}{split.broken:>10,}{split.empty:>18,}{split.objects:>12,}"
               f"{split.objects / max(1, split.pictures - split.broken):>12.1f}{split.most:>10,}")
    if report.splits and 0 < len(report.names) <= MANY:
        yield ""
        yield f"{'class':<24}" + "".join(f"{split.name:>12}" for split in report.splits)
        for label, name in enumerate(report.names):
            counts = "".join(f"{split.per_class[label]:>12,}" for split in report.splits)
            yield f"{label:>4} {printable(name[:18]):<19}{counts}"
    elif report.names:
        yield f"{len(report.names):,} classes"
    for split in report.splits:
        yield from sizes(split, report)
    if report.anchor_iou is not None:
        yield f"anchors overlap their boxes by {report.anchor_iou:.2f} on average"
    yield ""
    yield f"{counted(report.errors, 'error')}, {counted(report.warnings, 'warning')}"


def sizes(split: SplitStatistics, report: DatasetReport) -> Iterator[str]:
    """The sizes of pictures and boxes: smallest, median, largest."""
    import numpy as np
    yield ""
    if len(split.sizes):
        low, high = split.sizes.min(0), split.sizes.max(0)
        middle = np.median(split.sizes, 0)
        yield (f"{split.name}: pictures from {low[0]} x {low[1]} to {high[0]} x {high[1]} pixels, "
               f"median {middle[0]:.0f} x {middle[1]:.0f}")
    if len(split.boxes):
        scale, unit = np.array([100, 100], np.float32), "% of the picture"
        if report.network is not None:
            _, height, width = report.network.input_shape
            scale, unit = np.array([width, height], np.float32), f"pixels at {width} x {height}"
        low, middle, high = (np.quantile(split.boxes * scale, q, 0) for q in (0, .5, 1))
        yield (f"{split.name}: boxes from {low[0]:.3g} x {low[1]:.3g} to {high[0]:.3g} x {high[1]:.3g}, "
               f"median {middle[0]:.3g} x {middle[1]:.3g} {unit}")
