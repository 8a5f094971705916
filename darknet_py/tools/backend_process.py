"""The process of one backend that ``benchmark`` times: ``python -m darknet_py.tools.backend_process``."""
from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_py.inference.backends import open_backend
from darknet_py.model.network import LazyNetwork
from darknet_py.utils.timed_process import Build, serve


def build_backend(request: dict[str, Any]) -> Build:
    """A network on a backend, as ``Detector`` opens and runs it.

    Args:
        request: cfg, weights, width, height; backend, precision, device; batch: random images that run together, the
            same in all processes; outputs: a file that those of the first run go to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                 # the parent says what there is to say
        files = LazyNetwork(request["cfg"], request["weights"], width=request["width"], height=request["height"])
        backend = open_backend(files, request["backend"], request["precision"], request["device"])
    x = torch.rand(request["batch"], *backend.shape, generator=torch.Generator().manual_seed(0))
    outputs: tuple[Tensor, ...] = ()

    def run() -> None:
        nonlocal outputs
        outputs = backend(x)
        if backend.device.type == "cuda":
            torch.cuda.synchronize(backend.device)

    def facts() -> dict[str, Any]:
        if request["outputs"] is not None:
            torch.save([output.float().cpu() for output in outputs], Path(request["outputs"]))
        return {}

    return Build(run, facts)


def matrix_product(sides: int) -> Build:
    """The product of two float32 matrices, whose rate that of a network can be compared with."""
    a, b = torch.rand(2, sides, sides, generator=torch.Generator().manual_seed(0))
    return Build(lambda: a @ b)


def build(request: dict[str, Any]) -> Build:
    return matrix_product(request["sides"]) if request["backend"] == "product" else build_backend(request)


if __name__ == "__main__":
    serve(build)
