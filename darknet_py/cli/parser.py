"""The parser of a verb's words: flags with one dash or two, and a line about those that it does not know."""
from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from darknet_py.errors import one_line, suggestion

OF_CFG = ("-set", "-size")          # of verbs that run a network; others read the cfg as it is


def normalized(word: str) -> str:
    """A flag as argparse knows it: -ext_output, --ext_output and -ext-output are --ext-output; -i 0 is --i 0."""
    match = re.fullmatch(r"--?([A-Za-z][\w-]*)(=.*)?", word, re.S)
    if match is None:
        return word
    name = "help" if match[1] == "h" else match[1].replace("_", "-").lower()
    return f"--{name}{match[2] or ''}"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line of bounded length, with the flag or the choice that is probably meant."""

    words = ""                          # that the verb takes, as in "CFG WEIGHTS IMAGE..."

    def order(self, action: str | None = None) -> str:
        """The words that the verb takes, or its action, in their order."""
        verb = self.prog.removeprefix("darknet-py ")
        found = None if action is None else re.search(rf"^{verb} {action} +(.*?)(?:  |$)", self.description or "", re.M)
        return self.words if found is None else found[1]

    def error(self, message: str) -> NoReturn:
        if "arguments are required" in message:             # and with these, argparse says, those that may be missing
            message = f"{message.removesuffix(', images')}; expected {self.order()}"
        self.exit(2, f"{one_line(f'{self.prog}: error: {message}')} ({self.prog} --help says more)\n")

    def parse_intermixed_args(self, args: Sequence[str] | None = None,     # type: ignore[override]
                              namespace: argparse.Namespace | None = None) -> argparse.Namespace:
        found, unknown = self.parse_known_intermixed_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        return found

    def _unknown(self, words: list[str]) -> str:
        """What to say of words that are left over: the first flag among them, else the first word."""
        flag = next((word for word in words if word.startswith("--") and len(word) > 2), None)
        if flag is None:
            return f"expected no more words, found {words[0]}"
        name = typed_as(flag.partition("=")[0])
        hint = "; darknet-py edit changes values of the cfg" if name in OF_CFG else suggestion(name, self.flags())
        return f"expected a flag of {self.prog.removeprefix('darknet-py ')}, found {name}{hint}"

    def flags(self) -> list[str]:
        """The flags that --help lists, as users of Darknet write them."""
        return [typed_as(option) for action in self._actions if action.help is not argparse.SUPPRESS
                for option in action.option_strings if option.startswith("--")]

    def positionals(self) -> list[argparse.Action]:
        """The words that are no flags, in their order."""
        return [action for action in self._actions if not action.option_strings]

    def actions(self) -> list[str]:
        """What a verb with actions can do, as ``detector`` has test, map and others."""
        return [str(choice) for action in self._actions if action.dest == "action" for choice in action.choices or ()]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"expected {', '.join(map(str, action.choices))}, found {value}"
                                         + suggestion(str(value), map(str, action.choices)))

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:    # argparse makes [] of it
            self.error(f"argument {action.option_strings[0]}: expected a value, found --")
        return super()._get_values(action, arg_strings)

    def _print_message(self, message: str, file: Any = None) -> None:
        (sys.stderr if file is None else file).write(message)       # errors come out, see ``main``


def typed_as(option: str) -> str:
    """A flag of argparse as users of Darknet write it: --ext-output is -ext_output."""
    return f"-{option.lstrip('-').replace('-', '_')}"
