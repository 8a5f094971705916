"""Measure, side by side in one run.

    python scripts/benchmark.py load [--cfg CFG] [--opencv PYTHON] [--runs N]
    python scripts/benchmark.py forward [--cfg CFG] [--opencv PYTHON] [--runs N] [--size PIXELS]
    python scripts/benchmark.py train [--data DATA] [--cfg CFG] [--darknet PROGRAM] [--c SECONDS] [--iterations N]
    python scripts/benchmark.py evaluate [--data DATA] [--cfg CFG] [--weights WEIGHTS] [--darknet PROGRAM] [--runs N]

load: the seconds it takes to parse a cfg, to build its network and to load its weights (random ones, written for
the occasion; imports are not counted), beside OpenCV's readNetFromDarknet.
forward: the seconds that one image takes through the network, as Detector runs it, beside OpenCV's.

train: the seconds of an iteration of training and the share of them that waits for data, the pictures that the loader
alone gives a second, beside the C program `detector train` (--darknet) or a figure measured before (--c).

evaluate: images a second through `detector map` and the share of the time outside the network, and the same for all
measures of `evaluate` at once, beside the C program `detector map` (--darknet), of which the whole process is timed.

OpenCV 5 reads no Darknet files, so give the Python of an environment with opencv-python 4.12 as --opencv. Both run in
turn, each run in a process of its own; medians are shown.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
YOLOV4 = SHARED / "reference/cfg/yolov4.cfg"
LOADING = 3.            # seconds that the loader alone is watched
C_LOADED = re.compile(r"Loaded: ([\d.]+) seconds")
C_LINE = re.compile(r"^ (\d+): .*? rate, ([\d.]+) seconds, ")

OURS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import torch
from darknet_py.cfg.language import _grammar, read_cfg
from darknet_py.model.network import Network
_grammar()                                          # imports pyparsing
cfg, weights = sys.argv[1:]
times = [time.perf_counter()]
parsed = read_cfg(cfg)
times.append(time.perf_counter())
network = Network(parsed)
times.append(time.perf_counter())
network.load_weights(weights)
times.append(time.perf_counter())
parts = dict(zip(("parse", "build", "load weights"), (b - a for a, b in zip(times, times[1:]))))
print(json.dumps(parts | {"all: darknet_py": times[-1] - times[0]}))
"""
OPENCV = """
import json, sys, time
import cv2
start = time.perf_counter()
net = cv2.dnn.readNetFromDarknet(*sys.argv[1:])
print(json.dumps({f"all: OpenCV {cv2.__version__} readNetFromDarknet": time.perf_counter() - start}))
"""

OURS_FORWARD = """
import json, statistics, sys, time, warnings
warnings.simplefilter("ignore")
import torch
from darknet_py import load_network
cfg, weights, size = sys.argv[1:]
network = load_network(cfg, weights, width=int(size), height=int(size)).fold().to(memory_format=torch.channels_last)
x = torch.rand(1, *network.input_shape).to(memory_format=torch.channels_last)
times = []
with torch.inference_mode():
    for _ in range(8):
        start = time.perf_counter()
        network(x)
        times.append(time.perf_counter() - start)
print(json.dumps({"darknet_py": statistics.median(times[2:])}))
"""
OPENCV_FORWARD = """
import json, statistics, sys, time
import cv2, numpy as np
cfg, weights, size = sys.argv[1:]
net = cv2.dnn.readNetFromDarknet(cfg, weights)
names, times = net.getUnconnectedOutLayersNames(), []
for _ in range(8):
    net.setInput(np.random.rand(1, 3, int(size), int(size)).astype(np.float32))
    start = time.perf_counter()
    net.forward(names)
    times.append(time.perf_counter() - start)
print(json.dumps({f"OpenCV {cv2.__version__}": statistics.median(times[2:])}))
"""


def measured(python: str, code: str, *arguments: str) -> dict[str, float]:
    """What one run of ``code`` in a process of its own prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, env=environment,
                          check=False)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> None:
    """Ours and OpenCV's in turn, on a network with random weights."""
    from darknet_py import load_network
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = f"{folder}/random.weights"
        load_network(arguments.cfg).save_weights(weights)
        words = [str(arguments.cfg), weights] + ([str(arguments.size)] if "size" in arguments else [])
        runs: list[dict[str, float]] = []
        for _ in range(arguments.runs + 1):
            run = measured(sys.executable, arguments.ours, *words)
            if arguments.opencv is not None:
                run |= measured(arguments.opencv, arguments.theirs, *words)
            runs.append(run)
    print(f"{arguments.cfg}: seconds, {os.cpu_count()} cores, median of {arguments.runs} runs after one to warm up "
          "(least, most)")
    for key in runs[0]:
        times = [run[key] for run in runs[1:]]
        print(f"  {key:45s} {statistics.median(times):7.3f}  ({min(times):.3f}, {max(times):.3f})")


