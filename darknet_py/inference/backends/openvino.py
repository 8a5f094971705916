"""The OpenVINO backend."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import BackendWarning
from darknet_py.inference.backends.base import INT8, PRECISIONS, OnnxBackend
from darknet_py.model.network import Network

HINTS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16"),   # hint, capability
         INT8: ("f32", "INT8")}       # the hint is for what is not in int8


class OpenVino(OnnxBackend):
    """A model in OpenVINO, on the CPU; of a file also OpenVINO's own IR.

    Args:
        compiled: a ``CompiledModel``.
        content: that it was imported from and that it goes on reading.
    """

    name = "openvino"
    packages = ("openvino",)
    precisions = PRECISIONS
    reads = (".xml", ".onnx")

    def __init__(self, network: Network, compiled: Any, layers: Sequence[int] | None = None,
                 precision: str = "float32", content: memoryview | None = None):
        super().__init__(network, layers, precision)
        self.compiled, self.content, self.request = compiled, content, compiled.create_infer_request()
        self.lock = Lock()              # there is one request, whose threads are all that the CPU has

    @classmethod
    def of_model(cls, network: Network, model: str | bytes, layers: Sequence[int] | None = None,
                 precision: str = "float32") -> OpenVino:
        import openvino
        core = openvino.Core()
        return cls(network, core.compile_model(core.read_model(model), "CPU", _settings(precision)), layers, precision)

    @classmethod
    def restore(cls, network: Network, content: memoryview, layers: Sequence[int] | None = None,
                precision: str = "float32") -> OpenVino:
        import openvino
        tensor = openvino.Tensor(np.frombuffer(content, np.uint8), shared_memory=True)
        return cls(network, openvino.Core().import_model(tensor, "CPU", _settings(precision)), layers, precision,
                   content)

    def stored(self) -> bytes:
        stored = self.compiled.export_model()
        return stored if isinstance(stored, bytes) else stored.getvalue()

    @classmethod
    def supported(cls, precision: str) -> str:
        import openvino
        super().supported(precision)
        if HINTS[precision][1] in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return precision
        warnings.warn(f"backend=openvino: this CPU does not compute in {precision}; it computes in float32",
                      BackendWarning, stacklevel=2)
        return "float32"

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        with self.lock:
            self.request.infer({0: np.ascontiguousarray(x.cpu().numpy())}, share_inputs=True, share_outputs=True)
            # the arrays belong to the request, which the next call uses again
            return tuple(torch.from_numpy(self.request.get_output_tensor(index).data.copy())
                         for index in range(len(self.compiled.outputs)))


def _settings(precision: str) -> dict[str, str]:
    return {"INFERENCE_PRECISION_HINT": HINTS[precision][0]}
