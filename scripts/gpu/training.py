"""Training of yolov4: images a second, where a step's time goes, and its first losses beside the CPU's."""
from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.training import loading, pace_of_ours
from torch.profiler import ProfilerActivity, profile, record_function

from darknet_py import load_network
from darknet_py.cfg.language import Cfg
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.errors import DarknetError
from darknet_py.losses import LOSSES
from darknet_py.model.network import Network
from darknet_py.model.summary import training_memory
from darknet_py.training.iteration import Engine
from darknet_py.utils.machine import cores

from . import pictures
from .common import Job, allow_tf32, exact_float32, resized_cfg, seconds_of

BATCH = 64
USED, HALF = .8, .6         # of the memory; what half precision takes of float32's outputs
CELLS = ((608, "bf16"), (416, "bf16"), (608, "off"), (608, "fp16"), (416, "fp16"), (416, "off"))
QUICK_CELLS = ((64, "off"), (64, "bf16"))
LOSSES_COMPARED, SEED = 20, 0
FIRST, LATER = 1e-3, 5e-2   # by how much the first loss, and the others, may differ from the CPU's
CLASSES = (                 # of the profile, by the names of an operation and of those that it is part of
    ("loss", ("darknet loss",)), ("optimiser", ("Optimizer.", "_fused_", "_foreach_")),
    ("convolution", ("conv",)), ("batch norm", ("batch_norm", "BatchNorm")),
    ("activation", ("mish", "leaky_relu", "silu", "relu", "sigmoid", "logistic")),
    ("pooling, concatenation, upsampling", ("max_pool", "aten::cat", "upsample", "CatBackward", "SliceBackward")),
    ("copies and casts", ("copy_", "aten::to", "_to_copy", "Memcpy", "clone")),
    ("additions and clearing", ("aten::add", "zero_", "fill_")))


def run(job: Job) -> None:
    data = pictures.make(job.path.with_name("speed"), 8 if job.quick else 128, 0, (640, 480), pictures.coco_names())
    fitted: dict[tuple[int, str], int] = {}
    cells = QUICK_CELLS if job.quick else CELLS
    for number, (size, amp) in enumerate(cells):
        if job.late(f"training at {size}, {amp}", 12 if not job.quick else 1):
            break
        with job.attempt(f"training at {size}, {amp}"):
            fitted[size, amp] = speed(job, data, size, amp)
        if number == 0 and (size, amp) in fitted:
            with job.attempt("profile"):
                profiled(job, size, amp, fitted[size, amp])
            losses_beside(job)
    if not job.late("the loader alone", 8 if not job.quick else 1):
        with job.attempt("the loader alone"):
            size = cells[0][0]
            for workers in (1,) if job.quick else (8, max(1, cores() - 1)):
                a = settings(job, data, training_cfg(job, size, 4 if job.quick else BATCH, 1), "off")
                a.loading = .2 if job.quick else 2.
                job.write(f"the loader alone, {workers} workers", size=size,
                          images_a_second=loading(a, workers))


def training_cfg(job: Job, size: int, batch: int, subdivisions: int, **net: Any) -> Cfg:
    """yolov4 for images of one size."""
    cfg = resized_cfg("yolov4-tiny" if job.quick else "yolov4", size, batch=batch, subdivisions=subdivisions, **net)
    return cfg.with_values({(at, "random"): 0 for at, section in enumerate(cfg.sections) if section.kind == "yolo"})


def settings(job: Job, data: Path, cfg: Cfg, amp: str) -> argparse.Namespace:
    """As ``benchmark.py train`` takes them."""
    return argparse.Namespace(data=data, cfg=cfg, device=str(job.device), workers=1 if job.quick else None, amp=amp,
                              compile=False, warmup=1 if job.quick else 3, iterations=2 if job.quick else 8)


def clear(job: Job) -> None:
    """Give back what is no longer used, and begin to watch the memory."""
    gc.collect()
    if job.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def subdivisions_for(job: Job, size: int, amp: str) -> int:
    """The fewest that should fit the device's free memory."""
    if job.quick or not job.cuda:
        return 1
    with torch.device("meta"):
        for_weights, for_image = training_memory(Network(training_cfg(job, size, BATCH, 1)))
    free, count = torch.cuda.mem_get_info()[0], 1
    while count < BATCH and for_weights + BATCH / count * for_image * (1 if amp == "off" else HALF) > USED * free:
        count *= 2
    return count


def speed(job: Job, data: Path, size: int, amp: str) -> int:
    """Images a second of whole iterations, from pictures to new weights. Returns the subdivisions that fit."""
    allow_tf32(False)
    clear(job)
    batch, subdivisions = 4 if job.quick else BATCH, subdivisions_for(job, size, amp)
    while True:
        clear(job)
        try:
            pace = pace_of_ours(settings(job, data, training_cfg(job, size, batch, subdivisions), amp))
            break
        except torch.OutOfMemoryError as error:
            job.write(f"training at {size}, {amp}: {subdivisions} subdivisions", note=str(error).split(".")[0])
            if subdivisions >= batch:
                raise
            subdivisions *= 2
    seconds = statistics.median(pace.seconds)
    job.write(f"training at {size}, {amp}", size=size, amp=amp, batch=batch, subdivisions=subdivisions,
              seconds=seconds, images_a_second=batch / seconds, waiting=sum(pace.waited) / sum(pace.seconds),
              memory=torch.cuda.max_memory_allocated() if job.cuda else None)
    return subdivisions


