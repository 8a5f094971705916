"""The bar on a terminal, and the lines elsewhere."""
import io

import pytest

from darknet_py.cli.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.

    def __call__(self):
        return self.now


def shown(text):
    """What a terminal shows in the end: its lines, each overwritten by what follows a carriage return."""
    lines = []
    for line in text.split("\n"):
        cells = []
        for part in line.split("\r"):
            cells[:len(part)] = part
        lines.append("".join(cells).rstrip())
    return lines


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")


def test_a_bar():
    stream, clock = Terminal(), Clock()
    with Progress(40, stream, start=10, clock=clock) as progress:
        clock.now += 2
        progress.update(20, "a text that is too long for what is left of the line")
        assert shown(stream.getvalue()) == ["20/40 50% 5/s 0:04 left a text that is too long for what is"]
        clock.now += .01
        progress.update(21)
        assert "21/40" not in stream.getvalue()         # too soon to draw again
        clock.now += 7.99
        progress.update(30)
        assert shown(stream.getvalue()) == ["[" + "=" * 18 + " " * 6 + "] 30/40 75% 2/s 0:05 left"]
        progress.print("warning: a")
        assert shown(stream.getvalue()) == ["warning: a", "[" + "=" * 18 + " " * 6 + "] 30/40 75% 2/s 0:05 left"]
    assert shown(stream.getvalue()) == ["warning: a", ""]


def test_lines():
    stream, clock = io.StringIO(), Clock()
    with Progress(5, stream, interval=10, clock=clock) as progress:
        for done in range(1, 5):
            clock.now += 6
            progress.update(done, "loss 1")
        progress.print("saved")
        progress.update(5)
    assert stream.getvalue() == ("2/5 40% 6 s each 0:18 left loss 1\n4/5 80% 6 s each 0:06 left loss 1\nsaved\n"
                                 "5/5 100% 4.8 s each in 0:24\n")


def test_what_is_short_needs_no_lines():
    stream = io.StringIO()
    with Progress(4, stream) as progress:
        progress.update(4)
    assert stream.getvalue() == ""


def test_nothing_to_do():
    stream = Terminal()
    with Progress(0, stream) as progress:
        progress.print("none")
    assert shown(stream.getvalue())[0] == "none" and progress.line() == "0/0 100%"


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (18243, "5:04:03"),
                                           (48 * 3600, "2 d 0 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text
