"""Measure, side by side in one run.

    python scripts/benchmark.py load [--cfg CFG] [--opencv PYTHON] [--runs N]

load: the seconds it takes to parse a cfg, to build its network and to load its weights (random ones, written for
the occasion; imports are not counted), beside OpenCV's readNetFromDarknet. OpenCV 5 has none, so give the Python of an
environment with opencv-python 4.12 as --opencv. Both run in turn, each run in a process of its own; medians are shown.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
YOLOV4 = ROOT.parent / "shared/reference/cfg/yolov4.cfg"

OURS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import torch
from darknet_py.cfg import _grammar, read_cfg
from darknet_py.network import Network, load_network
_grammar()                                          # imports pyparsing
cfg, weights = sys.argv[1:]
times = [time.perf_counter()]
parsed = read_cfg(cfg)
times.append(time.perf_counter())
network = Network(parsed)
times.append(time.perf_counter())
network.load_weights(weights)
times.append(time.perf_counter())
load_network(cfg, weights)
times.append(time.perf_counter())
print(json.dumps(dict(zip(("parse", "build", "load weights", "all: load_network"),
                          (b - a for a, b in zip(times, times[1:]))))))
"""
OPENCV = """
import json, sys, time
import cv2
start = time.perf_counter()
net = cv2.dnn.readNetFromDarknet(*sys.argv[1:])
print(json.dumps({f"all: OpenCV {cv2.__version__} readNetFromDarknet": time.perf_counter() - start}))
"""


def measured(python: str, code: str, *arguments: str) -> dict[str, float]:
    """What one run of ``code`` in a process of its own prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, env=environment,
                          check=False)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def load(arguments: argparse.Namespace) -> None:
    """Parse, build and load, ours and OpenCV's in turn."""
    from darknet_py import load_network
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = f"{folder}/random.weights"
        load_network(arguments.cfg).save_weights(weights)
        size = os.path.getsize(weights)
        runs: list[dict[str, float]] = []
        for _ in range(arguments.runs + 1):
            run = measured(sys.executable, OURS, str(arguments.cfg), weights)
            if arguments.opencv is not None:
                run |= measured(arguments.opencv, OPENCV, str(arguments.cfg), weights)
            runs.append(run)
    print(f"{arguments.cfg}: {size / 1e6:.0f} MB of weights, {os.cpu_count()} cores, seconds, median of "
          f"{arguments.runs} runs after one to warm up (least, most)")
    for key in runs[0]:
        times = [run[key] for run in runs[1:]]
        print(f"  {key:45s} {statistics.median(times):7.3f}  ({min(times):.3f}, {max(times):.3f})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="WHAT")
    verb = verbs.add_parser("load", help="parse, build and load a network")
    verb.add_argument("--cfg", type=Path, default=YOLOV4, help=f"default {YOLOV4}")
    verb.add_argument("--opencv", metavar="PYTHON", help="the Python of an environment with OpenCV 4")
    verb.add_argument("--runs", type=int, default=5)
    verb.set_defaults(run=load)
    arguments = parser.parse_args()
    arguments.run(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
