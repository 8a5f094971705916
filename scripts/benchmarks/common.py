"""What the verbs of benchmark.py share."""
from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darknet_py.cfg.language import Cfg

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
PREDICTED = re.compile(r": Predicted in ([\d.]+) milli-seconds")     # a line of ours and of C's for a picture
YOLOV4 = SHARED / "reference/cfg/yolov4.cfg"


def facts_here() -> dict[str, Any]:
    """The command, and what its figures depend on."""
    from darknet_py.tools.benchmark import Conditions
    return {"command": "python scripts/benchmark.py " + " ".join(sys.argv[1:]), **Conditions.here()._asdict()}


def write_facts(path: Path | None, facts: dict[str, Any], **results: Any) -> None:
    """Write figures as JSON; None: nowhere."""
    from darknet_py.utils.files import write_file
    if path is not None:
        write_file(path, json.dumps({**facts, **results}, indent=1).encode() + b"\n")


def resident(process: int) -> int:
    """Bytes that a process has in memory; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def opencv_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--opencv", metavar="PYTHON", help="the Python of an environment with OpenCV 4.12, for OpenCV "
                        "5 reads no Darknet files")


def words_of(text: str) -> list[str]:
    """Of a list with commas."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise argparse.ArgumentTypeError("expected a list with commas, found nothing")
    return found


def named_cfg(name: str) -> Cfg:
    """A cfg by its path, or that of an architecture: Darknet's own where it is here, else ours."""
    from darknet_py.cfg.language import parse_cfg, read_cfg
    from darknet_py.zoo.architectures import cfg_text
    own = SHARED / "reference/cfg" / f"{name}.cfg"
    return read_cfg(name) if name.endswith(".cfg") else read_cfg(own) if own.exists() else parse_cfg(cfg_text(name))
