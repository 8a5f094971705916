"""The OpenVINO backend."""
from __future__ import annotations

from pathlib import Path

from darknet_py.inference.backends.base import Run
from darknet_py.model.network import Network


def load_openvino(network: Network, path: Path) -> Run:
    import openvino
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: list(model(images).values())
