"""The ONNX Runtime backend."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from darknet_py.inference.backends.base import OnnxBackend
from darknet_py.model.network import Network


class OnnxRuntime(OnnxBackend):
    """An ONNX model in ONNX Runtime, on the CPU, in float32 or as it is."""

    name = "onnxruntime"
    packages = ("onnxruntime",)

    def __init__(self, network: Network, model: str | bytes, layers: Sequence[int] | None = None,
                 precision: str = "float32"):
        import onnxruntime
        super().__init__(network, layers, precision)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.model = model

    @classmethod
    def of_model(cls, network: Network, model: str | bytes, layers: Sequence[int] | None = None,
                 precision: str = "float32") -> OnnxRuntime:
        return cls(network, model, layers, precision)

    @classmethod
    def restore(cls, network: Network, content: memoryview, layers: Sequence[int] | None = None,
                precision: str = "float32") -> OnnxRuntime:
        return cls(network, bytes(content), layers)

    def stored(self) -> bytes:
        assert isinstance(self.model, bytes)
        return self.model

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, self.session.run(None, {"images": x.cpu().numpy()})))
