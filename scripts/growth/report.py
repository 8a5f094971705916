"""Exponents of growth, the table of them and the plots."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darknet_py.utils.files import write_file
from darknet_py.viz.figures import write_figure

from .cases import BY_NAME

LINEAR = 1.15               # the exponent beyond which growth is worse than linear
LEAST = {"seconds": .002, "bytes": 4e6}         # what is measured below is noise
BEGINS, ENDS = "\n## Figures\n", "\n!["              # of a page, around the table: a heading, and the plot
COLUMNS, PLOT_SIZE, DPI = 3, (12, 6.4), 64


def exponents(rows: Sequence[dict[str, Any]], figure: str) -> tuple[float, float] | None:
    """The slope of log(figure) over log(size): by least squares over all sizes, and between the two largest, which
    constant overheads disturb least. None: there are fewer than two figures above the noise."""
    points = [(row["size"], row[figure]) for row in rows if (row.get(figure) or 0) >= LEAST[figure]]
    if len(points) < 2:
        return None
    size, value = np.log(np.array(points, float)).T
    return float(np.polyfit(size, value, 1)[0]), float((value[-1] - value[-2]) / (size[-1] - size[-2]))


def is_worse_than_linear(found: tuple[float, float] | None) -> bool:
    return found is not None and max(found) > LINEAR


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown; exponents worse than linear are bold."""
    lines = ["| what | sizes | CPU seconds | exponent | MB | exponent |", "|---|---|---|---|---|---|"]
    for result in results:
        rows = result["rows"]
        time, space = (exponents(rows, figure) for figure in ("seconds", "bytes"))
        lines.append(" | ".join((
            f"| {result['name']}", f"{BY_NAME[result['name']].unit}: " + ", ".join(f"{row['size']:,}" for row in rows),
            ", ".join(row["problem"] if "problem" in row else f"{row['seconds']:.3g}" for row in rows), _shown(time),
            ", ".join("" if row.get("bytes") is None else f"{row['bytes'] / 1e6:.0f}" for row in rows),
            _shown(space))) + " |")
    rates = [f"{row['size']:,} {BY_NAME[result['name']].unit}: {row['pictures_per_second']:,.0f}"
             for result in results for row in result["rows"] if "pictures_per_second" in row]
    return "\n".join(lines) + ("\n\nPictures a second of `batch`, by the clock: " + "; ".join(rates) + "." if rates
                               else "") + "\n"


def put_table(page: Path, text: str) -> None:
    """Put a table in the place of the one that stands under its heading in a page."""
    before, begins, rest = page.read_text(encoding="utf-8").partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise SystemExit(f"scaling: {page}: expected the heading {BEGINS.strip()} and a picture below it")
    write_file(page, f"{before}{BEGINS}\n{text}{ENDS}{after}".encode())


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds over sizes, a panel a part; a dashed line is linear."""
    from matplotlib.figure import Figure
    parts = list(dict.fromkeys(part for result in results if (part := BY_NAME[result["name"]].part)))
    lines = -(-len(parts) // COLUMNS)
    figure = Figure(figsize=(PLOT_SIZE[0], PLOT_SIZE[1] * lines / 2), dpi=DPI, layout="constrained")
    for axes, part in zip(figure.subplots(lines, COLUMNS, squeeze=False).flat, parts, strict=False):
        points = []
        for result in results:
            rows = [row for row in result["rows"] if row.get("seconds")]
            if BY_NAME[result["name"]].part == part and rows:
                size, seconds = [row["size"] for row in rows], [row["seconds"] for row in rows]
                axes.loglog(size, seconds, marker="o", markersize=3, label=result["name"])
                points += list(zip(size, seconds, strict=True))
        if points:
            (low, least), high = min(points), max(size for size, _ in points)
            axes.loglog([low, high], [least, least * high / low], "--", color="grey", linewidth=1)
            axes.set_ylim(least / 2, 2 * max(seconds for _, seconds in points))
            axes.legend(fontsize=7)
        axes.set_title(part, fontsize=10)
        axes.set_ylabel("CPU seconds", fontsize=8)
        axes.grid(alpha=.3)
    for axes in list(figure.axes)[len(parts):]:
        axes.remove()
    write_figure(figure, [path])


def _shown(found: tuple[float, float] | None) -> str:
    if found is None:
        return ""
    text = f"{found[0]:.2f}, {found[1]:.2f}"
    return f"**{text}**" if is_worse_than_linear(found) else text
