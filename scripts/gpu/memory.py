"""How many images at once yolov4 trains on, and whether what ``new`` expects of the memory is right."""
from __future__ import annotations

import torch

from darknet_py.data.batch_plan import mini_batch as mini_batch_size
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.model.network import Network, load_network
from darknet_py.model.summary import training_memory
from darknet_py.prepare.new_cfg import new_cfg
from darknet_py.training.iteration import Engine

from .common import Job, exact_float32
from .training import clear, mini_batch, training_cfg

FINE, MOST = 4, 1024        # images: how exactly the largest number is found, and where the search ends
QUICK_MOST, QUICK_MEMORY = 4, 256 << 20


def run(job: Job) -> None:
    exact_float32()
    with job.attempt("the estimate of new"):
        estimate(job)
    for amp in ("off",) if job.quick else ("bf16", "off"):
        if not job.late(f"largest batch, {amp}", 5):
            with job.attempt(f"largest batch, {amp}"):
                largest(job, amp)


def trains(engine: Engine, images: int, height: int, width: int, iteration: int) -> bool:
    """Whether the device has the memory for a whole step; the second one has momentum, too."""
    one = mini_batch(0, 1, min(height, width))
    x = torch.randint(256, (images, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    truth = Truth(*(part.expand(images, *part.shape[1:]).contiguous() for part in one.truth))
    try:
        for step in range(2):
            engine.run(iteration + step, [MiniBatch(x, truth, one.names * images)])
        good = True
    except torch.OutOfMemoryError:
        good = False
    for parameter in engine.network.parameters():
        parameter.grad = None
    return good


def largest(job: Job, amp: str) -> None:
    size = 64 if job.quick else 608
    network = load_network(training_cfg(job, size, 64, 1), device=job.device)
    network.to(memory_format=torch.channels_last)       # type: ignore[call-overload]
    engine = Engine(network, job.device, amp=amp)
    top = MOST if job.cuda else QUICK_MOST
    most, beyond, tries, step = 0, top + 1, 0, FINE if job.cuda else 1
    while beyond - most > step and job.left > 4:
        images = min(max(2 * most, step), top) if beyond > top else (most + beyond) // 2     # doubled, then halved
        clear(job)
        if trains(engine, images, size, size, 1 + 2 * tries):
            most = images
            job.write(f"{images} images at {size}, {amp}", images=images, size=size, amp=amp,
                      memory=torch.cuda.max_memory_allocated() if job.cuda else None)
        else:
            beyond = images
        tries += 1
    for_weights, for_image = training_memory(network)
    job.write(f"largest batch, {amp}", size=size, amp=amp, largest=most, too_many=beyond if beyond <= top else None,
              expected=for_weights + most * for_image)


def estimate(job: Job) -> None:
    """The cfg that ``new`` makes for this device, at the largest size that it trains at."""
    name, size, memory = ("yolov4-tiny", 64, QUICK_MEMORY) if job.quick else ("yolov4", 608, None)
    made = new_cfg(name, classes=80, size=(size, size), memory=memory)
    images, (width, height) = mini_batch_size(made.network.options), made.largest
    network: Network = load_network(made.cfg, device=job.device)
    network.to(memory_format=torch.channels_last)       # type: ignore[call-overload]
    clear(job)
    fits = trains(Engine(network, job.device), images, height, width, 1)
    job.write("the estimate of new", passed=fits, images=images, subdivisions=made.network.options.subdivisions,
              width=width, height=height, expected=made.needed, available=made.memory.size,
              memory=torch.cuda.max_memory_allocated() if job.cuda else None)
