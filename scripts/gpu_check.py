"""Check darknet_py on a GPU, and measure it there: correctness, inference, training, memory, in nine minutes.

    python scripts/gpu_check.py [--quick] [--device cuda|cpu] [--out FOLDER] [--minutes 9] [--parts NAME,...] [--docs]

Writes FOLDER/gpu.json, with every figure, and FOLDER/gpu.md, its tables, anew after each part; and docs/gpu.md too
with --docs, or when all of it ran on a GPU. Exit status 0 if every check passed and every part ended, else 1, with a
line a failure.

On a bare machine without a network, that has Python and PyTorch, bring what else setup.py asks for as wheels:
    pip download --no-deps --only-binary=:all: --python-version 3.12 -d wheels pycocotools    (where there is a network)
    pip install --no-index --no-deps --target site wheels/*.whl
    PYTHONPATH=site python scripts/gpu_check.py --device cuda --out figures
The program needs numpy, opencv-python-headless, matplotlib, pyparsing and safetensors; for all parts also pytest,
hypothesis, onnx and onnxruntime, and pycocotools for the tests that measure COCO's AP. What is missing fails or is
left out alone.

Each part runs in a process of its own, a fork of one that has imported PyTorch, which is ended at its limit; a figure
is on the disk as soon as it is measured, so that neither a crash nor a hang takes anything along. What a part does not
use of its time goes to those after it.
The CPU's losses and mAP, to compare with, are computed meanwhile in one more process, which sees no GPU.
--device cpu --quick runs the same code on tiny networks.
"""
from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(path) for path in (ROOT, ROOT / "scripts") if str(path) not in sys.path]
GRACE = 6               # seconds by which a part should end before it is made to


class Part(NamedTuple):
    """A part: the module in scripts/gpu, or ``module:function``, and its share of the time."""

    name: str
    run: str
    share: float


PARTS = (Part("facts", "gpu.facts", 25), Part("correctness", "gpu.correctness", 140),
         Part("inference", "gpu.inference", 145), Part("training", "gpu.training", 130),
         Part("learning", "gpu.learning", 45), Part("memory", "gpu.memory", 55))
REFERENCE = Part("reference", "gpu.reference", 230)     # beside the others


@cache
def fork_server() -> ForkServerContext:
    """A process that has imported PyTorch, and has not touched the GPU: each part is a fork of it, and so need not
    spend the seconds of importing it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gpu.common"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        os.environ |= {} if before is None else {"PYTHONPATH": before}
    return context


def start(part: Part, work: Path, device: str, quick: bool, seconds: float) -> ForkServerProcess:
    """A part in a process group of its own."""
    process = fork_server().Process(target=work_on, args=(part, work, device, quick, seconds))
    process.start()
    return process


def stop(process: ForkServerProcess) -> None:
    """End a part with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()                      # should it have no group yet
    process.join()


def finish(process: ForkServerProcess, part: Part, limit: float) -> str | None:
    """Wait for a part; what was wrong with it."""
    process.join(limit)
    status = process.exitcode
    stop(process)                       # or what it may have left running
    if status is None:
        return f"{part.name}: did not end within {limit:.0f} s, and was ended"
    if status:
        return f"{part.name}: ended with {'signal ' + str(-status) if status < 0 else 'status ' + str(status)}"
    return None


def run_parts(parts: list[Part], work: Path, device: str, quick: bool, seconds: float, after: Any,
              reference: Part | None = REFERENCE) -> list[str]:
    """Run parts one after the other, and the reference beside them.

    Args:
        seconds: for all of them, shared out as their shares say.
        after: called after each part with what went wrong so far.

    Returns:
        Which parts did not end as they should.
    """
    begin, end, troubles = time.monotonic(), time.monotonic() + seconds, []     # type: ignore[var-annotated]
    total = sum(part.share for part in parts)
    beside = None
    if reference is not None:
        beside = start(reference, work, "cpu", quick, min(seconds * reference.share / total, seconds) - GRACE)
    try:
        due = begin
        for part in parts:
            due += seconds * part.share / total
            limit = max(1., min(due, end) - time.monotonic())
            process = start(part, work, device, quick, max(.5, limit - GRACE))
            try:
                trouble = finish(process, part, limit)
            except BaseException:
                stop(process)
                raise
            troubles += [] if trouble is None else [trouble]
            after(troubles)
        if beside is not None and reference is not None:
            trouble = finish(beside, reference, max(1., end - time.monotonic()))
            troubles += [] if trouble is None else [trouble]
    finally:
        if beside is not None:
            stop(beside)
    return troubles


def work_on(part: Part, work: Path, device: str, quick: bool, seconds: float) -> None:
    """What a part's own process does. One that is on the CPU sees no GPU, and leaves it half of the cores."""
    os.setpgrp()
    if part.name == REFERENCE.name:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.chdir(ROOT)
    import torch
    from gpu.common import Job, quiet
    if part.name == REFERENCE.name:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    signal.alarm(int(seconds + 4 * GRACE))      # should whoever waits for it be gone
    quiet()
    module, _, function = part.run.partition(":")
    job = Job(part.name, work / f"{part.name}.jsonl", torch.device(device), quick, seconds)
    getattr(importlib.import_module(module), function if function else "run")(job)
    job.write("end", seconds=time.perf_counter() - job.begin)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="few and tiny networks, to try this program")
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="a folder (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=9., help="for all parts together (default %(default)s)")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=[part.name for part in PARTS],
                        metavar="NAME,...", help=f"some of {','.join(part.name for part in PARTS)}")
    parser.add_argument("--docs", action="store_true", help="write docs/gpu.md whatever ran")
    given = parser.parse_args(words)
    parts = [part for part in PARTS if part.name in given.parts]
    if unknown := set(given.parts) - {part.name for part in PARTS}:
        parser.error(f"--parts: expected some of {', '.join(part.name for part in PARTS)}, found "
                     f"{', '.join(sorted(unknown))}")
    if given.minutes <= 0:
        parser.error("--minutes needs a number above 0")
    from gpu import report
    if given.device == "cuda":
        import torch
        if not torch.cuda.is_available():
            print("gpu_check: PyTorch finds no CUDA device; --device cpu --quick tries this program", file=sys.stderr)
            return 1
    begin = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
        work = Path(folder)

        def write(troubles: list[str]) -> dict[str, Any]:
            found = report.gather(work, [*(part.name for part in parts), REFERENCE.name], troubles, given.device,
                                  given.quick, time.monotonic() - begin)
            report.write_text(given.out / "gpu.json", json.dumps(found, indent=1) + "\n")
            report.write_text(given.out / "gpu.md", report.text(found))
            return found

        with_reference = any(part.name in ("training", "learning") for part in parts)
        found = write(run_parts(parts, work, given.device, given.quick, 60 * given.minutes, write,
                                REFERENCE if with_reference else None))
    if given.docs or (given.device == "cuda" and not given.quick and len(parts) == len(PARTS)):
        report.write_text(ROOT / "docs/gpu.md", report.text(found))
    for line in found["failures"]:
        print(f"FAILED {line}")
    print(f"{given.out}/gpu.json: {found['figures']} figures, {found['passed']} checks passed, "
          f"{len(found['failures'])} failures, {found['seconds']:.0f} s")
    return int(bool(found["failures"]))


if __name__ == "__main__":
    atexit.register(gc.freeze)          # else Python looks through all of torch at the end: .4 s a part
    sys.exit(main())
