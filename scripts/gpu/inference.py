"""Images a second, of the network alone and from pixels to boxes."""
from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py import Detections, Detector, Network
from darknet_py.inference.backends.pytorch import prepare_for_inference
from darknet_py.model.summary import summarize

from .common import PRECISIONS, Job, allow_tf32, resized_cfg, seconds_of, seeded_network
from .facts import rate_of

COMPILED = 45           # seconds that torch.compile may take
PICTURE = 640, 480      # of the images that Detector gets


class Cell(NamedTuple):
    """One measurement. mode: "eager" with images in their own layout, "channels_last" as Detector runs a network,
    "graph" the same replayed as a CUDA graph, "cudnn benchmark" the same with cuDNN's own choice of algorithms,
    "compile" through torch.compile, "Detector" from pictures to boxes."""

    network: str
    size: int
    batch: int
    precision: str
    mode: str

    def __str__(self) -> str:
        return f"{self.network} {self.size}, batch {self.batch}, {self.precision}, {self.mode}"


def plan(cuda: bool, quick: bool) -> list[Cell]:
    """All cells, what matters most first, and torch.compile, which may take long, last."""
    if quick:
        networks, batches, precisions = (("yolov4-tiny", 64),), (1, 2), ("float32", "bfloat16")
    else:
        networks, batches, precisions = (("yolov4", 608), ("yolov4", 416), ("yolov4-tiny", 416)), (1, 32, 8), (
            "float16", "bfloat16", "TF32", "float32")
    modes = ["graph", "channels_last", "eager"] if cuda else ["channels_last", "eager"]
    best = precisions[0]
    first = [Cell(name, size, batch, best, mode) for name, size in networks[:2] for batch in batches[:2]
             for mode in modes[:2]]
    ends = [Cell(name, size, batch, precision, "Detector") for precision in (best, precisions[-1])
            for name, size in networks for batch in batches[:2]]
    rest = [Cell(name, size, batch, precision, mode) for precision in precisions for name, size in networks
            for batch in batches for mode in modes]
    chosen = [Cell(name, size, batch, best, "cudnn benchmark") for name, size in networks for batch in batches[:2]]
    compiled = [Cell(name, size, batch, best, "compile") for name, size in networks[:2] for batch in batches[1::-1]]
    return list(dict.fromkeys([*first, *ends, *rest, *chosen * cuda, *compiled[:1 if quick else None]]))


def run(job: Job) -> None:
    torch.manual_seed(0)
    for cell in plan(job.cuda, job.quick):
        if job.late(f"{cell} and cells after it", COMPILED if cell.mode == "compile" and not job.quick else 1):
            return
        with job.attempt(str(cell)):
            measure(job, cell)
        if job.cuda:
            torch.backends.cudnn.benchmark = False
            torch.cuda.empty_cache()


@lru_cache(maxsize=4)
def seeded(name: str, size: int) -> Network:
    return seeded_network(name, size)


@lru_cache(maxsize=4)
def folded(name: str, size: int) -> Network:
    """A network with seeded weights, ready to run, on the CPU."""
    return prepare_for_inference(copy.deepcopy(seeded(name, size)))


def measure(job: Job, cell: Cell) -> None:
    allow_tf32(cell.precision == "TF32")
    dtype, device = PRECISIONS[cell.precision], job.device
    if job.cuda:
        torch.cuda.reset_peak_memory_stats()
    runs, most = (2, .2) if job.quick else (60, .5)
    if cell.mode == "Detector":
        call = end_to_end(cell, dtype, device)
        seconds, peak = seconds_of(call, device, runs=runs, most=most), None
        shown = {"boxes_a_picture": sum(map(len, call())) / cell.batch}
    else:
        network = copy.deepcopy(folded(cell.network, cell.size)).to(device, dtype)
        layout = torch.contiguous_format if cell.mode == "eager" else torch.channels_last
        network.to(memory_format=layout)        # type: ignore[call-overload]
        x = torch.rand(cell.batch, *network.input_shape, device=device).to(dtype).contiguous(memory_format=layout)
        torch.backends.cudnn.benchmark = cell.mode == "cudnn benchmark"
        with torch.inference_mode():
            call = prepared(network, x, cell.mode, job.quick)
            seconds = seconds_of(call, device, runs=runs, most=most)
        peak, shown = rate_of(job, cell.precision), {}
    rate = cell.batch / seconds
    flops = summarize(folded(cell.network, cell.size)).flops
    job.write(str(cell), **cell._asdict(), seconds=seconds, images_a_second=rate,
              share_of_matrix_rate=None if peak is None else rate * flops / peak,
              memory=torch.cuda.max_memory_allocated() if job.cuda else None, **shown)


def prepared(network: Network, x: Tensor, mode: str, quick: bool) -> Callable[[], Any]:
    """What runs a network on images that stay where they are."""
    if mode == "compile":
        compiled = torch.compile(network, dynamic=False, backend="eager" if quick else "inductor")
        return lambda: compiled(x)
    if mode != "graph":
        return lambda: network(x)
    return captured(lambda: network(x))


def captured(call: Callable[[], Any]) -> Callable[[], None]:
    """A call as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):               # what libraries set up at the first call must not be captured
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = call()

    def replay(kept: Any = kept) -> None:
        graph.replay()

    return replay


def end_to_end(cell: Cell, dtype: torch.dtype, device: torch.device) -> Callable[[], list[Detections]]:
    """Detector on pictures in memory: to a tensor, resized, through the network, decoded, suppressed."""
    detector = detector_of(cell.network, cell.size, device)
    detector.network.to(dtype)
    small = np.random.default_rng(0).integers(0, 255, (cell.batch, 12, 16, 3), np.uint8)
    pictures = [cv2.resize(one, PICTURE, interpolation=cv2.INTER_CUBIC) for one in small]
    return lambda: detector(pictures)


def detector_of(name: str, size: int, device: torch.device) -> Detector:
    """A Detector with seeded weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seeded.weights")
        seeded(name, size).save_weights(path)
        return Detector(resized_cfg(name, size), path, [str(label) for label in range(80)], device=device,
                        backend="pytorch")
