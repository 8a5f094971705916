"""Errors and warnings, each one line: file and line, what was expected, what was found."""
from __future__ import annotations


class DarknetError(Exception):
    """Base of every error that darknet_py raises for its input."""


class CfgError(DarknetError):
    """A cfg file that cannot be used. Reads ``path:line: message``.

    Args:
        message: what was expected and what was found.
        path: the file, or None for text that came from no file.
        line: 1-based line number, or None where the whole file is meant.
    """

    def __init__(self, message: str, path: object = None, line: int | None = None):
        super().__init__(f"{locate(path, line)}: {message}")
        self.message, self.path, self.line = message, path, line

    def __reduce__(self) -> tuple:              # between processes: made again from what it was made of
        return type(self), (self.message, self.path, self.line)


class WeightsError(DarknetError):
    """A weights file that cannot be read, or does not fit the network."""


class DataError(DarknetError):
    """An image, a label, a list of names, a .data file or a manifest that cannot be used."""


class DownloadError(DarknetError):
    """A file that cannot be downloaded, or that differs from its expected size or hash."""


class CfgWarning(UserWarning):
    """Something in a cfg file that Darknet tolerates and that is probably a mistake."""


def printable(text: str) -> str:
    """Text with control characters and characters without an encoding escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def locate(path: object, line: int | None) -> str:
    """``path:line``, as compilers print it."""
    where = "<cfg>" if path is None else str(path)
    return where if line is None else f"{where}:{line}"
