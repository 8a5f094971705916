"""The ONNX Runtime backend."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from darknet_py.inference.backends.base import OnnxBackend
from darknet_py.model.network import Network


class OnnxRuntime(OnnxBackend):
    """An ONNX model in ONNX Runtime."""

    name = "onnxruntime"
    packages = ("onnx", "onnxruntime")

    def __init__(self, network: Network, model: str | bytes):
        import onnxruntime
        super().__init__(network, model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, self.session.run(None, {"images": x.cpu().numpy()})))
