"""The ONNX Runtime backend."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_py.inference.backends.base import Backend
from darknet_py.model.network import Network


class OnnxRuntime(Backend):
    """An ONNX model in ONNX Runtime, on the CPU.

    Args:
        model: a path, or the model's bytes.
    """

    name = "onnxruntime"
    packages = ("onnx", "onnxruntime")

    def __init__(self, network: Network, model: str | bytes):
        import onnxruntime
        super().__init__(network)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @classmethod
    def build(cls, network: Network, device: str | torch.device = "auto") -> OnnxRuntime:
        cls.require()
        cls.require_cpu(device)
        from darknet_py.model.onnx_model import onnx_model
        return cls(network, onnx_model(network.exportable("an ONNX model")).SerializeToString())

    @classmethod
    def load(cls, network: Network, path: Path) -> OnnxRuntime:
        return cls(network, str(path))

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, self.session.run(None, {"images": x.cpu().numpy()})))
