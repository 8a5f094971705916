"""Hierarchies of classes (WordTree) and maps between class numbers, for ``tree=`` and ``map=``."""
from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darknet_py.data.datafile import find_file
from darknet_py.errors import Reason, cause
from darknet_py.layers.base import Layer, Place
from darknet_py.utils.files import check_regular

MAX_BYTES = 1 << 24


class Tree:
    """Classes with parents. Siblings stand next to each other in the file and form a group.

    Darknet: read_tree, hierarchy_predictions (tree.c).

    Args:
        names: of the classes, one word each.
        parents: of the classes; -1 for roots. A parent stands before its children.
    """

    def __init__(self, names: list[str], parents: list[int]):
        self.names = names
        parent = torch.tensor(parents, device="cpu")
        self.parent = parent
        starts = torch.ones(len(parents), dtype=torch.bool, device="cpu")
        starts[1:] = parent[1:] != parent[:-1]
        self.group = starts.long().cumsum(0) - 1            # (classes,) number of the group of siblings
        depths: list[int] = []
        for above in parents:
            depths.append(0 if above < 0 else depths[above] + 1)
        depth = torch.tensor(depths, device="cpu")
        self.levels = depth.argsort(stable=True).split(depth.bincount().tolist())[1:]

    def __len__(self) -> int:
        return len(self.names)

    def softmax(self, x: Tensor) -> Tensor:
        """Softmax over each group of siblings. (..., classes) -> (..., classes)"""
        group = self.group.to(x.device).expand_as(x)
        groups = (*x.shape[:-1], int(self.group[-1]) + 1)
        largest = x.new_full(groups, -torch.inf).scatter_reduce(-1, group, x, "amax")
        e = (x - largest.gather(-1, group)).exp()
        return e / e.new_zeros(groups).scatter_add(-1, group, e).gather(-1, group)

    def onnx_softmax(self, graph: Any, x: str) -> str:
        """``softmax`` over the last axis, added to a graph."""
        parts = graph.split(x, -1, self.group.bincount().tolist())
        return graph("Concat", *(graph("Softmax", part, axis=-1) for part in parts), axis=-1)

    def probabilities(self, x: Tensor) -> Tensor:
        """From conditional probabilities to those of the classes themselves. (..., classes) -> (..., classes)"""
        x = x.clone()
        for level in self.levels:
            x[..., level] *= x[..., self.parent[level]]
        return x


def read_tree(name: str, place: Place) -> Tree:
    """Read a tree file: a line a class, its name and its parent's number.

    Raises:
        CfgError: no such file, or a line that names no earlier parent.
    """
    names: list[str] = []
    parents: list[int] = []
    path, lines = read_lines(name, "tree", place)
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            parent = int(words[1]) if len(words) > 1 else -1
        except ValueError:
            parent = len(names)
        if not words or not -1 <= parent < len(names):
            raise place.error(f"tree={name}, line {number} of {path}: expected a name and the number of an earlier "
                              f"line or -1, found {line[:40]!r}", "tree", Reason.SYNTAX)
        names.append(words[0])
        parents.append(parent)
    if not names:
        raise place.error(f"tree={name}: {path} is empty", "tree", Reason.EMPTY)
    return Tree(names, parents)


def read_map(name: str, classes: int, place: Place) -> tuple[int, ...]:
    """Read a map file: a line a class of the data set, its number in the network.

    Raises:
        CfgError: no such file, or a line that is no number of a class.
    """
    path, lines = read_lines(name, "map", place)
    numbers: list[int] = []
    for number, line in enumerate(lines, 1):
        digits = line.strip()           # also of what int() would not pass over, such as \x1f
        if not digits.isdecimal() or len(line) > 40 or int(digits) >= classes:
            raise place.error(f"map={name}, line {number} of {path}: expected a number from 0 to {classes - 1}, "
                              f"found {line[:40]!r}", "map")
        numbers.append(int(digits))
    return tuple(numbers)


def find(name: str, key: str, place: Place) -> Path:
    """A file that a cfg names: relative to the working directory, then to the cfg's folder and its parent, with the
    folders that the name has and without.

    Raises:
        CfgError: it is in none of them.
    """
    folder = None if place.cfg.path is None else place.cfg.path.parent
    near = [] if folder is None else [folder, folder / ".."]
    path = find_file(name, *near) or find_file(os.path.basename(name), *near)
    if path is None:
        raise place.error(f"{key}={name}: no such file in {', '.join(map(str, [Path(), *near]))}", key,
                          Reason.MISSING_FILE)
    return path


def read_lines(name: str, key: str, place: Place) -> tuple[str, list[str]]:
    """Where a file that a cfg names is, in words, and its lines, blank ones at its end left out."""
    if place.cfg.stored is not None and name in place.cfg.stored.files:
        return f"the {key} in {place.cfg.path}", place.cfg.stored.files[name].rstrip().splitlines()
    path = find(name, key, place)
    try:
        check_regular(path)
        if path.stat().st_size > MAX_BYTES:
            raise place.error(f"{key}=: {path} is larger than {MAX_BYTES} bytes", key, Reason.TOO_LARGE)
        return str(path), path.read_text("utf-8", "replace").rstrip().splitlines()
    except OSError as error:
        raise place.error(f"{key}=: cannot read {path}: {cause(error)}", key, Reason.reading(error)) from None


def named_files(layers: Iterable[Layer]) -> dict[str, str]:
    """The text of the files that layers name (tree=, map=), by those names."""
    named = {(name, key): layer.place for layer in layers for key in ("tree", "map")
             if (name := getattr(layer.options, key, None)) is not None}
    return {name: "".join(f"{line}\n" for line in read_lines(name, key, place)[1])
            for (name, key), place in named.items()}
