"""Comparing a few training steps: losses, deltas, gradients and weights."""
from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from darknet_py import Network
from darknet_py.data.targets import Truth
from darknet_py.layers import DetectionHead
from darknet_py.training.optimizer import Optimizer
from darknet_py.training.step import accumulate

from .reading import golden_network
from .result import Result
from .training_faults import LEFT_OUT, build_in

ROUNDING = 4e-6                             # of float32 sums of thousands of terms one by one: 4608 ** .5 * 2 ** -24
SPREAD = 4
GRADIENTS = {"weights": "wgrad", "biases": "bgrad", "scales": "sgrad"}


def compare_train(golden, path: Path, device: str = "cpu") -> Result:
    """Losses, deltas, gradients and weights of a few training steps. The error is in units of what is allowed.

    Whole networks run in float64, and a value may miss its bar by rounding: C's float32 puts other
    values on the other side of a kink (in resnet50, five within 6e-6 of zero account for all), and batch normalisation
    over few values blows up what is small (rnn.train has two, through three layers and 576 steps). So what misses must
    lie within ``SPREAD`` times of what weights changed by ``ROUNDING`` do to it.
    """
    whole = path.parent.parent.name != "kinds"
    left_out, _ = LEFT_OUT.get(golden.meta["name"], ({}, ""))
    arrays = golden.arrays | {f"loss_{iteration}": loss for iteration, loss in enumerate(golden.arrays["loss"])}
    bars = {"loss_0": 1e-4, "loss": 2e-2, "after1": 1e-5, "afterK": 2e-2}
    ours = run_training(golden, path, device, torch.float64 if whole else torch.float32)
    errors, allowed = {}, {}
    for key, (values, largest) in ours.items():
        without = next((places for pattern, places in left_out.items() if fnmatch(key, pattern)), None)
        if key not in arrays or without == ():
            continue
        compared = ~np.isin(arrays.get(f"{key}_at", np.arange(values.size)), without or ())
        with np.errstate(over="ignore", invalid="ignore"):      # C's own values may be infinite
            error = np.abs(values - arrays[key])[compared].max() / max(largest, np.abs(arrays[key]).max(), 1e-30)
        errors[key], allowed[key] = float(error), bars.get(key, bars.get(key.split("_")[0], 1e-3))
    bad = [key for key in errors if not errors[key] <= allowed[key]]
    rounded = 0
    if whole and bad:
        others = [run_training(golden, path, device, torch.float64, seed) for seed in range(3)]
        for key in bad:
            values, largest = ours[key]
            apart = max(float(np.abs(other[key][0] - values).max()) for other in others)
            allowed[key] = max(allowed[key], SPREAD * apart / max(largest, 1e-30))
        rounded, bad = len(bad), [key for key in bad if not errors[key] <= allowed[key]]
        rounded -= len(bad)
    worst = max(bad or errors, key=lambda key: np.nan_to_num(errors[key] / allowed[key], nan=np.inf))
    where = f"{worst} {errors[worst]:.1e}" + (f", {rounded} of {len(errors)} by rounding" if rounded else "")
    if bad:
        where = f"{len(bad)} of {len(errors)}: {', '.join(f'{key} {errors[key]:.1e}' for key in bad[:6])}"
    return Result(not bad, errors[worst] / allowed[worst], where)


def run_training(golden, path: Path, device: str, dtype: torch.dtype,
                 seed: int | None = None) -> dict[str, tuple[np.ndarray, float]]:
    """The steps of a training golden: by its key each tensor's values where the golden has some, and its largest.

    seed: change all weights by ``ROUNDING``.
    """
    m, arrays = golden.meta, golden.arrays
    network = golden_network(golden, path, device).to(dtype)
    build_in(network)
    if seed is not None:
        generator = torch.Generator(device).manual_seed(seed)
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, device=device, dtype=dtype)
            parameter.data *= 1 + ROUNDING * noise
    with torch.no_grad():
        network(torch.from_numpy(golden.input()).to(device, dtype))     # the state that C's first pass left
    network.train()
    optimizer, batch = Optimizer(network), m["batch"]
    blobs = [blob.tensor for layer in network.layers for blob in layer.blobs()]
    result: dict[str, tuple[np.ndarray, float]] = {}

    def keep(key: str, tensor: Tensor) -> None:
        values = tensor.detach().double().cpu().reshape(-1).numpy()
        result[key] = values[arrays.get(f"{key}_at", slice(None))], float(np.abs(values).max())

    for iteration in range(m["iterations"]):
        x = torch.from_numpy(golden.train_input(iteration)).to(device, dtype)
        network.context.iteration, network.context.seen = iteration, (iteration + 1) * batch
        outcome = accumulate(network, x, golden_truth(golden, network).to(device))
        keep(f"loss_{iteration}", outcome.loss)
        if iteration == 0:
            later: Tensor | float = 0.
            for head, loss in reversed(outcome.heads):      # [cost] adds its delta to that of the [softmax] it reads
                keep(f"delta_{head.layer.place.index:03d}", loss.delta + later)
                later = loss.scale * loss.delta if head.layer.kind == "cost" else 0.
            for (layer, sub, kind, *_), tensor in zip(m["tensors"], blobs, strict=True):
                if sub == "-" and kind in GRADIENTS and tensor.grad is not None:
                    keep(f"{GRADIENTS[kind]}_{layer:03d}", -tensor.grad)
        optimizer.step(m["learning_rate"], batch, iteration + 1)
        for name in ("after1",) * (iteration == 0) + ("afterK",) * (iteration + 1 == m["iterations"]):
            for index, tensor in enumerate(blobs):
                keep(f"{name}_{index:04d}", tensor)
    return result


def golden_truth(golden, network: Network) -> Truth | Tensor:
    """The truths as the network's heads want them."""
    rows = golden.arrays["truth"]
    head = network.layers[network.heads[-1]]
    if isinstance(head, DetectionHead):
        return Truth.stack([rows[rows[:, 0] == image, 1:] for image in range(golden.meta["batch"])])
    truth = torch.zeros(golden.meta["batch"], head.shape.size)
    truth[torch.from_numpy(rows[:, 0]).long(), torch.from_numpy(rows[:, 1]).long()] = 1
    return truth
