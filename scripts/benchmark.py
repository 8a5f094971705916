"""Measure, side by side in one run.

    python scripts/benchmark.py engines [--cfgs NAME,...] [--opencv PYTHON] [--darknet PROGRAM] [--all] [--json FILE]
    python scripts/benchmark.py pipeline [--cfgs NAME,...] [--pictures PATH,...] [--runs N]
    python scripts/benchmark.py video [--parts file,stream] [--seconds N]
    python scripts/benchmark.py load [--cfg CFG] [--opencv PYTHON] [--runs N]
    python scripts/benchmark.py train [--data DATA] [--cfg CFG] [--darknet PROGRAM] [--c SECONDS] [--iterations N]
    python scripts/benchmark.py evaluate [--data DATA] [--cfg CFG] [--weights WEIGHTS] [--darknet PROGRAM] [--runs N]
    python scripts/benchmark.py serve [--clients N] [--seconds N] [--uploads N] [--cfg CFG] [--backend NAME]
    python scripts/benchmark.py batch [--cfgs NAME,...] [--parts overhead,ranks,memory] [--counts N,...] [--runs N]

engines: the time that networks with random weights take on our backends and in other programs: OpenCV, ONNX Runtime's
and OpenVINO's own APIs, the C program; and memory, ratios, the share of the CPU's rate of matrix products.

pipeline: what detection takes beyond the network: a JPEG with Detector, a folder with `detect`, a cold start, memory.

video: `demo` on a file beside the network alone; the latency and the memory of `demo` on a stream that is faster than
the network.

load: the seconds it takes to parse a cfg, to build its network and to load its weights (random ones, written for
the occasion; imports are not counted), beside OpenCV's readNetFromDarknet.

train: the seconds of an iteration of training and the share of them that waits for data, the pictures that the loader
alone gives a second, beside the C program `detector train` (--darknet) or a figure measured before (--c).

evaluate: images a second through `detector map` and the share of the time outside the network, and the same for all
measures of `evaluate` at once, beside the C program `detector map` (--darknet), of which the whole process is timed.

serve: images a second of the service under load, beside the pipeline alone, and its latency; what it makes of broken,
huge, hostile and slow uploads; exit status 1 where it misses a bar.

batch: pictures a second of `batch`, beside Detector.stream and the network alone, of two ranks beside one, and memory
for 1,000 to 100,000 pictures; exit status 1 where it misses a bar.

All that is compared runs in turn; medians are shown. OpenCV 5 reads no Darknet files, so give the Python of an
environment with opencv-python 4.12 as --opencv.
"""
from __future__ import annotations

import argparse
import sys
from importlib import import_module

VERBS = {           # -> module in benchmarks/, help
    "engines": ("engines", "run networks on our backends and in other programs"),
    "pipeline": ("pipeline", "detect in pictures, beside the network alone"),
    "video": ("video", "detect in a file and in a stream, beside the network alone"),
    "load": ("loading", "parse, build and load a network"),
    "train": ("training", "train a network"),
    "evaluate": ("evaluation", "measure a network"),
    "serve": ("serving", "serve a network under load"),
    "batch": ("batch", "detect in many pictures, in parts"),
}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="WHAT")
    for name, (place, text) in VERBS.items():
        module, verb = import_module(f"benchmarks.{place}"), verbs.add_parser(name, help=text)
        module.add_arguments(verb)
        verb.set_defaults(act=module.run)
    arguments = parser.parse_args(words)
    for path in (getattr(arguments, name, None) for name in ("cfg", "data", "weights", "darknet")):
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
