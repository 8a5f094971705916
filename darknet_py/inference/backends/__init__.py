"""Runtimes that a network runs on, one file each."""
from __future__ import annotations

import torch

from darknet_py.errors import DarknetError
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.backends.onnxruntime import OnnxRuntime
from darknet_py.inference.backends.openvino import OpenVino
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.backends.torchscript import Exported, TorchScript
from darknet_py.model.network import Network

BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend for backend in (PyTorch, OnnxRuntime, OpenVino, TorchScript, Exported)}


def build_backend(name: str, network: Network, device: str | torch.device = "auto") -> Backend:
    """A network on the runtime of that name.

    Raises:
        DarknetError: no such backend, or it cannot run this network here.
    """
    if name not in BACKENDS:
        raise DarknetError(f"expected a backend ({', '.join(BACKENDS)}), found {name}")
    return BACKENDS[name].build(network, device)
