"""Find objects in any number of pictures, and write tables of them, in parts.

INPUT is a picture, a folder (with those in it), a pattern, a list (.txt), a video, a tar as WebDataset writes them, a
Parquet file with pictures or their paths, or an URL (s3://, gs://, http:// ...) of one. Results go into OUT/parts/; at
the end OUT/manifest.json sums up, and OUT/errors.jsonl lists the pictures that cannot be read. What was stopped or
killed goes on with the same command. torchrun shares the parts among processes, and so do equal commands that run at
the same time, also on several machines with a common OUT; -engine ray does among the workers of Ray.
"""
from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli import detect, model
from darknet_py.cli.output import say
from darknet_py.cli.progress import Progress

if TYPE_CHECKING:
    from darknet_py.scale.folder import BatchFolder

PART = 1000                 # pictures
LOOK, SHARE = 2., 100.      # seconds between two counts of what all processes have done, and times their own
# what results do not depend on, or what their settings name otherwise
OTHERS = ("cfg", "weights", "weights_needed", "images", "out", "data", "names", "device", "i", "engine", "workers",
          "gpus_per_worker", "retry_errors", "usual_thresh", "verb", "typed", "strict")


class Stopped(Exception):
    """A signal asked for the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    model.add_arguments(parser)
    parser.add_argument("images", nargs="*", metavar="INPUT", help="pictures, and files and folders of them, see above")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where results go: a new folder, or that of the "
                        "same command, which goes on")
    parser.add_argument("--format", default="parquet", metavar="NAME", help="of results: parquet, jsonl, coco (with "
                        "results.json and images.json at the end), yolo (tars of label files) (default parquet)")
    parser.add_argument("--part", type=int, default=PART, metavar="N", help="pictures in a part, which is what a kill "
                        "costs a process at most (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures that run together (default 1)")
    parser.add_argument("--column", metavar="NAME", help="of Parquet files: where pictures or their paths are")
    parser.add_argument("--retry-errors", action="store_true", help="do the parts again that have pictures that could "
                        "not be read, as after a fault of the network; in one process")
    parser.add_argument("--engine", default="local", metavar="NAME", help="what runs processes: local (this one, or "
                        "those of torchrun) or ray (default local)")
    parser.add_argument("--workers", type=int, metavar="N", help="of -engine ray (default one a GPU, else one a "
                        "machine)")
    parser.add_argument("--gpus-per-worker", type=float, metavar="N", help="of -engine ray (default 1 where there are "
                        "GPUs, else 0)")
    parser.add_argument("--data", help="a .data file, for its names")
    detect.add_model_flags(parser)
    detect.add_tile_flags(parser)
    detect.add_threshold_flags(parser, .24)


def run(arguments: argparse.Namespace) -> int:
    """List the pictures, do what is not done, and sum up. Exit status 1 where no picture at all can be read."""
    from darknet_py.cli.demo import caught_signals
    from darknet_py.scale import tables
    from darknet_py.scale.folder import BatchFolder
    from darknet_py.scale.inputs import Inputs
    from darknet_py.scale.manifest import finish
    from darknet_py.scale.worker import share_cores
    check(arguments)
    if arguments.format == "parquet":
        tables.require()
    rank = int(os.environ.get("RANK", 0))
    if arguments.engine == "local":
        share_cores()
    inputs = Inputs(arguments.images, arguments.column)
    model.ready(arguments)                  # the official weights are fetched before the pictures are listed
    files = files_of(arguments)
    folder = BatchFolder(arguments.out, settings_of(arguments, files))
    with caught_signals() as signals, Progress(0, None if rank else sys.stderr) as bar:
        shown = Shown(folder, bar, signals)
        try:
            folder.begin(inputs, rank == 0, shown.listed)
            folder.drop_damaged()
            if arguments.retry_errors:
                folder.drop_failed()
            if not all(map(folder.finished, range(folder.snapshot.parts))):
                shown.start()
                compute(arguments, folder, shown)
        except Stopped:
            bar.close()
            done = folder.finished_pictures() if hasattr(folder, "snapshot") else 0
            say(f"darknet-py: stopped; {folder.path} has results of {done:,} pictures, and the same command goes on",
                error=True)
            return 130
        manifest = finish(folder, files)
    if rank == 0:
        say(summary(folder.path, manifest))
    return int(manifest["errors"] == manifest["pictures"])


def check(arguments: argparse.Namespace) -> None:
    """Raises:
        DarknetError: a flag's value is out of range or unknown, or there are no inputs.
    """
    from darknet_py.errors import DarknetError, suggestion
    from darknet_py.scale.rows import FORMATS
    if arguments.retry_errors and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise DarknetError("-retry_errors needs a command in one process, before those that share the parts")
    if not arguments.images:
        raise DarknetError("batch needs inputs behind the weights: pictures, folders, lists ...")
    for name, known in (("format", FORMATS), ("engine", ("local", "ray"))):
        if (value := getattr(arguments, name)) not in known:
            raise DarknetError(f"-{name} needs one of {', '.join(known)}, found {value}{suggestion(value, known)}")
    for name, least in (("part", 1), ("batch", 1), ("workers", 1), ("gpus_per_worker", 0)):
        value = getattr(arguments, name)
        if value is not None and not value >= least:
            raise DarknetError(f"-{name} needs a number from {least} on, found {value}")
        if value is not None and name in ("workers", "gpus_per_worker") and arguments.engine != "ray":
            raise DarknetError(f"-{name} needs -engine ray; torchrun --nproc_per_node N starts processes here")


def files_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The network's files, and what is in them."""
    import hashlib

    from darknet_py.scale.manifest import hash_of
    from darknet_py.zoo.architectures import cfg_text
    found = {}
    for name in ("cfg", "weights"):
        path = getattr(arguments, name)
        if path is not None:            # of a network of the zoo: the text that its name stands for
            found[name] = {"path": path, "sha256": hash_of(path) if os.path.isfile(path) else
                           hashlib.sha256(cfg_text(path).encode()).hexdigest()}
    return found