class Pace(NamedTuple):
    """Seconds of each iteration, data included, and those of them without data."""

    seconds: list[float]
    waited: list[float]

    def text(self) -> str:
        return (f"{statistics.median(self.seconds):8.4f} seconds an iteration ({min(self.seconds):.4f} to "
                f"{max(self.seconds):.4f}), {sum(self.waited) / sum(self.seconds):6.1%} of them wait for data")


def new_run(a: argparse.Namespace, **more: Any) -> Any:
    """A run that writes nothing."""
    from darknet_py.training.settings import Settings
    from darknet_py.training.trainer import Run
    return Run(a.data, a.cfg, None, Settings(
        clear=True, save=False, charts=None, seed=0, **{"device": a.device, "workers": a.workers, "amp": a.amp,
                                                       "compile": a.compile} | more))


def pace_of_ours(a: argparse.Namespace) -> Pace:
    """Our training, after the iterations to warm up."""
    from darknet_py.training.events import Iteration
    events = (event for event in new_run(a, stop_after=a.warmup + a.iterations) if isinstance(event, Iteration))
    kept = [event for event in events if event.iteration > a.warmup]
    if not kept:
        raise SystemExit(f"{a.cfg}: max_batches= allows no iterations after {a.warmup} to warm up")
    return Pace([event.seconds for event in kept], [event.waited for event in kept])


def pace_in(lines: Iterable[str], warmup: int, iterations: int) -> Pace:
    """What the C program says of iterations ``warmup`` + 1 and on. Its seconds leave out what it waits for data."""
    pace, loaded = Pace([], []), 0.
    for line in lines:
        if match := C_LOADED.search(line):
            loaded = float(match[1])
        elif (match := C_LINE.match(line)) and int(match[1]) > warmup:
            pace.seconds.append(float(match[2]) + loaded)
            pace.waited.append(loaded)
            if len(pace.seconds) == iterations:
                break
    return pace


def pace_of_c(a: argparse.Namespace) -> Pace:
    """Training by the C program, from the folder of the .data file, which it resolves paths against."""
    from darknet_py.data.datafile import read_data
    with tempfile.TemporaryDirectory() as folder:
        entries = read_data(a.data) | {"backup": folder}
        Path(folder, "c.data").write_text("".join(f"{key}={value}\n" for key, value in entries.items()))
        command = [str(a.darknet.resolve()), "detector", "train", f"{folder}/c.data", str(a.cfg.resolve()),
                   "-dont_show"]
        with subprocess.Popen(command, cwd=a.data.resolve().parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, errors="replace") as process:
            try:
                pace = pace_in(process.stdout or (), a.warmup, a.iterations)
            finally:
                process.kill()
    if not pace.seconds:
        raise SystemExit(f"{a.darknet}: printed no line of an iteration after {a.warmup}; try: {' '.join(command)}")
    return pace


def loading(a: argparse.Namespace, workers: int) -> float:
    """Pictures a second of the loader alone."""
    run = new_run(a, workers=workers, compile=False)
    batches = run.task.batches(1, run.plan)
    for _ in range(max(1, 2 * workers)):                    # what was made ahead
        next(batches)
    begin, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < a.loading:
        count += len(next(batches).names)
    return count / passed


def compare_training(a: argparse.Namespace) -> None:
    """Ours and C's in turn, then the loader."""
    ours, theirs = Pace([], []), Pace([], [])
    for _ in range(a.runs):
        for pace, measure in ((ours, pace_of_ours), (theirs, pace_of_c)):
            if measure is pace_of_ours or a.darknet is not None:
                for known, found in zip(pace, measure(a), strict=True):
                    known.extend(found)
    print(f"{a.cfg}: {os.cpu_count()} cores, device {a.device}, amp {a.amp}, compile {'on' if a.compile else 'off'}, "
          f"median of {len(ours.seconds)} iterations")
    print(f"  darknet_py {ours.text()}")
    median = a.c
    if theirs.seconds:
        print(f"  C          {theirs.text()}")
        median = statistics.median(theirs.seconds)
    elif a.c is not None:
        print(f"  C          {a.c:8.4f} seconds an iteration, as given")
    if median is not None:
        print(f"  C takes {median / statistics.median(ours.seconds):.2f} times as long as darknet_py")
    for workers in a.loaders:
        print(f"  the loader alone, {workers} workers: {loading(a, workers):8.1f} pictures a second")


