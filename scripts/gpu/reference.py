"""First losses and mAP on the CPU, computed meanwhile to compare with."""
from __future__ import annotations

from . import learning, training
from .common import Job


def run(job: Job) -> None:
    with job.attempt("the CPU's first losses"):
        for iteration, loss in enumerate(training.losses_of(job), 1):
            job.write(f"the CPU's loss {iteration}", loss=loss)
    for seed in (0,) if job.quick else (0, 1):
        if job.late(f"the CPU's mAP, seed {seed}"):
            return
        with job.attempt(f"the CPU's mAP, seed {seed}"):
            job.write(f"the CPU's mAP, seed {seed}", map=learning.trained(job, seed).map)
