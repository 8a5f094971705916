"""Prefetching: results made by threads ahead of their use, in order."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from darknet_py.utils.machine import cores

MOST_THREADS = 8

Item = TypeVar("Item")
Made = TypeVar("Made")


def thread_count(workers: int | None) -> int:
    """The number itself, or for None one a core, up to 8."""
    return min(MOST_THREADS, cores()) if workers is None else max(1, workers)


def prefetch(make: Callable[[Item], Made], items: Iterable[Item], workers: int | None, most: int) -> Iterator[Made]:
    """What ``make`` gives for each item, in their order.

    Args:
        make: runs in several threads at once.
        items: taken in the thread that asks.
        workers: how many threads, see ``thread_count``; with 0 each is made, in the thread that asks, when
            it is asked for.
        most: how many results may wait for their use, besides those that the threads are at.

    Raises:
        what ``make`` raises, when it is that item's turn.
    """
    if workers == 0:
        yield from map(make, items)
        return
    workers = thread_count(workers)
    pool, pending = ThreadPoolExecutor(workers), deque[Future[Made]]()
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) >= most + workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
