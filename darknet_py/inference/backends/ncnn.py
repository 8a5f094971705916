"""The ncnn backend."""
from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.inference.backends.base import Backend
from darknet_py.model.network import Network

HEADER = struct.Struct("<QQ")           # bytes of the outputs' names and of the .param file; that of .bin follows
# How long the threads of its OpenMP spin for each other before they sleep. By default it is so long that the network
# takes 50 times as long beside busy processes; without it, a tenth longer.
SPINS = {"GOMP_SPINCOUNT": "200"}


class Ncnn(Backend):
    """A network in ncnn, on the CPU, an image at a time. Its 3 x 3 convolutions are Winograd's F(4, 3).

    Args:
        content: names of the outputs, and the contents of a .param and a .bin file, one behind the other.

    Raises:
        DarknetError: ncnn does not accept it.
    """

    name = "ncnn"
    packages = ("ncnn",)
    builds_with = ("onnx",)
    exports = "an ncnn model"
    cached = own_threads = True
    batches = False

    def __init__(self, network: Network, content: bytes | memoryview, layers: Sequence[int] | None = None,
                 precision: str = "float32"):
        import ncnn
        super().__init__(network, layers, precision)
        self.content, self.lock = content, Lock()
        names, text = HEADER.unpack_from(content)
        start = HEADER.size + names
        self.outputs = bytes(content[HEADER.size:start]).decode().split("\n")
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = torch.get_num_threads()
        # F(6, 3) is not faster, and less accurate
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage",
                       "use_vulkan_compute", "use_winograd63_convolution"):
            setattr(options, option, False)
        if self.net.load_param_mem(bytes(content[start:start + text]).decode()) or self.net.load_model(
                _reader()(np.frombuffer(content, np.uint8, offset=start + text))):
            raise DarknetError("ncnn does not accept the model")

    @classmethod
    def require(cls, packages: Sequence[str] | None = None) -> None:
        added = {} if os.environ.keys() & {*SPINS, "OMP_WAIT_POLICY"} else SPINS
        os.environ.update(added)        # read when it is imported
        try:
            super().require(packages)
        finally:
            for name in added:
                del os.environ[name]

    @classmethod
    def build(cls, network: Network, device: str | int | torch.device = "auto", layers: Sequence[int] | None = None,
              precision: str = "float32") -> Ncnn:
        cls.require((*cls.builds_with, *cls.packages))
        cls.check_device(device)
        from darknet_py.model.ncnn_model import NcnnModel  # need the package onnx
        from darknet_py.model.onnx_model import onnx_model
        model = NcnnModel(onnx_model(cls.exported(network, layers), batch=1, opset=18), network.layers)
        names, text = "\n".join(model.outputs).encode(), model.text.encode()
        return cls(network, b"".join([HEADER.pack(len(names), len(text)), names, text,
                                      *(array.tobytes() for array in model.weights)]), layers)

    @classmethod
    def restore(cls, network: Network, content: memoryview, layers: Sequence[int] | None = None,
                precision: str = "float32") -> Ncnn:
        return cls(network, content, layers)

    def stored(self) -> bytes:
        content, self.content = self.content, b""       # ncnn has copied the weights
        return bytes(content)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        with self.lock:                 # its threads are all that the CPU has
            images = [self._run(image) for image in x.cpu().numpy()]
        return tuple(torch.from_numpy(images[0][at][None] if len(images) == 1 else
                                      np.stack([image[at] for image in images])) for at in range(len(self.heads)))

    def _run(self, image: np.ndarray) -> list[np.ndarray]:
        import ncnn
        extractor = self.net.create_extractor()
        extractor.input("images", ncnn.Mat(np.ascontiguousarray(image)).clone())
        codes, outputs = zip(*map(extractor.extract, self.outputs), strict=True)
        if any(codes):
            raise DarknetError("backend=ncnn cannot run this network; is there enough memory?")
        return [np.array(output) for output in outputs]


@cache
def _reader() -> type:
    """A ``DataReader`` of bytes, (n,) uint8."""
    import ncnn
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

    class Reader(ncnn.DataReader):      # type: ignore[name-defined, misc]
        """Copies bytes to where ncnn wants them."""

        def __init__(self, array: np.ndarray):
            super().__init__()
            self.array, self.at = array, 0

        def read(self, buffer: Any, size: int) -> int:
            size = min(size, len(self.array) - self.at)
            ctypes.memmove(address(buffer, None), self.array.ctypes.data + self.at, size)
            self.at += size
            return size

        def scan(self, form: str, target: Any) -> int:
            return 0                    # there is no text

    return Reader
