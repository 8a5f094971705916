"""Print a script that completes verbs, flags, their values, networks and files in a shell.

bash: add to ~/.bashrc:                   eval "$(darknet-py completion bash)"
zsh:  add to ~/.zshrc, behind compinit:   eval "$(darknet-py completion zsh)"
fish: darknet-py completion fish > ~/.config/fish/completions/darknet-py.fish

The script holds all words itself, so nothing is run while you type. Print it anew after an update.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from darknet_py.cli.parser import Parser, typed_as

# of flags whose values are no choices of argparse
VALUES = {
    "backend": ("auto", "pytorch", "compile", "ncnn", "openvino", "onnxruntime", "tensorrt", "torchscript",
                "torch.export"),
    "precision": ("float32", "bfloat16", "float16", "int8"), "device": ("auto", "cpu", "cuda", "cuda:0"),
    "log": ("wandb", "mlflow", "tensorboard"),
    "to": ("onnx", "xml", "torchscript", "pt2", "safetensors", "pt", "weights")}
VALUES["backends"] = VALUES["backend"][1:]
FILES, FOLDERS = ("FILES",), ("FOLDERS",)           # instead of words: paths
FILE_NAMES = {"FILE", "PATH", "VIDEO", "CFG", "TEXT"}       # metavars
FILE_FLAGS = {"data", "names"}


class Flag(NamedTuple):
    """A flag, what --help says of it, and what may follow it: words, ``FILES``, ``FOLDERS``, or () for anything else;
    None: it takes no value."""

    name: str
    help: str
    values: tuple[str, ...] | None


class Verb(NamedTuple):
    """A verb, or one of its actions: its flags, and the words that may stand beside files."""

    flags: tuple[Flag, ...]
    words: tuple[str, ...]
    files: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="for which shell")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.cli import shells
    print(getattr(shells, arguments.shell)(table()), end="")
    return 0


def table() -> dict[str, Verb]:
    """By verb, and by "VERB ACTION", what may follow."""
    from darknet_py.cli import VERBS, parser_of
    from darknet_py.cli.action_flags import TAKEN
    found = {}
    for verb in VERBS:
        parser = parser_of(verb)
        actions = parser.actions()
        for action in actions:
            taken = TAKEN.get(verb, {}).get(action)
            found[f"{verb} {action}"] = Verb(tuple(
                flag for flag, name in flags(parser) if taken is None or name in taken | {"help"}),
                words(verb, parser), True)
        found[verb] = Verb((Flag("-help", "", None),), tuple(actions), False) if actions else Verb(
            tuple(flag for flag, _ in flags(parser)), words(verb, parser), bool(files(parser)))
    found["help"] = Verb((), tuple(VERBS), False)
    return found


def flags(parser: Parser) -> Iterator[tuple[Flag, str]]:
    """The flags that --help lists, each with the name of its value."""
    for action in parser._actions:
        option = next((one for one in action.option_strings if one.startswith("--")), None)
        if option is not None and action.help is not argparse.SUPPRESS:
            name = "-help" if option == "--help" else typed_as(option)
            text = (action.help or "").partition(";")[0].partition(" (default")[0]
            yield Flag(name, text, values(action)), action.dest


def values(action: argparse.Action) -> tuple[str, ...] | None:
    if action.nargs == 0:
        return None
    if action.choices:
        return tuple(map(str, action.choices))
    if action.dest in VALUES:
        return VALUES[action.dest]
    if action.metavar == "FOLDER":
        return FOLDERS
    return FILES if action.metavar in FILE_NAMES or action.dest in FILE_FLAGS else ()


def words(verb: str, parser: Parser) -> tuple[str, ...]:
    """Words beside files: networks of the zoo where CFG or a NAME stands."""
    from darknet_py.zoo.architectures import ARCHITECTURES
    from darknet_py.zoo.manifest import OFFICIAL
    names: Sequence[str] = [str(choice) for action in parser.positionals() for choice in action.choices or ()]
    if verb == "download":
        names = [name.removesuffix(".weights") for name in OFFICIAL]
    elif verb in ("new", "zoo") or any(action.dest == "cfg" for action in parser.positionals()):
        names = list(ARCHITECTURES)
    return tuple(names)


def files(parser: Parser) -> list[argparse.Action]:
    """The positionals that are paths."""
    return [action for action in parser.positionals() if not action.choices and action.dest not in ("name", "names")]
