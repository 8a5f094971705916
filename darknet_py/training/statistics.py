"""Precise batch-norm statistics of the current weights, for networks that are evaluated or saved during training."""
from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from darknet_py.data.targets import MiniBatch
from darknet_py.layers.batchnorm import MOMENTUM, Norm
from darknet_py.training.iteration import Engine, all_finite, seeded
from darknet_py.training.step import run_forward

IMAGES = 128            # that an estimate sees, at least


class Statistics:
    """Batch-norm statistics estimated with the current weights.

    C's running averages count each mini-batch with weight .01. That is right after thousands of iterations; in the
    first hundreds the weights change faster than the averages, and a trained network detects nothing with them.
    Here the means and variances of the latest training images are averaged with the current weights (precise batch
    normalisation: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", section 3). Training itself goes on from C's
    running averages, untouched.

    Args:
        engine: with the network; of several processes all estimate together, each from its own mini-batches.
        images: of an iteration.
        estimated: False leaves the running averages as C has them.

    Attributes:
        iterations: how many of the latest ones ``remembered`` must have seen for a whole estimate.
    """

    def __init__(self, engine: Engine, images: int, estimated: bool = True):
        self.engine = engine
        self.iterations = math.ceil(IMAGES / images) if estimated and engine.statistics else 0
        self.recent: deque[list[MiniBatch]] = deque(maxlen=self.iterations)
        self.estimate: tuple[int, list[Tensor]] | None = None       # of the weights after that iteration
        self.kept: list[Tensor] | None = None

    @property
    def running(self) -> list[Tensor]:
        """C's running averages, also while an estimate is in place."""
        return self.engine.statistics if self.kept is None else self.kept

    def remembered(self, batches: Iterable[MiniBatch]) -> Iterator[MiniBatch]:
        """An iteration's mini-batches, which are kept."""
        kept: list[MiniBatch] = []
        self.recent.append(kept)
        for batch in batches:
            if self.iterations:
                kept.append(batch.owned())
            yield batch

    @contextmanager
    def in_place(self, iteration: int, *, averaged: bool = False) -> Iterator[None]:
        """A context in which the network has the estimated statistics.

        Args:
            iteration: how many are done; a second estimate for the same number is the first one.
            averaged: the network has other weights in place than those of the iteration.
        """
        if not self.recent or self.kept is not None:
            yield
            return
        values = self._estimated() if averaged else self._of(iteration)
        self.kept = [buffer.clone() for buffer in self.engine.statistics]
        torch._foreach_copy_(self.engine.statistics, values)
        try:
            yield
        finally:
            torch._foreach_copy_(self.engine.statistics, self.kept)
            self.kept = None

    def settle(self, iteration: int) -> None:
        """Leave the estimate in the network, at the end of training."""
        if self.recent:
            torch._foreach_copy_(self.engine.statistics, self._of(iteration))

    def _of(self, iteration: int) -> list[Tensor]:
        if self.estimate is None or self.estimate[0] != iteration:
            self.estimate = iteration, self._estimated()
        return self.estimate[1]

    @torch.no_grad()
    def _estimated(self) -> list[Tensor]:
        """The averages over the remembered mini-batches; the running ones where those are not finite.

        Of a mini-batch they are what it leaves in running averages that were zero, without the part that still is: with
        recurrent layers these are called at each time step.
        """
        engine, buffers, calls = self.engine, self.engine.statistics, Counter[Tensor]()
        before = [buffer.clone() for buffer in buffers]
        values = [torch.zeros_like(buffer) for buffer in buffers]
        total = torch.tensor(sum(map(len, self.recent)), dtype=torch.float64, device=engine.device)
        engine.world.all_reduce([total])
        count = total.item()
        networks = {engine.at_size(*batch.images.shape[2:]) for batches in self.recent for batch in batches}
        hooks = [norm.register_forward_hook(lambda norm, *_: calls.update(norm.buffers()))
                 for network in networks for norm in network.modules() if isinstance(norm, Norm)]
        try:
            for batches in self.recent:
                for network in networks:
                    network.reset_state()
                for index, batch in enumerate(batches):
                    torch._foreach_zero_(buffers)
                    calls.clear()
                    x = engine.input(batch.images)
                    network = engine.at_size(*x.shape[2:])
                    network.context.subdivision = index
                    with seeded(hash((engine.seed, batch.iteration, batch.subdivision)) % 2 ** 63, engine.device):
                        run_forward(network, x, batch.truth.to(engine.device), len(network.layers), engine.precision)
                    for value, buffer in zip(values, buffers, strict=True):
                        value.add_(buffer, alpha=1 / count / (1 - (1 - MOMENTUM) ** max(1, calls[buffer])))
        finally:
            for hook in hooks:
                hook.remove()
            torch._foreach_copy_(buffers, before)
        values = [value if calls[buffer] else start / engine.world.size
                  for value, buffer, start in zip(values, buffers, before, strict=True)]
        engine.world.all_reduce(values)
        return values if all_finite(values) else before
