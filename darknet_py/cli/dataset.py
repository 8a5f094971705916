"""Make a data set to train on from pictures with annotations in any common format.

SOURCE is a folder, a COCO JSON, an XML of CVAT, a data.yaml, a .data file or a list of pictures. A folder may hold
label files of Darknet or labelImg, annotations of Pascal VOC beside the pictures or in folders of their own, a
VOCdevkit, COCO's JSONs, a data.yaml, or an export of CVAT. Several sources are merged, classes by their names.

A source that says which pictures are for training and which for validation keeps that. All others are split by -split,
each class in that share, near-duplicates and frames of a sequence on one side.

Pictures stay where they are. Where their labels are not yet files that Darknet finds, links to the pictures (hard
links, symbolic links on another disk, else copies) go into OUT/obj with the labels beside them. Nothing of the source
changes.
"""
from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.check import summary
from darknet_py.cli.output import counted, say
from darknet_py.cli.progress import Progress

if TYPE_CHECKING:
    from darknet_py.prepare.dataset import Prepared

MANY = 20           # problems that are printed unless -all asks for more
NAMED = 12          # classes that are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="+", help="where the pictures and annotations are")
    parser.add_argument("--out", "--o", metavar="FOLDER", help="what to make (default NAME-darknet here, after the "
                        "first source and the format)")
    parser.add_argument("--split", type=float, metavar="SHARE", help="for training, of what has no split of its own "
                        "(default .8); 1: all of it, there will be no valid; 0: all of it is valid")
    parser.add_argument("--resplit", action="store_true", help="split anew what has a split of its own")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the split (default 0)")
    parser.add_argument("--format", default="darknet", choices=["darknet", "coco", "voc", "yolo"],
                        help="to write: Darknet's lists and labels (default), COCO's JSONs, Pascal VOC's folders, or "
                        "data.yaml with images/ and labels/")
    parser.add_argument("--remap", action="append", metavar="OLD=NEW,OTHER=", help="rename classes, merge those that "
                        "get one name, drop those that get none")
    parser.add_argument("--copy", action="store_true", help="copy all pictures into OUT, with relative paths: it can "
                        "be moved to another machine then")
    parser.add_argument("--force", action="store_true", help="even if OUT is there; replaces only what this command "
                        "wrote")
    parser.add_argument("--all", action="store_true", help=f"print all problems, not only {MANY}")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.prepare.dataset import SHARE, prepare_dataset
    from darknet_py.prepare.sources import read_remap
    share = SHARE if arguments.split is None else arguments.split
    out = default_out(arguments.source[0], arguments.format) if arguments.out is None else arguments.out
    remap = read_remap(arguments.remap or [])
    with Progress(0, sys.stderr) as progress:
        made = prepare_dataset(arguments.source, out, share=share, style=arguments.format, remap=remap,
                               seed=arguments.seed, resplit=arguments.resplit, copy=arguments.copy,
                               force=arguments.force, progress=progress.track)
    for line in sources(made, arguments.resplit):
        say(line)
    problems = sorted(made.problems, key=lambda problem: not problem.error)
    for problem in problems if arguments.all else problems[:MANY]:
        print(f"{'error' if problem.error else 'warning'}: {problem}")
    if len(problems) > MANY and not arguments.all:
        print(f"... and {len(problems) - MANY:,} more: -all prints them")
    print()
    from darknet_py.prepare.check_dataset import DatasetReport
    for line in summary(DatasetReport(problems=problems, names=made.names, splits=made.splits)):
        print(line)
    for line in result(made, arguments, share, out):
        say(line)
    return 0


def default_out(source: str, style: str) -> str:
    """After the folder or the file that is read."""
    path = Path(source).resolve()
    return f"{'_'.join((path.name if path.is_dir() else path.stem).split())}-{style}"      # .data files take no spaces


def sources(made: Prepared, resplit: bool) -> Iterator[str]:
    """Format, pictures, classes and splits of each source."""
    for source in made.sources:
        names = ", ".join(source.names[:NAMED]) + (", ..." if source.names[NAMED:] else "")
        yield (f"{source.path}: {source.kind}, {counted(len(source.pictures), 'picture')}, "
               f"{len(source.names)} {'class' if len(source.names) == 1 else 'classes'}: {names}")
        if source.counts:
            split = ", ".join(f"{count:,} {name}" for name, count in source.counts.items())
            yield f"  has a split of its own, {split}" + (": split anew" if resplit else
                                                          ", which is kept; -resplit splits anew")
        yield from (f"  {note}" for note in source.notes)


def result(made: Prepared, arguments: argparse.Namespace, share: float, out: str) -> Iterator[str]:
    """The split, the files that were written, and the next commands."""
    groups, written = made.groups, made.written
    if made.assigned:
        yield (f"split: {counted(made.assigned, 'picture')} by -split {share:g} and -seed {arguments.seed}, each class "
               "in that share")
    if groups.alike:
        yield f"{groups.alike:,} pictures look like others, or are frames of one sequence" + (
            ", and stay together" if made.assigned else "") + (
            f"; {counted(groups.cut, 'group')} too large for that {'was' if groups.cut == 1 else 'were'} cut into runs"
            if groups.cut else "")
    how = [f"{count:,} {kind}" for count, kind in (
        (written.in_place, "pictures where they are"), (written.linked, "pictures as links"),
        (written.copied, "pictures as copies")) if count]
    yield f"wrote {out}: {' and '.join(how)}, {counted(written.files, 'other file')}, of them a chart, statistics.png"
    if arguments.format == "darknet" and any(split.name == "train" for split in made.splits):
        data, cfg = shlex.quote(str(Path(out) / 'obj.data')), "yolov4-tiny-custom.cfg"
        yield f"now: darknet-py new yolov4-tiny -data {data} -size 416"
        yield f"     darknet-py check {data} {cfg}"
        yield f"     darknet-py detector train {data} {cfg}"
