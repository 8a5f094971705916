"""Quantization to INT8 after training, with accuracy control by mAP."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darknet_py.convert import PLAIN, folder_of, put_files
from darknet_py.convert.describe import describe
from darknet_py.convert.formats import FORMATS, ExportOptions
from darknet_py.convert.int8 import LEAST, WRITE, Calibration, Progress, silent
from darknet_py.data.dataset import Sample
from darknet_py.errors import DarknetError
from darknet_py.evaluation.evaluate import evaluate_map
from darknet_py.inference.backends import load_model, open_backend
from darknet_py.inference.backends.base import INT8, Backend
from darknet_py.inference.backends.pytorch import PyTorch, prepare_for_inference
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.inference.preprocess import check_takes_images
from darknet_py.layers.base import Layer
from darknet_py.model.network import LazyNetwork, Network
from darknet_py.model.weights import VERSION, Header
from darknet_py.utils.files import temporary_folder
from darknet_py.utils.timed_process import PAUSE, TURN, timed_runs

RANKED = 4              # pictures of the calibration by which layers are ranked
LEVELS = 255            # steps of 8 bits
TURNS = 5               # of each backend when the network is timed


@dataclass(frozen=True)
class Quantized:
    """The result of ``quantize``.

    Attributes:
        files: written, with their sizes in bytes.
        before, after: mAP@.5 of the network in float32 and of the model, in percent.
        layers: indices of the layers that compute in int8.
        restored: those that were put back into float.
        float_seconds, seconds: median times that the network takes for a picture, in float32 and as the model.
        problems: why pictures were left out, a line each.
    """

    files: dict[Path, int]
    before: float
    after: float
    layers: tuple[int, ...]
    restored: tuple[int, ...]
    float_seconds: float
    seconds: float
    problems: tuple[str, ...]


def quantize(network: LazyNetwork, out: str | os.PathLike, train: Sequence[Sample], valid: Sequence[Sample],
             names: Sequence[str], *, backend: Backend | None = None, max_drop: float = .5, subset: int = 300,
             symmetric: bool = False, letterbox: bool | None = None, progress: Progress = lambda *_: None,
             report: Callable[[str], None] = lambda _: None, **options: Any) -> Quantized:
    """Quantize a detector to INT8, and measure what that costs.

    Weights are quantized symmetrically and by output channel, activations by tensor; the heads stay in float. Where mAP
    falls by too much the most sensitive layers are put back into float, as few as are needed (``rank``).

    Args:
        network: ``LazyNetwork(cfg, weights)``, a detector.
        out: .xml for OpenVINO's IR, .onnx for an ONNX model with QDQ nodes. ``LazyNetwork`` takes the file in the place
            of the weights.
        train, valid: of ``read_samples``, pictures to calibrate with, and labelled ones to measure with.
        backend: what runs the network in float32, to compare with; None: the fastest on the CPU.
        max_drop: by how many points mAP@.5 may fall.
        subset: how many pictures to calibrate with, spread over ``train``.
        symmetric: of ONNX: activations are quantized about 0 too, less accurately. TensorRT takes no others.
        progress: see ``int8.Progress``.
        report: called with what was measured, in words.
        names, letterbox, options: see ``evaluate_map``.

    Raises:
        DarknetError: the network cannot be exported, a package is missing, there are fewer than ``LEAST`` pictures that
            can be read, or mAP falls by more than ``max_drop`` whatever is put back. Nothing is written then.
    """
    out, form = Path(out), check_request(out, max_drop, subset, symmetric)
    PostProcessor.of(network.outline)
    check_takes_images(network.outline)
    FORMATS[form].check(network.network, PLAIN)
    letterbox = bool(network.outline.options.letter_box) if letterbox is None else letterbox

    def measure(run: Backend, what: str) -> float:
        result = evaluate_map(network.outline, valid, names, backend=run, letterbox=letterbox,
                              progress=lambda done, of: progress(f"mAP {what}", done, of), **options)
        return 100 * result.map

    backend = open_backend(network, device="cpu") if backend is None else backend
    pictures = Calibration(train, subset, network.outline, letterbox, progress)
    before = measure(backend, f"in {backend.precision}")
    report(f"{backend.precision} ({backend.name}): mAP@0.50 {before:.2f} % on {len(valid)} pictures")
    with temporary_folder(folder_of(out)) as temporary:
        source = temporary / f"float.{form}"
        FORMATS[form].write(network.network, Header(*VERSION, 0, 20), source, PLAIN, {})
        metadata = describe(network.outline, ExportOptions(nms=options.get("nms")), names, letterbox, INT8)
        attempts: dict[int, tuple[float, tuple[int, ...]]] = {}
        ranking: list[int] = []

        def good(count: int) -> bool:
            """Whether mAP is high enough with so many layers in float."""
            if count and not ranking:
                ranking.extend(rank(network.network, attempts[0][1], pictures, progress))
            made = temporary / f"{count}"
            made.mkdir()
            with silent():
                layers = WRITE[form](made / out.name, source, network.outline, pictures, ranking[:count], symmetric,
                                     metadata)
            after = measure(load_model(network.outline, made / out.name), "in int8")
            attempts[count] = after, layers
            report(f"int8 in {len(layers)} layers: mAP@0.50 {after:.2f} %, {after - before:+.2f} points")
            return before - after <= max_drop

        kept = 0 if good(0) else smallest(good, len(attempts[0][1]) - 1)
        if kept is None:
            most = max(attempts)
            raise DarknetError(f"{out}: not written, for mAP@0.50 falls from {before:.2f} % to {attempts[0][0]:.2f} % "
                               f"in int8, and to {attempts[most][0]:.2f} % in int8 in {len(attempts[most][1])} layers; "
                               f"max_drop allows {max_drop:g} points")
        made = temporary / f"{kept}"
        x = torch.from_numpy(next(iter(pictures))["images"])
        slow, fast = times([backend, load_model(network.outline, made / out.name)], x, progress)
        after, layers = attempts[kept]
        restored = tuple(sorted({*attempts[0][1]} - {*layers}))
        return Quantized(put_files(made, out), before, after, layers, restored, slow, fast, tuple(pictures.problems))


def check_request(out: str | os.PathLike, max_drop: float, subset: int, symmetric: bool) -> str:
    """The format of ``out``, after a check of the arguments of ``quantize``, the folder, and the packages it needs.

    Raises:
        DarknetError
    """
    form = Path(out).suffix.removeprefix(".").lower()
    if form not in WRITE:
        raise DarknetError(f"{out}: expected a format ({', '.join(WRITE)}), found {form if form else 'no extension'}")
    if not 0 <= max_drop <= 100:
        raise DarknetError(f"max_drop needs points of mAP from 0 to 100, found {max_drop:g}")
    if subset < LEAST:
        raise DarknetError(f"subset needs {LEAST} pictures or more to calibrate with, found {subset}")
    if symmetric and form != "onnx":
        raise DarknetError(f"{out}: symmetric is for TensorRT, which takes an ONNX model (.onnx)")
    folder_of(Path(out))
    os.environ.setdefault("NNCF_CI", "1")           # NNCF then sends nothing of its use to its maker
    if form == "xml":
        try:
            with silent():
                import_module("nncf")
        except ImportError:
            raise DarknetError("quantization for OpenVINO needs the package nncf: pip install nncf") from None
    return form


@torch.no_grad()
def rank(network: Network, layers: Sequence[int], pictures: Calibration, progress: Progress) -> list[int]:
    """Layers by how much the heads' outputs change, by their squares, if only that layer were in int8: first the one
    that changes them most. Computed in PyTorch, on the first ``RANKED`` pictures of the calibration."""
    x = torch.from_numpy(np.concatenate([one["images"] for one in islice(pictures, RANKED)]))
    run = PyTorch(prepare_for_inference(network.exportable(), "cpu"))
    expected, errors = run(x), {}
    for number, index in enumerate(layers):
        progress("ranking layers", number, len(layers))
        with _rounded(run.network.layers[index]):
            errors[index] = sum(float((one - other).square().mean())
                                for one, other in zip(expected, run(x), strict=True))
    return sorted(layers, key=lambda index: -errors[index])


@contextmanager
def _rounded(layer: Layer) -> Iterator[None]:
    """The layer as it computes in int8: what it reads is rounded by tensor, its weights by output channel."""
    matrices = [parameter for parameter in layer.parameters() if parameter.dim() > 1]
    kept = [parameter.data for parameter in matrices]
    hook = layer.register_forward_pre_hook(lambda _, xs: tuple(map(rounded, xs)))
    try:
        for parameter in matrices:
            parameter.data = torch.stack([rounded(row) for row in parameter.data])
        yield
    finally:
        hook.remove()
        for parameter, data in zip(matrices, kept, strict=True):
            parameter.data = data


def rounded(x: Tensor) -> Tensor:
    """Values rounded to the nearest of 256 levels from the least (or 0) to the largest (or 0)."""
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    step = ((high - low) / LEVELS).clamp(min=torch.finfo(x.dtype).tiny)
    return ((x - low) / step).round() * step + low


def smallest(good: Callable[[int], bool], most: int) -> int | None:
    """The smallest count from 1 to ``most`` that is good, if all above it are: doubled until it is good, then bisected;
    None if none is."""
    low, high = 0, min(1, most)
    while high == 0 or not good(high):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def times(backends: Sequence[Backend], x: Tensor, progress: Progress) -> list[float]:
    """Median seconds of each backend for an input. They take turns, each after a pause and an unmeasured run, for a
    runtime's threads may go on spinning for a while and slow down the next one."""
    seconds: list[list[float]] = [[] for _ in backends]
    for turn in range(TURNS):
        for backend, took in zip(backends, seconds, strict=True):
            progress("timing", turn, TURNS)
            time.sleep(PAUSE)
            took += timed_runs(partial(backend, x), TURN)
    return [median(took) for took in seconds]
