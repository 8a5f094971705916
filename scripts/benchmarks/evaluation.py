"""benchmark.py evaluate: images a second through an evaluation, beside the C program."""
from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
import warnings
from pathlib import Path

from .common import SHARED


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--data", type=Path, default=SHARED / "data/bccd/obj.data", help="default %(default)s")
    verb.add_argument("--cfg", type=Path, default=SHARED / "models/bccd-micro.cfg", help="default %(default)s")
    verb.add_argument("--weights", type=Path, default=SHARED / "models/bccd-micro.weights", help="default %(default)s")
    verb.add_argument("--darknet", type=Path, metavar="PROGRAM", help="the C program, to run it too")
    verb.add_argument("--runs", type=int, default=5)
    verb.add_argument("--batch", type=int, help="images at a time (default: by their size)")
    verb.add_argument("--device", default="cpu")


def run(a: argparse.Namespace) -> None:
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
