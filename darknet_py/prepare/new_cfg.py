"""New cfgs: an architecture with the values that follow from classes, pictures, size and memory."""
from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from darknet_py.cfg.language import Cfg, parse_cfg
from darknet_py.cfg.options import NetOptions, bind
from darknet_py.data.batch_plan import plan
from darknet_py.data.check import Progress
from darknet_py.data.datafile import MOST_CLASSES, find_file
from darknet_py.data.dataset import Problem, class_names, read_samples
from darknet_py.errors import DataError, Reason
from darknet_py.model.input_size import coarsest_step, size_problem
from darknet_py.model.network import Network
from darknet_py.model.summary import training_memory
from darknet_py.model.weights import classes_for
from darknet_py.prepare.anchors import AnchorFit, class_count, find_anchors, fit_of, read_boxes
from darknet_py.prepare.refit_heads import (
    anchor_count,
    detecting_head,
    fit_heads,
    network_anchors,
)
from darknet_py.zoo.architectures import cfg_text
from darknet_py.zoo.manifest import OFFICIAL

BATCH = 64                          # where the published cfg is for testing, one picture at a time
PER_CLASS, LEAST = 2000, 6000       # iterations
FALLS = (.8, .9)                    # parts of max_batches after which the learning rate falls, each time to FALL of it
FALL = .1
USED = .8                           # the part of the memory that training may be expected to take


class Memory(NamedTuple):
    """Memory for training: bytes, and which memory it is, in words."""

    size: int
    name: str


class NewCfg(NamedTuple):
    """A cfg for a data set, and the facts that its values follow from.

    network: built, without memory for weights.
    step: what width and height are multiples of.
    pictures: to train on; None without data.
    memory, needed: the memory there is, and the bytes that a mini-batch is expected to take of it.
    largest: (width, height) that random= trains at, the network's own without it.
    fits: how well the architecture's anchors fit the boxes, and the cfg's own; None without auto_anchors.
    problems: with the labels that anchors were taken from.
    """

    cfg: Cfg
    network: Network
    step: int
    pictures: int | None
    memory: Memory
    needed: int
    largest: tuple[int, int]
    fits: tuple[AnchorFit, AnchorFit] | None
    problems: list[Problem]


class Pretrained(NamedTuple):
    """Published weights that training can start from.

    file: its official name.
    layers: of which only so many first layers fit, so that the rest has to be cut off; None where all are taken as they
        are.
    path: where it lies, None where it has to be fetched.
    """

    file: str
    layers: int | None = None
    path: Path | None = None


def new_cfg(name: str, *, classes: int | None = None, size: tuple[int, int] | None = None,
            data: str | os.PathLike | None = None, auto_anchors: bool = False, variants: Collection[str] = (),
            memory: int | None = None, progress: Progress | None = None) -> NewCfg:
    """A cfg to train an architecture with.

    Args:
        name: of ``ARCHITECTURES``.
        classes: None for those of data.
        size: (width, height) of the input; None for the architecture's own.
        data: a .data file, or another source of ``read_samples``. It counts for max_batches.
        auto_anchors: anchors that fit the boxes of data, as many as the architecture has, and each for one head.
        variants: see ``cfg_text``.
        memory: bytes that training may take; None for the GPU's free ones, or the machine's without a GPU.
        progress: called with how many of the searches for anchors are done.

    Raises:
        DarknetError: arguments that contradict each other, or would not build; no mini-batch fits the memory.

    AlexeyAB's rules (README, "How to train"): max_batches is classes * 2000, at least 6000 and the number of pictures;
    the learning rate falls at 80 and 90 % of that. Steps at which it rises, as YOLOv1's do, stay.
    """
    if auto_anchors and data is None:
        raise DataError("anchors are found in the boxes of a data set: expected its .data file too, found none",
                        Reason.MISSING_KEY)
    known = None if data is None else _classes(data)
    if classes is None:
        classes = known
    elif not 0 < classes <= MOST_CLASSES:
        raise DataError(f"expected a number of classes from 1 to {MOST_CLASSES}, found {classes}", Reason.OUT_OF_RANGE)
    elif known is not None and known != classes:
        raise DataError(f"{data} has {known} classes, asked for {classes}", Reason.WRONG_COUNT)
    path = f"{name}.cfg"
    base = parse_cfg(cfg_text(name, classes=classes, variants=variants), path)
    if classes is None:
        raise DataError(f"{name} is for how many classes? Say so, or name a data set that does", Reason.MISSING_KEY)
    pictures = None if data is None else len(read_samples(data))
    own = bind(base, base.sections[0], NetOptions)
    net = _schedule(own, max(PER_CLASS * classes, LEAST, 0 if pictures is None else pictures))
    if own.batch == 1:
        net["batch"] = BATCH
    width, height = (own.width, own.height) if size is None else size
    net |= {"width": width, "height": height}
    net |= {key: round(crop * width / own.width) for key in ("min_crop", "max_crop")
            if (crop := getattr(own, key)) is not None}
    step = coarsest_step(base)
    if (problem := size_problem(step, width=width, height=height)) is not None:
        raise DataError(f"{name}: {problem}", Reason.INDIVISIBLE)
    network = _built(base, width, height)
    free = available_memory() if memory is None else Memory(memory, "memory")
    net["subdivisions"], needed, largest = _mini_batch(name, network, net.get("batch", own.batch), free)
    cfg = parse_cfg(cfg_text(name, classes=classes, variants=variants, **net), path)
    sizes, problems = None, []
    if auto_anchors and data is not None:
        if not (count := anchor_count(network)):
            raise DataError(f"{name} has no heads with anchors", Reason.WRONG_TASK)
        boxes = read_boxes(data)
        if not len(boxes.sizes):
            raise DataError(f"{data}: the pictures under train have no boxes", Reason.EMPTY)
        sizes, problems = boxes.sizes * (network.input_shape.width, network.input_shape.height), boxes.problems
        cfg = fit_heads(cfg, anchors=find_anchors(sizes, count, progress=progress).best, new_masks=True)
    built = _built(cfg)
    fits = None if sizes is None else (fit_of(sizes, network_anchors(network)), fit_of(sizes, network_anchors(built)))
    return NewCfg(cfg, built, step, pictures, free, needed, largest, fits, problems)


