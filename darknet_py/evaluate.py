"""How good a detector is: mean average precision, as ``detector map`` measures it."""
from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from darknet_py.average_precision import Found, MapResult, Objects, average_precision
from darknet_py.data.dataset import Sample, read_rows
from darknet_py.data.image import read_image
from darknet_py.detect import as_input, count_classes, propose, suppress
from darknet_py.errors import DarknetError, DataError, locate
from darknet_py.layers.recurrent import Recurrent
from darknet_py.network import Network

LEAST = .005            # scores below take no part

Item = TypeVar("Item")
Columns = TypeVar("Columns", Found, Objects)


def evaluate_map(network: Network, samples: Sequence[Sample], names: Sequence[str], *, iou_thresh: float = .5,
                 points: int = 0, thresh: float = .25, nms: float = .45, letterbox: bool | None = None,
                 difficult: Sequence[Sample] | None = None, batch: int | None = None,
                 device: str | torch.device | None = None, workers: int | None = None,
                 progress: Callable[[int, int], None] | None = None) -> MapResult:
    """Mean average precision of a network on labelled images.

    It works on a copy, so a network may be in the middle of its training: its mode, statistics, recurrent state and
    gradients stay as they are.

    Args:
        network: with a detection head, on any device, folded or not.
        samples: the images and their labels. One that cannot be read is left out, and listed in ``problems``.
        names: of the network's classes.
        iou_thresh, points, thresh: see ``average_precision``.
        nms: overlap above which the less sure box goes; 0 keeps all.
        letterbox: keep the pictures' proportions; None does as the cfg says (letter_box=).
        difficult: for each sample one whose labels are objects that need not be found.
        batch: images at a time; None takes the mini-batch of training. Recurrent networks see one after the other.
        device: None takes the network's, "auto" a GPU where there is one.
        workers: threads that load images.
        progress: called with how many images are done, and how many there are.

    Raises:
        CfgError: the network has no detection head.
        DataError: no samples, or no image can be read, or not as many names as classes or difficult samples as samples.
        DarknetError: the network gives something that is not a number; says which layer was the first to.

    Darknet: validate_detector_map; scores above .005 take part.
    """
    classes = count_classes(network)
    if len(names) != classes:
        raise DataError(f"needs {classes} names, one for each class, got {len(names)}")
    if not samples:
        raise DataError("there are no images to measure with")
    if difficult is not None and len(difficult) != len(samples):
        raise DataError(f"needs as many lists of difficult objects as images, {len(samples)}, got {len(difficult)}")
    if letterbox is None:
        letterbox = bool(network.options.letter_box)
    if any(isinstance(layer, Recurrent) for layer in network.layers):
        batch = 1
    elif batch is None:
        batch = max(1, network.options.batch // network.options.subdivisions)
    network, shape = _copy(network, device), network.input_shape

    def load(number: int) -> _Loaded | DataError:
        try:
            image = read_image(samples[number].image, shape.channels)
        except DataError as error:
            return error
        easy, problems = read_rows(samples[number], classes)
        hard, others = (easy[:0], []) if difficult is None else read_rows(difficult[number], classes)
        return _Loaded(as_input(image, shape, letterbox), image.shape[:2], np.concatenate([easy, hard]),
                       np.arange(len(easy) + len(hard)) >= len(easy),
                       [str(problem) for problem in (*problems, *others) if problem.error])

    found: list[Found] = []
    objects: list[Objects] = []
    problems: list[str] = []
    waiting: list[tuple[int, _Loaded]] = []
    for number, one in enumerate(_ahead(load, len(samples), workers, 2 * batch)):
        if isinstance(one, DataError):
            problems.append(str(one))
        else:
            problems += one.problems
            waiting.append((number, one))
            objects.append(Objects(np.full(len(one.rows), number), one.rows[:, 0].astype(np.int64),
                                   one.rows[:, 1:5].astype(np.float32), one.difficult))
        if waiting and (len(waiting) == batch or number == len(samples) - 1):
            outputs = _run(network, [one.x for _, one in waiting], samples[waiting[0][0]])
            for (index, _), (boxes, scores) in zip(waiting, propose(
                    network, outputs, [one.size for _, one in waiting], LEAST, 0, letterbox), strict=True):
                found.append(_listed(index, boxes, scores, suppress(network, boxes, scores, nms)))
            waiting = []
        if progress is not None:
            progress(number + 1, len(samples))
    if not found:
        raise DataError(f"none of the {len(samples)} images can be read; the first: {problems[0]}")
    result = average_precision(_joined(found), _joined(objects), names, iou_thresh=iou_thresh, points=points,
                               thresh=thresh)
    return replace(result, problems=tuple(problems))


class _Loaded(NamedTuple):
    """An image as the network takes it, its (height, width), its labels (T, 5), (T,) which are difficult, and what was
    wrong with them."""

    x: Tensor
    size: tuple[int, ...]
    rows: np.ndarray
    difficult: np.ndarray
    problems: list[str]


def _copy(network: Network, device: str | torch.device | None) -> Network:
    """A network to run fast, and to leave behind."""
    network = copy.deepcopy(network).eval()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device is not None:
        network.to(device)
    if not network.folded:
        network.fold()
    network.set_time_steps(1)
    return network.to(memory_format=torch.channels_last)    # type: ignore[call-overload]


def _run(network: Network, images: list[Tensor], first: Sample) -> tuple[Tensor, ...]:
    """The outputs of a batch, after a check that they are numbers."""
    weight = next(network.parameters())
    x = torch.stack(images).to(weight.device, weight.dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        outputs = network(x)
        if torch.stack([output.isfinite().all() for output in outputs]).all():
            return outputs
        network.reset_state()
        layer, output = next(((layer, output) for layer, output in zip(network.layers, network.trace(x), strict=True)
                              if not output.isfinite().all()), (network.layers[-1], outputs[-1]))
    bad = output[~output.isfinite()]
    raise DarknetError(f"{locate(network.cfg.path, layer.place.section.line)}: layer {layer.place.index} "
                       f"[{layer.kind}] gives {bad[0]:f} in {len(bad)} of {output.numel()} values, in the batch that "
                       f"starts with {first.image}; the network cannot be measured")


def _listed(image: int, boxes: Tensor, before: Tensor, scores: Tensor) -> Found:
    """What is left of an image's boxes (B, 4) after suppression took (B, C) scores away, in C's order.

    That is the order in which its suppression leaves the boxes, sorted by one class after the other.
    """
    boxes, before, scores = boxes.cpu(), before.cpu(), scores.cpu()
    keys = before[:, (before > 0).any(0)]
    order = torch.from_numpy(np.lexsort((-keys).T.numpy())) if keys.shape[1] else torch.arange(len(boxes))
    box, label = (scores[order] > 0).nonzero().unbind(1)
    box = order[box]
    return Found(np.full(len(box), image), label.numpy(), scores[box, label].numpy(), boxes[box].numpy())


def _ahead(load: Callable[[int], Item], count: int, workers: int | None, ahead: int) -> Iterator[Item]:
    """``load(0)``, ``load(1)`` ... in their order, from threads that are at most ``ahead`` items ahead."""
    workers = min(8, os.cpu_count() or 1) if workers is None else max(1, workers)
    pool, pending = ThreadPoolExecutor(workers), deque[Future[Item]]()
    try:
        for number in range(count):
            pending.append(pool.submit(load, number))
            if len(pending) > ahead + workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _joined(parts: Sequence[Columns]) -> Columns:
    return type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))
