"""Lengths of time in words."""
from __future__ import annotations

UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
DAYS_FROM = 48 * 3600       # seconds; below that, hours say more


def duration(seconds: float) -> str:
    """The two largest units of a length of time: ``7 s``, ``12 min 34 s``, ``5 h 4 min``, ``2 d 5 h``."""
    rest = max(0, round(seconds))
    units = UNITS if rest >= DAYS_FROM else UNITS[1:]
    first = next((at for at, (_, size) in enumerate(units) if rest >= size), len(units) - 1)
    words = []
    for name, size in units[first:first + 2]:
        count, rest = divmod(rest, size)
        words.append(f"{count} {name}")
    return " ".join(words)
