"""A process's share of a run: a detector, and the loop over the parts that no other process has."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from darknet_py.errors import DataError
from darknet_py.inference.detector import Detector
from darknet_py.scale.folder import POLL, BatchFolder
from darknet_py.scale.inputs import Entry
from darknet_py.scale.pictures import Reader
from darknet_py.scale.rows import Row

Entries = Sequence[tuple[int, Entry]]


class Part(NamedTuple):
    """The rows of a part. begin: in seconds since 1970; seconds: until its end; network_seconds: of these, in the
    network."""

    rows: list[Row]
    begin: float
    seconds: float
    network_seconds: float

    def facts(self) -> dict[str, float]:
        """What ``BatchFolder.write`` keeps."""
        return {"begin": self.begin, "seconds": self.seconds, "network_seconds": self.network_seconds}


class Worker:
    """Detects in the pictures of parts.

    Args:
        batch: pictures that run together.
    """

    def __init__(self, detector: Detector, batch: int = 1):
        self.detector, self.batch = detector, batch
        self.reader = Reader(detector.backend.shape.channels)
        detector.backend.leave_cores()

    def facts(self) -> dict[str, Any]:
        """What computes, and its classes: ``BatchFolder.keep_network`` holds all processes of a run to it."""
        backend = self.detector.backend
        return {"backend": backend.name, "precision": backend.precision, "names": list(self.detector.names)}

    def part(self, entries: Entries, step: Callable[[int], None] = lambda done: None) -> Part:
        """Detect in pictures.

        Args:
            step: called after each with how many are done; what it raises ends the part.

        Raises:
            DarknetError: an output of the network is not finite.
        """
        begin, clock, rows, network = time.time(), time.perf_counter(), [], 0.
        stream = self.detector.stream(self.reader.ahead(entries), batch=self.batch, read=self.reader.image)
        for done, (item, frame) in enumerate(stream, 1):
            if isinstance(frame, DataError):
                rows.append(Row(item.number, str(item), None, error=str(frame)))
            else:
                rows.append(Row(item.number, str(item), frame.detections, frame.seconds))
                network += frame.seconds
            step(done)
        return Part(rows, begin, time.perf_counter() - clock, network)

    def work(self, folder: BatchFolder, step: Callable[[int], None]) -> None:
        """Do all parts that are not done and that no other process does, until none is left: a part whose process ends
        before it is done is taken over.

        Args:
            step: called after each picture with how many of this process's part are done; with 0 before each part, and
                while others are at theirs. What it raises ends the work.

        Raises:
            DataError: a part cannot be written.
            DarknetError: see ``part``.
        """
        left = list(range(folder.snapshot.parts))
        while left:
            before = len(left)
            for part in list(left):
                step(0)
                with folder.claim(part) as mine:
                    if mine:
                        done = self.part(folder.snapshot.read(part), step)
                        folder.write(part, done.rows, self.detector.names, **done.facts())
                if folder.finished(part):
                    left.remove(part)
            if left and len(left) == before:        # others have them
                step(0)
                time.sleep(POLL)


def share_cores() -> None:
    """Of several processes on this machine that torchrun started, take a share of the cores, each its own: else the
    threads of one wait for those of another after every layer. A process that is bound to cores already stays there."""
    try:
        rank, size = (int(os.environ[name]) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
        cores = sorted(os.sched_getaffinity(0))
        bound = os.sched_getaffinity(os.getppid()) != set(cores)
    except (KeyError, ValueError, AttributeError, OSError):     # started otherwise; no Linux
        return
    if not bound:
        take_share(rank, size)


def take_share(rank: int, size: int) -> None:
    """Bind this process to its share of the cores, the ``rank``-th of ``size``, if there are as many, with as many
    threads of PyTorch."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if 2 <= size <= len(cores):
        mine = cores[rank * len(cores) // size:(rank + 1) * len(cores) // size]
        with suppress(OSError):
            os.sched_setaffinity(0, mine)
            torch.set_num_threads(len(mine))
