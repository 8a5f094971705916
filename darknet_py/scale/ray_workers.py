"""A run by Ray: actors that hold a detector each, on this machine or a cluster, and the parts that they are given."""
from __future__ import annotations

import logging
import math
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, NamedTuple

from darknet_py.errors import DarknetError
from darknet_py.scale.folder import BatchFolder
from darknet_py.scale.worker import Entries, Part, Worker, take_share

QUEUED = 2                  # parts that an actor has: one that it is at, and the next
RETRIES = 2                 # of a part whose actor died
WAIT = .5                   # seconds between two looks at whether to stop
STORE = 200_000_000         # bytes of the memory that actors share, on this machine; results of parts pass through it


class Node(NamedTuple):
    """What a machine of a cluster has."""

    cpus: float
    gpus: float


def cpus_of(nodes: Sequence[Node], workers: int, gpus: float) -> int:
    """The most CPUs that each worker can have.

    Raises:
        DarknetError: the workers find no place, even with a CPU each.
    """
    for cpus in range(int(sum(node.cpus for node in nodes)) // workers, 0, -1):
        if sum(min(node.cpus // cpus, node.gpus // gpus if gpus > 0 else math.inf) for node in nodes) >= workers:
            return cpus
    found = "; ".join(f"{node.cpus:g} and {node.gpus:g}" for node in nodes)
    raise DarknetError(f"{workers} workers with -gpus_per_worker {gpus:g} find no place; the machines have "
                       f"CPUs and GPUs: {found}")


class Actor:
    """A worker in an actor. Its detector is made at the first call, and again where Ray has restarted it.

    Args:
        options: of ``Detector``; batch: see ``Worker``.
        folder: that paths are relative to.
    """

    def __init__(self, options: dict[str, Any], batch: int, folder: str):
        self.options, self.batch, self.folder = options, batch, folder
        self.worker: Worker | None = None

    def node(self) -> str:
        """The node where it runs."""
        import ray
        return ray.get_runtime_context().get_node_id()

    def open(self, share: tuple[int, int]) -> dict[str, Any]:
        """See ``Worker.facts``. share: see ``take_share``."""
        from darknet_py.inference.detector import Detector
        if self.worker is None:
            with suppress(OSError):                 # another machine may not have it
                os.chdir(self.folder)
            take_share(*share)
            self.worker = Worker(Detector(**self.options), self.batch)
        return self.worker.facts()

    def part(self, entries: Entries, share: tuple[int, int]) -> Part:
        """Detect in the pictures of a part."""
        self.open(share)
        assert self.worker is not None
        return self.worker.part(entries)


@contextmanager
def connected(workers: int | None) -> Iterator[Any]:
    """Ray: the cluster of RAY_ADDRESS, else a new one on this machine alone, which ends with the context.

    Args:
        workers: that will be started; None: not known.

    Raises:
        DarknetError: Ray is missing, or there is no such cluster.
    """
    if find_spec("ray") is None:
        raise DarknetError("-engine ray needs the package ray: pip install ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        from darknet_py.utils.machine import cores
        # read when it is imported: else its ports are open on all interfaces, whatever address is asked for
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": STORE,
                    "_node_ip_address": "127.0.0.1", "num_cpus": max(1 if workers is None else workers, cores())}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    ours = not ray.is_initialized()
    try:
        if ours:
            with kept_handler():
                ray.init(**options)
    except Exception as error:          # of many kinds
        raise DarknetError(f"cannot start or reach Ray: {error}") from None
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def kept_handler() -> Iterator[None]:
    """What SIGTERM does stays as it is: ``ray.init`` replaces it."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def run(folder: BatchFolder, options: dict[str, Any], *, batch: int = 1, workers: int | None = None,
        gpus: float | None = None, step: Callable[[int], None]) -> None:
    """Do all parts that are not done, in actors. This process reads the list of pictures and writes the parts, so that
    the folder need be nowhere else; the pictures and the network's files must be found by all nodes.

    Args:
        options: of ``Detector``.
        batch: pictures that run together.
        workers: actors; None: one a GPU, or as ``gpus`` has it; where that is 0, one a node.
        gpus: of an actor; None: 1 where there are GPUs, else 0.
        step: called with 0 after each part and every ``WAIT`` seconds; what it raises ends the run.

    Raises:
        DarknetError: see ``connected`` and ``cpus_of``; an actor fails, or dies ``RETRIES`` times at one part.
        DataError: a part cannot be written.
    """
    with connected(workers) as ray:
        nodes = [Node(one["Resources"].get("CPU", 0), one["Resources"].get("GPU", 0)) for one in ray.nodes()
                 if one["Alive"]]
        if gpus is None:
            gpus = float(any(node.gpus for node in nodes))
        if workers is None:
            workers = max(1, int(sum(node.gpus // gpus for node in nodes)) if gpus > 0 else
                          sum(node.cpus >= 1 for node in nodes))
        cpus = cpus_of(nodes, workers, gpus)
        made = ray.remote(Actor).options(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES)
        actors = [made.remote(options, batch, os.getcwd()) for _ in range(workers)]
        try:
            _distribute(ray, folder, actors, step)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, DarknetError) else DarknetError(f"a worker failed: {cause}") from None
        except ray.exceptions.RayError as error:
            raise DarknetError(f"a worker died: {error}") from None
        # the actors end with the last reference to them, or with the connection


def _distribute(ray: Any, folder: BatchFolder, actors: Sequence[Any], step: Callable[[int], None]) -> None:
    """Give actors parts, ``QUEUED`` each, and write what they make of them, in the order in which they end."""
    homes = _wait(ray, [actor.node.remote() for actor in actors], step)
    shares = [(homes[:number].count(home), homes.count(home)) for number, home in enumerate(homes)]
    facts = _wait(ray, [actor.open.remote(share) for actor, share in zip(actors, shares, strict=True)], step)
    for one in facts:
        folder.keep_network(one)
    names = facts[0]["names"]
    parts = (part for part in range(folder.snapshot.parts) if not folder.finished(part))
    pending: dict[Any, tuple[int, int]] = {}        # the reference to a result -> part, number of the actor
    free = deque(number for _ in range(QUEUED) for number in range(len(actors)))
    while True:
        while free and (part := next(parts, None)) is not None:
            number = free.popleft()
            task = actors[number].part.remote(folder.snapshot.read(part), shares[number])
            pending[task] = part, number
        if not pending:
            return
        done, _ = ray.wait(list(pending), timeout=WAIT)
        for task in done:
            part, number = pending.pop(task)
            result: Part = ray.get(task)
            folder.write(part, result.rows, names, **result.facts())
            free.append(number)
        step(0)


def _wait(ray: Any, tasks: Sequence[Any], step: Callable[[int], None]) -> list[Any]:
    left = list(tasks)
    while left:
        step(0)
        _, left = ray.wait(left, num_returns=len(left), timeout=WAIT)
    return ray.get(list(tasks))