def settings_of(arguments: argparse.Namespace, files: dict[str, Any]) -> dict[str, Any]:
    """What results depend on: the flags, what is in the network's files, and the inputs by their words."""
    flags = {name: value for name, value in vars(arguments).items() if name not in OTHERS}
    return {"inputs": arguments.images, **{name: facts["sha256"] for name, facts in files.items()}, **flags}


def detector_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of ``Detector``, but for what ``model.make_detector`` adds: each batch begins with a fresh state, so that no
    result depends on which process had the pictures before."""
    return {"thresh": arguments.thresh, "nms": .45 if arguments.nms is None else arguments.nms,
            "hier_thresh": arguments.hier, **detect.backend_options(arguments), **detect.tile_options(arguments)}


def compute(arguments: argparse.Namespace, folder: BatchFolder, shown: Shown) -> None:
    """Do the parts that are not done."""
    from darknet_py.scale.worker import Worker
    if arguments.engine == "ray":
        from darknet_py.scale import ray_workers
        options = {**model.detector_options(arguments), **detector_options(arguments),
                   **({} if arguments.device is None else {"device": arguments.device})}
        ray_workers.run(folder, options, batch=arguments.batch, workers=arguments.workers, step=shown.step,
                        gpus=arguments.gpus_per_worker)
        return
    local_gpu(arguments)
    detector = model.make_detector(arguments, **detector_options(arguments))
    worker = Worker(detector, arguments.batch)
    folder.keep_network(worker.facts())
    worker.work(folder, shown.step)


def local_gpu(arguments: argparse.Namespace) -> None:
    """Under torchrun, the GPU of this process's local rank, unless -device or -i names one."""
    import torch
    rank = os.environ.get("LOCAL_RANK")
    if rank is not None and arguments.i is None and arguments.device in (None, "auto", "cuda") \
            and torch.cuda.is_available():
        arguments.device = f"cuda:{int(rank) % torch.cuda.device_count()}"


class Shown:
    """Progress over all processes, and the look at the signals."""

    def __init__(self, folder: BatchFolder, bar: Progress, signals: list[int]):
        self.folder, self.bar, self.signals = folder, bar, signals
        self.finished, self.looked, self.pause = 0, 0., LOOK

    def listed(self, count: int) -> None:
        """While the pictures are listed."""
        self._stop()
        if count:
            self.bar.update(count, "pictures listed")

    def start(self) -> None:
        """The list is there."""
        self.bar.track(self.folder.finished_pictures(), self.folder.snapshot.count)

    def step(self, done: int) -> None:
        """So many pictures of this process's part are done."""
        self._stop()
        if (now := time.monotonic()) - self.looked > self.pause:
            self.finished, self.looked = self.folder.finished_pictures(), now
            self.pause = max(LOOK, SHARE * (time.monotonic() - now))
        self.bar.update(min(max(self.bar.bar.n, self.finished + done), self.folder.snapshot.count))

    def _stop(self) -> None:
        if self.signals:
            raise Stopped


def summary(path: Path, manifest: dict[str, Any]) -> str:
    """The end of a run in a line."""
    errors = f", {manifest['errors']:,} of them cannot be read (errors.jsonl)" if manifest["errors"] else ""
    return (f"{path}: {manifest['pictures']:,} pictures{errors}, {manifest['detections']:,} objects, "
            f"{manifest['seconds']:,.1f} s, {manifest['rate']:,.1f} a second")
