"""The facts of a run in its .state file (iteration, best score, identity ...), checked when they are read."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darknet_py.cfg.language import parse_cfg
from darknet_py.errors import CfgError, CfgWarning, DataError, Reason
from darknet_py.utils.files import MOST_WHOLE, is_text, show_json

AFRESH = "-clear starts afresh, without this file"
OPTIONAL = ("seed", "amp", "pictures", "best_at", "worse", "stopped", "run", "identity")    # earlier versions lack them


def check(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts, if each is what it must be. Others, of later versions, are kept.

    Raises:
        DataError: a fact is missing, or something else.
    """
    for key, (expected, fits) in _FACTS.items():
        if key not in facts and key in OPTIONAL:
            continue
        if key not in facts or not fits(facts[key]):
            found = show_json(facts[key]) if key in facts else "none"
            raise DataError(f"{path}: {key}: expected {expected}, found {found}; {AFRESH}",
                            Reason.BAD_VALUE if key in facts else Reason.MISSING_KEY)
    return facts


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST_WHOLE


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300         # NaN is not


def _cfg(value: Any) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        try:
            return isinstance(value, str) and bool(parse_cfg(value).sections)
        except CfgError:
            return False


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _first(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and is_text(value[0]) and all(map(_count, value[1:]))


def _run(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == set(_RUN) and all(fits(value[key]) for key, fits in _RUN.items())


def _identity(value: Any) -> bool:
    return not value or (isinstance(value, list) and len(value) == 3 and all(
        fits(one) for fits, one in zip((_or_none(_count), _or_none(is_text), _or_none(_first)), value, strict=True)))


_RUN: dict[str, Callable[[Any], bool]] = {          # see ``Identity``
    "cfg": lambda value: value is None or _count(value) or _cfg(value),
    "layers": lambda value: isinstance(value, list) and all(is_text(one) and one.strip() for one in value),
    "data": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_or_none(is_text), value)),
    "entries": lambda value: isinstance(value, dict) and all(map(is_text, value.values())),
    "first": _or_none(_first)}
_COUNT = "a whole number from 0 on", _count
_FACTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "iteration": _COUNT, "seen": _COUNT, "scored_at": _COUNT, "weights": ("a CRC-32", _count),
    "average_loss": ("a number", _number), "best": ("a number", _number),
    "scale": ("two numbers", lambda value: isinstance(value, list) and len(value) == 2 and all(map(_number, value))),
    "seed": _COUNT, "amp": ("a precision", is_text), "pictures": _COUNT, "best_at": (f"{_COUNT[0]} or null",
                                                                                  _or_none(_count)),
    "worse": _COUNT, "stopped": ("a reason or null", _or_none(is_text)),
    "run": (f"an object with {', '.join(_RUN)} of a run", _run), "identity": ("three facts or null", _identity)}
