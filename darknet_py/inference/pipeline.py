"""The inference pipeline: decode and preprocess | run | post-process, overlapped, over any source of frames."""
from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from darknet_py.errors import DataError
from darknet_py.inference.backends.base import Backend
from darknet_py.utils.prefetch import prefetch

POSTPROCESS_THREADS = 2
MOST = 4                # items in a batch, where it is not known, for the length of a queue

Item = TypeVar("Item")
Result = TypeVar("Result")


class Preprocessed(NamedTuple):
    """A preprocessed item. x: (N, C, H, W), inputs of the network that run together; context: passed on to
    post-processing."""

    x: Tensor
    context: Any


class BatchOutputs(NamedTuple):
    """The forward pass of a batch. outputs: of the backend; contexts: of its items; seconds: in the backend."""

    outputs: tuple[Tensor, ...]
    contexts: list[Any]
    seconds: float


class Pipeline(Generic[Item, Result]):
    """Runs a backend over items, in batches and in order.

    While the backend has a batch, threads load the next items, and others post-process the batches before; queues
    between them are bounded, so memory does not grow with the number of items. Items are taken, and the backend runs,
    in the thread that iterates.

    Args:
        backend: what runs.
        load: decodes and preprocesses an item; a DataError that it raises becomes the item's result.
        postprocess: takes a batch; gives a result for each of its contexts, in order.
        where: describes a batch by its first item, for the error where outputs are not finite; None: no check.
        workers: threads that load; None takes one a core, up to 8.
        fresh: reset the state of recurrent layers before each batch.
        overlapped: False loads an item when its turn comes, for sources that wait for the result, and does all in the
            thread that iterates: another one would have to start OpenMP's threads for itself, which takes milliseconds.

    Attributes:
        network_seconds: in the backend so far.
    """

    def __init__(self, backend: Backend, load: Callable[[Item], Preprocessed],
                 postprocess: Callable[[BatchOutputs], Sequence[Result]], *, where: Callable[[Item], str] | None = None,
                 workers: int | None = None, fresh: bool = False, overlapped: bool = True):
        self.backend, self.load, self.postprocess, self.where, self.fresh = backend, load, postprocess, where, fresh
        self.workers, self.overlapped, self.network_seconds = workers if overlapped else 0, overlapped, 0.

    def stream(self, batches: Iterable[Sequence[Item]], most: int = 1) -> Iterator[tuple[Item, Result | DataError]]:
        """Each item and its result, in order.

        Args:
            batches: of items; of a batch those run together that can be loaded.
            most: items in a batch.

        Raises:
            DarknetError: an output is not finite.
        """
        waiting: deque[Sequence[Item]] = deque()

        def items() -> Iterator[Item]:
            for batch in batches:
                if batch:
                    waiting.append(batch)
                    yield from batch

        def runs() -> Iterator[tuple[list[tuple[Item, Preprocessed | DataError]], BatchOutputs]]:
            loaded = prefetch(self._loaded, items(), self.workers, 2 * most if self.overlapped else 0)
            for first in loaded:
                batch = waiting.popleft()
                parts = list(zip(batch, [first, *islice(loaded, len(batch) - 1)], strict=True))
                yield parts, self._run([(item, part) for item, part in parts if isinstance(part, Preprocessed)])

        threads, more = (POSTPROCESS_THREADS, 1) if self.overlapped else (0, 0)
        for results in prefetch(self._results, runs(), threads, more):
            yield from results

    def _loaded(self, item: Item) -> Preprocessed | DataError:
        try:
            return self.load(item)
        except DataError as error:
            return error

    def _run(self, parts: list[tuple[Item, Preprocessed]]) -> BatchOutputs:
        begin = time.perf_counter()
        outputs: tuple[Tensor, ...] = ()
        if self.fresh:
            self.backend.reset_state()
        if parts:
            x = torch.cat([part.x for _, part in parts])
            outputs = self.backend(x) if self.where is None else self.backend.checked(x, self.where(parts[0][0]))
            if self.backend.device.type == "cuda":
                torch.cuda.synchronize(self.backend.device)
        seconds = time.perf_counter() - begin
        self.network_seconds += seconds
        return BatchOutputs(outputs, [part.context for _, part in parts], seconds)

    def _results(self, one: tuple[list[tuple[Item, Preprocessed | DataError]], BatchOutputs]
                 ) -> list[tuple[Item, Result | DataError]]:
        parts, ran = one
        results = iter(self.postprocess(ran) if ran.contexts else ())
        return [(item, part if isinstance(part, DataError) else next(results)) for item, part in parts]


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of that size; the last may be shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
