"""Timing of programs in processes of their own, which are kept alive and asked in turn.

Needs nothing but Python, so that a process may run in an environment without our packages.
"""
from __future__ import annotations

import atexit
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from darknet_py.errors import DarknetError
from darknet_py.utils.machine import peak_memory

PAUSE = .1              # seconds between two programs: threads of the first may still spin
TURN = .25              # seconds of runs in a turn

Key = TypeVar("Key")


class Spread(NamedTuple):
    """Seconds of runs."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread:
        values = list(seconds)
        return cls(statistics.median(values), min(values), max(values))


class Build(NamedTuple):
    """What a process built. run: what is timed; facts: called after the first run, gives values for JSON."""

    run: Callable[[], object]
    facts: Callable[[], Mapping[str, Any]] = dict


def timed_runs(run: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each of as many runs as begin within a time, after one that does not count."""
    run()
    begin = time.perf_counter()
    times = [begin]
    while len(times) == 1 or times[-1] - begin < seconds:
        run()
        times.append(time.perf_counter())
    return [later - earlier for earlier, later in pairwise(times)]


def serve(build: Callable[[dict[str, Any]], Build]) -> None:
    """Be the process of a ``TimedProcess``, until the parent closes it.

    Args:
        build: takes the parent's request. Its time is ``load``, with that of the first run; what memory both add is
            ``memory``.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                       # what libraries print is no answer
    atexit.register(gc.freeze)          # else Python looks through all that torch imported, which takes .4 s
    built: Build | None = None
    for line in sys.stdin:
        request, answer = json.loads(line), {}
        try:
            if built is None:
                before, begin = peak_memory(), time.perf_counter()
                built = build(request)
                built.run()
                seconds, after = time.perf_counter() - begin, peak_memory()
                answer = {"load": seconds, "memory": None if before is None or after is None else after - before,
                          **built.facts()}
            else:
                answer = {"seconds": timed_runs(built.run, request["turn"])}
        except Exception as error:          # libraries have errors of all kinds, and the parent tells them
            if not isinstance(error, DarknetError):
                traceback.print_exc()
            answer = {"error": str(error).strip() or type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class TimedProcess:
    """A process that builds a program once, and runs it whenever it is asked; the other end of ``serve``.

    Args:
        command: that starts it.
        environment: its variables.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None):
        self.errors = tempfile.TemporaryFile()          # noqa: SIM115   # closed with the process
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=None if environment is None else dict(environment))

    def __enter__(self) -> TimedProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def build(self, **request: Any) -> dict[str, Any]:
        """Build the program and run it once.

        Returns:
            Its facts, ``load`` (s) and ``memory`` (bytes, or None), see ``serve``.

        Raises:
            DarknetError: it cannot be built, says why in one line.
        """
        return self._ask(request)

    def turn(self, seconds: float = TURN) -> list[float]:
        """Seconds of each of some runs, see ``timed_runs``.

        Raises:
            DarknetError: it failed.
        """
        return self._ask({"turn": seconds})["seconds"]

    def close(self) -> None:
        """End the process."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(OSError):             # if it has ended its errors say why
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip().splitlines()
            raise DarknetError(f"its process ended with {f'signal {-status}' if status < 0 else status}"
                               + (f": {said[-1]}" if said else ""))
        answer = json.loads(line)
        if "error" in answer:
            raise DarknetError(answer["error"].splitlines()[0])
        return answer


def alternate(processes: Mapping[Key, TimedProcess], rounds: int, progress: Callable[[int, int, Key], object]
              = lambda done, total, key: None) -> dict[Key, list[float] | DarknetError]:
    """Ask built processes for a turn each, round after round.

    Args:
        progress: called after each turn with turns done, turns in all, and which it was.

    Returns:
        Seconds of all runs of each, or why it failed.
    """
    found: dict[Key, list[float] | DarknetError] = {key: [] for key in processes}
    for number in range(rounds):
        for place, (key, process) in enumerate(processes.items()):
            so_far = found[key]
            if not isinstance(so_far, DarknetError):
                time.sleep(PAUSE)
                try:
                    so_far += process.turn()
                except DarknetError as error:
                    found[key] = error
            progress(number * len(processes) + place + 1, rounds * len(processes), key)
    return found
