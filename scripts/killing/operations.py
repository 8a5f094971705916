"""Commands in forked processes that are killed at an operation on files, or after a time."""
from __future__ import annotations

import builtins
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

EVENTS = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir", "os.rmdir": "rmdir", "os.link": "link",
          "os.symlink": "symlink", "os.truncate": "truncate"}       # of sys.addaudithook
FAULTS = (signal.SIGKILL, signal.SIGALRM)       # neither lets Python clean up: SIGALRM is what the timer sends


class Moment(NamedTuple):
    """When a command is killed: before operation ``at`` (from 1; a write is done by half), or ``delay`` seconds after
    that one, or with ``at`` None after its start. Both None: never."""

    at: int | None = None
    delay: float | None = None


NEVER = Moment()


class Outcome(NamedTuple):
    """status: the exit code, negative for a signal. text: its output. operations: those it did, by kind."""

    status: int
    text: str
    operations: list[str]
    seconds: float

    @property
    def killed(self) -> bool:
        return -self.status in FAULTS


class Killer:
    """Counts the operations on files below a folder, and kills this process at one of them.

    Python's audit events tell of all but writes. Files that are opened for writing therefore write in two halves, with
    an operation in between. What libraries in C write by themselves is hit only by delays.
    """

    def __init__(self, folder: Path, moment: Moment, log: int):
        self.folder, self.moment, self.log, self.count = os.path.realpath(folder), moment, log, 0

    def install(self) -> None:
        sys.addaudithook(self.audit)
        plain = io.open

        def opened(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any) -> Any:
            if "b" in mode and set(mode) & set("wax") and "+" not in mode and not more and not named \
                    and self.is_inside(file):
                raw = HalfWrites(file, mode.replace("b", ""))
                raw.killer = self
                return raw if buffering == 0 else io.BufferedWriter(raw)
            return plain(file, mode, buffering, *more, **named)

        builtins.open = io.open = opened        # type: ignore[assignment]
        if self.moment.at is None and self.moment.delay is not None:
            self.start_timer()

    def is_inside(self, path: Any) -> bool:
        if isinstance(path, int):
            return False
        place = os.path.abspath(os.fsdecode(path))
        return place.startswith(f"{self.folder}{os.sep}")

    def audit(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if path is not None and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) \
                    and self.is_inside(path):
                self.operation("open")
        elif event in EVENTS and self.is_inside(arguments[1 if event in ("os.rename", "os.link", "os.symlink") else 0]):
            self.operation(EVENTS[event])

    def operation(self, kind: str) -> None:
        self.count += 1
        os.write(self.log, f"{kind}\n".encode())
        if self.count == self.moment.at:
            if self.moment.delay is None:
                os.kill(os.getpid(), signal.SIGKILL)
            self.start_timer()

    def start_timer(self) -> None:
        assert self.moment.delay is not None
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, self.moment.delay))


class HalfWrites(io.FileIO):
    """A file whose writes are two, with an operation in between."""

    killer: Killer

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        half = len(view) // 2
        written = super().write(view[:half]) if half else 0
        if written == half:
            self.killer.operation("write")
            written += super().write(view[half:])
        return written


def run(words: Sequence[str], folder: Path, moment: Moment = NEVER) -> Outcome:
    """Run ``darknet-py WORDS`` in a folder, in a fork of this process, which has imported everything already."""
    begin = time.monotonic()
    with open(f"{folder}.output", "w+b") as output, open(f"{folder}.operations", "w+b") as log:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = _command(words, folder, moment, output.fileno(), log.fileno())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        for file in (output, log):
            file.seek(0)
        return Outcome(os.waitstatus_to_exitcode(status), output.read().decode("utf-8", "replace"),
                       log.read().decode().split(), time.monotonic() - begin)


def _command(words: Sequence[str], folder: Path, moment: Moment, output: int, log: int) -> int:
    from darknet_py.cli import main
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(output, stream)
    Killer(folder, moment, log).install()
    # streams of our own, for those of a test suite may keep what is written
    with io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True) as text, \
            redirect_stdout(text), redirect_stderr(text):
        try:
            return main(list(words))
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
            return 70
