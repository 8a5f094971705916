"""Benchmark of a network on the backends: time, throughput, memory, load time, difference from PyTorch in float32."""
from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch

from darknet_py.errors import DarknetError, suggestion
from darknet_py.inference.backends import BACKENDS, PRECISIONS, backends_of
from darknet_py.inference.backends.base import SHORT
from darknet_py.inference.backends.parity import difference
from darknet_py.model.network import LazyNetwork, Network
from darknet_py.utils.machine import cores, cpu_name
from darknet_py.utils.timed_process import Spread, TimedProcess, alternate
from darknet_py.utils.version import versions_of

ROUNDS = 10
WORKER = [sys.executable, "-m", "darknet_py.tools.backend_process"]


@dataclass(frozen=True)
class Row:
    """A backend in a precision.

    reason: why there are no figures; None: there are.
    batch: images that run together.
    seconds: of each batch that was timed.
    first_load, load: seconds from the files on the disk to the first outputs, when the network first runs on this
        machine and a model is compiled and checked, and from then on, out of the cache.
    memory: bytes that were added at most to those of a process with PyTorch; None where the system does not tell.
    difference: the worst one from PyTorch's outputs in float32, as ``parity.difference``.
    """

    backend: str
    precision: str
    reason: str | None = None
    batch: int = 1
    seconds: Sequence[float] = ()
    first_load: float | None = None
    load: float | None = None
    memory: int | None = None
    difference: float | None = None

    @property
    def spread(self) -> Spread:
        """Of a batch."""
        return Spread.of(self.seconds)

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.batch / self.spread.median

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        facts: dict[str, Any] = {"backend": self.backend, "precision": self.precision, "reason": self.reason}
        if self.reason is None:
            facts |= {"milliseconds": {name: 1000 * value for name, value in self.spread._asdict().items()},
                      "runs": len(self.seconds), "images_per_second": self.rate, "memory_bytes": self.memory,
                      "first_load_seconds": self.first_load, "load_seconds": self.load, "difference": self.difference}
        return facts


def benchmark(cfg: str | os.PathLike, weights: str | os.PathLike, *, width: int | None = None,
              height: int | None = None, backends: Sequence[str] | None = None,
              precisions: Sequence[str] = ("float32",), batch: int = 1, rounds: int = ROUNDS, device: str = "auto",
              progress: Callable[[int, int, str], object] = lambda done, total, text: None) -> list[Row]:
    """Time a network alone, without reading images or post-processing, on each backend in each precision.

    Each has a process of its own, with models cached for the occasion; they run in turn, so that what else the machine
    does touches all alike. A model in the place of the weights runs on those that read it.

    Args:
        width, height: of the images, instead of the cfg's.
        backends: names; None: all.
        precisions: of ``PRECISIONS``.
        batch: images that run together.
        rounds: turns of each, of a run or of as many as take ``timed_process.TURN``.
        device: as for ``Detector``.
        progress: called with steps done, steps in all, and the latest.

    Returns:
        A row each, in the order asked for; where a backend is not installed or cannot run the network, with the reason.

    Raises:
        CfgError, WeightsError: see ``load_network``.
        DarknetError: no such backend or precision, a number below 1, or PyTorch itself cannot run the network.
    """
    files = LazyNetwork(cfg, weights, width=width, height=height)
    network, known = files.outline, tuple(BACKENDS) if files.model is None else tuple(backends_of(files.model))
    wanted = [(name, precision) for name in check_names("backend", backends, known)
              for precision in check_names("precision", precisions, PRECISIONS)]
    for name, number in (("batch", batch), ("runs", rounds)):
        if number < 1:
            raise DarknetError(f"{name} needs a number from 1 on, found {number}")
    with tempfile.TemporaryDirectory(prefix="darknet-py-") as folder, ExitStack() as stack:
        environment = worker_environment(Path(folder))
        outputs = Path(folder, "outputs.pt")
        request = {"cfg": str(cfg), "weights": str(weights), "width": width, "height": height, "batch": batch,
                   "device": device}
        steps, done = 2 * len(wanted) + 1, 0

        def step(text: str) -> None:
            nonlocal done
            done += 1
            progress(done, steps + rounds * len(wanted), text)

        def first_start(name: str, precision: str) -> tuple[dict[str, Any], list[torch.Tensor]]:
            with TimedProcess(WORKER, environment) as process:
                facts = process.build(**request, backend=name, precision=precision, outputs=str(outputs))
            return facts, torch.load(outputs)

        first = "pytorch" if files.model is None else known[0]
        _, reference = first_start(first, "float32")
        step(first)
        rows: dict[tuple[str, str], Row] = {}
        processes: dict[tuple[str, str], TimedProcess] = {}
        for key in wanted:
            row = Row(*key, batch=batch)
            try:
                check_runs(network, *key, device)
                facts, found = first_start(*key)
                step(f"{key[0]} {key[1]}")
                row = replace(row, first_load=facts["load"], difference=difference(reference, found))
                process = stack.enter_context(TimedProcess(WORKER, environment))
                facts = process.build(**request, backend=key[0], precision=key[1], outputs=None)
                step(f"{key[0]} {key[1]}")
                row, processes[key] = replace(row, load=facts["load"], memory=facts["memory"]), process
            except DarknetError as error:
                row = replace(row, reason=reason_of(error, *key))
            rows[key] = row
        times = alternate(processes, rounds, lambda at, of, key: progress(steps + at, steps + of, " ".join(key)))
        for key, seconds in times.items():
            rows[key] = replace(rows[key], **({"reason": str(seconds)} if isinstance(seconds, DarknetError) else
                                              {"seconds": seconds}))
    return [rows[key] for key in wanted]


class Conditions(NamedTuple):
    """What a measurement depends on. versions: of what is installed."""

    cpu: str
    cores: int
    date: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Conditions:
        packages = ["torch", *dict.fromkeys(package for backend in BACKENDS.values() for package in backend.packages)]
        return cls(cpu_name(), cores(), date.today().isoformat(), versions_of(packages))

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.cpu}, {self.cores} cores, {self.date}; {versions}"


def worker_environment(folder: Path) -> dict[str, str]:
    """The environment of processes that find this package, and cache compiled models in a folder."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DARKNET_PY_CACHE": str(folder / "models"),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}


def check_names(what: str, names: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
    """The names, all of ``known`` for None, each once.

    Raises:
        DarknetError: one is not known, or there is none.
    """
    if names is None:
        return known
    if not names:
        raise DarknetError(f"expected a {what} ({', '.join(known)}), found none")
    for name in names:
        if name not in known:
            raise DarknetError(f"expected a {what} ({', '.join(known)}), found {name}"
                               + suggestion(SHORT.get(name.lower(), name), known))
    return tuple(dict.fromkeys(names))


def check_runs(network: Network, name: str, precision: str, device: str) -> None:
    """See, without running it, whether a backend can run a network in this precision here.

    Raises:
        DarknetError: it cannot.
    """
    backend = BACKENDS[name]
    backend.require()
    backend.check_device(device)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if backend.supported(precision) != precision:
            raise DarknetError(warned[0].message)
    if backend.exports is not None:
        network.check_exportable(backend.exports)


def reason_of(error: DarknetError, backend: str, precision: str) -> str:
    """An error without the name that its row has already."""
    return str(error).removeprefix(f"backend={backend}").lstrip(": ").replace(f", found precision={precision}", "")
