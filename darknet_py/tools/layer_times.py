"""Time that each layer of a network takes, in PyTorch."""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from darknet_py.errors import DarknetError
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.layers.base import Layer
from darknet_py.model.network import Network

RUNS = 20


@dataclass(frozen=True)
class LayerTime:
    """Time of a layer, or of all layers of a kind.

    name: the kind. index: the layer's. shape: of its output for one image. count: of layers.
    seconds: for a batch. flops: multiplications and additions for a batch, 0 where C counts none.
    """

    name: str
    index: int | None
    shape: str
    count: int
    seconds: float
    flops: int

    def share(self, total: float) -> float:
        """Of the time of all layers."""
        return self.seconds / total if total else 0.

    @property
    def rate(self) -> float | None:
        """Multiplications and additions a second."""
        return self.flops / self.seconds if self.flops and self.seconds else None

    def figures(self, total: float) -> dict[str, Any]:
        """For JSON."""
        place = {} if self.index is None else {"index": self.index, "output": self.shape}
        return {**place, "kind": self.name, "layers": self.count, "milliseconds": 1000 * self.seconds,
                "share": self.share(total), "gflops_per_second": None if self.rate is None else self.rate / 1e9}


class LayerTimer:
    """Times the layers of a network, whoever runs it, until it is closed.

    Attributes:
        calls: the seconds of each layer, a list a call of the network.
    """

    def __init__(self, network: Network):
        self.calls: list[list[float]] = []
        self.first, self.begin = network.layers[0], 0.
        self.hooks = [hook for layer in network.layers for hook in (
            layer.register_forward_pre_hook(self._before), layer.register_forward_hook(self._after))]

    def __enter__(self) -> LayerTimer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()

    def _before(self, layer: Layer, _: Any) -> None:
        if layer is self.first:
            self.calls.append([])
        _synchronize()
        self.begin = time.perf_counter()

    def _after(self, layer: Layer, _: Any, output: Any) -> None:
        _synchronize()
        self.calls[-1].append(time.perf_counter() - self.begin)


def profile(backend: Backend, batch: int = 1, runs: int = RUNS,
            progress: Callable[[int, int], object] = lambda done, total: None) -> tuple[list[LayerTime], float]:
    """Time the layers of a network on random images.

    Args:
        batch: images that run together.
        runs: after one that does not count; medians of them are taken.
        progress: called after each run with runs done and runs in all.

    Returns:
        The layers in the cfg's order; and the seconds of a whole run without timing of layers, the median of as many.

    Raises:
        DarknetError: a number below 1.
    """
    for name, number in (("batch", batch), ("runs", runs)):
        if number < 1:
            raise DarknetError(f"{name} needs a number from 1 on, found {number}")
    assert isinstance(backend, PyTorch)
    network, calls, whole = backend.network, [], []
    x = torch.rand(batch, *backend.shape, generator=torch.Generator().manual_seed(0))
    for done in range(runs + 1):
        with LayerTimer(network) as timer:
            backend(x)
        begin = time.perf_counter()
        backend(x)
        _synchronize()
        seconds = time.perf_counter() - begin
        if done:
            calls += timer.calls
            whole.append(seconds)
            progress(done, runs)
    return [LayerTime(layer.kind, index, str(layer.shape), 1, statistics.median(times), layer.flops * batch)
            for index, (layer, times) in enumerate(zip(network.layers, zip(*calls, strict=True), strict=False))
            ], statistics.median(whole)


def by_kind(layers: Sequence[LayerTime]) -> list[LayerTime]:
    """Sums over the layers of each kind, that of the most time first. FLOPs count where those of all are known."""
    kinds: dict[str, list[LayerTime]] = {}
    for layer in layers:
        kinds.setdefault(layer.name, []).append(layer)
    sums = [LayerTime(kind, None, "", len(found), sum(layer.seconds for layer in found),
                      sum(layer.flops for layer in found)) for kind, found in kinds.items()]
    return sorted(sums, key=lambda one: -one.seconds)


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
