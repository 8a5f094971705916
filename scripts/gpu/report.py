"""gpu.json and gpu.md from what the parts have written."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from darknet_py.data.files import replacing

from .common import records


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
    return ""
