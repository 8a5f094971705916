"""Loading in threads while something else computes."""
from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MOST_THREADS = 8

Item = TypeVar("Item")


def ahead(load: Callable[[int], Item], count: int, workers: int | None, most: int) -> Iterator[Item]:
    """``load(0)``, ``load(1)`` ... ``load(count - 1)``, in their order.

    Args:
        load: runs in several threads at once.
        workers: how many threads; None takes one a core, up to 8.
        most: how many items may wait for their use, besides those that the threads are at.

    Raises:
        what ``load`` raises, when it is that item's turn.
    """
    workers = min(MOST_THREADS, os.cpu_count() or 1) if workers is None else max(1, workers)
    pool, pending = ThreadPoolExecutor(workers), deque[Future[Item]]()
    try:
        for number in range(count):
            pending.append(pool.submit(load, number))
            if len(pending) > most + workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
