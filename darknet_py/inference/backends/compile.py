"""The backend of torch.compile: the network as code that is compiled for this machine, with its weights inside."""
from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from darknet_py.errors import DarknetError, Reason
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.model.network import Network

COMPILERS = ("c++", "g++", "clang++", "cl")


class Compiled(PyTorch):
    """A network that torch.compile compiles when it first runs; then its device and precision are fixed.

    torch.compile itself caches the code that it generates (TORCHINDUCTOR_CACHE_DIR).
    """

    name = "compile"
    packed = False                      # the compiler does that

    def __init__(self, network: Network, layers: Sequence[int] | None = None):
        super().__init__(network.requires_grad_(False), layers)
        self.compiled: Any = torch.compile(self._outputs, options={"freezing": True})

    @classmethod
    def build(cls, network: Network, device: str | int | torch.device | None = "auto",
              layers: Sequence[int] | None = None, precision: str = "float32") -> PyTorch:
        for layer in network.layers:
            if layer.stateful:
                raise layer.place.error("remembers earlier images, which compiled code cannot",
                                        reason=Reason.UNSUPPORTED)
        cls.require()
        return super().build(network, device, layers, precision)

    @classmethod
    def require(cls, packages: Sequence[str] | None = None) -> None:
        compiler = os.environ.get("CXX")
        if not any(map(shutil.which, COMPILERS if compiler is None else (compiler,))):
            raise DarknetError(f"backend=compile needs a C++ compiler ({', '.join(COMPILERS)}, or what CXX names), "
                               "found none")

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.compiled(self._input(x))

    def _outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.outputs_of(x, self.indices))
