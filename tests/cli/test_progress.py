"""The bar on a terminal, and the lines elsewhere."""
import contextlib
import io
import os

import pytest

from darknet_py.cli.progress import Progress
from darknet_py.utils.durations import duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(text):
    """What a terminal shows in the end: its lines, each overwritten by what follows a carriage return."""
    lines = []
    for line in text.split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[:len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


@pytest.fixture
def clock(monkeypatch):
    """tqdm's clock, in our hands."""
    class Clock:
        now = 100.

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    return clock


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")


def test_a_bar(clock):
    stream = Terminal()
    with Progress(40, stream, start=10) as progress:
        assert stream.getvalue() == ""                  # nothing was done yet
        clock.now += 2
        progress.update(20, "a text that is too long for what is left of the line")
        assert shown(stream.getvalue()) == ["20/40 50%, 5/s, left 4 s, a text that is too long for what"]
        clock.now += .01
        progress.update(21)
        assert "21/40" not in stream.getvalue()         # too soon to draw again
        clock.now += 1.99
        progress.update(30)
        assert shown(stream.getvalue()) == ["[" + "#" * 18 + " " * 6 + "] 30/40 75%, 5/s, left 2 s"]
        progress.print("warning: a")
        assert shown(stream.getvalue()) == ["warning: a", "[" + "#" * 18 + " " * 6 + "] 30/40 75%, 5/s, left 2 s"]
    assert shown(stream.getvalue()) == ["warning: a", ""]


def test_lines(clock):
    stream = io.StringIO()
    with Progress(5, stream, interval=10) as progress:
        for done in range(1, 5):
            clock.now += 6
            progress.update(done, "loss 1")
        progress.print("saved")
        progress.update(5)
    assert stream.getvalue() == ("2/5 40%, 6 s each, left 18 s, loss 1\n4/5 80%, 6 s each, left 6 s, loss 1\nsaved\n"
                                 "5/5 100%, 4.8 s each, in 24 s\n")


def test_what_is_short_needs_no_lines():
    stream = io.StringIO()
    with Progress(4, stream) as progress:
        progress.update(4)
    assert stream.getvalue() == ""


def test_nothing_to_do():
    stream = Terminal()
    with Progress(0, stream) as progress:
        progress.print("none")
        assert progress.line() == "0/0 100%"
    assert shown(stream.getvalue())[0] == "none"


def test_nobody_is_spoken_to():
    with Progress(4, None) as progress:
        progress.update(2)
        progress.print("a")
        assert not progress.terminal and progress.line() == "2/4 50%"


def test_rates_are_sane(clock):
    """None before something was done, nor from a blink; then that of late counts more and more."""
    with Progress(10_000, None, start=9000) as progress:
        clock.now += 50
        assert progress.line() == "9000/10000 90%"
    progress = Progress(10_000, Terminal())
    clock.now += 1e-6
    progress.update(12)
    assert progress.line() == "12/10000 0%"
    for done in range(100, 10_000, 100):                # 100 a second, but 12 seconds for the first ones
        clock.now += 1 if done > 100 else 12
        progress.update(done)
        rate = float(progress.line().split(", ")[1].removesuffix("/s"))
        assert 7 < rate <= 100
    assert rate > 97 and progress.line().endswith("left 1 s")       # the mean of all is 90
    clock.now += 1
    progress.update(10_000)
    assert progress.line() == "10000/10000 100%, 90.1/s, in 1 min 51 s"


def test_another_work(clock):
    """Steps that take a while, after pictures: the first of them came in no time that anybody knows."""
    stream = io.StringIO()
    with Progress(10, stream, interval=5) as progress:
        clock.now += 20
        progress.track(10, 10)
        progress.track(50, 400, "steps")
        assert progress.line() == "50/400 12%, steps"
        clock.now += 10
        progress.track(100, 400, "steps")
    assert stream.getvalue() == "10/10 100%, 0.5/s, in 20 s\n100/400 25%, 5/s, left 1 min 0 s, steps\n".replace(
        "0.5/s", "2 s each")


def test_a_total_that_nobody_knows(clock):
    with Progress(0, None) as progress:
        clock.now += 2
        progress.update(12, "MB of a.weights")
        assert progress.line() == "12, 6/s, in 2 s, MB of a.weights"


@pytest.mark.parametrize("seconds, text", [(0, "0 s"), (7.4, "7 s"), (754, "12 min 34 s"), (59.6, "1 min 0 s"),
                                           (18243, "5 h 4 min"), (48 * 3600 - 1, "47 h 59 min"),
                                           (48 * 3600, "2 d 0 h"), (-1, "0 s")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
@pytest.mark.parametrize("told", [0, 70])
def test_a_terminal_of_any_size(told, clock):
    """Some say that they have no columns: those of containers, of CI."""
    import fcntl
    import struct
    import termios
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 0, told, 0, 0))
    with os.fdopen(slave, "w") as stream, Progress(30, stream) as progress:
        clock.now += 1
        progress.update(10, "a" * 99)
        progress.print("b")
    read = b""
    with contextlib.suppress(OSError):          # the end, now that the other side is closed
        while part := os.read(master, 10_000):
            read += part
    lines = read.decode().replace("\r\n", "\n")
    os.close(master)
    line = f"10/30 33%, 10/s, left 2 s, {'a' * 99}"[:69 if told else 59]                # of COLUMNS
    assert lines.split("\r")[1] == line and "b\n\r" + line in lines
