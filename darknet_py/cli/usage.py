"""The usage of the command line as a whole: its verbs in groups, and what is said of a verb that is none."""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from darknet_py.errors import nearest, printable

GROUPS = {
    "run": ("detect", "demo", "batch", "serve", "nightmare"),
    "train": ("train", "tune", "schedule"),
    "measure": ("evaluate", "benchmark", "profile"),
    "as Darknet": ("detector", "classifier", "rnn"),
    "data sets": ("dataset", "check", "preview"),
    "networks": ("zoo", "download", "new", "edit", "info", "ops"),
    "other formats": ("convert", "quantize"),
    "weights": ("partial", "average", "oneoff", "rgbgr", "rescale", "reset", "denormalize", "normalize", "statistics",
                "visualize"),
    "this installation": ("doctor", "completion"),
}
SHORT = """usage: darknet-py VERB ...

  darknet-py detect yolov4 dog.jpg         finds objects in a picture; fetches the network's weights once
  darknet-py train data/obj.data my.cfg    trains a network on your pictures

verbs:
"""
END = """
darknet-py help lists what each does, darknet-py help VERB explains one; darknet-py --version says the version.
"""


def short_usage() -> str:
    """Two examples, and the names of all verbs."""
    return SHORT + "".join(f"  {group:<18}{' '.join(verbs)}\n" for group, verbs in GROUPS.items()) + END


def usage(verbs: Mapping[str, tuple[str, str]]) -> str:
    """The verbs, each with what it does. verbs: module and help of each."""
    groups = "".join(f"\n{group}\n" + "".join(f"  {verb:<12}{verbs[verb][1]}\n" for verb in members)
                     for group, members in GROUPS.items())
    return (f"usage: darknet-py VERB ...\n{groups}\ndarknet-py help VERB, or darknet-py VERB --help, says more; "
            "darknet-py --version says the version.\n")


def unknown_verb(word: str, words: Sequence[str], verbs: Collection[str]) -> str:
    """What to say where a word is no verb: the one that is probably meant, also an action without its verb, or
    ``detect`` in front of a picture or a network."""
    from darknet_py.cli import parser_of
    from darknet_py.zoo.architectures import ARCHITECTURES
    actions = {action: f"{verb} {action}" for verb in reversed(GROUPS["as Darknet"])
               for action in parser_of(verb).actions()}
    close = nearest(word, [*verbs, *actions])
    meant = None if close is None else actions.get(close, close) if close not in verbs else close
    if meant is None and (Path(word).suffix or word in ARCHITECTURES):
        meant = f"detect {' '.join(words)}"
    hint = "" if meant is None else f"; did you mean darknet-py {printable(meant[:80])}?"
    found = printable(word[:40]) if word else "''"
    return f"expected a verb, found {found}{hint} (darknet-py help lists the verbs)"
