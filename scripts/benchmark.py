"""Measure, side by side in one run.

    python scripts/benchmark.py load [--cfg CFG] [--opencv PYTHON] [--runs N]
    python scripts/benchmark.py forward [--cfg CFG] [--opencv PYTHON] [--runs N] [--size PIXELS]

load: the seconds it takes to parse a cfg, to build its network and to load its weights (random ones, written for
the occasion; imports are not counted), beside OpenCV's readNetFromDarknet.
forward: the seconds that one image takes through the network, as Detector runs it, beside OpenCV's.

OpenCV 5 reads no Darknet files, so give the Python of an environment with opencv-python 4.12 as --opencv. Both run in
turn, each run in a process of its own; medians are shown.
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
from darknet_py.network import Network
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="WHAT")
    for name, ours, theirs, text in (("load", OURS, OPENCV, "parse, build and load a network"),
                                     ("forward", OURS_FORWARD, OPENCV_FORWARD, "run a network on one image")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--cfg", type=Path, default=YOLOV4, help=f"default {YOLOV4}")
        verb.add_argument("--opencv", metavar="PYTHON", help="the Python of an environment with OpenCV 4")
        verb.add_argument("--runs", type=int, default=5)
        verb.set_defaults(ours=ours, theirs=theirs)
    verb.add_argument("--size", type=int, default=416, help="width and height of the image (default 416)")
    arguments = parser.parse_args()
    if not arguments.cfg.is_file():
        parser.error(f"{arguments.cfg}: no such cfg file")
    compare(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
