"""The TensorRT backend, on NVIDIA's GPUs."""
from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from darknet_py.errors import DarknetError
from darknet_py.inference.backends.base import INT8, PRECISIONS, OnnxBackend
from darknet_py.model.network import Network

MOST = 16               # images that run together


class TensorRT(OnnxBackend):
    """An ONNX model in TensorRT, on PyTorch's current GPU; weights and layers in the precision where it is faster.

    Args:
        plan: a serialized engine.
    """

    name = "tensorrt"
    packages = ("tensorrt",)
    precisions = PRECISIONS

    def __init__(self, network: Network, plan: Any, layers: Sequence[int] | None = None, precision: str = "float32"):
        import tensorrt
        super().__init__(network, layers, precision)
        self.plan = plan
        self.runtime: Any = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self.engine: Any = self.runtime.deserialize_cuda_engine(plan)
        self.context: Any = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        self.names, self.lock = [name for name in names if name != "images"], Lock()

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", torch.cuda.current_device())

    @classmethod
    def check_device(cls, device: str | int | torch.device) -> None:
        if not torch.cuda.is_available() or str(device) == "cpu":
            raise DarknetError(f"backend=tensorrt runs on a GPU, found device={device}"
                               + ("" if torch.cuda.is_available() else ", and no GPU that PyTorch can use"))

    @classmethod
    def of_model(cls, network: Network, model: str | bytes, layers: Sequence[int] | None = None,
                 precision: str = "float32") -> TensorRT:
        import tensorrt as trt
        builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        definition, config = builder.create_network(0), builder.create_builder_config()
        parser = trt.OnnxParser(definition, trt.Logger(trt.Logger.ERROR))
        if not (parser.parse(model) if isinstance(model, bytes) else parser.parse_from_file(model)):
            raise DarknetError(f"backend=tensorrt cannot read the ONNX model: {parser.get_error(0)}")
        flags = {"bfloat16": trt.BuilderFlag.BF16, "float16": trt.BuilderFlag.FP16, INT8: trt.BuilderFlag.INT8}
        if precision in flags:
            config.set_flag(flags[precision])
        config.clear_flag(trt.BuilderFlag.TF32)         # float32 is float32
        profile = builder.create_optimization_profile()
        profile.set_shape("images", *((count, *network.input_shape) for count in (1, 1, MOST)))
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(definition, config)
        if plan is None:
            raise DarknetError("backend=tensorrt could not build an engine of the network")
        return cls(network, plan, layers, precision)

    @classmethod
    def restore(cls, network: Network, content: memoryview, layers: Sequence[int] | None = None,
                precision: str = "float32") -> TensorRT:
        return cls(network, bytes(content), layers, precision)

    def stored(self) -> bytes:
        return bytes(self.plan)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        parts = [self._run(part) for part in x.to(self.device).split(MOST)]
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        with self.lock:
            x = x.contiguous()
            self.context.set_input_shape("images", tuple(x.shape))
            outputs = [torch.empty(tuple(self.context.get_tensor_shape(name)), device=x.device) for name in self.names]
            for name, tensor in zip(("images", *self.names), (x, *outputs), strict=True):
                self.context.set_tensor_address(name, tensor.data_ptr())
            stream = torch.cuda.current_stream()
            self.context.execute_async_v3(stream.cuda_stream)
            stream.synchronize()        # the request's memory is free for the next call
            return tuple(outputs)
