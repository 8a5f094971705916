"""Write gpu.json and gpu.md from the records of the parts."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from darknet_py.utils.files import replacing

from .goals import GOALS, TRAINING_GOAL, TRAINING_OTHERS


def records(path: Path) -> list[dict[str, Any]]:
    """What a part has written; a line that it was killed in does not count."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def gather(work: Path, parts: list[str], troubles: list[str], device: str, quick: bool, seconds: float
           ) -> dict[str, Any]:
    """All records by part, and what failed, a line each."""
    found = {part: records(work / f"{part}.jsonl") for part in parts}
    failures = list(troubles)
    for part, rows in found.items():
        for row in rows:
            if "failure" in row:
                failures.append(f"{part}: {row['what']}: {row['failure']}")
            elif row.get("passed") is False:
                failures.append(f"{part}: {row['what']}: " + ", ".join(
                    f"{key} {value}" for key, value in row.items() if key not in ("what", "passed")))
    every = [row for rows in found.values() for row in rows]
    return {"device": device, "quick": quick, "seconds": seconds, "parts": found, "failures": failures,
            "passed": sum(row.get("passed") is True for row in every), "figures": len(every)}


def write_text(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def text(found: dict[str, Any]) -> str:
    """All of it as Markdown."""
    parts: dict[str, list[dict[str, Any]]] = {part: found["parts"].get(part, []) for part in (
        "facts", "correctness", "inference", "training", "learning", "memory")}
    rows = [row for part in found["parts"].values() for row in part]
    sections = [_head(found, parts["facts"]), _goals(parts["inference"], parts["training"]),
                _checks(rows), _inference(parts["inference"]), _training(parts["training"]), _profile(rows),
                _memory(parts["memory"]), _listed("What failed", found["failures"]),
                _listed("What was left out", [f"{row['what']}: {row.get('left_out', row.get('skipped'))}"
                                              for row in rows if "left_out" in row or "skipped" in row])]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown; nothing where there are no rows."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(_shown, row)) + " |" for row in rows)])


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}" \
        if isinstance(value, float) else str(value)


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / 2 ** 30:.2f} GiB"


def _head(found: dict[str, Any], facts: list[dict[str, Any]]) -> str:
    device = next((row for row in facts if row["what"] == "device"), {})
    named = ", ".join(f"{name} {device[key]}" for name, key in (
        ("PyTorch", "torch"), ("CUDA", "cuda"), ("cuDNN", "cudnn"), ("Python", "python"), ("OpenCV", "opencv"))
        if key in device)
    rates = table(["what the device does", "a second"], [
        [row["what"], f"{row['rate'] / 1e12:.1f} TFLOP" if "precision" in row else f"{row['rate'] / 1e9:.1f} GB"]
        for row in facts if "rate" in row])
    return f"""# On a GPU

`python scripts/gpu_check.py --device {found["device"]}{" --quick" * found["quick"]}` wrote this in \
{found["seconds"] / 60:.1f} minutes: {device.get("device", "unknown device")}, {_gib(device.get("memory"))} of memory, \
{device.get("cores", "?")} CPU cores; {named}. {found["passed"]} checks passed, {len(found["failures"])} failed.

Times are medians: of the network alone between events on the device, of calls that follow each other without a halt, \
after three calls to warm up; of training, of whole iterations from pictures to new weights. Weights are seeded random \
ones under which values lie as in a trained network and about 100 boxes of a picture pass the threshold. The share of \
the matrix rate is the network's BFLOPs (multiplications and additions, as Darknet counts them) in a second, of what a \
product of large matrices in the same precision reaches in the same run. Copies count bytes read and written.

{rates}"""


def _goals(inference: list[dict[str, Any]], training: list[dict[str, Any]]) -> str:
    rows: list[list[Any]] = []
    for goal in GOALS:
        best = max((row for row in inference if row.get("precision") == "float16" and row.get("mode") != "Detector" and
                    (row.get("network"), row.get("size"), row.get("batch")) == goal[:3] and "images_a_second" in row),
                   key=lambda row: row["images_a_second"], default=None)
        rows.append([f"{goal.network} {goal.size}, float16, batch {goal.batch}", f"{goal.images:,.0f}",
                     None if best is None else best["images_a_second"], None if best is None else best["mode"],
                     goal.others])
    found = next((row for row in training if (row.get("size"), row.get("amp")) == (608, "bf16") and
                  "images_a_second" in row), None)
    rows.append(["training yolov4 608, bf16", f"{TRAINING_GOAL:,.0f}",
                 None if found is None else found["images_a_second"], None, TRAINING_OTHERS])
    return "## Goals\n\nImages a second.\n\n" + table(["", "goal", "measured", "by", "published elsewhere"], rows)


