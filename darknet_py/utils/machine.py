"""Facts of this machine and this process, for reports."""
from __future__ import annotations

import os
import platform
import sys
from functools import cache


def cpu_name() -> str:
    """The CPU's model."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def cpu_features() -> str:
    """The CPU's model and instructions, on which compiled code depends."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return "".join(sorted({line for line in file if line.startswith(("model", "flags", "Features", "CPU "))}))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int | None:
    """Bytes that this process has in memory; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((1024 * int(line.split()[1]) for line in file if line.startswith("VmRSS:")), None)
    except OSError:
        return None


def peak_memory() -> int | None:
    """Bytes that this process had in memory at most so far; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM:")), None)
    except OSError:
        pass
    try:
        import resource
    except ImportError:                 # on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
