"""Measure how time and memory grow with the size of the work, and fit exponents.

    python scripts/scaling.py [--only NAME,...] [--quick] [--toy] [--seconds N] [--memory GIB] [--json FILE]
                              [--plot FILE] [--page docs/scaling.md]
    python scripts/scaling.py --from FILE... [--plot FILE] [--page docs/scaling.md]

Each measurement runs in a process of its own, with one thread; what takes more than --seconds or --memory is noted as
such, and larger sizes are then left out. Time is that of the CPU, of processes that are started too, so that other
work on the machine disturbs little. --quick leaves out sizes above 10,000, --toy runs a few small ones to see that all
works. Exponents are those of least squares over all sizes, and between the two largest; what exceeds 1.15 is listed.

--from writes the plot and the table of the JSON of earlier runs; of several the last that has a row gives it.
"""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from growth.cases import BY_NAME, CASES
from growth.measure import measure, measure_here
from growth.report import LINEAR, exponents, is_worse_than_linear, plot, put_table, table

QUICK = 10_000
SECONDS, MEMORY = 900., 12.


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,...", help="what begins with one of these: " + ", ".join(
        dict.fromkeys(case.name.partition(",")[0] for case in CASES)))
    parser.add_argument("--quick", action="store_true", help=f"sizes up to {QUICK:,}")
    parser.add_argument("--toy", action="store_true", help="a few sizes up to 40")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a measurement (default %(default)g)")
    parser.add_argument("--memory", type=float, default=MEMORY, help="GiB of a measurement (default %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, after each row")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the plots, .png or .svg")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table under Figures in this page")
    parser.add_argument("--from", dest="earlier", type=Path, nargs="+", default=[], metavar="FILE",
                        help="the JSON of earlier runs")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
    a = parser.parse_args(words)
    if a.measure:
        measure_here(a.measure[0], int(a.measure[1]), a.memory)
        return 0
    for path in (*a.earlier, *filter(None, [a.page])):
        if not path.is_file():
            parser.error(f"{path}: no such file")
    if a.earlier:
        found = merged([json.loads(path.read_text()) for path in a.earlier])
    else:
        names = [case.name for case in CASES if a.only is None or case.name.startswith(tuple(
            word.strip() for word in a.only.split(",") if word.strip()))]
        if not names:
            parser.error(f"--only: expected the beginning of a name, found {a.only}")
        found = run(names, a)
    text = (f"`{found['command']}`, {found['cpu']}, {found['cores']} cores, {found['date']}.\n\n"
            + table(found["results"]))
    print(f"\n{text}")
    if a.plot is not None:
        plot(found["results"], a.plot)
    if a.page is not None:
        put_table(a.page, text)
    worse = [result["name"] for result in found["results"]
             if is_worse_than_linear(exponents(result["rows"], "seconds"))]
    print(f"Worse than linear (above {LINEAR:g}): {', '.join(worse) or 'nothing'}.")
    return 0


def merged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs, in the order of the table."""
    rows = {result["name"]: result for found in runs for result in found["results"]}
    commands = "`; `".join(dict.fromkeys(found["command"] for found in runs))
    return {**runs[-1], "command": commands, "results": [rows[name] for name in BY_NAME if name in rows]}


def run(names: list[str], a: argparse.Namespace) -> dict[str, Any]:
    """The figures of cases, size by size."""
    from benchmarks.common import facts_here

    from darknet_py.utils.files import write_file
    found = {**facts_here(), "command": " ".join(["python scripts/scaling.py", *sys.argv[1:]]), "results": []}
    for name in names:
        case, rows = BY_NAME[name], []
        for size in case.toy if a.toy else [size for size in case.sizes if size <= QUICK or not a.quick]:
            rows.append(measure(name, size, a.seconds, a.memory))
            print(f"{name}, {size:,} {case.unit}: " + rows[-1].get("problem", f"{rows[-1].get('seconds', 0):.3g} s"),
                  flush=True)
            if "problem" in rows[-1]:
                break
        found["results"] += [{"name": name, "rows": rows}] if rows else []
        if a.json is not None:
            write_file(a.json, json.dumps(found, indent=1).encode() + b"\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
