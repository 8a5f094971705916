"""Comparing the forward pass: the outputs of every layer, and of the heads."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .forward_faults import FAULTS
from .reading import golden_network
from .result import TOLERANCE, Result

XNOR_SHARE = .995                           # of the values in and after xnor layers must be within the tolerance


def compare_forward(golden, path: Path, device: str = "cpu") -> Result:
    """Every layer's sampled outputs, and the heads."""
    network = golden_network(golden, path, device)
    fault = FAULTS.get(golden.meta["name"])
    if fault is not None:
        fault(network)
    x = torch.from_numpy(golden.input()).to(device)
    with torch.no_grad():
        outputs = {f"layer_{index:03d}": output for index, output in enumerate(network.trace(x))}
        network.reset_state()
        heads = network(x)
    outputs |= {f"head_{index:03d}": output for index, output in zip(network.heads, heads, strict=True)}
    compared = {key for key in golden.arrays if f"{key}_at" in golden.arrays}
    if missing := {key for key in compared if key.startswith("head")} - set(outputs):
        return Result(False, np.inf, f"{sorted(missing)} are no heads here")
    binary = next((index for index, layer in enumerate(network.layers) if getattr(layer.options, "xnor", 0)), np.inf)
    worst, values, bad = Result(True, 0, ""), 0, 0
    for key in sorted(compared):
        index, at = int(key[-3:]), golden.arrays[f"{key}_at"]
        ours, largest = outputs[key].detach().reshape(-1).cpu().numpy(), golden.meta["layers"][index][-1]
        if at.max() >= ours.size:
            return Result(False, np.inf, f"{key}: expected more than {at.max()} values, got {ours.size}")
        error = np.abs(ours[at] - golden.arrays[key])
        relative = error / largest if largest else np.where(error == 0, 0, np.inf)
        ok = relative <= TOLERANCE[device]      # not so for NaN
        values, bad = values + at.size, bad + (~ok).sum()
        if not relative.max() <= worst.error:
            worst = Result(worst.passed, float(relative.max()), f"{key} [{network.layers[index].kind}]")
        if not ok.all() and index < binary:
            worst = worst._replace(passed=False)
    return worst._replace(passed=worst.passed and 1 - bad / values >= XNOR_SHARE)
