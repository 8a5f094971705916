"""Checkpoints: a .weights file, and a .state file beside it with the rest of the training state.

The state is a safetensors file: momentum, the average of the weights, statistics, and as text the iteration, the
best score and the like. It has a checksum of the weights that it belongs to. Saving writes the state under another
name, then the weights, then renames the state; whenever that is interrupted, one of the two states fits the weights,
and the next start or save gives it its name.
"""
from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from darknet_py.errors import DataError, Reason, WeightsError, cause
from darknet_py.model import weights as weights_file
from darknet_py.training.iteration import Engine
from darknet_py.training.state_facts import AFRESH, check
from darknet_py.utils.files import is_left, parse_json, put_in_place, replacing, show_json, temporary_path

CHUNK = 1 << 24


def save(path: Path, engine: Engine, facts: dict[str, Any], statistics: Sequence[Tensor] = ()) -> None:
    """Write ``path`` and its state.

    Args:
        path: NAME.weights; the state becomes NAME.state.
        facts: further training state, in types of JSON.
        statistics: the running averages of batch normalisation, where the weights hold others.

    Raises:
        WeightsError: the disk is full, or the folder is missing or not writable; existing files stay as they were.
    """
    network = engine.network
    try:
        settle(path)
        with temporary_path(path.parent) as temporary:
            upcoming = temporary.with_name(f".{path.stem}.state{temporary.name}")
            with replacing(path) as file:
                weights_file.write(file, network.layers, network.seen)
                tensors = {f"momentum/{name}": tensor for name, tensor in engine.optimizer.state_dict().items()}
                tensors |= {f"average/{index}": tensor for index, tensor in enumerate(engine.average.values)}
                tensors |= {f"statistics/{index}": tensor for index, tensor in enumerate(statistics)}
                tensors |= {"rolling": engine.context.rolling}
                facts = facts | {"weights": checksum(file.name), "seen": engine.context.seen,
                                 "scale": [engine.scale, engine.good]}
                with open(upcoming, "wb") as state:
                    state.write(to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                                         {"run": json.dumps(facts)}))
                    state.flush()
                    os.fsync(state.fileno())
            put_in_place(upcoming, path.with_suffix(".state"))
    except OSError as error:
        with suppress(OSError):
            settle(path)
        raise WeightsError(f"{path}: cannot write it and its state: {cause(error)}", Reason.UNWRITABLE) from None


def find(path: Path) -> Path | None:
    """The state that belongs to a .weights file, if it is there."""
    candidates = [path.with_suffix(".state"), *_upcoming(path)]
    if not path.is_file() or not any(candidate.is_file() for candidate in candidates):
        return None
    wanted = checksum(path)
    return next((candidate for candidate in candidates if candidate.is_file()
                 and facts(candidate).get("weights") == wanted), None)


def settle(path: Path) -> None:
    """Finish a save that was interrupted: rename the state that fits the weights, and remove the others.

    Raises:
        OSError: it cannot be done.
    """
    if left := [state for state in _upcoming(path) if is_left(state)]:
        with suppress(DataError):           # what is no state is removed too
            if (state := find(path)) is not None and state in left:
                put_in_place(state, path.with_suffix(".state"))
        for other in left:
            other.unlink(missing_ok=True)


def _upcoming(path: Path) -> list[Path]:
    """States under temporary names, of saves that are interrupted or not at their end yet. ``sweep`` passes over these
    names, since the state of the weights may be among them."""
    return sorted(path.parent.glob(f".{escape(path.stem)}.state.darknet-py-*.tmp"))


def facts(path: Path) -> dict[str, Any]:
    """The facts of a state file, as they are; empty for any other file.

    Raises:
        DataError: they are no JSON object.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("run", "{}")
    except (SafetensorError, OSError, ValueError):
        return {}
    try:
        found = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path}: expected the facts of a run as JSON: {error}; {AFRESH}", Reason.SYNTAX) from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected the facts of a run, found {show_json(found)}; {AFRESH}",
                        Reason.WRONG_FORMAT)
    return found


def restore(path: Path, engine: Engine) -> dict[str, Any]:
    """Restore the training state of an engine whose network has its weights already.

    Returns:
        The facts that ``save`` was given.

    Raises:
        WeightsError: the state is of another network.
        DataError: something in it is not what it must be.
    """
    known = check(path, facts(path))
    try:
        with safe_open(path, "pt", device=str(engine.device)) as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}      # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise DataError(f"{path}: cannot read the training state: {cause(error)}", Reason.CORRUPT) from None
    try:
        engine.optimizer.load_state_dict(under(tensors, "momentum/"))
        average = under(tensors, "average/")
        engine.average.values = [average[str(index)] for index in range(len(average) if engine.average.alpha else 0)]
        if engine.average.values:
            _check_shapes("average", engine.average.values, list(engine.network.parameters()))
        for index, tensor in under(tensors, "statistics/").items():         # absent in states of earlier versions
            engine.statistics[int(index)].copy_(tensor)
        _check_shapes("rolling", [tensors["rolling"]], [engine.context.rolling])
    except KeyError as error:
        raise WeightsError(f"{path}: does not fit this network: expected a tensor {error}, found none",
                           Reason.INCOMPATIBLE) from None
    except (ValueError, IndexError, RuntimeError, DataError) as error:
        raise WeightsError(f"{path}: does not fit this network: {error}", Reason.INCOMPATIBLE) from None
    engine.context.rolling = tensors["rolling"].to("cpu", engine.context.rolling.dtype)
    engine.context.seen = known["seen"]
    if known.get("amp", engine.amp) == engine.amp:
        engine.scale, engine.good = known["scale"]
    return known


def _check_shapes(what: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raises:
        DataError: the tensors have other shapes.
    """
    pair = [[tuple(tensor.shape) for tensor in tensors] for tensors in (expected, found)]
    if pair[0] != pair[1]:
        differ = next(((a, b) for a, b in zip(*pair, strict=False) if a != b), tuple(map(len, pair)))
        raise DataError(f"{what}: expected {differ[0]}, found {differ[1]}", Reason.INCOMPATIBLE)


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names have a prefix, under the names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def checksum(path: str | os.PathLike) -> int:
    """CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            value = zlib.crc32(block, value)
    return value
