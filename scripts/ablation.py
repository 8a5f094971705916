"""What the freebies of the YOLOv4 paper bring to a small network, one by one: a table of our own.

    python scripts/ablation.py [--data DATA] [--cfg CFG] [--seeds 0,1,2] [--iterations N] [--only NAME,...] [--out STEM]

Each row is a whole training of the cfg with a list of values changed, and a measurement of its last weights (not of
its best ones) on the valid pictures. The baseline is that of YOLOv3: the squared error for boxes, one anchor an
object, no grid sensitivity, no mosaic, a rate that falls in steps, no average of the weights. Every other row adds one
thing to it, the last one all. STEM.json keeps each training that is done, so that the script may be stopped, and goes
on; STEM.md gets the table, also while it is not yet complete.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

from darknet_py.cfg.language import Cfg, parse_cfg, read_cfg
from darknet_py.errors import CfgWarning, DarknetError
from darknet_py.training.events import Iteration, Note
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run
from darknet_py.utils.files import replacing

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
HEADS = ("yolo", "Gaussian_yolo")
NEVER = 1e9             # passes through the data between two scores: only the last iteration is scored

# (kind of section, key) -> value; "net" or "head". iou_normalizer belongs to its loss: .75 is what C takes for the
# squared error, .07 what the paper's cfg has with CIoU. {steps} is 80 and 90 % of the iterations.
BASELINE = {("net", "mosaic"): 0, ("net", "policy"): "steps", ("net", "steps"): "{steps}", ("net", "scales"): ".1,.1",
            ("net", "ema_alpha"): 0, ("head", "iou_loss"): "mse", ("head", "iou_normalizer"): .75,
            ("head", "iou_thresh"): 1, ("head", "scale_x_y"): 1, ("head", "label_smooth_eps"): 0}
FREEBIES = {
    "CIoU loss": {("head", "iou_loss"): "ciou", ("head", "iou_normalizer"): .07},
    "several anchors for an object": {("head", "iou_thresh"): .213},
    "grid sensitivity": {("head", "scale_x_y"): 1.05},
    "mosaic": {("net", "mosaic"): 1},
    "cosine schedule": {("net", "policy"): "sgdr"},
    "average of weights (EMA)": {("net", "ema_alpha"): "{ema}"},
    "label smoothing": {("head", "label_smooth_eps"): .1},
}
ROWS: dict[str, dict[tuple[str, str], Any]] = {
    "baseline": {}, **{f"+ {name}": values for name, values in FREEBIES.items()},
    "all together": {key: value for values in FREEBIES.values() for key, value in values.items()}}


def variant(cfg: Cfg, row: str, iterations: int, ema_alpha: float) -> Cfg:
    """The cfg of a row."""
    words = {"steps": f"{round(.8 * iterations)},{round(.9 * iterations)}", "ema": f"{ema_alpha:g}"}
    values = {("net", "max_batches"): iterations} | BASELINE | ROWS[row]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        for (kind, key), value in values.items():
            for index, section in enumerate(cfg.sections):
                if index == 0 if kind == "net" else section.kind in HEADS:
                    cfg = cfg.with_value(index, key, value.format(**words) if isinstance(value, str) else value)
        return parse_cfg(cfg.text, cfg.path)


def measured(data: Path, cfg: Cfg, settings: Settings) -> dict[str, float]:
    """Train, and measure the last weights.

    Where the cfg asks for an average of the weights, Darknet goes on from it 1000 iterations before the end, but in
    runs of up to 2000 iterations never. In these the average is what is measured.
    """
    run = Run(data, cfg, None, settings)
    seconds, began, told = [], time.monotonic(), 0.
    for event in run:
        if isinstance(event, Iteration):
            seconds.append(event.seconds)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"    {event.iteration}/{event.last} loss {event.average:.3f}", file=sys.stderr, flush=True)
        elif isinstance(event, Note):
            print(f"    {event.text}", file=sys.stderr, flush=True)
    average = run.engine.average
    value = 0. if run.score is None else run.score.value
    if average.values and average.apply_at <= average.start:
        with average.in_place(), run.statistics.in_place(run.iteration, averaged=True):
            value = run.task.evaluate(run.network).value
    return {"score": value, "seconds": statistics.median(seconds), "minutes": (time.monotonic() - began) / 60}


def table(done: dict[str, dict[str, dict[str, float]]], rows: list[str], seeds: list[int], about: str) -> str:
    """What is done, as markdown."""
    lines = [about, "", "| | mAP@0.50, mean | least | most | against the baseline | seeds | seconds an iteration |",
             "|---|---|---|---|---|---|---|"]
    for row in rows:
        results = [done.get(row, {}).get(str(seed)) for seed in seeds]
        scores = [100 * result["score"] for result in results if result is not None]
        if not scores:
            lines.append(f"| {row} | | | | | 0 | |")
            continue
        pairs = [100 * (mine["score"] - base["score"]) for seed, mine in zip(seeds, results, strict=True)
                 if mine is not None and (base := done.get("baseline", {}).get(str(seed))) is not None]
        against = f"{statistics.mean(pairs):+.2f}" if pairs and row != "baseline" else ""
        seconds = statistics.median(result["seconds"] for result in results if result is not None)
        lines.append(f"| {row} | {statistics.mean(scores):.2f} % | {min(scores):.2f} % | {max(scores):.2f} % | "
                     f"{against} | {len(scores)} | {seconds:.2f} |")
    return "\n".join(lines) + "\n"


def load(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """What earlier calls with the same facts have done."""
    try:
        known = json.loads(path.read_text())
        if not {"facts", "rows"} <= known.keys():
            raise ValueError
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        raise SystemExit(f"{path}: expected the results of an earlier call, found something else") from None
    if known["facts"] != facts:
        other = ", ".join(key for key, value in facts.items() if known["facts"].get(key) != value)
        raise SystemExit(f"{path}: holds results of another ablation (other: {other}); take it away, or give "
                         "another --out")
    return known["rows"]


def write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def parsed(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data/bccd/obj.data", help="default %(default)s")
    parser.add_argument("--cfg", type=Path, default=SHARED / "models/bccd-micro.cfg", help="default %(default)s")
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[0, 1, 2],
                        metavar="0,1,2")
    parser.add_argument("--iterations", type=int, help="of each training (default: max_batches of the cfg)")
    parser.add_argument("--ema-alpha", type=float, default=.99, help="default %(default)s, for short trainings")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,...",
                        help=f"parts of the names of rows: {', '.join(ROWS)}")
    parser.add_argument("--out", type=Path, default=Path("ablation"), metavar="STEM", help="default %(default)s")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args(words)
    arguments.rows = [row for row in ROWS if arguments.only is None or any(name in row for name in arguments.only)]
    if not arguments.rows:
        parser.error(f"--only: expected parts of {', '.join(ROWS)}, found {','.join(arguments.only)}")
    if arguments.iterations is not None and arguments.iterations < 1:
        parser.error(f"--iterations: expected at least 1, found {arguments.iterations}")
    return arguments


def main(words: list[str] | None = None) -> int:
    a = parsed(words)
    cfg = read_cfg(a.cfg)
    entry = cfg.sections[0].first.get("max_batches")
    if a.iterations is None and entry is None:
        raise SystemExit(f"{a.cfg}: [net] has no max_batches=; give --iterations")
    if not any(section.kind in HEADS for section in cfg.sections):
        raise SystemExit(f"{a.cfg}: has no [{'] or ['.join(HEADS)}]")
    iterations = int(entry.value) if a.iterations is None else a.iterations
    facts = {"cfg": zlib.crc32(cfg.text.encode("utf-8", "surrogateescape")), "data": str(a.data.resolve()),
             "iterations": iterations, "ema_alpha": a.ema_alpha}
    results, report = (a.out.with_name(f"{a.out.name}{suffix}") for suffix in (".json", ".md"))
    done = load(results, facts)
    about = (f"{a.cfg.name}, {iterations} iterations, the last weights, {os.cpu_count()} CPU cores; differences are "
             "means over seeds.")
    for seed in a.seeds:
        for row in a.rows:
            if str(seed) in done.get(row, {}):
                continue
            print(f"{row}, seed {seed}", file=sys.stderr, flush=True)
            settings = Settings(clear=True, evaluate=True, save=False, charts=None, score_epochs=NEVER, seed=seed,
                                statistics="running", device=a.device, workers=a.workers)
            result = measured(a.data, variant(cfg, row, iterations, a.ema_alpha), settings)
            print(f"    mAP {100 * result['score']:.2f} %, {result['seconds']:.3f} seconds an iteration",
                  file=sys.stderr, flush=True)
            done.setdefault(row, {})[str(seed)] = result
            write(results, json.dumps({"facts": facts, "rows": done}, indent=1))
            write(report, table(done, a.rows, a.seeds, about))
    text = table(done, a.rows, a.seeds, about)
    write(report, text)
    print(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DarknetError as error:
        sys.exit(f"ablation: {error}")
