"""The HTML page of a run's report: one file that needs nothing but the pictures beside it."""
from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from darknet_py.training.curves import FIGURES
from darknet_py.training.events import Started

MOST_SCORES = 20            # measurements in the table
REFRESH = 60                # seconds after which a page of a run that goes on loads itself again


class PageSection(NamedTuple):
    """A section of pictures: the pattern of their names, a heading, and an explanation.

    newest: show the one with the highest number, the others are folded.
    """

    pattern: str
    title: str
    text: str
    newest: bool = False


SECTIONS = (
    PageSection(r"results\.png", "Curves", "Faint lines are single iterations, strong ones their means."),
    PageSection(r"predictions_(\d+)\.jpg", "What the best weights find", "Validation pictures: in colour what was "
            "found, with its score; in white dashes the labelled objects.", True),
    PageSection(r"precision_recall\.png|f1\.png|confusion\.png", "Precision, recall, confusion", "Of the same weights, "
            "on all validation pictures."),
    PageSection(r"accuracy\.png", "Accuracy", "Of the best weights, on the validation pictures."),
    PageSection(r"labels\.png", "Training labels", "What there is to learn from, before augmentation."),
    PageSection(r"batch_(\d+)\.jpg", "First mini-batches",
            "Training pictures after augmentation, as the network sees them."))

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #59636e; --line: #d1d9e0; --card: #f6f8fa }
@media (prefers-color-scheme: dark) {
  :root { --back: #0d1117; --text: #e6edf3; --soft: #9198a1; --line: #3d444d; --card: #151b23 } }
body { margin: 0 auto; max-width: 1500px; padding: 1rem 1.5rem 4rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif }
h1 { margin-bottom: 0 } h2 { margin: 2.5rem 0 .25rem }
p { margin: .25rem 0 .75rem; color: var(--soft) }
.state { font-size: 1.15rem; color: var(--text) }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }
figure { margin: 0; flex: 1 1 440px; min-width: 0 }
img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 6px }
figcaption, summary, td, th { font-size: .9rem }
figcaption { color: var(--soft) }
summary { cursor: pointer; margin: .75rem 0 }
.tables { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-start }
table { border-collapse: collapse; margin: .5rem 0 }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; overflow-wrap: anywhere }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
tr.best { background: var(--card); font-weight: 600 }
a { color: inherit }
""".strip()


def facts_of(started: Started, name: str, source: str, seed: int) -> dict[str, str]:
    """Facts of the run for the page: network and data. ``source``: of the data."""
    (width, height), (most, _) = started.size, started.largest
    size = f", {width} x {height}" + (f" and up to {most} wide" if most > width else "") if height else ""
    parts = "".join(f", {split.total:,} {split.unit} to {'train on' if split.name == 'train' else 'measure on'}"
                    for split in started.splits)
    mini = f"{started.subdivisions} mini-batch{'es' * (started.subdivisions > 1)}"
    return {"network": name + size, "weights": started.weights, "data": source + parts,
            "batch": f"{started.images} in {mini} of {started.images // started.subdivisions}",
            "iterations": f"{started.last:,}, {started.epochs:.3g} passes through the data",
            "device": started.device, "seed": str(seed)}


def render(name: str, state: str, facts: Mapping[str, str], scores: Sequence[Mapping[str, Any]], files: Sequence[str],
           links: Mapping[str, str], running: bool) -> str:
    """The page.

    Args:
        name: of the run.
        state: how far it has come.
        facts: what is trained on what.
        scores: of the measurements, as the log has them.
        files: names of the pictures beside the page.
        links: texts and relative paths of other files.
        running: whether the run goes on.
    """
    refresh = f'<meta http-equiv="refresh" content="{REFRESH}">\n' if running else ""
    tables = _facts(facts) + _scores(scores)
    more = ", ".join(f'<a href="{quote(path)}">{html.escape(text)}</a>' for text, path in links.items())
    body = "\n".join(filter(None, (_section(section, files) for section in SECTIONS)))
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{refresh}'
            f'<title>{html.escape(name)}: training</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n'
            f'<h1>{html.escape(name)}</h1>\n<p class="state">{html.escape(state)}</p>\n'
            f'<div class="tables">\n{tables}</div>\n<p>Numbers: {more}.</p>\n{body}\n</body>\n</html>\n')


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>\n"
                   for name, value in facts.items())
    return f"<table>\n{rows}</table>\n"


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    """The last measurements, the newest first; the best one, of equal ones the last, stands out."""
    if not scores:
        return ""
    names = ["score", *(name for name in scores[-1] if name not in ("iteration", "measure", "best", "score"))]
    words = [str(scores[-1]["measure"]), *(FIGURES.get(name, name) for name in names[1:])]
    best = max(range(len(scores)), key=lambda at: (_number(scores[at].get("score")), at))
    rows = [_row("th", ["iteration", *words])]
    for at in range(len(scores) - 1, -1, -1):
        if at == best or at >= len(scores) - MOST_SCORES:
            values = [_number(scores[at].get(name)) for name in names]
            rows.append(_row("td", [f"{scores[at]['iteration']:,}", *(f"{value:.2%}" for value in values)], at == best))
    return f"<table>\n{''.join(rows)}</table>\n"


def _row(kind: str, cells: Sequence[str], best: bool = False) -> str:
    inner = "".join(f'<{kind} class="number">{html.escape(cell)}</{kind}>' for cell in cells)
    return f'<tr{best * " class=best"}>{inner}</tr>\n'


def _section(section: PageSection, files: Sequence[str]) -> str:
    """The pictures of a section, in the order that its pattern names them, or by their numbers."""
    found = {file: match for file in files if (match := re.fullmatch(section.pattern, file))}
    if not found:
        return ""
    order = section.pattern.replace("\\", "").split("|")
    numbered = {file: int(match[1]) if match.groups() else order.index(file) for file, match in found.items()}
    ordered = sorted(found, key=lambda file: -numbered[file] if section.newest else numbered[file])
    shown, folded = (ordered[:1], ordered[1:]) if section.newest else (ordered, [])
    words = f" At iteration {numbered[ordered[0]]}." if section.newest else ""
    text = f"<h2>{section.title}</h2>\n<p>{section.text}{words}</p>\n{_figures(shown)}"
    if folded:
        text += f"<details><summary>Earlier ones ({len(folded)})</summary>\n" + "".join(
            f"<p>Iteration {numbered[file]}</p>\n{_figures([file])}" for file in folded) + "</details>\n"
    return text


def _figures(files: Sequence[str]) -> str:
    return '<div class="figures">\n' + "".join(
        f'<figure><a href="{file}"><img src="{file}" alt="{Path(file).stem.replace("_", " ")}" loading="lazy"></a>'
        f"</figure>\n" for file in files) + "</div>\n"


def _number(value: float | None) -> float:
    return 0. if value is None or value != value else value
