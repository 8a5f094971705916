"""Averages of a network's outputs over frames."""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from darknet_py.inference.backends.base import Backend
from darknet_py.model.network import Network

MOST_AVERAGED = 1000            # frames, whose outputs are all kept


class AveragingBackend(Backend):
    """Means of another backend's outputs over the last frames, so that boxes flicker less and follow later.

    Args:
        backend: what runs.
        frames: how many; fewer at the beginning.

    Darknet: -avgframes. There it has no effect on detections: demo() sets mean_alpha of a copy of the layer.
    """

    name = "average"

    def __init__(self, backend: Backend, frames: int):
        self.backend, self.indices = backend, backend.indices
        self.shape, self.heads, self._precision = backend.shape, backend.heads, backend.precision
        self.own_threads = backend.own_threads
        self._recent: deque[list[Tensor]] = deque(maxlen=frames)

    @property
    def device(self) -> torch.device:
        return self.backend.device

    @classmethod
    def build(cls, network: Network, device: str | int | torch.device = "auto", layers: Sequence[int] | None = None,
              precision: str = "float32") -> Backend:
        raise AssertionError("it is made of another backend")

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        self._recent.append([output.clone() for output in self.backend(x)])     # a runtime may use its memory again
        return tuple(torch.stack(outputs).mean(0) for outputs in zip(*self._recent, strict=True))

    def reset_state(self) -> None:
        self.backend.reset_state()
