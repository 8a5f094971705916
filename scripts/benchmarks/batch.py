"""benchmark.py batch: `batch` beside the pipeline and the network alone, one rank beside two, and its memory.

The network has random weights, with heads fitted to find about as many objects in the pictures as trained ones do;
memory is measured with a tiny one, so that 100,000 pictures take minutes. Pictures are hard links to a few JPEG files.
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .common import SHARED, facts_here, words_of, write_facts
from .pipeline import PICTURES, copies, fitted, network_alone, output_of

PARTS = ("overhead", "ranks", "memory")
MOST_OVERHEAD, LEAST_SHARE, MOST_GROWTH = .05, .95, .1      # the bars: beyond the network; of one rank; of memory
FILES = 24                  # different pictures
PEAK = ("import sys; from darknet_py.cli import main; from darknet_py.utils.machine import peak_memory; "
        "code = main(sys.argv[1:]); print(peak_memory()); sys.exit(code)")
STREAM = ("import sys, time; from darknet_py import Detector; "
          "import os; cfg, weights, backend, folder = sys.argv[1:]\n"
          "detector = Detector(cfg, weights, device='cpu', backend=backend); detector.backend.leave_cores()\n"
          "paths = sorted(one.path for one in os.scandir(folder)); begin = time.perf_counter()\n"
          "for _ in detector.stream(paths): pass\n"
          "print(len(paths) / (time.perf_counter() - begin))\n")


def add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--cfgs", type=words_of, default=["yolov4-tiny"], metavar="NAME,...",
                      help="networks by name, or paths of cfgs (default yolov4-tiny)")
    verb.add_argument("--size", type=size_of, default=(160, 120), metavar="WxH", help="of the pictures in pixels "
                      "(default 160x120)")
    verb.add_argument("--count", type=int, default=500, help="pictures of a run (default %(default)s)")
    verb.add_argument("--counts", type=words_of, default=["1000", "10000", "100000"], metavar="N,...",
                      help="pictures of the runs whose memory is measured (default 1000,10000,100000)")
    verb.add_argument("--runs", type=int, default=3, help="of each, in turn (default %(default)s)")
    verb.add_argument("--parts", type=words_of, default=list(PARTS), metavar="NAME,...", help="of " + ",".join(PARTS))
    verb.add_argument("--backend", default="auto", help="of ours (default auto)")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write all figures too")


def size_of(text: str) -> tuple[int, int]:
    """Width and height."""
    try:
        width, height = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a size such as 160x120, found {text}") from None
    return width, height


def run(a: argparse.Namespace) -> None:
    """Network by network, part by part. Ends with 1 where a bar is missed."""
    from darknet_py.tools.benchmark import Conditions, worker_environment
    if unknown := [part for part in a.parts if part not in PARTS]:
        raise SystemExit(f"benchmark: --parts: expected some of {', '.join(PARTS)}, found {unknown[0]}")
    if not all(one.isdecimal() and int(one) for one in a.counts) or a.count < 1:
        raise SystemExit("benchmark: --count and --counts need numbers from 1 on")
    facts, results = facts_here(), []
    print(f"`{facts['command']}`; {Conditions.here()}. Medians of {a.runs} in turn.\n", flush=True)
    for name in a.cfgs:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            environment = worker_environment(folder)
            given = sorted((SHARED / "images").glob("*.jpg")) or PICTURES
            files = small(copies(given, FILES, folder / "large"), a.size, folder / "files")
            place = fitted(name, files[:4], folder)
            for part in a.parts:
                found = MEASURES[part](*place, files, folder, environment, a)
                results.append({"network": Path(name).stem, "part": part, **found})
                print(f"- {Path(name).stem}, {part}: {found['text']}: {'FAIL' if found['missed'] else 'PASS'}",
                      flush=True)
                write_facts(a.json, facts, results=results)
    if any(found["missed"] for found in results):
        raise SystemExit(1)


def small(pictures: list[Path], size: tuple[int, int], folder: Path) -> list[Path]:
    """JPEG files of the pictures in one size."""
    import cv2
    folder.mkdir()
    for path in pictures:
        cv2.imwrite(str(folder / path.name), cv2.resize(cv2.imread(str(path)), size, interpolation=cv2.INTER_AREA))
    return [folder / path.name for path in pictures]


def linked(files: list[Path], count: int, folder: Path) -> Path:
    """A folder with so many links to the files, in folders of 1000."""
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(count):
        if number % 1000 == 0:
            (place := folder / f"{number // 1000:04d}").mkdir(parents=True)
        os.link(files[number % len(files)], place / f"{number:07d}.jpg")
    return folder


def batch(cfg: str, weights: str, pictures: Path, backend: str, environment: dict[str, str], *, ranks: int = 1
          ) -> dict[str, Any]:
    """The manifest of a run, ``wall`` the seconds of the process, and ``peak`` the bytes that it had at most (of one
    rank)."""
    out = pictures.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    words = ["batch", cfg, weights, str(pictures), "-out", str(out), "-backend", backend, "-device", "cpu", "-format",
             "jsonl"]
    launcher = ["-c", PEAK] if ranks == 1 else ["-m", "torch.distributed.run", "--rdzv-backend=c10d",
                                                "--rdzv-endpoint=127.0.0.1:0", f"--nproc-per-node={ranks}", "-m",
                                                "darknet_py"]
    begin = time.perf_counter()
    said = output_of([sys.executable, *launcher, *words], environment)
    facts = {"wall": time.perf_counter() - begin, "peak": int(said.split()[-1]) if ranks == 1 else None}
    return {**json.loads((out / "manifest.json").read_text()), **facts}


def measure_overhead(cfg: str, weights: str, files: list[Path], folder: Path, environment: dict[str, str],
                     a: argparse.Namespace) -> dict[str, Any]:
    """`batch`, Detector.stream and the network alone, in turn."""
    pictures = linked(files, a.count, folder / "pictures")
    flat = folder / "flat"
    flat.mkdir()
    for path in pictures.rglob("*.jpg"):
        os.link(path, flat / path.name)
    stream = [sys.executable, "-c", STREAM, cfg, weights, a.backend, str(flat)]
    rates: dict[str, list[float]] = {"batch": [], "stream": [], "network": []}
    batch(cfg, weights, linked(files, 1, folder / "one"), a.backend, environment)       # fills the cache
    with network_alone(cfg, weights, environment, a.backend) as process:
        for _ in range(a.runs):
            rates["network"].append(1 / statistics.median(process.turn(2.)))
            rates["stream"].append(float(output_of(stream, environment)))
            rates["batch"].append(batch(cfg, weights, pictures, a.backend, environment)["rate"])
    whole, plain, network = (statistics.median(rates[name]) for name in ("batch", "stream", "network"))
    return {"images_per_second": whole, "stream_images_per_second": plain, "network_images_per_second": network,
            "missed": network / whole - 1 > MOST_OVERHEAD,
            "text": f"{a.count} pictures of {a.size[0]} x {a.size[1]}: {whole:.1f} a second, Detector.stream "
                    f"{plain:.1f}, the network alone {network:.1f}; {network / whole - 1:.1%} of the network's time "
                    f"beside it, at most {MOST_OVERHEAD:.0%}"}


def measure_ranks(cfg: str, weights: str, files: list[Path], folder: Path, environment: dict[str, str],
                  a: argparse.Namespace) -> dict[str, Any]:
    """Two ranks of torchrun beside one process with all cores, in turn."""
    pictures = linked(files, a.count, folder / "pictures")
    rates: dict[int, list[float]] = {1: [], 2: []}
    batch(cfg, weights, linked(files, 1, folder / "one"), a.backend, environment)       # fills the cache
    for _ in range(a.runs):
        for ranks, found in rates.items():
            found.append(batch(cfg, weights, pictures, a.backend, environment, ranks=ranks)["rate"])
    one, two = (statistics.median(found) for found in rates.values())
    return {"images_per_second": one, "two_ranks_images_per_second": two, "missed": two / one < LEAST_SHARE,
            "text": f"{a.count} pictures: one rank {one:.1f} a second, two {two:.1f}; {two / one:.1%} of one, at least "
                    f"{LEAST_SHARE:.0%}"}


def measure_memory(cfg: str, weights: str, files: list[Path], folder: Path, environment: dict[str, str],
                   a: argparse.Namespace) -> dict[str, Any]:
    """The peak of runs over more and more pictures, with a tiny network."""
    import torch
    from killing.cases import CFG

    from darknet_py import load_network
    tiny, tiny_weights = folder / "tiny.cfg", folder / "tiny.weights"
    tiny.write_text(CFG)
    torch.manual_seed(0)
    load_network(tiny).save_weights(tiny_weights)
    rows = []
    for count in map(int, a.counts):
        found = batch(str(tiny), str(tiny_weights), linked(files, count, folder / "pictures"), a.backend, environment)
        rows.append({"pictures": count, "peak_bytes": found["peak"], "images_per_second": found["rate"]})
    growth = rows[-1]["peak_bytes"] / rows[0]["peak_bytes"] - 1
    return {"rows": rows, "growth": growth, "missed": growth > MOST_GROWTH,
            "text": "; ".join(f"{row['pictures']:,} pictures {row['peak_bytes'] / 1e6:.0f} MB, "
                              f"{row['images_per_second']:.0f} a second" for row in rows)
                    + f"; {growth:+.1%}, at most {MOST_GROWTH:.0%}"}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "overhead": measure_overhead, "ranks": measure_ranks, "memory": measure_memory}
