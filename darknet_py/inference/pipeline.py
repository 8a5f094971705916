"""The inference pipeline: decode and preprocess | run | post-process, overlapped, over any source of frames."""
from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from darknet_py.errors import DataError
from darknet_py.inference.backends.base import Backend
from darknet_py.utils.prefetch import prefetch, thread_count

POSTPROCESS_THREADS = 2
FIRST_RUNS = 2          # that say how long the backend takes
QUICK = .1              # seconds of a batch below which the backend takes turns with loading and post-processing
PHASE = .25             # seconds of its turn
MOST_LOADED = 16        # items that are loaded for it
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


class Run(NamedTuple):
    """A batch that ran: its items with what was loaded of each, and the outputs of those that could be loaded."""

    parts: list[tuple[Any, Preprocessed | DataError]]
    outputs: BatchOutputs


class Pipeline(Generic[Item, Result]):
    """Runs a backend over items, in batches and in order.

    While the backend has a batch, threads load the next items, and others post-process the batches before. A backend
    that needs little time on the CPU, which it has to itself then, takes turns with them instead. The number of items
    on their way is bounded, so memory does not grow with the number of items. Items are taken, and the backend runs, in
    the thread that iterates.

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
        given = filter(len, batches)
        if not self.overlapped:
            for batch in given:
                yield from self._results(self._ran(batch, map(self._loaded, batch)))
            return
        seconds = math.inf
        if self.backend.device.type == "cpu":
            for batch in islice(given, FIRST_RUNS):
                run = self._ran(batch, map(self._loaded, batch))
                seconds = min(seconds, run.outputs.seconds) if run.outputs.contexts else seconds
                yield from self._results(run)
        count = batches_of_a_turn(seconds, most)
        yield from self._in_phases(given, count, seconds) if count else self._overlapped(given, most)

    def _overlapped(self, batches: Iterator[Sequence[Item]], most: int) -> Iterator[tuple[Item, Result | DataError]]:
        """``stream`` with loading and post-processing in threads while the backend runs."""
        waiting: deque[Sequence[Item]] = deque()

        def items() -> Iterator[Item]:
            for batch in batches:
                waiting.append(batch)
                yield from batch

        def runs() -> Iterator[Run]:
            loaded = prefetch(self._loaded, items(), self.workers, 2 * most)
            for first in loaded:
                batch = waiting.popleft()
                yield self._ran(batch, [first, *islice(loaded, len(batch) - 1)])

        for results in prefetch(self._results, runs(), POSTPROCESS_THREADS, 1):
            yield from results

    def _in_phases(self, batches: Iterator[Sequence[Item]], count: int, seconds: float
                   ) -> Iterator[tuple[Item, Result | DataError]]:
        """``stream`` with loading and post-processing in all threads between runs of the backend: a thread beside them
        would hold up all of the backend's, which wait for each other after every layer.

        Args:
            count: batches of a turn.
            seconds: in the backend for a batch. A source that takes longer for its items, as a camera does, is not
                waited for.
        """
        runs: list[Run] = []
        with ThreadPoolExecutor(thread_count(self.workers)) as pool:
            while group := list(quickly(islice(batches, count), seconds)):
                loads = [[pool.submit(self._loaded, item) for item in batch] for batch in group]
                results = list(pool.map(self._results, runs))
                loaded = [[load.result() for load in batch] for batch in loads]
                runs, ready = [], iter(results)
                for batch, parts in zip(group, loaded, strict=True):
                    runs.append(self._ran(batch, parts))
                    yield from next(ready, ())              # evenly, and not all at once
                yield from chain.from_iterable(ready)
            yield from chain.from_iterable(pool.map(self._results, runs))

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

    def _ran(self, batch: Sequence[Item], loaded: Iterable[Preprocessed | DataError]) -> Run:
        parts = list(zip(batch, loaded, strict=True))
        return Run(parts, self._run([(item, part) for item, part in parts if isinstance(part, Preprocessed)]))

    def _results(self, run: Run) -> list[tuple[Item, Result | DataError]]:
        results = iter(self.postprocess(run.outputs) if run.outputs.contexts else ())
        return [(item, part if isinstance(part, DataError) else next(results)) for item, part in run.parts]


def batches_of_a_turn(seconds: float, most: int) -> int:
    """How many batches a backend on the CPU runs in its turn; 0: it takes none, because it is not quick.

    Args:
        seconds: that it needs for a batch.
        most: items in a batch.
    """
    return 0 if seconds >= QUICK else max(1, min(int(PHASE / seconds), MOST_LOADED // most))


def quickly(items: Iterator[Item], seconds: float) -> Iterator[Item]:
    """Items until they took that long to come; at least one, if there is one."""
    end = time.perf_counter() + seconds
    for item in items:
        yield item
        if time.perf_counter() > end:
            return


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of that size; the last may be shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
