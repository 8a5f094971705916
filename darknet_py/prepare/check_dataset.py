"""Checks before training: of a data set, of a cfg, and whether they fit each other."""
from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from darknet_py.data.check import (
    NetworkLimits,
    Progress,
    SplitStatistics,
    check_samples,
    empty_classes,
    shared_pictures,
)
from darknet_py.data.datafile import MOST_CLASSES, entries_of, opened, read_names
from darknet_py.data.dataset import Problem, Sample, class_names, find_near, own_splits, read_samples
from darknet_py.errors import CfgError, CfgWarning, DataError, locate
from darknet_py.layers import DetectionHead, Head
from darknet_py.model.network import Network
from darknet_py.prepare.anchors import fit_of
from darknet_py.prepare.refit_heads import network_anchors
from darknet_py.zoo.models import open_cfg

POOR_ANCHORS = .5           # mean overlap of boxes with their best anchors below which there is a warning


@dataclass
class DatasetReport:
    """The result of ``check_dataset``.

    names: the classes' names, or their numbers. splits: train and valid, as far as they can be read. network: None
    without a cfg, or with one that cannot be built. anchor_iou: mean over the boxes of train of the overlap with the
    best anchor, by size alone; None without anchors.
    """
    problems: list[Problem] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    splits: list[SplitStatistics] = field(default_factory=list)
    network: Network | None = None
    anchor_iou: float | None = None

    @property
    def errors(self) -> int:
        return sum(problem.error for problem in self.problems)

    @property
    def warnings(self) -> int:
        return len(self.problems) - self.errors


def check_dataset(data: str | os.PathLike, cfg: str | os.PathLike | None = None, *, decode: bool = True,
                  progress: Progress | None = None) -> DatasetReport:
    """Check a data set, and a cfg with it.

    Args:
        data: a .data file, or any other source of ``read_samples``.
        cfg: the network that is to be trained, if its fit is to be checked too.
        decode: decode all pictures; else only see whether they look like pictures.
        progress: called now and then with how many pictures of a split are done, of how many.

    Raises:
        DataError: data itself cannot be read. All else that is wrong is in the report.
    """
    report = DatasetReport()
    data = opened(data)
    entries = entries_of(data)
    names = _names(data, report)
    if cfg is not None:
        report.network = _network(cfg, report)
    layers = [] if report.network is None else list(report.network.layers)
    heads = [layer for layer in layers if isinstance(layer, DetectionHead)]
    classifiers = [layer for layer in layers if isinstance(layer, Head) and layer.classifies]
    classes = _classes(data, entries, names, heads or classifiers, report)
    pixel, most = (0.0, 0.0), 0
    if report.network is not None:
        shape, most = report.network.input_shape, heads[-1].options.max if heads else 0
        pixel = 1 / shape.width, 1 / shape.height
    limits = NetworkLimits(classes or MOST_CLASSES, pixel, most, _labels(data, entries, report.network, report))
    found: dict[str, list[Sample]] = {}
    for name in ("train", "valid") if Path(data).suffix == ".data" or own_splits(data) else ("train",):
        if name == "valid" and entries and "valid" not in entries:
            report.problems.append(Problem(Path(data), 0, "no valid=: mAP would be that of train", error=False))
            continue
        try:
            samples = read_samples(data, name)
        except DataError as error:
            report.problems.append(Problem(Path(data), 0, str(error).removeprefix(f"{data}: ")))
            continue
        found[name] = samples
        split, problems = check_samples(samples, limits, name, decode=decode, progress=progress)
        report.splits.append(split)
        report.problems += problems
        if classes is not None:
            report.problems += empty_classes(split, names or [], Path(data))
    if len(found) == 2:
        report.problems += shared_pictures(found["train"], found["valid"])
    seen = max((int(split.per_class.nonzero()[0].max(initial=-1)) for split in report.splits), default=-1) + 1
    count = seen if classes is None else classes
    for split in report.splits:
        split.per_class = split.per_class[:count]
    report.names = [*(names or [])[:count], *map(str, range(len(names or []), count))]
    if report.network is not None:
        report.problems += _anchors(heads, report)
    return report


def _names(data: str | os.PathLike, report: DatasetReport) -> list[str] | None:
    try:
        return class_names(data)
    except DataError as error:
        report.problems.append(Problem(Path(data), 0, f"names: {error}"))
        return None


def _labels(data: str | os.PathLike, entries: Mapping[str, str], network: Network | None, report: DatasetReport
            ) -> list[str]:
    """The labels that stand in the names of a classifier's pictures; none where boxes are in label files."""
    named = entries.get("labels", entries.get("names") if network is not None else None)
    if named is None or (network is not None and network.detection_heads):
        return []
    try:
        return read_names(find_near(named, Path(data)))
    except DataError as error:
        report.problems.append(Problem(Path(data), 0, f"labels: {error}"))
        return []


