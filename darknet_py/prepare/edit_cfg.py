"""Editing of cfg values by section and key; all other text stays as it is."""
from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from darknet_py.cfg.language import Cfg
from darknet_py.cfg.options import NetOptions, bind, keys
from darknet_py.errors import CfgError, DarknetError, Reason, suggestion
from darknet_py.layers import KINDS, Head
from darknet_py.model.input_size import coarsest_step, size_problem
from darknet_py.model.network import Network
from darknet_py.prepare.refit_heads import fitted, with_head_values

NET = ("net", "network")
TARGET = re.compile(r"(?:(?P<layer>[0-9]{1,6})|(?P<kind>[A-Za-z]\w*)(?:\[(?P<turn>-?[0-9]{1,6})\])?)\.(?P<key>\w+)")


class Change(NamedTuple):
    """A value that differs between two cfgs. line: in the new one, or of the removed key in the old one."""

    line: int
    section: str
    key: str
    old: str | None
    new: str | None


def edit_cfg(cfg: Cfg, changes: Mapping[str, Any]) -> Cfg:
    """A cfg with other values, all of which are set before it is built.

    Args:
        changes: target -> value; None, or no text, takes the key out. A target is a section and a key: ``net.width``,
            ``yolo.classes`` (all sections of that kind, whichever of its names they have), ``yolo[2].mask`` (the third
            of them) or ``139.mask`` (layer 139). The filters before a head follow its classes, mask and num.

    Raises:
        CfgError: there is no such section or key, a value has the wrong type, or the new cfg would not build, or has a
            size that is no multiple of the stride. Lines are those of the old cfg.
    """
    values: dict[tuple[int, str], Any] = {}         # by section and key
    for target, value in changes.items():
        text = "" if value is None else str(value).strip()
        if set(text) & set("#;\r\n\0"):
            raise cfg.error(f"expected a value without comments and line ends, found {target}={text!r}",
                            reason=Reason.SYNTAX)
        values |= dict.fromkeys(_places(cfg, target, removing=not text), text or None)
    new = cfg
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")         # the cfg's warnings are given when it is built, below
            new = cfg.with_values(values)
            _check_types(new, values)
            try:
                network = fitted(cfg)
            except CfgError:                        # the old cfg need not build, but the new one must
                network = fitted(new)
            layers = {(index - 1, key): value for (index, key), value in values.items() if index}
            new = with_head_values(network, layers)
            new = new.with_values(values)           # filters among the changes, which are refused if they do not fit
            sides = {key: getattr(bind(new, new.sections[0], NetOptions), key)
                     for key in ("width", "height") if values.get((0, key)) is not None}
            if sides and (problem := size_problem(coarsest_step(new), **sides)) is not None:
                raise new.error(f"[net] {problem}", new.sections[0].first[problem.split("=")[0]].line,
                                Reason.INDIVISIBLE)
        with torch.device("meta"):
            Network(new)
    except CfgError as error:
        raise cfg.error(error.message, _line_before(cfg, new, error.line), error.reason) from None
    return new


def read_changes(words: Iterable[str], user: str = "a change") -> dict[str, str]:
    """The changes that words such as ``net.width=608`` stand for, as ``edit_cfg`` takes them.

    Args:
        user: of them, for the message.

    Raises:
        DarknetError: a word has no equals sign.
    """
    changes = {}
    for word in words:
        target, equals, value = word.partition("=")
        if not equals:
            raise DarknetError(f"{user} takes changes such as net.width=608, found {word!r}")
        changes[target] = value
    return changes


def differences(old: Cfg, new: Cfg) -> Iterator[Change]:
    """What ``edit_cfg`` changed, in the order of the file."""
    for before, after in zip(old.sections, new.sections, strict=True):
        for key in {**before.first, **after.first}:
            was, is_ = before.first.get(key), after.first.get(key)
            entry = was if is_ is None else is_
            values = [None if entry is None else entry.value for entry in (was, is_)]
            if entry is not None and values[0] != values[1]:
                yield Change(entry.line, after.kind, key, *values)


def _places(cfg: Cfg, target: str, removing: bool) -> Iterator[tuple[int, str]]:
    """The sections that a target means, with the key."""
    match = TARGET.fullmatch(target)
    if match is None:
        raise cfg.error("expected SECTION.key=value, such as net.width=608, yolo[2].mask=6,7,8 or 139.mask=6,7,8, "
                        f"found {target[:80]!r}", reason=Reason.SYNTAX)
    key, found = match["key"], []
    if match["layer"] is not None:
        found = [int(match["layer"]) + 1]
        if found[0] >= len(cfg.sections):
            raise cfg.error(f"has layers 0 to {len(cfg.sections) - 2}, found {target}", reason=Reason.BAD_REFERENCE)
    elif match["kind"] in NET and match["turn"] is None:
        found = [0]
    elif match["kind"] in KINDS:
        found = [index for index, section in enumerate(cfg.sections[1:], 1)
                 if KINDS.get(section.kind) is KINDS[match["kind"]]]
    if match["turn"] is not None and found:
        turn = int(match["turn"])
        if not -len(found) <= turn < len(found):
            raise cfg.error(f"has [{match['kind']}] sections 0 to {len(found) - 1}, found {target}",
                            reason=Reason.BAD_REFERENCE)
        found = [found[turn]]
    if not found:
        kinds = dict.fromkeys(["net", *(section.kind for section in cfg.sections[1:])])
        raise cfg.error(f"has no section [{match['kind']}]{suggestion(match['kind'], kinds, '[{}]')}; it has "
                        f"{', '.join(f'[{kind}]' for kind in kinds)}", reason=Reason.UNKNOWN_NAME)
    if removing:
        found = [index for index in found if key in cfg.sections[index].first]
        if not found:
            raise cfg.error(f"{target}= takes out a key that is not there", reason=Reason.MISSING_KEY)
    for index in found:
        section = cfg.sections[index]
        known = keys(_options(cfg, index))
        if key not in known and not removing:
            hint = suggestion(key, known, "{}=")
            if key == "classes" and index and issubclass(KINDS[section.kind], Head):
                hint = ": its classes are the filters= or output= of the layer that it reads"
            raise cfg.error(f"[{section.kind}] has no option {key}={hint}", section.line, Reason.UNKNOWN_NAME)
        yield index, key


def _options(cfg: Cfg, section: int) -> type:
    """The dataclass of a section's options."""
    kind = cfg.sections[section].kind
    if section and kind not in KINDS:
        raise cfg.error(f"expected a layer that Darknet knows, found [{kind}]" + suggestion(kind, KINDS, "[{}]"),
                        cfg.sections[section].line, Reason.UNKNOWN_NAME)
    return KINDS[kind].Options if section else NetOptions


def _check_types(cfg: Cfg, values: Mapping[tuple[int, str], Any]) -> None:
    """Check that new values have their keys' types, without what C tolerates."""
    for index in {index for index, _ in values}:
        section = cfg.sections[index]
        new = {key: entry for key, entry in section.first.items() if values.get((index, key)) is not None}
        bind(replace(cfg, strict=True), replace(section, first=new), _options(cfg, index))


def _line_before(old: Cfg, new: Cfg, line: int | None) -> int | None:
    """The line of a cfg that became a line of the new one; for a new key its section's."""
    if line is None:
        return None
    before, after = next((before, after) for before, after in zip(old.sections[::-1], new.sections[::-1], strict=True)
                         if after.line <= line)
    key = next((entry.key for entry in after.entries if entry.line == line), None)
    return before.line if key not in before.first else before.first[key].line