def _checks(rows: list[dict[str, Any]]) -> str:
    found = table(["check", "error", "allowed", ""], [
        [row["what"], row.get("error", row.get("worst")), row.get("most"), "passed" if row["passed"] else "FAILED"]
        for row in rows if "passed" in row])
    return f"## Correctness\n\nTF32 is off. Errors are in parts of a layer's largest value, of a confidence, of a " \
           f"loss, or of an mAP; those of goldens in parts of what is allowed (training) or of the largest value." \
           f"\n\n{found}" if found else ""


def _inference(rows: list[dict[str, Any]]) -> str:
    cells: dict[tuple, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if "images_a_second" in row:
            cells.setdefault((row["network"], row["size"], row["precision"], row["batch"]), {})[row["mode"]] = row
    modes = [mode for mode in ("eager", "channels_last", "cudnn benchmark", "graph", "compile")
             if any(mode in cell for cell in cells.values())]
    alone, ends = [], []
    for key in sorted(cells):
        cell = cells[key]
        measured = [cell[mode] for mode in modes if mode in cell]
        if measured:
            best = max(measured, key=lambda row: row["images_a_second"])
            alone.append([f"{key[0]} {key[1]}", key[2], key[3],
                          *(cell[mode]["images_a_second"] if mode in cell else None for mode in modes),
                          None if best["share_of_matrix_rate"] is None else f"{best['share_of_matrix_rate']:.1%}",
                          _gib(best["memory"])])
        if "Detector" in cell:
            ends.append([f"{key[0]} {key[1]}", key[2], key[3], cell["Detector"]["images_a_second"],
                         cell["Detector"]["boxes_a_picture"], _gib(cell["Detector"]["memory"])])
    return "\n\n".join(part for part in (
        "## Inference" if alone or ends else "",
        "The network alone, images a second; share and peak memory are those of the fastest.\n\n" + table(
            ["network", "precision", "batch", *modes, "share of the matrix rate", "memory"], alone) if alone else "",
        "From pictures of 640 x 480 in memory to boxes (`Detector`): resized on the CPU, decoded and suppressed.\n\n"
        + table(["network", "precision", "batch", "images a second", "boxes a picture", "memory"], ends)
        if ends else "") if part)


def _training(rows: list[dict[str, Any]]) -> str:
    speeds = table(["training", "batch", "subdivisions", "images a second", "seconds a step", "waits for data",
                    "memory"],
                   [[row["what"].removeprefix("training "), row["batch"], row["subdivisions"], row["images_a_second"],
                     row["seconds"], f"{row['waiting']:.1%}", _gib(row["memory"])] for row in rows if "waiting" in row])
    loader = [f"{row['what'].capitalize()}: {row['images_a_second']:,.0f} images a second at {row['size']}."
              for row in rows if row["what"].startswith("the loader alone") and "images_a_second" in row]
    losses = {row["amp"]: row["losses"] for row in rows if "losses" in row}
    if theirs := next((row["cpu"] for row in rows if isinstance(row.get("cpu"), list)), None):
        losses["float32 on the CPU"] = theirs
    count = max(map(len, losses.values()), default=0)
    listed = table(["iteration", *losses], [[at + 1, *(f"{values[at]:.4f}" if at < len(values) else ""
                                                       for values in losses.values())] for at in range(count)])
    return "\n\n".join(part for part in (
        "## Training" if speeds or listed else "", speeds, " ".join(loader),
        f"The first losses, of the same images and first weights:\n\n{listed}" if listed else "") if part)


def _profile(rows: list[dict[str, Any]]) -> str:
    one = next((row for row in rows if "operations" in row), None)
    if one is None:
        return ""
    whole = sum(one["classes"].values())
    return (f"## Where a step's time goes\n\nyolov4 at {one['size']}, {one['amp']}, {one['images']} images at once: "
            f"{1000 * one['seconds']:.1f} ms, forward, losses, backward and update.\n\n"
            + table(["class", "ms", "share"], [[name, 1000 * seconds, f"{seconds / whole:.1%}"]
                                               for name, seconds in one["classes"].items()]) + "\n\n"
            + table(["operation", "ms"],
                    [[f"`{name}`", 1000 * seconds] for name, seconds in one["operations"].items()]))


def _memory(rows: list[dict[str, Any]]) -> str:
    largest = table(["training yolov4 at 608", "most images at once", "too many", "`new` expects of it"],
                    [[row["what"].removeprefix("largest batch, "), row["largest"], row["too_many"],
                      _gib(row["expected"])] for row in rows if "largest" in row])
    estimate = next((row for row in rows if row["what"] == "the estimate of new" and "expected" in row), None)
    if estimate is not None:
        largest += (f"\n\n`new` takes {estimate['subdivisions']} subdivisions of {estimate['images']} images at "
                    f"{estimate['width']} x {estimate['height']} for {_gib(estimate['available'])}, and expects "
                    f"{_gib(estimate['expected'])}; " + ("it " + ("fits" if estimate["passed"] else "does not fit"))
                    + (f", and takes {_gib(estimate['memory'])}." if estimate["memory"] else "."))
    return f"## Memory\n\n{largest.strip()}" if largest else ""


def _listed(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""
