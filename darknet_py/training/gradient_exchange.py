"""All-reduce of gradients in buckets, which overlaps the backward pass of the last mini-batch."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from darknet_py.utils.distributed import World

BUCKET = 25 * 2 ** 20       # bytes, as of DistributedDataParallel


class GradientExchange:
    """Gradients become their sums over all processes (Darknet's sums, where DistributedDataParallel has means).

    Buckets are filled in the reverse order of the parameters, in which the backward pass reaches them, and sent in
    that order, so that all processes send the same. A parameter that gets no gradient (of a frozen layer) holds its
    bucket and those after it back to the end.

    Args:
        parameters: of the network.
    """

    def __init__(self, world: World, parameters: Iterable[nn.Parameter]):
        self.world, self.buckets = world, list[list[nn.Parameter]]()
        self.missing: list[int] = []            # gradients that each bucket waits for
        self.sent: list[tuple[list[Tensor], Tensor, Any]] = []
        self.active = False
        room = 0
        for parameter in reversed(list(parameters) if world.size > 1 else []):
            if room <= 0:
                self.buckets.append([])
                room = BUCKET
            self.buckets[-1].append(parameter)
            room -= parameter.numel() * parameter.element_size()
            parameter.register_post_accumulate_grad_hook(self._hook_of(len(self.buckets) - 1))

    def _hook_of(self, bucket: int) -> Any:
        def arrived(_: Tensor) -> None:
            if self.active:
                self.missing[bucket] -= 1
                while len(self.sent) < len(self.buckets) and self.missing[len(self.sent)] == 0:
                    self._send()
        return arrived

    @contextmanager
    def during(self, last: bool) -> Iterator[None]:
        """A context of a mini-batch's backward pass; of the ``last`` one's, gradients are sent when they are there."""
        self.active = last and self.world.size > 1
        self.missing = [len(bucket) for bucket in self.buckets]
        try:
            yield
        finally:
            self.active = False

    def _send(self) -> None:
        gradients = [parameter.grad for parameter in self.buckets[len(self.sent)] if parameter.grad is not None]
        self.sent.append((gradients, *self.world.start_all_reduce(gradients)))

    def finish(self) -> None:
        """Send the gradients that are left, and wait for all sums."""
        while len(self.sent) < len(self.buckets):
            self._send()
        for gradients, flat, work in self.sent:
            if work is not None:
                work.wait()
                self.world.unflatten(flat, gradients)
        self.sent = []


def with_last(batches: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each of them, and whether it is the last one; the next one is fetched first."""
    iterator = iter(batches)
    one = next(iterator, None)
    while one is not None:
        following = next(iterator, None)
        yield one, following is None
        one = following
