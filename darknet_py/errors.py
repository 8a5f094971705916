"""Errors and warnings, each one line: file and line, what was expected, what was found."""
from __future__ import annotations

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum, auto

MOST = 500          # characters of a message


class Reason(Enum):
    """In which way an input is wrong: the ``reason`` of CfgError, WeightsError and DataError, for programs to match."""

    # files and folders
    MISSING_FILE = auto()       # no such file or folder
    UNREADABLE = auto()         # it is there, but reading fails: permissions, a folder for a file, a broken disk
    UNWRITABLE = auto()         # it cannot be written, made, moved or locked
    ALREADY_EXISTS = auto()     # it would be overwritten
    IN_USE = auto()             # another process works on it
    # what is in a file, or in an array
    WRONG_FORMAT = auto()       # a file of another format, or an array of another type
    SYNTAX = auto()             # text that does not follow its language
    CORRUPT = auto()            # damaged: it cannot be decoded
    TRUNCATED = auto()          # it ends before what it must hold
    EMPTY = auto()              # nothing in it, or nothing that can be used
    TOO_LARGE = auto()          # beyond a limit, or the memory
    UNSAFE = auto()             # code would have to be executed to read it
    # options, keys and arguments
    MISSING_KEY = auto()        # a key, or an argument, that is needed here is not given
    UNKNOWN_NAME = auto()       # a name of a kind, an option, a format or a class that is none of those known
    BAD_VALUE = auto()          # a value of another type or form
    OUT_OF_RANGE = auto()       # a number beyond its bounds
    WRONG_COUNT = auto()        # more or fewer of something than of what it belongs to
    INDIVISIBLE = auto()        # a number that must divide another does not
    DUPLICATE = auto()          # what must differ is the same
    CONFLICT = auto()           # values, or places, that do not go together
    TOLERATED = auto()          # what Darknet tolerates, and ``strict`` does not
    # networks
    SHAPE_MISMATCH = auto()     # a shape that does not fit what it meets
    BAD_REFERENCE = auto()      # the number of a layer that is not there, or is of a kind that cannot be meant
    INCOMPATIBLE = auto()       # weights or a state of another network or run
    WRONG_TASK = auto()         # a network that is not made for what is asked of it
    UNSUPPORTED = auto()        # it has no counterpart in the format, or on the system, that is asked for
    WORKER_DIED = auto()        # a process that loads pictures ended

    @classmethod
    def reading(cls, error: OSError) -> Reason:
        """Why a file could not be read, by the system's error."""
        return cls.MISSING_FILE if isinstance(error, FileNotFoundError) else cls.UNREADABLE


class DarknetError(Exception):
    """Base of every error that darknet_py raises for its input; its text is one line, see ``one_line``."""

    most = MOST

    def __init__(self, message: object):
        super().__init__(one_line(str(message), self.most))


class CfgError(DarknetError):
    """A cfg file that cannot be used. Reads ``path:line: message``.

    Args:
        message: what was expected and what was found.
        reason: in which way it is wrong.
        path: the file, or None for text that came from no file.
        line: 1-based line number, or None where the whole file is meant.
    """

    def __init__(self, message: str, reason: Reason, path: object = None, line: int | None = None):
        super().__init__(f"{locate(path, line)}: {message}")
        self.message, self.reason, self.path, self.line = message, reason, path, line

    def __reduce__(self) -> tuple:              # between processes: made again from what it was made of
        return type(self), (self.message, self.reason, self.path, self.line)


class _InputError(DarknetError):
    """A message, and in which way the input is wrong."""

    def __init__(self, message: str, reason: Reason):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.reason)


class WeightsError(_InputError):
    """A weights file that cannot be read, or does not fit the network."""


class DataError(_InputError):
    """An image, a label, a list of names, a .data file or a manifest that cannot be used."""


class DownloadError(DarknetError):
    """A file that cannot be downloaded, or that differs from its expected size or hash."""

    most = 4 * MOST             # each URL is named, with why


class CfgWarning(UserWarning):
    """Something in a cfg file that Darknet tolerates and that is probably a mistake."""


class DownloadWarning(UserWarning):
    """A file that is being fetched: from where, how large it is, and on what terms."""


class BackendWarning(UserWarning):
    """Something that a backend or the cache of compiled models cannot do here as asked, and does otherwise."""


def printable(text: str) -> str:
    """Text with control characters and characters without an encoding escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def one_line(text: str, most: int = MOST) -> str:
    """``printable`` text of at most about ``most`` characters: of a longer one the middle is left out, since a message
    begins with its file and ends with what is wrong."""
    if len(text) > most:
        text = f"{text[:most // 2 - 3]} ... {text[3 - most // 2:]}"
    text = printable(text)
    return text if len(text) <= most else f"{text[:most // 2 - 3]} ... {text[3 - most // 2:]}"


def shown(value: object) -> str:
    """The beginning of a value, for a message; aliases in YAML may make it endless."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def cause(error: BaseException) -> str:
    """The system's message for an error; its own text where it has no errno, as after a write that was cut short."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def nearest(word: str, known: Iterable[str], cutoff: float = .6) -> str | None:
    """The most similar of the known words, whatever their case, or the only one that begins with a word of 3 letters or
    more; None where none is similar."""
    lower: dict[str, str] = {}
    for one in known:
        lower.setdefault(one.lower(), one)
    word = word.lower()
    begins = [one for one in lower if one.startswith(word)] if len(word) > 2 else []
    close = begins if len(begins) == 1 else get_close_matches(word, lower, n=1, cutoff=cutoff)
    return lower[close[0]] if close else None


def suggestion(word: str, known: Iterable[str], form: str = "{}", cutoff: float = .6) -> str:
    """The end of a message about an unknown word: the one that is probably meant, see ``nearest``, in ``form``."""
    found = nearest(word, known, cutoff)
    return "" if found is None else f"; did you mean {form.format(found)}?"


def locate(path: object, line: int | None) -> str:
    """``path:line``, as compilers print it."""
    where = "<cfg>" if path is None else str(path) if str(path) else "''"
    return where if line is None else f"{where}:{line}"
