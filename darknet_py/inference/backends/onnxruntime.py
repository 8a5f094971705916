"""The ONNX Runtime backend."""
from __future__ import annotations

from pathlib import Path

from darknet_py.inference.backends.base import Run
from darknet_py.model.network import Network


def load_onnx(network: Network, path: Path) -> Run:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})
