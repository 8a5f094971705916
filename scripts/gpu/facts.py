"""The device's name and memory, and how fast it multiplies and copies: what all other figures are compared with."""
from __future__ import annotations

import platform

import cv2
import torch

from darknet_py.utils.machine import cores

from .common import PRECISIONS, Job, allow_tf32, seconds_of

SIDE, QUICK_SIDE = 8192, 256        # of the matrices
COPIED = 2 ** 30                    # bytes


def run(job: Job) -> None:
    device = job.device
    facts = {"device": "CPU", "memory": None, "torch": torch.__version__, "python": platform.python_version(),
             "cores": cores(), "threads": torch.get_num_threads(), "opencv": cv2.__version__}
    if job.cuda:
        properties = torch.cuda.get_device_properties(device)
        facts |= {"device": properties.name, "memory": properties.total_memory, "cuda": torch.version.cuda,
                  "cudnn": torch.backends.cudnn.version(), "processors": properties.multi_processor_count}
    job.write("device", **facts)
    side = QUICK_SIDE if job.quick else SIDE
    for precision, dtype in PRECISIONS.items():
        with job.attempt(f"matrix product in {precision}"):
            allow_tf32(precision == "TF32")
            a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
            seconds = seconds_of(lambda a=a, b=b: a @ b, device, runs=20, most=1 if job.cuda else .1)   # type: ignore
            job.write(f"matrix product in {precision}", precision=precision, side=side, rate=2 * side ** 3 / seconds)
    with job.attempt("copy on the device"):
        x = torch.empty(COPIED >> (8 * job.quick), dtype=torch.uint8, device=device)
        y = torch.empty_like(x)
        seconds = seconds_of(lambda: y.copy_(x), device, runs=20, most=.5)
        job.write("copy on the device", rate=2 * len(x) / seconds, bytes=len(x))
    if job.cuda:
        for pinned in (True, False):
            with job.attempt("copy to the device"):
                x = torch.empty(COPIED >> 3, dtype=torch.uint8, pin_memory=pinned)
                z = torch.empty(len(x), dtype=torch.uint8, device=device)
                seconds = seconds_of(lambda z=z, x=x: z.copy_(x, non_blocking=True), device,    # type: ignore
                                     runs=10, most=.5)
                job.write(f"copy to the device{', pinned' * pinned}", rate=len(x) / seconds, bytes=len(x))


def rate_of(job: Job, precision: str) -> float | None:
    """Multiplications and additions a second of the matrix product that this run has measured."""
    return next((record["rate"] for record in job.others("facts") if record.get("precision") == precision
                 and "rate" in record), None)
