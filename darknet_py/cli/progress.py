"""How far something has come: a bar on a terminal, else a line now and then."""
from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from typing import TextIO

REFRESH = .1            # seconds between two drawings of the bar
INTERVAL = 30.          # seconds between two lines
BAR = 24                # characters, where there is room


class Progress:
    """Shows ``update`` calls on a stream.

    Args:
        total: what ``done`` counts up to.
        stream: a terminal gets one line that is drawn over and over; any other stream gets a line at most every
            ``interval`` seconds, and one at the end if there was one before; None says nothing.
        start: what was done before this run, so that it does not count for the rate.
        lines: where ``print`` writes, if that is another stream.
    """

    def __init__(self, total: int, stream: TextIO | None, *, start: int = 0, interval: float = INTERVAL,
                 clock: Callable[[], float] = time.monotonic, lines: TextIO | None = None):
        stream = io.StringIO() if stream is None else stream
        self.total, self.stream, self.start, self.interval, self.clock = total, stream, start, interval, clock
        self.terminal, self.lines = stream.isatty(), stream if lines is None else lines
        self.began = self.shown_at = clock()
        self.done, self.text, self.width = start, "", 0
        self.shown: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, done: int, text: str = "") -> None:
        """``done`` of the total, and what else to say."""
        self.done, self.text = done, text
        if self.clock() - self.shown_at >= (REFRESH if self.terminal else self.interval):
            self._show()

    def track(self, done: int, total: int) -> None:
        """``update``, as functions of the library report; another total is another work, with a rate of its own."""
        if total != self.total:
            self.total, self.start, self.began = total, 0, self.clock()
        self.update(done)

    def print(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._clear()
        self.stream.flush()                 # the bar is gone before another stream writes where it was
        self.lines.write(f"{line}\n")
        self.lines.flush()
        if self.terminal:
            self._show()

    def close(self) -> None:
        """Take the bar away; where there were lines, say how it ended."""
        self._clear()
        if self.shown not in (None, self.done) and not self.terminal:
            self._show()
        self.stream.flush()

    def line(self) -> str:
        """``37/72 51% 12.3/s 0:03 left text``."""
        share = self.done / self.total if self.total else 1.
        elapsed, count = self.clock() - self.began, self.done - self.start
        words = [f"{self.done}/{self.total}", f"{share:.0%}"]
        if count > 0 and elapsed > 0:
            rate = count / elapsed
            words += [f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each",
                      f"{duration((self.total - self.done) / rate)} left" if self.done < self.total
                      else f"in {duration(elapsed)}"]
        return " ".join([*words, self.text]).rstrip()

    def _show(self) -> None:
        line, self.shown, self.shown_at = self.line(), self.done, self.clock()
        if not self.terminal:
            self.stream.write(f"{line}\n")
        else:
            columns = shutil.get_terminal_size().columns - 1
            if len(line) + BAR + 3 <= columns:
                filled = round(BAR * min(1, self.done / self.total)) if self.total else BAR
                line = f"[{'=' * filled}{' ' * (BAR - filled)}] {line}"
            line = line[:columns]
            self.stream.write(f"\r{line:<{self.width}}")
            self.width = len(line)
        self.stream.flush()

    def _clear(self) -> None:
        if self.terminal and self.width:
            self.stream.write(f"\r{'':<{self.width}}\r")
            self.width = 0


def duration(seconds: float) -> str:
    """``0:07``, ``12:34``, ``5:04:03``, ``2 d 5 h``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