def first_weights(cfg: Cfg, network: Network, *near: str | os.PathLike) -> Pretrained | None:
    """The published weights to train a new cfg from; None where none fit.

    Those that lie in the working directory or a folder of near come before those that would have to be fetched, a file
    of first layers before that of a whole network, and one that fits before one that has to be cut.

    Args:
        cfg: with other classes than were published, and perhaps anchors and variants.
        network: built from it.
    """
    agreeing = {file: _agreeing(cfg, facts.cfg) for file, facts in OFFICIAL.items() if facts.cfg is not None}
    first = [Pretrained(file) for file, count in agreeing.items()
             if OFFICIAL[file].layers is not None and count >= (OFFICIAL[file].layers or 0)]
    own = "" if cfg.path is None else cfg.path.name
    whole = [Pretrained(file) for file, facts in OFFICIAL.items() if facts.layers is None and facts.cfg == own
             and any(classes_for(facts.size - header, network.layers) is not None for header in (16, 20))]
    cut = [Pretrained(file, OFFICIAL[first[0].file].layers if first else count) for file, count in agreeing.items()
           if OFFICIAL[file].layers is None and count >= (OFFICIAL[first[0].file].layers or 0 if first else
                                                          len(network.layers) / 2)]
    for weights in [*first, *whole, *sorted(cut, key=lambda weights: -agreeing[weights.file])]:
        if (path := find_file(weights.file, *near)) is not None:
            return weights._replace(path=path)
    return next(iter([*first, *whole]), None)


def _agreeing(cfg: Cfg, name: str) -> int:
    """How many first layers a cfg shares with a published one."""
    ours, theirs = ([block for block in text.split("\n\n") if block.startswith("[")][1:]
                    for text in (cfg.text, cfg_text(name.removesuffix(".cfg"))))
    return next((index for index, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other),
                min(len(ours), len(theirs)))


def available_memory() -> Memory:
    """The GPU's free memory, or without a GPU the machine's.

    Raises:
        DataError: the operating system gives no figure.
    """
    if torch.cuda.is_available():
        return Memory(torch.cuda.mem_get_info()[0], "the GPU's free memory")
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        found = None
    if found is not None:
        return Memory(int(found[1]) << 10, "free RAM")
    try:
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "RAM")
    except (AttributeError, OSError, ValueError):       # Windows has no sysconf
        raise DataError("this system does not tell how much memory it has; say how much training may take",
                        Reason.UNSUPPORTED) from None


def _classes(data: str | os.PathLike) -> int | None:
    """The number of classes of a data set; DataError where classes= and names differ, None where it has neither."""
    count, names = class_count(data), class_names(data)
    if names is not None and count != len(names):
        raise DataError(f"{data}: classes = {count}, but there are {len(names)} names", Reason.WRONG_COUNT)
    return None if count == 0 else count


def _schedule(own: NetOptions, max_batches: int) -> dict[str, Any]:
    """The keys of [net] that follow from the number of iterations."""
    if own.policy != "steps":
        return {"max_batches": max_batches}
    rises = [(step, scale) for step, scale in zip(own.steps, own.scales, strict=True) if scale >= 1]
    return {"max_batches": max_batches,
            "steps": [*(step for step, _ in rises), *(round(part * max_batches) for part in FALLS)],
            "scales": [*(scale for _, scale in rises), *(FALL for _ in FALLS)]}


def _mini_batch(name: str, network: Network, batch: int, memory: Memory) -> tuple[int, int, tuple[int, int]]:
    """subdivisions= that make a mini-batch fit, what it takes, and the largest size that it is trained at."""
    net = replace(network.options, batch=batch, subdivisions=1)
    random = detecting_head(network).options.random if network.detection_heads else 0
    first = plan(net, random, 1)
    largest = first.width, first.height
    if largest != (net.width, net.height):
        network = network.resized(*largest)
    for_weights, for_image = training_memory(network)
    subdivisions = 1
    while True:
        images = batch // subdivisions
        needed = for_weights + images * for_image
        if needed <= USED * memory.size:
            return subdivisions, needed, largest
        if batch % (2 * subdivisions):
            raise DataError(f"{name} needs about {gib(needed)} to train on {images} x {largest[0]} x {largest[1]} "
                            f"pixels at once, found {gib(memory.size)} of {memory.name}, {USED * 100:.0f} % of which "
                            "may be used: take a smaller size, or say how much there is where it will be trained",
                            Reason.TOO_LARGE)
        subdivisions *= 2


def gib(size: int) -> str:
    """Bytes for readers."""
    return f"{size / 2 ** 30:.3g} GiB"


def _built(cfg: Cfg, width: int | None = None, height: int | None = None) -> Network:
    with torch.device("meta"):
        return Network(cfg, width=width, height=height)