def compare_evaluation(a: argparse.Namespace) -> None:
    """Ours and C's in turn, of the same images."""
    from darknet_py import load_network
    from darknet_py.data.dataset import class_names, read_samples
    from darknet_py.evaluation.predict import MAP, VALID, predict
    from darknet_py.inference.postprocess import PostProcessor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = load_network(a.cfg, a.weights, device=a.device)
    names = class_names(a.data) or [str(label) for label in range(PostProcessor.of(network).classes)]
    samples = read_samples(a.data, "valid", names)
    times: dict[str, list[tuple[float, float]]] = {}            # seconds, and those in the network
    for _ in range(a.runs + 1):
        for name, settings in (("darknet_py, detector map", [MAP]), ("darknet_py, evaluate", [MAP, VALID])):
            found = predict(network, samples, names, settings, batch=a.batch)
            times.setdefault(name, []).append((found.seconds, found.network_seconds))
        if a.darknet is not None:
            begin = time.perf_counter()
            command = [str(a.darknet.resolve()), "detector", "map", str(a.data.resolve()), str(a.cfg.resolve()),
                       str(a.weights.resolve())]
            done = subprocess.run(command, cwd=a.data.resolve().parent, capture_output=True, check=False)
            if done.returncode:
                raise SystemExit(f"{a.darknet}: {' '.join(command)} ended with {done.returncode}")
            times.setdefault("C, detector map", []).append((time.perf_counter() - begin,) * 2)
    print(f"{a.cfg}: {len(samples)} images, {os.cpu_count()} cores, device {a.device}, median of {a.runs} runs after "
          "one to warm up")
    for name, runs in times.items():
        seconds, inside = (statistics.median(run[at] for run in runs[1:]) for at in (0, 1))
        share = f", {max(0, 1 - inside / seconds):6.1%} of the time outside the network"
        print(f"  {name:26s} {len(samples) / seconds:8.1f} images a second{'' if name.startswith('C') else share}")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="WHAT")
    for name, ours, theirs, text in (("load", OURS, OPENCV, "parse, build and load a network"),
                                     ("forward", OURS_FORWARD, OPENCV_FORWARD, "run a network on one image")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--cfg", type=Path, default=YOLOV4, help=f"default {YOLOV4}")
        verb.add_argument("--opencv", metavar="PYTHON", help="the Python of an environment with OpenCV 4")
        verb.add_argument("--runs", type=int, default=5)
        verb.set_defaults(ours=ours, theirs=theirs, act=compare)
    verb.add_argument("--size", type=int, default=416, help="width and height of the image (default 416)")
    verb = verbs.add_parser("train", help="train a network")
    verb.add_argument("--data", type=Path, default=SHARED / "data/bccd/obj.data", help="default %(default)s")
    verb.add_argument("--cfg", type=Path, default=SHARED / "models/bccd-micro.cfg", help="default %(default)s")
    verb.add_argument("--c", type=float, metavar="SECONDS", help="of an iteration of the C program, measured before")
    verb.add_argument("--darknet", type=Path, metavar="PROGRAM", help="the C program, to run it too")
    verb.add_argument("--iterations", type=int, default=30, help="to measure, each time (default %(default)s)")
    verb.add_argument("--warmup", type=int, default=5, help="iterations before them (default %(default)s)")
    verb.add_argument("--runs", type=int, default=1, help="times that each is measured, in turn (default %(default)s)")
    verb.add_argument("--device", default="auto")
    verb.add_argument("--workers", type=int, help="processes that load pictures (default: as in training)")
    verb.add_argument("--loaders", type=lambda text: [int(word) for word in text.split(",") if word], default=[0, 1, 2],
                      metavar="0,1,2", help="numbers of workers to measure the loader alone with")
    verb.add_argument("--loading", type=float, default=LOADING, help="seconds to watch it for (default %(default)s)")
    verb.add_argument("--amp", default="off", choices=["off", "bf16", "fp16"])
    verb.add_argument("--compile", action="store_true")
    verb.set_defaults(act=compare_training)
    verb = verbs.add_parser("evaluate", help="measure a network")
    verb.add_argument("--data", type=Path, default=SHARED / "data/bccd/obj.data", help="default %(default)s")
    verb.add_argument("--cfg", type=Path, default=SHARED / "models/bccd-micro.cfg", help="default %(default)s")
    verb.add_argument("--weights", type=Path, default=SHARED / "models/bccd-micro.weights", help="default %(default)s")
    verb.add_argument("--darknet", type=Path, metavar="PROGRAM", help="the C program, to run it too")
    verb.add_argument("--runs", type=int, default=5)
    verb.add_argument("--batch", type=int, help="images at a time (default: by their size)")
    verb.add_argument("--device", default="cpu")
    verb.set_defaults(act=compare_evaluation)
    arguments = parser.parse_args(words)
    for path in (arguments.cfg, *(getattr(arguments, name, None) for name in ("data", "weights", "darknet"))):
        if path is not None and not path.is_file():
            parser.error(f"{path}: no such file")
    if min(getattr(arguments, name, 1) for name in ("runs", "iterations")) < 1:
        parser.error("--runs and --iterations need at least 1")
    arguments.act(arguments)
    return 0


if __name__ == "__main__":
    from darknet_py.errors import DarknetError
    try:
        sys.exit(main())
    except DarknetError as error:
        sys.exit(f"benchmark: {error}")
