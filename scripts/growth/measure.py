"""The measurement of one size, in a process of its own that is bounded in seconds and memory."""
from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from darknet_py.utils.machine import memory, peak_memory

from .cases import BY_NAME, Outside, enter

FIRST, REPEAT, MOST_RUNS = 10., 1., 5       # seconds of CPU below which a run is repeated: the first, which imports
                                            # packages, and others; and how often. The least counts
GIGA = 1 << 30


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure_here(name: str, size: int, most_memory: float) -> None:
    """Print the figures of a case as JSON.

    seconds: of CPU. bytes: at most beyond what the process had before, of which the inputs are a part.
    """
    if most_memory:
        resource.setrlimit(resource.RLIMIT_DATA, (int(most_memory * GIGA),) * 2)
    folder = Path.cwd()
    enter(folder)
    run = BY_NAME[name].build(size, folder)
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")           # the peak so far is forgotten
    before, begin = memory(), cpu_seconds()
    found = run()
    seconds, peak = cpu_seconds() - begin, peak_memory()
    answer: dict[str, Any] = {"size": size, "bytes": None if before is None or peak is None else max(0, peak - before)}
    if isinstance(found, Outside):
        answer |= {"bytes": found.peak, **found.facts}
    runs = MOST_RUNS if not isinstance(found, Outside) else 1
    del found
    for number in range(1, runs):
        if seconds > (FIRST if number == 1 else REPEAT):
            break
        begin = cpu_seconds()
        run()
        seconds = min(seconds, cpu_seconds() - begin)
    print(json.dumps(answer | {"seconds": seconds}))


def measure(name: str, size: int, most_seconds: float, most_memory: float) -> dict[str, Any]:
    """``measure_here`` in a new process; where it does not end in time and memory, or fails, ``problem`` says so."""
    from darknet_py.tools.benchmark import worker_environment
    script = Path(__file__).parents[1] / "scaling.py"
    with tempfile.TemporaryDirectory() as text:
        environment = {**worker_environment(Path(text) / "cache"), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, str(script), "--measure", name, str(size), "--memory", str(most_memory)], cwd=text,
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            said, errors = process.communicate(timeout=most_seconds)
        except subprocess.TimeoutExpired:
            return {"size": size, "problem": f"more than {most_seconds:g} s"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            last = (errors.strip().splitlines() or ["no message"])[-1]
            too_much = "MemoryError" in last or "not enough memory" in last or "can't allocate memory" in last
            return {"size": size, "problem": f"more than {most_memory:g} GiB" if too_much else last}
        return json.loads(said.splitlines()[-1])
