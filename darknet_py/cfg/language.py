"""The cfg language: text to sections and entries that know their lines, and back to text. No torch, no types.

Darknet: read_cfg, read_option (parser.c, option_list.c). C drops all white space within a line and knows comments
only at a line's start; values carry trailing text all the same, which its atoi and atof pass over.
"""
from __future__ import annotations

import os
import re
import warnings
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.errors import CfgError, CfgWarning, Reason, cause, locate, one_line
from darknet_py.utils.files import check_regular, is_same_file, replacing

if TYPE_CHECKING:
    from darknet_py.cfg.metadata import Stored

MAX_BYTES = 1 << 19         # the largest cfg that Darknet shipped has 41 kB


@dataclass(frozen=True)
class Entry:
    """One ``key=value`` line: the value as C reads it (no white space), and where its text stands."""

    key: str
    value: str
    line: int
    start: int              # character offsets of the value within the whole text, trailing comment left out
    end: int


@dataclass(frozen=True)
class Section:
    """One ``[kind]`` and its entries, in file order. ``first``: key -> the entry that counts, the first one."""

    kind: str
    line: int
    entries: tuple[Entry, ...]
    first: dict[str, Entry]


@dataclass(frozen=True)
class Cfg:
    """A parsed cfg file, see ``read_cfg`` and ``parse_cfg``.

    Attributes:
        text: the file as it was read: comments, order and white space included.
        sections: in the file's order; the first is [net].
        path: of the file; None: it came from text.
        strict: what Darknet tolerates is an error, not a warning.
        stored: what came with it, where it is that of an exported model, whose ``path`` is then the model's.
    """

    text: str
    sections: tuple[Section, ...]
    path: Path | None = None
    strict: bool = False
    stored: Stored | None = None

    def error(self, message: str, line: int | None = None, reason: Reason = Reason.BAD_VALUE) -> CfgError:
        """A CfgError with this message, which points at a line of this file, or at the whole: a bad value there, unless
        ``reason`` says otherwise."""
        return CfgError(message, reason, self.path, line)

    def warn(self, message: str, line: int | None = None) -> None:
        """Report what Darknet tolerates, by a message that points at a line: a CfgWarning, or with ``strict`` a
        CfgError."""
        if self.strict:
            raise self.error(message, line, Reason.TOLERATED)
        warnings.warn(CfgWarning(one_line(f"{locate(self.path, line)}: {message}")), stacklevel=2)

    def with_value(self, section: int, key: str, value: Any) -> Cfg:
        """A cfg with one value changed, or added at the section's end; all other text stays as it is, and so does text
        that says the same already.

        Args:
            section: index into ``sections`` (0 is [net]).
            key: as the cfg has it, such as "width".
            value: None takes the key's lines out.
        """
        return self.with_values({(section, key): value})

    def with_values(self, values: Mapping[tuple[int, str], Any]) -> Cfg:
        """The same for many values, by section and key, in one go."""
        edits = []
        ends = [found.start() for found in re.finditer(r"\n|\Z", self.text)]       # of lines, the last one's too
        for (section, key), value in values.items():
            target = self.sections[section]
            entry = target.first.get(key)
            if value is None:
                edits += [(self.text.rfind("\n", 0, entry.start) + 1, ends[entry.line - 1] + 1, "")
                          for entry in target.entries if entry.key == key]
                continue
            if entry is not None:
                if entry.value != "".join(str(value).split()):
                    edits.append((entry.start, entry.end, str(value)))
                continue
            after = next((entry.line for entry in reversed(target.entries)
                          if values.get((section, entry.key), "") is not None), target.line)
            end = ends[after - 1]
            ending = "\r" if self.text.endswith("\r", 0, end) else ""
            edits.append((end, end, f"\n{key}={value}{ending}" + "\n" * (end == len(self.text))))
        if not edits:
            return self
        parts, done = [], 0
        for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
            parts += [self.text[done:start], new]
            done = end
        stored = None if self.stored is None else self.stored.without({key for section, key in values if section == 0})
        return parse_cfg("".join(parts) + self.text[done:], self.path, strict=self.strict, stored=stored)

    def write(self, path: str | os.PathLike) -> None:
        """Write the text to ``path``, bytes as they were read; the file appears whole or not at all.

        Raises:
            CfgError: the disk is full, the folder is missing or not writable, or the path is that of the exported model
                which holds this cfg.
        """
        if self.stored is not None and self.path is not None and is_same_file(self.path, path):
            raise CfgError("is a model, which its cfg alone would overwrite; name another file", Reason.ALREADY_EXISTS,
                           path)
        try:
            with replacing(path) as file:
                file.write(self.text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise CfgError(f"cannot write the cfg file: {cause(error)}", Reason.UNWRITABLE, path) from None


@lru_cache(maxsize=1)
def _grammar():
    """The grammar, built once: a cfg is lines; a line is blank, a comment, a header, an entry, or a mistake.

    A line is one regular expression that yields its match, because each pyparsing token costs ten times as much.
    """
    import pyparsing as pp

    line = pp.Regex(r"(?P<blank>(?:[ \t\r\f\v]*(?:[#;][^\n]*)?\n)+|[ \t\r\f\v]*[#;][^\n]*\Z|[ \t\r\f\v]+\Z)"
                    r"|(?P<key>[^=\n\[#;][^=\n]*)=[ \t]*(?P<value>[^\n#;]*)[^\n]*\n?"
                    r"|[ \t]*\[(?P<kind>[^\]\n]*)\](?P<tail>[^\n]*)\n?"
                    r"|(?P<mistake>[^\n]+)\n?", as_match=True).leave_whitespace()
    return (pp.ZeroOrMore(line).leave_whitespace() + pp.StringEnd().leave_whitespace()).parse_with_tabs()


def parse_cfg(text: str, path: str | os.PathLike | None = None, *, strict: bool = False,
              stored: Stored | None = None) -> Cfg:
    """Parse cfg text.

    Args:
        path: named in messages; also where ``tree=`` and ``map=`` files are looked for.
        strict: warnings become errors.
        stored: see ``Cfg``.

    Raises:
        CfgError: with file and line, for text that Darknet crashes on or misreads.
    """
    path = None if path is None else Path(path)
    body = text.removeprefix("\ufeff")
    shift = len(text) - len(body)
    starts = [0] + [match.end() for match in re.finditer("\n", body)]
    cfg = Cfg(text, (), path, strict, stored)
    sections: list[tuple[str, int, dict[str, Entry], list[Entry]]] = []
    for match in _grammar().parse_string(body):
        if match["blank"] is not None:
            continue
        number = bisect_right(starts, match.start())
        if match["kind"] is not None:
            kind = "".join(match["kind"].split())
            tail = match["tail"].strip()
            if tail and tail[0] not in "#;":
                raise cfg.error(f"expected nothing after [{kind}], found {_short(tail)}", number, Reason.SYNTAX)
            sections.append((kind, number, {}, []))
            continue
        key = "".join((match["key"] or "").split())
        if not key:
            found = f"={match['value']}" if match["mistake"] is None else match["mistake"]
            raise cfg.error(f"expected [section], key=value or a # comment, found {_short(found)}", number,
                            Reason.SYNTAX)
        if not sections:
            raise cfg.error(f"expected [net] before any option, found {_short(key)}=", number, Reason.SYNTAX)
        value = match["value"].rstrip()
        if not value:
            cfg.warn(f"{key}= has no value and is passed over", number)
            continue
        kind, _, seen, entries = sections[-1]
        if key in seen:
            cfg.warn(f"{key}= stands twice in this [{kind}]; the first one counts", number)
        start = shift + match.start("value")
        entries.append(Entry(key, "".join(value.split()), number, start, start + len(value)))
        seen.setdefault(key, entries[-1])
    if not sections:
        raise cfg.error("expected a [net] section, found no sections at all", reason=Reason.EMPTY)
    kind, number, *_ = sections[0]
    if kind not in ("net", "network"):
        raise cfg.error(f"expected [net] as the first section, found [{kind}]", number, Reason.SYNTAX)
    return Cfg(text, tuple(Section(k, n, tuple(e), s) for k, n, s, e in sections), path, strict, stored)


def read_cfg(path: str | os.PathLike, *, strict: bool = False) -> Cfg:
    """Read and parse a cfg file. Bytes that are not UTF-8 (comments in old code pages) are kept as they are.

    Args:
        path: of the file, of at most 512 KiB.
        strict: what Darknet tolerates is an error, not a warning.

    Raises:
        CfgError: no such file, not a text file, or not a cfg.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CfgError(f"cannot read the cfg file: {cause(error)}", Reason.reading(error), path) from None
    if b"\0" in data:
        raise CfgError("expected a cfg text file, found binary data (is the order CFG WEIGHTS?)",
                       Reason.WRONG_FORMAT, path)
    if len(data) > MAX_BYTES:
        raise CfgError(f"expected a cfg of at most {MAX_BYTES} bytes, found more", Reason.TOO_LARGE, path)
    return parse_cfg(data.decode("utf-8", "surrogateescape"), path, strict=strict)


def _short(text: str, most: int = 40) -> str:
    """Text quoted for a message: printable, and not too long."""
    text = text.strip()
    return repr(text if len(text) <= most else text[:most] + "...")
