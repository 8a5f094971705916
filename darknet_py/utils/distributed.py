"""Collectives of torch.distributed: all-reduce, broadcast, gather. A single process has world size 1."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor

from darknet_py.errors import DarknetError

TIMEOUT = timedelta(hours=6)        # while one process works alone, the others wait for it

Part = TypeVar("Part")


class World:
    """The process group: world size ``size`` and this process's ``rank``, from torchrun's environment (else 1 and 0).

    Sums go over gloo on CPUs and over NCCL on GPUs, once an iteration.
    """

    def __init__(self, device: torch.device):
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if self.size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the process that writes files."""
        return self.rank == 0

    def describe(self, device: torch.device) -> str:
        """The device in words: the name of a GPU, or the CPU's threads, and the number of processes."""
        name = (f"{torch.cuda.get_device_name(device)} ({device})" if device.type == "cuda" else
                f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
                if device.type == "cpu" else str(device))
        return name if self.size == 1 else f"{self.size} processes, the first on {name}"

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            distributed.all_reduce(flat)
            self.unflatten(flat, tensors)

    def start_all_reduce(self, tensors: Sequence[Tensor]) -> tuple[Tensor, distributed.Work | None]:
        """Start the sum of tensors over all processes: its flat values once ``wait()`` of the work has returned (None:
        there are no tensors), for ``unflatten``."""
        if not tensors:
            return torch.empty(0), None
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        return flat, distributed.all_reduce(flat, async_op=True)

    @staticmethod
    def unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
        """Copy flat values into the tensors."""
        for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))

    def broadcast(self, number: int) -> int:
        """The number of rank 0, in all processes."""
        if self.size == 1:
            return number
        shared = [number]
        distributed.broadcast_object_list(shared)
        return shared[0]

    def shard(self, count: int) -> range:
        """This rank's indices of ``range(count)``: rank, rank + size, rank + 2 * size ..."""
        return range(self.rank, count, self.size)

    def gather(self, work: Callable[[], Part]) -> list[Part]:
        """The results of ``work`` of all processes, by rank.

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
        """Leave the process group after a barrier: a process that leaves early breaks the collectives of the others."""
        if self.size > 1 and distributed.is_initialized():
            if distributed.get_backend() == "gloo":
                distributed.monitored_barrier(timeout=TIMEOUT)
            else:
                distributed.barrier()
            distributed.destroy_process_group()
