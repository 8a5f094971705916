"""benchmark.py pipeline: what detection takes beyond the network, for pictures, folders, a cold start, and memory.

The networks have random weights, with heads fitted to find about as many objects in the pictures as trained ones do.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import PREDICTED, ROOT, SHARED, facts_here, named_cfg, words_of, write_facts

if TYPE_CHECKING:
    from darknet_py.utils.timed_process import TimedProcess

PARTS = ("picture", "folder", "start", "memory")
SIZES = ((640, 480), (1280, 720), (500, 375), (1920, 1080))     # of pictures, width and height
PICTURES = [ROOT / "cfg/shapes.png", ROOT / "cfg/digits.jpg"]
FOUND = 10              # objects of a picture that heads are fitted to give; few overlap, so that more are left
LARGE = 608             # the size that memory is measured at
PEAK = "from darknet_py.utils.machine import peak_memory; print(peak_memory())"
DETECT_ONE = ("import sys, torch; from darknet_py import Detector; "
              "Detector(*sys.argv[1:3], device='cpu', backend=sys.argv[4])(sys.argv[3]); " + PEAK)


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--cfgs", type=words_of, default=["yolov4-tiny", "yolov4"], metavar="NAME,...",
                      help="networks by name, or paths of cfgs (default yolov4-tiny,yolov4)")
    verb.add_argument("--pictures", type=words_of, metavar="PATH,...", help="copied in several sizes (default: those "
                      "of ../shared, else of cfg/)")
    verb.add_argument("--count", type=int, default=200, help="pictures in the folder (default %(default)s)")
    verb.add_argument("--runs", type=int, default=5, help="of each, in turn (default %(default)s)")
    verb.add_argument("--parts", type=words_of, default=list(PARTS), metavar="NAME,...", help="of " + ",".join(PARTS))
    verb.add_argument("--backend", default="auto", help="of ours (default auto)")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write all figures too")


def run(a: argparse.Namespace) -> None:
    """Network by network, part by part."""
    from darknet_py.tools.benchmark import Conditions, worker_environment
    if unknown := [part for part in a.parts if part not in PARTS]:
        raise SystemExit(f"benchmark: --parts: expected some of {', '.join(PARTS)}, found {unknown[0]}")
    if a.count < 2:
        raise SystemExit(f"benchmark: --count needs a number from 2 on, found {a.count}")
    given = a.pictures or sorted((SHARED / "images").glob("*.jpg")) or PICTURES
    facts = facts_here()
    results: list[dict[str, Any]] = []
    print(f"`{facts['command']}`; {Conditions.here()}. Medians of {a.runs} in turn.\n", flush=True)
    for name in a.cfgs:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            environment = worker_environment(folder)
            pictures = copies(given, a.count if "folder" in a.parts else len(SIZES), folder / "pictures")
            cfg, weights = fitted(name, pictures[:4], folder)
            for part in a.parts:
                place = fitted(name, pictures[:4], folder, LARGE) if part == "memory" else (cfg, weights)
                found = MEASURES[part](*place, pictures, environment, a)
                results.append({"network": Path(name).stem, "part": part, **found})
                print(f"- {Path(name).stem}: {found['text']}", flush=True)
                write_facts(a.json, facts, results=results)


def copies(given: list[Path], count: int, folder: Path) -> list[Path]:
    """JPEG files of the pictures in several sizes."""
    import cv2
    folder.mkdir()
    images = [cv2.imread(str(path)) for path in given]
    for path, image in zip(given, images, strict=True):
        if image is None:
            raise SystemExit(f"benchmark: {path}: is no picture")
    made = []
    for number in range(count):
        made.append(folder / f"{number:05d}.jpg")
        size = SIZES[number // len(images) % len(SIZES)]
        cv2.imwrite(str(made[-1]), cv2.resize(images[number % len(images)], size, interpolation=cv2.INTER_AREA))
    return made


def fitted(name: str, pictures: list[Path], folder: Path, size: int | None = None) -> tuple[str, str]:
    """The files of a network that finds objects in the pictures: cfg and weights."""
    import torch
    from gpu.common import fit

    from darknet_py.cfg.language import read_cfg
    from darknet_py.data.image import read_image
    from darknet_py.inference.preprocess import as_input
    from darknet_py.model.network import load_network
    from darknet_py.tools.random_weights import DEVIATION
    stem = "network" if size is None else f"network-{size}"
    cfg, weights = folder / f"{stem}.cfg", folder / f"{stem}.weights"
    named = named_cfg(name)
    (named if size is None else named.with_values({(0, "width"): size, (0, "height"): size})).write(cfg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        network = load_network(read_cfg(cfg))
    x = torch.stack([as_input(read_image(path, network.input_shape.channels), network.input_shape, False)
                     for path in pictures] + [torch.rand(tuple(network.input_shape))])     # as the parity check has
    fit(network, x, FOUND, DEVIATION).save_weights(weights)
    return str(cfg), str(weights)


def measure_picture(cfg: str, weights: str, pictures: list[Path], environment: dict[str, str], a: argparse.Namespace
                    ) -> dict[str, Any]:
    """A call of Detector with a path, beside its network alone, in turn in one process."""
    code = ("import json, sys, time, torch; from darknet_py import Detector\n"
            "cfg, weights, backend, runs, *paths = sys.argv[1:]\n"
            "detector, times, found = Detector(cfg, weights, device='cpu', backend=backend), [], 0\n"
            "x = torch.rand(1, *detector.backend.shape)\n"
            "for number in range(int(runs) + 1):\n"
            "    for path in paths:\n"
            "        begin = time.perf_counter(); detections = detector(path); middle = time.perf_counter()\n"
            "        detector.backend(x); end = time.perf_counter()\n"
            "        if number: times.append((middle - begin, end - middle)); found += len(detections)\n"
            "print(json.dumps([times, found / len(times), detector.backend.name]))\n")
    command = [sys.executable, "-c", code, cfg, weights, a.backend, str(a.runs), *map(str, pictures[:12])]
    times, found, backend = json.loads(output_of(command, environment))
    whole, alone = (statistics.median(column) for column in zip(*times, strict=True))
    return {"backend": backend, "seconds": whole, "network_seconds": alone, "ratio": whole / alone, "found": found,
            "text": f"one JPEG, {len(times)} calls of Detector: {1e3 * whole:.1f} ms; the network alone "
                    f"{1e3 * alone:.1f} ms; {whole / alone:.3f} times as long ({backend}, {found:.0f} objects each)"}


def measure_folder(cfg: str, weights: str, pictures: list[Path], environment: dict[str, str], a: argparse.Namespace
                   ) -> dict[str, Any]:
    """``detect`` over the folder, from the first picture's line to the last one's, beside the network alone."""
    command = [sys.executable, "-u", "-m", "darknet_py", "detect", cfg, weights, str(pictures[0].parent),
               "-dontdraw_bbox", "-backend", a.backend, "-device", "cpu"]
    return rates_in_turn(f"detect over {len(pictures)} pictures", command, PREDICTED, cfg, weights, environment, a)


def rates_in_turn(what: str, command: list[str], line: re.Pattern[str], cfg: str, weights: str,
                  environment: dict[str, str], a: argparse.Namespace) -> dict[str, Any]:
    """The images a second of a command that prints a line for each, and of the network alone, in turn."""
    rates, alone = [], []
    with network_alone(cfg, weights, environment, a.backend) as process:
        for _ in range(a.runs):
            alone.append(1 / statistics.median(process.turn(2.)))
            rates.append(rate_of(command, line, environment))
    whole, network = statistics.median(rates), statistics.median(alone)
    return {"images_per_second": whole, "network_images_per_second": network, "ratio": whole / network,
            "text": f"{what}: {whole:.2f} images/s; the network alone {network:.2f}; {whole / network:.1%} of it"}


@contextmanager
def network_alone(cfg: str, weights: str, environment: dict[str, str], backend: str) -> Iterator[TimedProcess]:
    """A process that runs the network and nothing else."""
    from darknet_py.tools.benchmark import WORKER
    from darknet_py.utils.timed_process import TimedProcess
    with TimedProcess(WORKER, environment) as process:
        process.build(cfg=cfg, weights=weights, width=None, height=None, backend=backend, precision="float32",
                      device="cpu", batch=1, outputs=None)
        yield process


def rate_of(command: list[str], pattern: re.Pattern[str], environment: dict[str, str]) -> float:
    """Images a second between the first and the last line of a run that fits the pattern."""
    times = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
                          ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if pattern.search(line):
                times.append(time.perf_counter())
        said = process.stderr.read()
    if process.returncode or len(times) < 2:
        raise SystemExit(f"benchmark: {' '.join(command)} ended with {process.returncode}: {said.strip()}")
    return (len(times) - 1) / (times[-1] - times[0])


def measure_start(cfg: str, weights: str, pictures: list[Path], environment: dict[str, str], a: argparse.Namespace
                  ) -> dict[str, Any]:
    """A whole ``detect`` of one picture, whose model is cached, beside an import of torch."""
    from darknet_py.inference.backends import choose
    from darknet_py.model.network import LazyNetwork
    detect = [sys.executable, "-m", "darknet_py", "detect", cfg, weights, str(pictures[0]), "-dontdraw_bbox", "-device",
              "cpu"]
    backend = choose(LazyNetwork(cfg).outline, "cpu")[0][0] if a.backend == "auto" else a.backend
    output_of([*detect, "-backend", backend], environment)      # fills the cache
    detect += ["-backend", a.backend]
    torch = [sys.executable, "-c", "import torch"]
    times: dict[str, list[float]] = {"detect": [], "torch": []}
    for _ in range(a.runs + 1):
        for name, command in (("detect", detect), ("torch", torch)):
            begin = time.perf_counter()
            output_of(command, environment)
            times[name].append(time.perf_counter() - begin)
    whole, bare = (statistics.median(times[name][1:]) for name in ("detect", "torch"))
    return {"seconds": whole, "import_torch_seconds": bare, "difference_seconds": whole - bare,
            "text": f"a cold start with one picture: {whole:.2f} s; import torch {bare:.2f} s; "
                    f"{whole - bare:.2f} s more"}


def measure_memory(cfg: str, weights: str, pictures: list[Path], environment: dict[str, str], a: argparse.Namespace
                   ) -> dict[str, Any]:
    """The peak of a process that detects in one picture, beside that of one that imports torch."""
    detect = [sys.executable, "-c", DETECT_ONE, cfg, weights, str(pictures[0]), a.backend]
    bare = [sys.executable, "-c", "import torch; " + PEAK]
    output_of(detect, environment)                          # fills the cache
    peaks: dict[str, list[int]] = {"detect": [], "torch": []}
    for _ in range(a.runs):
        for name, command in (("detect", detect), ("torch", bare)):
            said = output_of(command, environment).split()[-1]
            if said == "None":
                raise SystemExit("benchmark: this system does not tell how much memory a process had")
            peaks[name].append(int(said))
    whole, torch = (statistics.median(peaks[name]) for name in ("detect", "torch"))
    return {"bytes": whole, "import_torch_bytes": torch, "difference_bytes": whole - torch,
            "text": f"memory at {LARGE} x {LARGE}, a process that detects in one picture: {whole / 1e6:.0f} MB; import "
                    f"torch {torch / 1e6:.0f} MB; {(whole - torch) / 1e6:.0f} MB more"}


def output_of(command: list[str], environment: dict[str, str]) -> str:
    """What a program prints."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise SystemExit(f"benchmark: {command[0]} ended with {done.returncode}: {said[-1] if said else ''}")
    return done.stdout


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "picture": measure_picture, "folder": measure_folder, "start": measure_start, "memory": measure_memory}
