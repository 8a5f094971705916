"""The backend of OpenCV's dnn module."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darknet_py.inference.backends.base import OnnxBackend
from darknet_py.model.network import Network


class OpenCv(OnnxBackend):
    """An ONNX model in OpenCV, on the CPU, in float32. It multiplies less than others for 3 x 3 convolutions
    (Winograd's), for several times the memory."""

    name = "opencv"
    packages = ("cv2",)
    reads = ()                          # of a file it would need all outputs' names

    def __init__(self, network: Network, model: bytes, layers: Sequence[int] | None = None):
        import cv2
        super().__init__(network, layers)
        self.net: Any = _in_words(cv2.dnn.readNetFromONNX, np.frombuffer(model, np.uint8))
        self.model, self.names = model, [f"head_{index}" for index in self.indices]
        self.lock = Lock()              # a net holds the values of one call

    @classmethod
    def of_model(cls, network: Network, model: str | bytes, layers: Sequence[int] | None = None,
                 precision: str = "float32") -> OpenCv:
        assert isinstance(model, bytes)
        return cls(network, model, layers)

    @classmethod
    def restore(cls, network: Network, content: memoryview, layers: Sequence[int] | None = None,
                precision: str = "float32") -> OpenCv:
        return cls(network, bytes(content), layers)

    def stored(self) -> bytes:
        return self.model

    @classmethod
    def versions(cls) -> str:
        import cv2
        return f"cv2 {cv2.__version__}"

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        with self.lock:
            self.net.setInput(np.ascontiguousarray(x.cpu().numpy()))
            # the arrays belong to the net, which the next call uses again
            return tuple(torch.from_numpy(output.copy())
                         for output in _in_words(self.net.forward, self.names))


def _in_words(call: Callable, *arguments: Any) -> Any:
    """``call(*arguments)``; RuntimeError with the reason alone, where OpenCV adds its own source's lines."""
    import cv2
    try:
        return call(*arguments)
    except cv2.error as error:
        raise RuntimeError(error.err) from None
