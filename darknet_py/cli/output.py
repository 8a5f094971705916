"""Standard output and error: lines with foreign text escaped, streams that are closed or lost."""
from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

from darknet_py.errors import one_line

LONGEST = 4096          # characters of a line


def say(line: str, *, error: bool = False) -> None:
    """Print a line. Names, paths and other foreign text in it may hold anything, see ``one_line``.

    Args:
        error: on standard error.
    """
    print(one_line(line, LONGEST), file=sys.stderr if error else sys.stdout, flush=True)


def counted(count: int, noun: str) -> str:
    """A number of things, as 2 pictures."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def open_streams() -> None:
    """Open standard streams that the caller has closed (``>&-``): else the first file that is opened takes the number,
    and gets what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)             # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def give_up_streams() -> None:
    """Drop what is in the buffers of streams that cannot be written, else Python fails at its end to write it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            to_nowhere(stream)


def to_nowhere(*streams: TextIO) -> None:
    """Let streams write into the null device from now on."""
    with open(os.devnull, "wb") as nowhere:
        for stream in streams:
            with suppress(OSError):                     # a stream without a number
                os.dup2(nowhere.fileno(), stream.fileno())
