"""The generated pages of the documentation: every cfg key, every verb, the Python API. A hook of mkdocs.

Meanings of keys are the comments beside the fields of the options' dataclasses: ``# meaning; C: default`` on the
field's line or the one above it. A comment after a blank line is the heading of the fields that follow.
"""
from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import darknet_py  # noqa: E402
import darknet_py.layers  # noqa: E402  the kinds register themselves
from darknet_py import dnn  # noqa: E402
from darknet_py.cfg.options import NetOptions  # noqa: E402
from darknet_py.cli import VERBS, action_flags, module_of, parser_of  # noqa: E402
from darknet_py.layers.activations import ACTIVATIONS  # noqa: E402
from darknet_py.layers.base import KINDS, LayerOptions  # noqa: E402
from darknet_py.training.settings import Settings  # noqa: E402

WORDS = {int: "whole number", float: "number", str: "text"}
UNSET = (None, -1, -1_000_000_000, 999_999, ())     # C's ways to say that another option decides


class Key(NamedTuple):
    name: str
    values: str
    default: str
    meaning: str
    heading: str


def option_keys(options: type) -> Iterator[Key]:
    """The keys of a dataclass, of its base class first, ``LayerOptions``' own left out."""
    for cls in reversed(options.__mro__):
        if cls not in (object, LayerOptions) or cls is options:
            yield from _own_keys(cls)


def _own_keys(cls: type) -> Iterator[Key]:
    if cls is object:
        return
    lines, _ = inspect.getsourcelines(cls)
    body = ast.parse("".join(lines)).body[0]
    assert isinstance(body, ast.ClassDef)
    hints, known, heading = get_type_hints(cls), {field.name: field for field in fields(cls)}, ""
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above, before = lines[node.lineno - 2].strip(), lines[node.lineno - 3].strip()
        note = lines[node.lineno - 1][node.end_col_offset:].strip()
        if above == "" and cls is not NetOptions:
            heading = ""
        if above.startswith("#") and before:
            note = note or above
        elif above.startswith("#"):
            heading = above.lstrip("# ")
        meaning, _, default = note.lstrip("# ").partition("; C: ")
        field = known[node.target.id]
        yield Key(field.name.rstrip("_"), _values(hints[field.name], field.metadata),
                  default if default and field.default in UNSET else _shown(field.default), meaning, heading)


def _values(hint: Any, metadata: Any) -> str:
    choices, least = metadata.get("choices"), metadata.get("least")
    if choices is not None:
        return "an activation" if set(choices) == set(ACTIVATIONS) else ", ".join(f"`{one}`" for one in choices)
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if get_origin(hint) is not tuple else [hint]
    kind = kinds[0] if kinds else hint
    if get_origin(kind) is tuple:
        return f"{WORDS[get_args(kind)[0]]}s"
    return WORDS[kind] + ("" if least is None else f" from {least}")


