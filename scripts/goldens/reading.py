"""Finding and reading goldens: measured outputs of the C program, each with the network that they were measured on."""
from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from darknet_py import Network, load_network, parse_cfg


def find_goldens(paths: list[Path]) -> Iterator[Path]:
    """The golden files under paths: .npz, and the .json of the command line."""
    for path in paths:
        if not path.exists():
            raise SystemExit(f"{path}: no such file or folder")
        yield from sorted(file for file in path.rglob("*") if file.suffix in (".npz", ".json")) if path.is_dir() \
            else [path]


def load_kit(near: Path) -> ModuleType:
    """kit.py, which lies with the goldens, above ``near``."""
    for folder in near.resolve().parents:
        if (folder / "kit.py").is_file():
            sys.path.insert(0, str(folder))
            import kit
            return kit
    raise SystemExit(f"{near}: found no kit.py beside or above it")


def golden_network(golden, path: Path, device: str) -> Network:
    """The network that a golden was measured on, with its weights."""
    folder = next((above / "reference" / "cfg" for above in path.resolve().parents if (above / "reference").is_dir()),
                  path.parent)                  # where tree= and map= files are found
    with tempfile.NamedTemporaryFile(suffix=".weights") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")         # the originals' oddities
        cfg = parse_cfg(golden.cfg, folder / f"{golden.meta['name']}.cfg")
        golden.write_weights(file.name)
        network = load_network(cfg, file.name).to(device)
    network.set_time_steps(golden.meta["time_steps"])
    return network
