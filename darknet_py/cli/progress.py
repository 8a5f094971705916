"""Progress: tqdm's bar on a terminal, else a line at intervals."""
from __future__ import annotations

import io
import os
import shutil
import threading
from contextlib import nullcontext
from typing import Any, TextIO

from tqdm import tqdm

from darknet_py.errors import one_line, printable
from darknet_py.utils.durations import duration

REFRESH = .1            # seconds between two drawings of the bar, and from which on there is a rate
INTERVAL = 30.          # seconds between two lines
BAR = 24                # characters, where there is room
SMOOTHING = .05         # weight of what was done since the last drawing, in the rate


class Progress:
    """Shows ``update`` calls on a stream.

    Args:
        total: of ``done``; 0 where it is not known.
        stream: a terminal gets a bar that is drawn over and over; any other stream gets a line at most every
            ``interval`` seconds, and one at the end if there was one before; None says nothing.
        start: what was done before this run, so that it does not count for the rate.
        lines: where ``print`` writes, if that is another stream.
    """

    def __init__(self, total: int, stream: TextIO | None, *, start: int = 0, interval: float = INTERVAL,
                 lines: TextIO | None = None):
        self.stream: TextIO = io.StringIO() if stream is None else stream
        self.lines = self.stream if lines is None else lines
        self.interval, self.terminal = interval, self.stream.isatty()
        self.bar = self._begin(total, start)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, done: int, text: str = "") -> None:
        """``done`` of the total, and further text."""
        self.bar.text = printable(text)
        self.bar.update(done - self.bar.n)

    def track(self, done: int, total: int, text: str = "") -> None:
        """``update``, as the library's progress callback. Another total begins another bar, whose rate counts from
        ``done``, since the time before is not known."""
        if total != self.bar.total:
            self.bar.close()
            self.bar = self._begin(total, done)
        self.update(done, text)

    def print(self, line: str, *, error: bool = False) -> None:
        """A line that stays, above the bar. error: it goes where the bar is, on one line whatever is in it."""
        lines = self.stream if error else self.lines
        with _Bar.external_write_mode(file=self.stream) if self.terminal else nullcontext():
            self.stream.flush()             # the bar is gone before another stream writes where it was
            lines.write(f"{one_line(line) if error else line}\n")
            lines.flush()

    def close(self) -> None:
        """Remove the bar; where there were lines, print the last state."""
        self.bar.close()
        self.stream.flush()

    def line(self) -> str:
        """``37/72 51%, 12.3/s, left 3 s, text``."""
        return self.bar.format_dict["words"]

    def _begin(self, total: int, start: int) -> _Bar:
        # with a delay, however short, the bar is not drawn before the first update
        return _Bar(plain=not self.terminal, total=total, initial=start, file=self.stream, leave=False, position=0,
                    mininterval=REFRESH if self.terminal else self.interval, miniters=0, smoothing=SMOOTHING, nrows=24,
                    delay=1e-9)


class _Bar(tqdm):
    """tqdm with our text; ``plain``: each drawing is a line of its own."""

    monitor_interval = 0                # no thread beside us: processes that load pictures are forked
    _lock = threading.RLock()           # nor a lock that processes share
    disable: bool

    def __init__(self, *, plain: bool, **options: Any):
        self.plain, self.text = plain, ""
        self.shown: int | None = None
        super().__init__(**options)

    @property
    def format_dict(self) -> dict[str, Any]:
        facts = super().format_dict
        words = _words(facts["n"], facts["total"], facts["initial"], facts["elapsed"], facts["rate"], self.text)
        if not self.plain:
            columns = _columns(self.fp)
            bar = "[{bar:" + str(BAR) + "}] "
            facts |= {"ncols": columns, "bar_format": (bar if len(words) + BAR + 3 <= columns else "") + "{words}"}
            words = words[:columns]
        return facts | {"words": words}

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        self.shown = self.n
        if not self.plain:
            return super().display(msg, pos)
        self.fp.write(f"{self.format_dict['words']}\n")
        self.fp.flush()
        return True

    def close(self) -> None:
        if self.disable:
            return
        if not self.plain:
            if self.shown is not None:
                self.clear()
            super().close()
            return
        if self.shown not in (None, self.n):
            self.display()
        self.disable = True


def _columns(stream: Any) -> int:
    """The columns of a terminal, less one, for some wrap after the last; 79 where they are not known."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return (columns or shutil.get_terminal_size().columns) - 1


def _words(done: int, total: int, start: int, elapsed: float, rate: float | None, text: str) -> str:
    """See ``Progress.line``; ``rate`` is the smoothed one, where there is one yet."""
    words = [str(done)] if done and not total else [f"{done}/{total} {100 * done // total if total else 100}%"]
    count = done - start
    if count > 0 and elapsed >= REFRESH:
        if not rate or done >= total:
            rate = count / elapsed
        words += [f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each",
                  f"left {duration((total - done) / rate)}" if done < total else f"in {duration(elapsed)}"]
    return ", ".join([*words, text] if text else words)