def mini_batch(number: int, images: int, size: int, classes: int = 80) -> MiniBatch:
    """Pictures of shapes, uint8, and their truth: the same for the same number on every device."""
    made = [pictures.draw(np.random.default_rng((number, one)), (size, size), classes) for one in range(images)]
    x = torch.from_numpy(np.stack([picture[..., ::-1].transpose(2, 0, 1) for picture, _ in made]))
    truth = Truth.stack([np.array([row.split() for row in rows], np.float32) for _, rows in made])
    return MiniBatch(x, truth, [f"{number}-{one}" for one in range(images)])


def losses_of(job: Job, amp: str = "off") -> Iterator[float]:
    """The first losses of yolov4, of a few images each, from seeded weights."""
    exact_float32()
    size, batch, count = (64, 2, 4) if job.quick else (416, 4, LOSSES_COMPARED)
    cfg = training_cfg(job, size, batch, 1, burn_in=count, learning_rate=.001)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = load_network(cfg, device=job.device)
    network.to(memory_format=torch.channels_last)       # type: ignore[call-overload]
    engine = Engine(network, job.device, amp=amp, seed=SEED)
    for iteration in range(1, count + 1):
        result = engine.run(iteration, [mini_batch(iteration, batch, size)])
        if result.trouble is not None:
            raise DarknetError(result.trouble)
        yield result.loss


def losses_beside(job: Job) -> None:
    """The first losses, and those that the CPU computes meanwhile."""
    for amp in ("off", "bf16") if job.quick else ("off", "bf16", "fp16"):
        with job.attempt(f"first losses, {amp}"):
            ours = list(losses_of(job, amp))
            job.write(f"first losses, {amp}", amp=amp, losses=ours)
            if amp == "off":
                exact = ours
            else:
                job.write(f"first losses, {amp}, beside float32 here", worst=_worst(ours, exact))
    with job.attempt("first losses beside the CPU's"):
        theirs: list[float] = []
        while len(theirs) < len(exact) and job.left > 25 * (not job.quick) + 1:
            theirs = [record["loss"] for record in job.others("reference") if "loss" in record]
            if any(record["what"] == "end" for record in job.others("reference")):
                break
            time.sleep(.2)
        if not theirs:
            raise DarknetError("the CPU's losses did not come in time")
        job.check("the first loss beside the CPU's", _worst(exact[:1], theirs), FIRST, here=exact[0], cpu=theirs[0])
        job.check("first losses beside the CPU's", _worst(exact, theirs), LATER, compared=len(theirs), of=len(exact),
                  cpu=theirs)


def _worst(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=False))


@contextmanager
def named_losses() -> Iterator[None]:
    """Losses under a name of their own in a profile."""
    before = dict(LOSSES)

    def named(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            with record_function("darknet loss"):
                return function(*arguments)
        return call

    LOSSES.update({kind: named(function) for kind, function in before.items()})
    try:
        yield
    finally:
        LOSSES.update(before)


def profiled(job: Job, size: int, amp: str, subdivisions: int) -> None:
    """Where a step's time goes: by class, and the operations that take most."""
    clear(job)
    batch = 2 if job.quick else BATCH // subdivisions
    network = load_network(training_cfg(job, size, batch, 1), device=job.device)
    network.to(memory_format=torch.channels_last)       # type: ignore[call-overload]
    engine = Engine(network, job.device, amp=amp)
    one = mini_batch(0, min(batch, 8), size)
    repeat = -(-batch // len(one.images))
    images, truth = (one.images.repeat(repeat, 1, 1, 1)[:batch],
                     Truth(*(part.repeat(repeat, *[1] * (part.dim() - 1))[:batch] for part in one.truth)))
    whole = MiniBatch(images.pin_memory() if job.cuda else images, truth, one.names * repeat)
    done = iter(range(1, 1000))
    steps = 1 if job.quick else 3

    def step() -> None:
        engine.run(next(done), [whole])

    seconds = seconds_of(step, job.device, runs=2 * steps, most=5)
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * job.cuda]
    with named_losses(), profile(activities=activities) as found:
        for _ in range(steps):
            step()
        if job.cuda:
            torch.cuda.synchronize()
    by_class: Counter[str] = Counter()
    by_operation: Counter[str] = Counter()
    for event in found.events():
        if event.device_type != torch.autograd.DeviceType.CPU:
            continue
        spent = (event.self_device_time_total if job.cuda else event.self_cpu_time_total) / 1e6 / steps
        if spent > 0:
            by_class[class_of(event)] += spent
            by_operation[event.name] += spent
    busy = sum(by_class.values())
    if not busy:
        raise DarknetError("the profiler saw nothing")
    by_class["idle"] = max(0., seconds - busy) if job.cuda else 0.
    job.write("profile of a step", size=size, amp=amp, images=batch, seconds=seconds, busy=busy,
              classes=dict(by_class.most_common()), operations=dict(by_operation.most_common(15)))


def class_of(event: Any) -> str:
    """The class of an operation: the first that its name or one of those above it says."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return next((kind for kind, words in CLASSES if any(word in name for name in names for word in words)), "other")
