"""A GPU that is none: tensors on a device of their own which are computed on the CPU, where tensors of both devices in
one operation are an error as on a GPU, and what would make the CPU wait for the GPU is counted.

The device is called "meta", for PyTorch built without CUDA takes no index of a tensor that says it is on "cuda"."""
from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")
aten = torch.ops.aten
MOVES = (aten._to_copy, aten.copy_, aten.to)
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
WAITS = {aten._local_scalar_dense.default: "a number", aten.nonzero.default: "nonzero", aten.equal.default: "equal",
         aten._unique2.default: "unique", aten.unique_dim.default: "unique", aten.masked_select.default: "a mask"}


class OnGpu(torch.Tensor):
    """A tensor that says it is on the GPU; its values are ``on_cpu``, on the CPU."""

    on_cpu: torch.Tensor

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=GPU, requires_grad=inner.requires_grad)
        made.on_cpu = inner
        return made

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):          # of the same shape and type
        assert value.shape == self.shape and value.dtype == self.dtype
        self.on_cpu.data = value.on_cpu.data

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self):
        return f"OnGpu({self.on_cpu})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} outside of fake_gpu()")


class FakeGpu(TorchDispatchMode):
    """waits: how often the CPU would wait for the GPU, by what for."""

    def __init__(self):
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        names = [argument.name for argument in func._schema.arguments]
        kwargs = dict(zip(names, args, strict=False)) | (kwargs or {})
        moves = func.overloadpacket in MOVES
        given = [one for one in tree_leaves(kwargs) if isinstance(one, torch.Tensor)]
        ours = [one for one in given if isinstance(one, OnGpu)]
        to = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        if ours and len(ours) < len(given) and not moves:
            self._check(func, kwargs, given)
        if to is not None:
            kwargs["device"] = torch.device("cpu")
        on_gpu = to.type == "meta" if to is not None else bool(ours)
        if func is aten.copy_.default:
            on_gpu = isinstance(kwargs["self"], OnGpu)
        if moves:
            source = kwargs["src" if func is aten.copy_.default else "self"]
            self.waits["a copy"] += isinstance(source, OnGpu) != on_gpu and not kwargs.get("non_blocking")
        elif ours:
            self._count(func, kwargs)
        known = {id(one.on_cpu): one for one in ours} | {id(one): one for one in given if not isinstance(one, OnGpu)}
        found = func(**tree_map(_inner, kwargs))

        def outer(value):
            if not isinstance(value, torch.Tensor):
                return value
            if isinstance(known.get(id(value)), OnGpu if on_gpu else torch.Tensor):
                return known[id(value)] if on_gpu else value
            return OnGpu(value) if on_gpu else value

        return tree_map(outer, found)

    @staticmethod
    def _check(func, given, tensors):
        if func in INDEXED and isinstance(given["self"], OnGpu):        # indices may come from the CPU
            tensors = [one for one in (given["self"], given.get("values")) if one is not None]
        if any(not isinstance(one, OnGpu) and one.dim() for one in tensors):
            raise RuntimeError(f"{func}: tensors of two devices: " + ", ".join(
                f"{tuple(one.shape)} on {one.device}" for one in tensors))

    def _count(self, func, given):
        if func in WAITS:
            self.waits[WAITS[func]] += 1
        elif func in INDEXED:
            indices = [one for one in given["indices"] if one is not None]
            self.waits["a mask"] += any(one.dtype in (torch.bool, torch.uint8) for one in indices)
            self.waits["indices of the CPU"] += any(not isinstance(one, OnGpu) for one in indices)


def _inner(value):
    return value.on_cpu if isinstance(value, OnGpu) else value


@contextmanager
def fake_gpu(monkeypatch):
    """While this lasts "meta" is such a device; gives the ``FakeGpu``."""
    make = torch.tensor

    def tensor(data, *, dtype=None, device=None, **more):       # which PyTorch makes without asking a mode
        made = make(data, dtype=dtype, device="cpu", **more)
        return made if device is None or torch.device(device).type == "cpu" else made.to(GPU)

    def new_tensor(self, data, *, dtype=None, device=None, **more):
        return tensor(data, dtype=self.dtype if dtype is None else dtype,
                      device=self.device if device is None else device, **more)

    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)    # a CPU's Parameter cannot become an OnGpu
    try:
        with monkeypatch.context() as patch, FakeGpu() as gpu:
            patch.setattr(torch, "tensor", tensor)
            patch.setattr(torch.Tensor, "new_tensor", new_tensor)
            patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())    # knows no such device
            yield gpu
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
