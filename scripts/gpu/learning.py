"""Training from nothing to an mAP like the CPU's, and a run that is killed and goes on."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from darknet_py import load_network, train
from darknet_py.cfg.language import parse_cfg
from darknet_py.data.dataset import class_names, read_samples
from darknet_py.errors import DarknetError
from darknet_py.evaluation.evaluate import evaluate_map

from . import pictures
from .common import ROOT, Job, exact_float32

ITERATIONS, QUICK = 600, 12
NOISE = .05             # of an mAP, from training to training; two seeds on a CPU gave .728 and .713
PATIENCE = 10           # seconds that must be left to wait for the CPU


class Trained(NamedTuple):
    """What came of a training: mAP@0.50, and the weights as a file."""

    map: float
    weights: Path


def data_of(job: Job) -> Path:
    """The data set of a part; each part makes its own, for they may run at the same time."""
    folder = job.path.with_name(f"{job.name}-set")
    if (folder / "made.data").exists():
        return folder / "made.data"
    return pictures.make(folder, 8 if job.quick else 400, 8 if job.quick else 100, (128, 128), list(pictures.KINDS),
                         save_every=4 if job.quick else 100)


def cfg_of(job: Job) -> str:
    return pictures.small_cfg(QUICK if job.quick else ITERATIONS)


def trained(job: Job, seed: int) -> Trained:
    """Train the small network, and measure it."""
    exact_float32()
    data = data_of(job)
    backup = data.with_name(f"seed{seed}")
    train(data, parse_cfg(cfg_of(job), "small.cfg"), seed=seed, device=str(job.device), clear=True, charts=None,
          report=not job.quick, workers=1 if job.quick else 4, backup=backup)
    return Trained(measured(job, data, backup / "small_final.weights"), backup / "small_final.weights")


def measured(job: Job, data: Path, weights: Path) -> float:
    network = load_network(parse_cfg(cfg_of(job), "small.cfg"), weights)
    names = class_names(data)
    assert names is not None
    return evaluate_map(network, read_samples(data, "valid", names), names, device=job.device).map


def run(job: Job) -> None:
    whole = None
    with job.attempt("training to the end"):
        begin = time.perf_counter()
        whole = trained(job, 0)
        job.write("training to the end", map=whole.map, iterations=QUICK if job.quick else ITERATIONS,
                  seconds=time.perf_counter() - begin)
    if not job.late("kill -9, and on", 2):
        with job.attempt("kill -9, and on"):
            killed(job, whole)
    with job.attempt("mAP beside the CPU's"):
        while job.left > PATIENCE and not any(row["what"] == "end" for row in job.others("reference")):
            time.sleep(.2)
        theirs = [row["map"] for row in job.others("reference") if "map" in row]
        if whole is None or not theirs:
            raise DarknetError("there is no mAP to compare")
        job.check("mAP beside the CPU's", min(abs(whole.map - one) for one in theirs), NOISE, here=whole.map,
                  cpu=theirs)


def killed(job: Job, whole: Trained | None) -> None:
    """The command line, killed once it has saved, started again, and what came of it."""
    data = data_of(job)
    cfg = data.with_name("small.cfg")
    cfg.write_text(cfg_of(job))
    words = [sys.executable, "-m", "darknet_py", "detector", "train", str(data), str(cfg), "-device", str(job.device),
             "-seed", "0", "-dont_show", "-workers", "1", *["-no_report"] * job.quick]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def start() -> subprocess.Popen:
        return subprocess.Popen(words, cwd=data.parent, env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    saved, said = False, ""
    with start() as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = line
            if saved := "saved " in line and "small_last" in line:
                break
        process.send_signal(signal.SIGKILL)
    final = data.with_name("backup") / "small_final.weights"
    if not saved or final.exists():
        raise DarknetError(f"the run ended before it could be killed: {said.strip()}")
    with start() as process:
        out, _ = process.communicate(timeout=max(1., job.left))
    if process.returncode or "going on from iteration" not in out:
        raise DarknetError(f"did not go on: {(out.strip().splitlines() or ['no output'])[-1]}")
    after = measured(job, data, final)
    values: dict[str, float] = {}
    if whole is not None:
        ours, theirs = (np.fromfile(path, np.float32, offset=20) for path in (final, whole.weights))
        values = {"weights_apart": float(np.abs(ours - theirs).max() / np.abs(theirs).max())}
        job.check("kill -9, and on", abs(after - whole.map), NOISE, map=after, **values)
    else:
        job.write("kill -9, and on", map=after)
