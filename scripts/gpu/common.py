"""What the parts of gpu_check.py share: records, time limits, seeded networks, timing."""
from __future__ import annotations

import json
import math
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from darknet_py import Network, load_network
from darknet_py.cfg.language import Cfg, read_cfg
from darknet_py.layers.batchnorm import Norm
from darknet_py.model.plan import HeadPass
from darknet_py.tools.random_weights import take_statistics

from .report import records

ROOT = Path(__file__).resolve().parents[2]
CFG, WEIGHTS = ROOT / "cfg", ROOT / "weights"
PRECISIONS = {"float32": torch.float32, "TF32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FOUND = 100             # boxes of an image that random heads are fitted to give, each of about one class


@dataclass
class Job:
    """What a part is to do, and where its records go.

    name: of the part. path: its records, a JSON object a line, each written at once. seconds: that it may take; what
    would begin later is left out.
    """

    name: str
    path: Path
    device: torch.device
    quick: bool
    seconds: float
    begin: float = field(default_factory=time.perf_counter)

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.begin)

    def write(self, what: str, **values: Any) -> None:
        """A record: printed, and kept whatever happens to this process. JSON has no infinite numbers, so these are
        text."""
        values = {key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
                  for key, value in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"what": what, **values}) + "\n")
        shown = ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                          for key, value in values.items() if not isinstance(value, (dict, list)))
        print(f"{self.name}: {what}{': ' * bool(shown)}{shown}", flush=True)

    def check(self, what: str, error: float, most: float, **values: Any) -> None:
        """A record of a check: passed if the error is within its bound, which NaN is not."""
        self.write(what, passed=bool(error <= most), error=float(error), most=most, **values)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What fails in here becomes a record of the failure, and the part goes on; a broken device ends it."""
        try:
            yield
        except Exception as error:          # whatever it is, the figures after it are wanted all the same
            self.write(what, failure=f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}",
                       trace=traceback.format_exc().splitlines()[-8:])
        if self.cuda:
            torch.cuda.synchronize()

    def late(self, what: str, seconds: float = 0) -> bool:
        """Whether less than so many seconds are left; if so, that ``what`` is left out becomes a record."""
        if self.left > seconds:
            return False
        self.write(what, left_out=f"{max(0., self.left):.0f} s left of {self.seconds:.0f}")
        return True

    def others(self, part: str) -> list[dict[str, Any]]:
        """The records that another part has written so far."""
        return records(self.path.with_name(f"{part}.jsonl"))


def exact_float32() -> None:
    """No TF32, neither in matrix products nor in convolutions."""
    allow_tf32(False)


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def quiet() -> None:
    """Warnings of cfgs say nothing that is asked here."""
    warnings.simplefilter("ignore")


def seconds_of(call: Callable[[], Any], device: torch.device, *, runs: int, most: float) -> float:
    """Median seconds of a call, after three to warm up: up to ``runs`` of them, or for ``most`` seconds. On a GPU the
    calls follow each other without a halt, and events on the device tell them apart."""
    for _ in range(3):
        call()
    if device.type != "cuda":
        times: list[float] = []
        end = time.perf_counter() + most
        while len(times) < runs and (not times or time.perf_counter() < end):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        return statistics.median(times)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    count = max(3, min(runs, int(most / (time.perf_counter() - begin))))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) / 1000 for a, b in pairwise(events))


def resized_cfg(name: str, size: int | None, **net: Any) -> Cfg:
    """A cfg of the repository with other values of [net]."""
    values = ({} if size is None else {"width": size, "height": size}) | net
    return read_cfg(CFG / f"{name}.cfg").with_values({(0, key): value for key, value in values.items()})


def seeded_network(name: str, side: int | None = None, seed: int = 0) -> Network:
    """A network of the repository with random weights, fitted to smooth images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = load_network(resized_cfg(name, side))
        channels, *size = network.input_shape
        x = F.interpolate(torch.rand(4, channels, 12, 16), size, mode="bicubic").clamp(0, 1)    # as pictures are
        x[3].uniform_()
    return fit(network, x)


@torch.no_grad()
def fit(network: Network, x: torch.Tensor, found: int = FOUND, deviation: float = 1.) -> Network:
    """Make a network with random weights compute what a trained one might: on these images what batch normalisation
    gives has mean 0 and that deviation, and [yolo] finds about ``found`` objects in each of the first three."""
    hook = partial(take_statistics, deviation=deviation)
    handles = [part.register_forward_pre_hook(hook) for part in network.modules() if isinstance(part, Norm)]
    passes = network.train_heads(x, len(network.layers))
    for handle in handles:
        handle.remove()
    for one in passes:
        _thin_out(network, one, max(1, found // len(passes)))
    network.reset_state()
    return network


def _thin_out(network: Network, one: HeadPass, count: int) -> None:
    """Scale and shift what a [yolo] reads: values of deviation 1, so many boxes sure by half, one class of each."""
    layer, before = one.layer, network.layers[network.plan[one.layer.place.index].sources[0]]
    if layer.kind != "yolo" or layer.options.new_coords or getattr(before, "bias", None) is None:
        return
    scale = one.input.std()
    before.weight /= scale
    objectness, classes = layer.split(one.input[:3] / scale)[:, :, 4:].split((1, layer.classes), 2)
    bias = before.bias.view(layer.count, -1)
    bias[:, 4] -= objectness.flatten().topk(min(3 * count, objectness.numel())).values[-1]
    bias[:, 5:] -= classes.flatten().topk(max(1, classes.numel() // layer.classes)).values[-1]
