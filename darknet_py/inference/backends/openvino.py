"""The OpenVINO backend."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from darknet_py.inference.backends.base import OnnxBackend
from darknet_py.model.network import Network


class OpenVino(OnnxBackend):
    """A model in OpenVINO, in float32; of a file also OpenVINO's own IR."""

    name = "openvino"
    packages = ("onnx", "openvino")

    def __init__(self, network: Network, model: str | bytes):
        import openvino
        super().__init__(network, model)
        core = openvino.Core()
        self.model: Any = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        # the arrays belong to the request, which the next call uses again
        return tuple(torch.from_numpy(output.copy()) for output in self.model(x.cpu().numpy()).values())
