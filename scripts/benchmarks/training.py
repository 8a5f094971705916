"""benchmark.py train: seconds of an iteration of training, beside the C program."""
from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .common import SHARED

LOADING = 3.            # seconds that the loader alone is watched
C_LOADED = re.compile(r"Loaded: ([\d.]+) seconds")
C_LINE = re.compile(r"^ (\d+): .*? rate, ([\d.]+) seconds, ")


def add_arguments(verb: argparse.ArgumentParser) -> None:
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
    """Our training, as the command line runs it, after the iterations to warm up."""
    from darknet_py.utils.memory import keep_memory
    keep_memory()
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


def run(a: argparse.Namespace) -> None:
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
