"""benchmark.py load: seconds that a network takes to load, beside OpenCV."""
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

from .common import ROOT, YOLOV4, opencv_flag

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cfg", type=Path, default=YOLOV4, help=f"default {YOLOV4}")
    opencv_flag(parser)
    parser.add_argument("--runs", type=int, default=5)


def run(arguments: argparse.Namespace) -> None:
    """Ours and OpenCV's in turn, on a network with random weights."""
    from darknet_py import load_network
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = f"{folder}/random.weights"
        load_network(arguments.cfg).save_weights(weights)
        words = [str(arguments.cfg), weights]
        runs: list[dict[str, float]] = []
        for _ in range(arguments.runs + 1):
            run = measured(sys.executable, OURS, *words)
            if arguments.opencv is not None:
                run |= measured(arguments.opencv, OPENCV, *words)
            runs.append(run)
    print(f"{arguments.cfg}: seconds, {os.cpu_count()} cores, median of {arguments.runs} runs after one to warm up "
          "(least, most)")
    for key in runs[0]:
        times = [run[key] for run in runs[1:]]
        print(f"  {key:45s} {statistics.median(times):7.3f}  ({min(times):.3f}, {max(times):.3f})")


def measured(python: str, code: str, *arguments: str) -> dict[str, float]:
    """What one run of ``code`` in a process of its own prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, env=environment,
                          check=False)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])