def _shown(value: Any) -> str:
    if value in ((), None):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(keys: list[Key]) -> Iterator[str]:
    yield "| key | values | default | meaning |\n|---|---|---|---|\n"
    for key in keys:
        cells = (f"`{key.name}`", key.values, key.default, key.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _tables(options: type) -> Iterator[str]:
    keys, heading = list(option_keys(options)), None
    for key in keys:
        if key.heading != heading:
            heading = key.heading
            yield f"\n{heading[:1].upper()}{heading[1:]}:\n\n" if heading else "\n"
            yield from _table([one for one in keys if one.heading == heading])


def cfg_page() -> str:
    """Every section of a cfg, with its keys."""
    parts = [
        "# Every cfg key\n\nA `.cfg` file is a list of sections, `[net]` first, then one a layer; a line "
        "`key=value` is an option of its section, `#` and `;` begin a comment. Of equal keys in a section the first "
        "counts. Numbers are read as C reads them, up to the first character that is no part of one. A key that a "
        "section does not have is a warning, with `-strict` an error; a value that is none of the possible ones is an "
        "error. Layers are numbered from 0 on, `[net]` not counted.\n\n"
        "The functions named are those of [AlexeyAB/darknet](https://github.com/AlexeyAB/darknet) at 59596d78 "
        "(`parser.c`, and the layer's own file).\n\n",
        "## [net]\n\nThe network's input, and its training; `[network]` is the same. C: `parse_net_options`.\n",
        *_tables(NetOptions),
        "\n## Keys of every layer {#common}\n\nC: `parse_network_cfg_custom`.\n", *_tables(LayerOptions),
        "\n## Activations {#activations}\n\nC: `activations.h`, `activation_kernels.cu`.\n\n",
        ", ".join(f"`{name}`" for name in ACTIVATIONS), ".\n"]
    for kind, cls in sorted(KINDS.items(), key=lambda item: item[0].lower()):
        if kind != cls.kind:
            continue
        also = f" Also written {', '.join(f'`[{name}]`' for name in cls.aliases)}." if cls.aliases else ""
        doc = inspect.cleandoc(cls.__doc__ or "")
        parts += [f"\n## [{kind}]\n\n", _markdown(doc), f"{also}\n"]
        parts += _tables(cls.Options) if cls.Options is not LayerOptions else ["\nNo keys of its own.\n"]
    return "".join(parts)


def settings_page() -> str:
    """The options of a training run that are not in the cfg, from ``Settings``' docstring."""
    doc, hints = inspect.cleandoc(Settings.__doc__ or ""), get_type_hints(Settings)
    notes = dict(re.findall(r"(?ms)^(\w[\w, ]*): (.*?)(?=^\w|\Z)", doc.partition("\n\n")[2]))
    parts = ["# Settings of a training run\n\nThey are not in the cfg: keyword arguments of `train`, most flags of "
             "its verb [`train`](verbs.md#train).\n\n| setting | values | default | meaning |\n|---|---|---|---|\n"]
    for field in fields(Settings):
        note = next(note for names, note in notes.items() if field.name in names.split(", "))
        hint = hints[field.name]
        kinds = [kind.__name__ for kind in get_args(hint) or [hint] if kind is not type(None)]
        cells = (f"`{field.name}`", " or ".join(kinds), f"`{field.default!r}`", " ".join(_markdown(note).split()))
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


def _markdown(doc: str) -> str:
    """A docstring as Markdown: names in two backticks, lists after a blank line."""
    doc = re.sub(r"``([^`]+)``", r"`\1`", doc)
    doc = re.sub(r"(?m)^Darknet( \(pjreddie's\))?:", lambda m: f"C{m[1] or ''}:", doc)
    doc = re.sub(r"(?<=\. )Darknet( \(pjreddie's\))?:", lambda m: f"C{m[1] or ''}:", doc)
    doc = re.sub(r"(?<!`)\[(\w+)\](?!\()", r"`[\1]`", doc)
    doc = re.sub(r"(?<![\w`*])(\w+_\w+(?:\.cu?\b|=\w*)?)(?![\w`])", r"`\1`", doc)
    return re.sub(r"(?m)^(?!- |  )(.+)\n- ", r"\1\n\n- ", doc)


def verbs_page() -> str:
    """Every verb with its usage and flags, from the parsers."""
    parts = ["# Every verb\n\nFlags have one dash or two, `_` or `-`, anywhere on the line, as users of Darknet write "
             "them. `darknet-py VERB --help` prints what stands here.\n\n| verb | |\n|---|---|\n"]
    parts += [f"| [`{verb}`](#{verb}) | {_cell(text.partition(': ')[0])} |\n" for verb, (_, text) in VERBS.items()]
    for verb in VERBS:
        parts += _verb(verb)
    return "".join(parts)


def _verb(verb: str) -> Iterator[str]:
    parser, doc = parser_of(verb), inspect.cleandoc(module_of(verb).__doc__ or "")
    first, _, rest = doc.partition("\n\n")
    if sum(module == VERBS[verb][0] for module, _ in VERBS.values()) > 1:       # its docstring is of all of them
        first, rest = _sentence(VERBS[verb][1].partition(": ")[0]), ""
    yield f"\n## {verb}\n\n{first}\n"
    if rest:
        yield f"\n```text\n{rest}\n```\n"
    positional = " ".join(_positional(action) for action in parser._actions if not action.option_strings)
    yield f"\n`darknet-py {verb} {positional}`\n\n| argument | | default |\n|---|---|---|\n"
    for action in parser._actions:
        if action.help is argparse.SUPPRESS or action.dest == "help":
            continue
        yield _argument(parser, action)
    for name, taken in action_flags.TAKEN.get(verb, {}).items():
        yield f"\n`{verb} {name}` takes {', '.join(f'`-{flag}`' for flag in sorted(taken))}.\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _positional(action: argparse.Action) -> str:
    name = "|".join(action.choices) if action.choices else str(action.metavar or action.dest).upper()
    return {"?": f"[{name}]", "*": f"[{name}]...", "+": f"{name}..."}.get(str(action.nargs), name)


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    if action.option_strings:
        names = ", ".join(f"`-{one.lstrip('-').replace('-', '_')}`" for one in action.option_strings)
        if action.nargs != 0:
            shown = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
            names += f" {shown if isinstance(shown, str) else ' '.join(shown)}"
    else:
        names = f"`{_positional(action)}`"
    text = (action.help or "") % {"default": action.default, "prog": parser.prog}
    if (found := re.search(r" \(default:? ([^)]*)\)", text)) is not None:
        text = text.replace(found[0], "")
    default = "" if found is None else found[1]
    cells = (names, text, default)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _cell(text: str) -> str:
    text = re.sub(r"(?<![\w`])(-[a-z_]{2,}|\w+=)(?![\w`])", r"`\1`", " ".join(text.split()))
    return re.sub(r"<", "&lt;", text).replace("|", "\\|")


def api_page() -> str:
    """What the package exports, and what pages import from its modules, for mkdocstrings."""
    homes = {name: f"darknet_py.{home}.{name}" for name, home in darknet_py._HOMES.items()}
    kinds: dict[str, set[str]] = {"Classes": set(), "Functions": set(), "Errors and warnings": set()}
    for name, home in homes.items():
        value = getattr(darknet_py, name)
        kinds["Functions" if not isinstance(value, type) else "Classes" if not issubclass(value, (Exception, Warning))
              and name != "Reason" else "Errors and warnings"].add(home)
    text = "".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    imports = re.findall(r"(?m)^from (darknet_py\.\S+) import ([\w, ]+)$", text)
    used = {(module, name) for module, names in imports for name in names.split(", ")}
    values = {name: getattr(import_module(module), name, None) for module, name in used}
    kinds["In modules"] = {f"{value.__module__}.{name}" for name, value in values.items()
                           if isinstance(value, (type, FunctionType))} - {*homes.values()}
    parts = ["# Python API\n\nWhat has no module is imported with `from darknet_py import ...`; `darknet_py.dnn` and "
             "`darknet_py.compat` have [a page of their own](compat.md).\n"]
    for kind, names in kinds.items():
        parts.append(f"\n## {kind}\n")
        full = "true" if kind == "In modules" else "false"
        parts += [f"\n::: {name}\n    options: {{heading_level: 3, show_root_full_path: {full}}}\n"
                  for name in sorted(names, key=lambda name: name.rpartition(".")[2].lower())]
    return "".join(parts)


def compat_page() -> str:
    """The other programs' interfaces, for mkdocstrings."""
    names = [f"{value.__module__}.{name}" for name in dnn.__all__ if callable(value := getattr(dnn, name))]
    parts = ["# darknet_py.dnn and darknet_py.compat\n\n## darknet_py.dnn\n\nOpenCV's words: "
             "[coming from OpenCV's dnn](../from-opencv.md), [the comparison](../dnn.md).\n",
             *(f"\n::: {name}\n    options: {{heading_level: 3}}\n" for name in names),
             "\n## darknet_py.compat\n\nThe words of Darknet's own `darknet.py`: "
             "[coming from Darknet](../from-darknet.md#scripts-with-darknetpy).\n",
             "\n::: darknet_py.compat\n    options: {heading_level: 2, show_root_heading: false, "
             "show_if_no_docstring: true}\n"]
    return "".join(parts)


def notebook_text(path: Path) -> str:
    """A notebook's cells as Markdown, headings one level lower."""
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"]).strip("\n")
        if cell["cell_type"] == "code":
            parts.append(f"```python\n{text}\n```\n")
        else:
            prose = re.split(r"(?ms)(^```.*?^```)", text)
            parts.append("".join(part if part.startswith("```") else re.sub(r"(?m)^(?=#+ )", "#", part)
                                 for part in prose) + "\n")
    return "\n".join(parts)


PICTURES = {"pictures/digits.jpg": "cfg/digits_detected.jpg"}        # of the README, too
PAGES = {"reference/cfg.md": cfg_page, "reference/settings.md": settings_page, "reference/verbs.md": verbs_page,
         "reference/api.md": api_page, "reference/compat.md": compat_page}


def on_files(files: Any, config: Any) -> Any:
    """mkdocs' event: add the generated pages, and pictures from elsewhere."""
    from mkdocs.structure.files import File
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for path, source in PICTURES.items():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """mkdocs' event: the page of notebooks has them whole."""
    if page.file.src_path != "notebooks.md":
        return markdown
    return "\n".join([markdown, *map(notebook_text, sorted((ROOT / "docs/notebooks").glob("*.ipynb"), reverse=True))])


if __name__ == "__main__":
    for chosen in sys.argv[1:] or PAGES:
        print(PAGES[chosen]())
