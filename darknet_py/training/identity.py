"""Identity of a run: its network, data and initial weights, and the differences from those of another run."""
from __future__ import annotations

import os
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darknet_py.cfg.language import Cfg, Section, parse_cfg
from darknet_py.data.batch_plan import mini_batch
from darknet_py.data.datafile import entries_of
from darknet_py.data.dataset import find_near
from darknet_py.errors import CfgError, CfgWarning, Reason
from darknet_py.losses import LOSSES
from darknet_py.model.network import Network
from darknet_py.training import checkpoint

ELSEWHERE = ("backup", "saveweights", "savelast")       # entries of a .data file that say nothing of the data
SHOWN = 40                                              # characters of a value


@dataclass(frozen=True)
class Identity:
    """Network, data and initial weights of a run, as its state keeps them.

    cfg: the text; in states of earlier versions its CRC-32, None for nothing known.
    layers: of each its kind and the shapes of its weights; empty for nothing known.
    data: path of the data file, and of the pictures to train on (None: not in a file of their own), without links.
    entries: of a .data file.
    first: name, size in bytes and CRC-32 of the weights that training began with; size 0 where there is no such file.
        Earlier versions kept no CRC-32.
    """

    cfg: str | int | None
    layers: list[str]
    data: list[str | None]
    entries: dict[str, str]
    first: list[Any] | None

    @classmethod
    def of(cls, network: Network, data: str | os.PathLike, weights: Path | None) -> Identity:
        """The identity of a new run with these initial weights."""
        entries = dict(entries_of(data))
        train = entries.get("train")
        pictures = None if train is None or "\0" in train else os.path.realpath(find_near(train, Path(data)))
        layers = [" ".join([layer.kind, *("x".join(map(str, blob.tensor.shape)) for blob in layer.blobs())])
                  for layer in network.layers]
        first = None if weights is None else [weights.name, 0]
        with suppress(OSError):                 # who loads them says what is wrong
            if weights is not None and weights.is_file():
                first = [weights.name, weights.stat().st_size, checkpoint.checksum(weights)]
        return cls(network.cfg.text, layers, [os.path.realpath(data), pictures], entries, first)

    @classmethod
    def known(cls, facts: dict[str, Any]) -> Identity:
        """The identity in a state file."""
        if "run" in facts:
            return cls(**facts["run"])
        cfg, data, first = facts.get("identity") or (None, None, None)
        return cls(cfg, [], [None if data is None else os.path.realpath(data), None], {}, first)

    def other_layer(self, now: Identity) -> str | None:
        """The first layer that differs now, in words."""
        was, new = self.layers, now.layers
        if not was or was == new:
            return None
        index = next((i for i, (a, b) in enumerate(zip(was, new, strict=False)) if a != b), min(len(was), len(new)))
        pair = [layers[index].split() if index < len(layers) else ["missing"] for layers in (was, new)]
        short = [[layer[0], *layer[1:][-1:]] for layer in pair]         # the weights alone, where they say enough
        old, other = (" ".join(layer) for layer in (pair if short[0] == short[1] else short))
        return f"layer {index} was {old}, is {other}"

    def edits(self, now: Identity) -> list[str]:
        """The differences of cfg and data file, as ``[net] learning_rate 0.001 -> 0.0005``."""
        if not isinstance(self.cfg, str):
            return [] if self.cfg in (None, zlib.crc32(str(now.cfg).encode("utf-8", "surrogateescape"))) else [
                "the cfg (a state of an earlier version does not say where)"]
        edits: list[str] = []
        for number, (a, b) in enumerate(zip(_sections(self.cfg), _sections(str(now.cfg)), strict=False)):
            old, new = ({key: entry.value for key, entry in section.first.items()} for section in (a, b))
            edits += _differences(old, new, f"[{b.kind}] (line {b.line})" if number else "[net]")
        old, new = ({key: value for key, value in run.entries.items() if key not in ELSEWHERE} for run in (self, now))
        return edits + _differences(old, new, Path(str(now.data[0])).name)


def trainable(cfg: Cfg) -> Network:
    """The network of a cfg without memory for its weights, after a check that it can be trained.

    Raises:
        CfgError: it cannot.
    """
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore", CfgWarning)         # they are given when it is built to be trained
        network = Network(cfg)
    net, line = network.options, cfg.sections[0].line
    if not any(layer.kind in LOSSES for layer in network.layers):
        raise CfgError(f"has nothing to train: expected one of [{'], ['.join(sorted(LOSSES))}], found none",
                       Reason.WRONG_TASK, cfg.path)
    if net.max_batches < 1:
        raise cfg.error(f"[net] needs max_batches= for training, found {net.max_batches}", line, Reason.MISSING_KEY)
    if net.batch < net.subdivisions:
        raise cfg.error(f"[net] batch={net.batch} cannot be cut into subdivisions={net.subdivisions}", line,
                        Reason.INDIVISIBLE)
    if mini_batch(net) * net.subdivisions == 1 and network.detection_heads:
        raise cfg.error("[net] batch=1 is for testing; training needs more, such as batch=64 and subdivisions=16", line,
                        Reason.OUT_OF_RANGE)
    return network


def _sections(text: str) -> tuple[Section, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        return parse_cfg(text).sections


def _differences(old: dict[str, str], new: dict[str, str], where: str) -> list[str]:
    return [f"{where} {key} {_short(old.get(key))} -> {_short(new.get(key))}" for key in {**old, **new}
            if _plain(old.get(key)) != _plain(new.get(key))]


def _plain(value: str | None) -> list[float | str | None]:
    """A value in a normal form, so that .5 equals 0.50."""
    parts: list[float | str | None] = []
    for part in [None] if value is None else value.split(","):
        try:
            parts.append(part if part is None else float(part))
        except ValueError:
            parts.append(part)
    return parts


def _short(value: str | None) -> str:
    return "none" if value is None else value if len(value) <= SHOWN else value[:SHOWN - 3] + "..."
