"""Checks that files are whole, and what a killed command has left."""
from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from safetensors.torch import load as load_tensors

from darknet_py import load_network, read_cfg
from darknet_py.training import checkpoint
from darknet_py.utils.files import TEMPORARY

Files = Mapping[str, bytes]


class Found(NamedTuple):
    """What lies in a folder: how many files are whole, how many are left over, and what is wrong, a line each."""

    whole: int
    left: list[str]
    wrong: list[str]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_temporary(name: str) -> bool:
    """Whether a file, or a folder that it is in, has the name of a temporary one."""
    return any(TEMPORARY.search(part) for part in Path(name).parts)


def check(folder: Path, known: Sequence[Files], varies: Sequence[str], partial: Sequence[str], killed: bool) -> Found:
    """Check all files in a folder.

    Args:
        known: the files of runs that were not killed; each file must be one of theirs.
        varies: patterns of those that must be whole, but may have other contents.
        partial: patterns of those that may be there if the command was ``killed``.
    """
    whole, left, wrong = 0, [], []
    for name, data in snapshot(folder).items():
        if is_temporary(name) or any(fnmatch(name, pattern) for pattern in partial):
            left.append(name)
            if not killed:
                wrong.append(f"{name}: left over")
            continue
        if not any(name in files for files in known) and not any(fnmatch(name, pattern) for pattern in varies):
            wrong.append(f"{name}: of no run that was not killed")
        elif any(files.get(name) == data for files in known):
            whole += 1
        elif not any(fnmatch(name, pattern) for pattern in varies):
            wrong.append(f"{name}: neither as it was nor as it becomes")
        elif (trouble := broken(folder / name, folder, killed)) is not None:
            wrong.append(f"{name}: {trouble}")
        else:
            whole += 1
    return Found(whole, left, wrong)


def broken(path: Path, folder: Path, killed: bool) -> str | None:
    """What is wrong with a file of any kind that commands write."""
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".weights":
                load_network(folder / "tiny.cfg", path)
            case ".state":
                if not checkpoint.facts(path):
                    return "is no state"
            case ".png" | ".jpg":
                if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None:
                    return "is no picture"
            case ".jsonl":
                lines = data.split(b"\n")
                for line in lines[:-1]:
                    json.loads(line)
                if lines[-1] and not killed:
                    return "its last line is incomplete"
            case ".safetensors":
                load_tensors(data)
            case ".torchscript":
                torch.jit.load(str(path))
            case ".json":
                json.loads(data)
            case ".xml":
                ET.fromstring(data)
            case ".cfg":
                read_cfg(path)
            case ".html":
                if not data.rstrip().endswith(b"</html>"):
                    return "ends too early"
            case ".csv":
                if not data.endswith(b"\n") or len({line.count(b",") for line in data.splitlines()}) != 1:
                    return "its last line is incomplete"
            case _:
                if not data:
                    return "is empty"
    except Exception as error:          # whatever it is, the file is not whole
        return f"{type(error).__name__}: {error}"
    return None


def check_pair(folder: Path, known: Sequence[Files]) -> list[str]:
    """An .xml of OpenVINO belongs to the .bin beside it: both are of the same run."""
    found = snapshot(folder)
    if "out.xml" not in found:
        return []
    pair = tuple(found.get(name) for name in ("out.xml", "out.bin"))
    good = any(pair == tuple(files.get(name) for name in ("out.xml", "out.bin")) for files in known)
    return [] if good else ["out.xml: belongs to another out.bin"]


def check_restart(folder: Path, saved: int, text: str, killed: bool) -> list[str]:
    """A training went on from its last state, and its log has each iteration once.

    saved: the iteration of that state, 0 for none. text: what the restart printed.
    """
    wrong = []
    done = [int(number) for number in re.findall(r"^ (\d+): ", text, re.M)]
    if killed and done and done[0] != saved + 1:
        wrong.append(f"went on from iteration {done[0] - 1}, its last state is of {saved}")
    entries = [json.loads(line) for line in (folder / "backup/tiny_log.jsonl").read_bytes().splitlines()]
    logged = [entry["iteration"] for entry in entries if "loss" in entry]
    if logged != list(range(1, 13)):
        wrong.append(f"backup/tiny_log.jsonl: has the iterations {logged}")
    return wrong
