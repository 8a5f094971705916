"""The order of a verb's words: DATA, CFG, WEIGHTS and pictures told by the ends of their names, and a line about one
that stands where another belongs."""
from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from darknet_py.cli.parser import Parser
from darknet_py.errors import DarknetError, nearest

# what a name is by its end; models (.onnx, .xml ...) stand for CFG and for WEIGHTS, so they are none of these
KINDS = {"cfg": r"\.cfg", "data": r"\.data", "weights": r"\.(weights|backup)|\.conv\.\d+",
         "images": r"\.(jpe?g|png|bmp|webp|tiff?|gif|mp4|m4v|mov|mkv|avi|webm)"}
WORDS = {"cfg": "a .cfg file", "data": "a .data file", "weights": "weights", "images": "a picture or video"}
PLACES = {"images": "IMAGE", "files": "WEIGHTS", "changes": "SECTION.KEY=VALUE"}
# in these places something else may stand that looks like it
WELCOME = {("image", "images"), ("names", "weights"), ("names", "cfg"), ("out", "weights"), ("out", "images"),
           ("files", "weights"), ("changes", "images"), ("source", "data"), ("source", "images")}


def check_order(parsed: argparse.Namespace, parser: Parser) -> None:
    """Refuse words in another order than the verb's, as CFG DATA instead of DATA CFG, or without one of them.

    Args:
        parsed: as the parser gives it.

    Raises:
        DarknetError: says what was expected, and where it can, the right words.
    """
    positionals = [action for action in parser.positionals() if action.dest != "action"]
    words = [(action.dest, word) for action in positionals for word in _words(getattr(parsed, action.dest))]
    wrong = next(((place, word) for place, word in words if not _fits(parsed, place, word)), None)
    if wrong is None:
        return
    place, word = wrong
    action = getattr(parsed, "action", None)
    verb = parsed.verb if action is None else f"{parsed.verb} {action}"
    better = _sorted(positionals, [word for _, word in words])
    taker = next(action for action in positionals if action.dest == place)
    missing = taker.metavar if isinstance(taker.metavar, str) else PLACES.get(place, place.upper())
    if place == "weights" and kind_of(word) == "images" and (name := _near(str(parsed.cfg))) is not None:
        hint = f"; {parsed.cfg} is no file and no network of the zoo; did you mean {name}?"
    elif better is not None:
        hint = f"; did you mean darknet-py {verb} {' '.join(better)}?"
    elif kind_of(word) == "data" and parsed.verb in ("detect", "demo"):
        hint = f"; detector {'test' if parsed.verb == 'detect' else 'demo'} takes a .data file before these"
    elif f"[{missing}]" not in parser.order(action) and all(kind_of(word) != place for _, word in words):
        hint = f"; there is no {missing}"
    else:
        hint = ""
    what = WORDS.get(kind_of(word) or "", "a network of the zoo")
    raise DarknetError(f"{verb}: expected {parser.order(action)}, found {what} in the place of "
                       f"{missing}: {' '.join(word for _, word in words)}{hint}")


def kind_of(word: str) -> str | None:
    """What a name is by its end; None for what may be anything."""
    return next((kind for kind, end in KINDS.items() if re.search(f"({end})$", word, re.I)), None)


def _words(value: object) -> list[str]:
    return [str(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, (str, int))]


def _fits(parsed: argparse.Namespace, place: str, word: str) -> bool:
    if place == "data" and _is_network(word):
        return False
    kind = kind_of(word)
    if kind is None or kind == place or (place, kind) in WELCOME:
        return True
    from darknet_py.zoo.models import stands_alone
    cfg = getattr(parsed, "cfg", None)              # of the zoo, or a model: a picture may follow
    return place == "weights" and kind == "images" and cfg is not None and (
        stands_alone(cfg) or (kind_of(cfg) is None and Path(cfg).suffix != ""))


def _is_network(word: str) -> bool:
    """Whether this is a network of the zoo by its name, and no folder that is called so."""
    from darknet_py.zoo.models import is_name
    return is_name(word) and not Path(word).exists()


def _near(cfg: str) -> str | None:
    """The network of the zoo that is probably meant where there is no such file."""
    from darknet_py.zoo.architectures import ARCHITECTURES
    return None if Path(cfg).exists() else nearest(cfg.removesuffix(".cfg"), ARCHITECTURES)


def _sorted(positionals: Sequence[argparse.Action], words: list[str]) -> list[str] | None:
    """The words in the verb's order, each place with the first that is of its kind or else may be anything; None where
    a needed place stays empty or a word is left over."""
    left, found = list(words), []
    for action in positionals:
        most = None if action.nargs in ("*", "+") else 1
        able = [word for word in left if kind_of(word) == action.dest] or \
            [word for word in left if action.dest == "cfg" and _is_network(word)] or \
            [word for word in left if (kind_of(word) is None and not (action.dest == "data" and _is_network(word)))
             or (action.dest, kind_of(word)) in WELCOME]
        if not able and action.nargs in (None, "+"):
            return None
        for word in able[:most]:
            left.remove(word)
            found.append(word)
    return found if not left and found != words else None
