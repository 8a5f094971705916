"""The OpenVINO backend."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_py.inference.backends.base import Backend
from darknet_py.model.network import Network


class OpenVino(Backend):
    """A model in OpenVINO, on the CPU, in float32.

    Args:
        model: what ``openvino.Core.read_model`` takes: a path, or the bytes of an ONNX model.
    """

    name = "openvino"
    packages = ("onnx", "openvino")

    def __init__(self, network: Network, model: str | bytes):
        import openvino
        super().__init__(network)
        core = openvino.Core()
        self.model: Any = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    @classmethod
    def build(cls, network: Network, device: str | torch.device = "auto") -> OpenVino:
        cls.require()
        cls.require_cpu(device)
        from darknet_py.model.onnx_model import onnx_model
        return cls(network, onnx_model(network.exportable("an ONNX model")).SerializeToString())

    @classmethod
    def load(cls, network: Network, path: Path) -> OpenVino:
        return cls(network, str(path))

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        # the arrays belong to the request, which the next call uses again
        return tuple(torch.from_numpy(output.copy()) for output in self.model(x.cpu().numpy()).values())
