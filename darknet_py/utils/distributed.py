"""The processes that work together, each with its share; one alone is a world of its own."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor

from darknet_py.errors import DarknetError

PATIENCE = timedelta(hours=6)       # while one process works alone, the others wait for it

Part = TypeVar("Part")


class World:
    """This process among ``size`` of them, with number ``rank``; torchrun's environment says so, or nobody does.

    Sums go over gloo on CPUs and over NCCL on GPUs. They run once an iteration, after all its mini-batches, on one flat
    tensor: what DistributedDataParallel hides behind hooks, but with gradients that are sums, as Darknet's are.
    """

    def __init__(self, device: torch.device):
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if self.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def describe(self, device: torch.device) -> str:
        """What computes here: the name of a GPU, or the CPU's threads, and how many processes do."""
        name = (f"{torch.cuda.get_device_name(device)} ({device})" if device.type == "cuda" else
                f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
                if device.type == "cpu" else str(device))
        return name if self.size == 1 else f"{self.size} processes, the first on {name}"

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            distributed.all_reduce(flat)
            for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(values.view_as(tensor))

    def broadcast(self, number: int) -> int:
        """The first process's number, for all."""
        if self.size == 1:
            return number
        shared = [number]
        distributed.broadcast_object_list(shared)
        return shared[0]

    def shard(self, count: int) -> range:
        """This process's numbers out of ``range(count)``: every size-th."""
        return range(self.rank, count, self.size)

    def gather(self, work: Callable[[], Part]) -> list[Part]:
        """What ``work`` gives in each process, the first process's first.

        Raises:
            DarknetError: in all processes, where it is raised in one of them.
        """
        if self.size == 1:
            return [work()]
        part: Part | DarknetError
        try:
            part = work()
        except DarknetError as error:
            part = error
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, part)
        for part in parts:
            if isinstance(part, DarknetError):
                raise part
        return parts

    def close(self) -> None:
        """Part from the others, all at once: a process that leaves first breaks what another is still receiving."""
        if self.size > 1 and distributed.is_initialized():
            if distributed.get_backend() == "gloo":
                distributed.monitored_barrier(timeout=PATIENCE)
            else:
                distributed.barrier()
            distributed.destroy_process_group()


def local_device(device: str | torch.device) -> torch.device:
    """The device of this process: "auto" is a GPU where there is one; of several processes "cuda" gives each its own.

    Where torchrun says which process this is, its GPU becomes the current one.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    device = torch.device(device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device
