"""The process of another program that engines.py times: ``python peers.py``, in an environment that has it.

Needs NumPy, the program, and darknet_py's modules for timing, which need nothing.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from darknet_py.utils.timed_process import Build, serve

HINTS = {"float32": "f32", "bfloat16": "bf16"}


def opencv(request: dict[str, Any], x: np.ndarray) -> Build:
    import cv2
    net = cv2.dnn.readNetFromDarknet(request["cfg"], request["weights"])
    names = net.getUnconnectedOutLayersNames()

    def run() -> None:
        net.setInput(x)
        net.forward(names)

    return Build(run, lambda: {"version": cv2.__version__})


def onnxruntime(request: dict[str, Any], x: np.ndarray) -> Build:
    import onnxruntime as ort
    session = ort.InferenceSession(request["model"], providers=["CPUExecutionProvider"])
    return Build(lambda: session.run(None, {"images": x}), lambda: {"version": ort.__version__})


def openvino(request: dict[str, Any], x: np.ndarray) -> Build:
    import openvino as ov
    hint = HINTS[request["precision"]]
    compiled = ov.Core().compile_model(request["model"], "CPU", {"INFERENCE_PRECISION_HINT": hint})
    infer = compiled.create_infer_request()
    return Build(lambda: infer.infer({0: x}), lambda: {"version": ov.__version__.split("-")[0]})


def build(request: dict[str, Any]) -> Build:
    x = np.random.default_rng(0).random(request["shape"], np.float32)
    return {"opencv": opencv, "onnxruntime": onnxruntime, "openvino": openvino}[request["program"]](request, x)


if __name__ == "__main__":
    serve(build)
