"""What the verbs of benchmark.py share."""
from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from darknet_py.cfg.language import Cfg

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
PREDICTED = re.compile(r": Predicted in ([\d.]+) milli-seconds")     # a line of ours and of C's for a picture
YOLOV4 = SHARED / "reference/cfg/yolov4.cfg"


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
