"""Judging of a reader on an input: a result, a refusal in one clear line, or a finding; limits of time and memory."""
from __future__ import annotations

import os
import resource
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import darknet_py
from darknet_py.errors import DarknetError
from fuzzing.readers import Reader

SECONDS, WAIT = 5, 30       # of CPU for an input; of waiting, for what computes nothing and does not end
MOST_MEMORY = 2 << 30       # bytes for an input
MOST_MESSAGE = 1000         # characters of an error
PACKAGE = Path(darknet_py.__file__).parent


class LimitError(BaseException):
    """An input took too long. It is no Exception, since readers must not handle it."""


class Verdict(NamedTuple):
    """The outcome. finding: None for a result and a refusal, else what is wrong and where, in a line."""

    refused: bool
    finding: str | None = None
    details: str = ""


def judge(reader: Reader, data: bytes) -> Verdict:
    """Give a reader an input, as its file in the working directory."""
    path = Path(reader.file)
    path.write_bytes(reader.wrap(data))
    return judge_file(reader, path)


def judge_file(reader: Reader, path: Path) -> Verdict:
    """The same for a file that is there, or anything else in its place."""
    try:
        reader.read(path)
    except DarknetError as error:
        message = str(error)
        if len(message) > MOST_MESSAGE:
            return Verdict(True, f"a message of more than {MOST_MESSAGE} characters from {place(error.__traceback__)}",
                           message)
        if not message.isprintable():
            return Verdict(True, f"a message with unprintable characters from {place(error.__traceback__)}",
                           ascii(message))
        return Verdict(True)
    except Exception as error:
        return Verdict(False, f"{type(error).__name__} in {place(error.__traceback__)}", traceback.format_exc())
    return Verdict(False)


def place(trace: TracebackType | None) -> str:
    """The deepest frame in darknet_py."""
    frames = traceback.extract_tb(trace)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)] or frames
    return f"{os.path.relpath(inside[-1].filename, PACKAGE.parent)}:{inside[-1].lineno} {inside[-1].name}"


def limit_memory() -> tuple[int, int]:
    """Limit the memory of this process to what it has and ``MOST_MEMORY`` more; files that are mapped do not count.
    Returns the limits before."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + MOST_MEMORY, before[1]))
    return before


def start_clocks(seconds: float = SECONDS, wait: float = WAIT) -> None:
    """From now on this process has so many seconds of CPU until a SIGPROF, and of waiting until a SIGALRM; 0 stops."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, wait)


@contextmanager
def limits(seconds: float = SECONDS, wait: float = WAIT) -> Iterator[None]:
    """The limits of an input within a process that goes on: LimitError where it takes too long."""
    def late(*_: object) -> None:
        raise LimitError(f"took more than {seconds:g} s of CPU, or {wait:g} s of waiting")

    handlers = {number: signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)}
    before = limit_memory()
    start_clocks(seconds, wait)
    try:
        yield
    finally:
        start_clocks(0, 0)
        resource.setrlimit(resource.RLIMIT_DATA, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