def _classes(data: str | os.PathLike, entries: Mapping[str, str], names: Sequence[str] | None, heads: Sequence[Head],
             report: DatasetReport) -> int | None:
    """The number of classes: that of the heads, else the .data file, else the names; None where none has it."""
    count = None if names is None else len(names)
    text = entries.get("classes")
    if text is not None:
        if not text.isdecimal() or len(text) > 40 or int(text) < 1:
            report.problems.append(Problem(Path(data), 0, f"classes = {text}: expected a number above 0"))
        else:
            if count is not None and count != int(text):
                report.problems.append(Problem(Path(data), 0, f"classes = {text}, but there are {count} names"))
            count = int(text)
    for head in heads:
        if count is not None and head.classes != count:
            report.problems.append(_about(head.place.error(
                f"has {head.classes} classes, but {data} has {count}", "classes")))
    return heads[-1].classes if heads else count


def _network(cfg: str | os.PathLike, report: DatasetReport) -> Network | None:
    """Build the network; its problems, independent of the data, are added to the report."""
    with warnings.catch_warnings(record=True) as caught, torch.device("meta"):
        warnings.simplefilter("always", CfgWarning)
        try:
            network = Network(open_cfg(cfg))
        except CfgError as error:
            report.problems.append(_about(error))
            return None
        finally:
            report.problems += [_warned(str(warning.message), Path(cfg)) for warning in caught
                                if issubclass(warning.category, CfgWarning)]
    report.problems += _settings(network)
    return network


def _settings(network: Network) -> Iterator[Problem]:
    """Problems with [net] that prevent or spoil training."""
    net, section, cfg = network.options, network.cfg.sections[0], network.cfg

    def about(message: str, key: str, error: bool = False) -> Problem:
        entry = section.first.get(key)
        return _about(cfg.error(f"[net] {message}", section.line if entry is None else entry.line), error)

    if not any(isinstance(layer, Head) for layer in network.layers):
        yield about("no layer of this network can be trained: expected a head, such as [yolo] or [softmax]", "", True)
    if net.batch < net.subdivisions:
        yield about(f"subdivisions={net.subdivisions} needs a batch of at least as many pictures, found "
                    f"batch={net.batch}", "subdivisions", True)
    elif net.batch % net.subdivisions:
        yield about(f"batch={net.batch} is no multiple of subdivisions={net.subdivisions}: a batch would have "
                    f"{net.batch // net.subdivisions * net.subdivisions} pictures", "batch")
    if net.batch == 1:
        yield about("batch=1: is this the cfg for testing? Training wants many pictures in a batch", "batch")
    if net.max_batches < 1:
        yield about("max_batches= needs the number of iterations, found none", "max_batches", True)
    elif net.policy == "steps" and max(net.steps) >= net.max_batches:
        yield about(f"steps= has {max(net.steps)}, which max_batches={net.max_batches} never reaches", "steps")
    for side, size, cells in {(side, getattr(network.input_shape, side), getattr(layer.shape, side))
                              for layer in network.layers
                              if isinstance(layer, DetectionHead) and layer.anchored for side in ("width", "height")}:
        stride = 2 ** round(math.log2(max(1, size / cells)))
        if size != stride * cells:
            yield about(f"{side}={size} is no multiple of {stride}, the step of a head with {cells} cells", side)


def _anchors(heads: Sequence[Head], report: DatasetReport) -> Iterator[Problem]:
    """How well anchors fit the boxes of train, and whether they fit at all."""
    heads = [head for head in heads if isinstance(head, DetectionHead) and head.anchored]
    boxes = next((split.boxes for split in report.splits if split.name == "train"), np.zeros((0, 2), np.float32))
    if not heads or not len(boxes) or report.network is None:
        return
    _, height, width = report.network.input_shape
    anchors = network_anchors(report.network)
    report.anchor_iou = fit_of(boxes * np.array([width, height], np.float32), anchors).iou
    if report.anchor_iou < POOR_ANCHORS:
        yield _about(heads[0].place.error(
            f"anchors= overlap the boxes of train by {report.anchor_iou:.2f} on average at {width} x {height}, "
            f"expected {POOR_ANCHORS} or more: darknet-py detector calc_anchors finds better ones", "anchors"), False)


def _about(problem: CfgError, error: bool = True) -> Problem:
    """A CfgError as a Problem."""
    message = str(problem).removeprefix(f"{locate(problem.path, problem.line)}: ")
    return Problem(Path(str(problem.path)), problem.line or 0, message, error)


def _warned(text: str, cfg: Path) -> Problem:
    """The text of a CfgWarning as a Problem."""
    match = re.match(rf"{re.escape(str(cfg))}:(\d+): (.*)", text, re.S)
    return Problem(cfg, 0, text, False) if match is None else Problem(cfg, int(match[1]), match[2], False)
