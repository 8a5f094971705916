"""The backends that run TorchScript and exported programs."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_py.inference.backends.base import Run
from darknet_py.model.network import Network


def _run(module: Any, images: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        outputs = module(torch.from_numpy(images))
    return [output.detach().numpy() for output in (outputs if isinstance(outputs, (tuple, list)) else [outputs])]


def load_torchscript(network: Network, path: Path) -> Run:
    module = torch.jit.load(str(path))
    return lambda images: _run(module, images)


def load_exported(network: Network, path: Path) -> Run:
    module = torch.export.load(str(path)).module()
    return lambda images: _run(module, images)
