"""Batched inference over a data set, sharded over processes."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from darknet_py.data.dataset import NO_LABEL, NO_ROWS, Sample, read_rows
from darknet_py.data.image import read_image
from darknet_py.errors import DataError, Reason
from darknet_py.evaluation.matching import DetectionTable, GroundTruth
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.pipeline import BatchOutputs, Pipeline, Preprocessed
from darknet_py.inference.postprocess import PostProcessor, sorted_order
from darknet_py.inference.preprocess import as_inputs, check_takes_images
from darknet_py.inference.tiles import Tiling
from darknet_py.model.network import Network
from darknet_py.utils.distributed import World

Columns = TypeVar("Columns", DetectionTable, GroundTruth)


class PostProcessing(NamedTuple):
    """Settings of post-processing.

    thresh: scores must be above it. nms: overlap above which the box of the lower score is suppressed; 0 keeps all.
    hier_thresh: see ``Detector``. pixels: measure distances between boxes (of nms_kind=greedynms and diounms) in pixels
    instead of in parts of the image, which differ where it is not square. objectness: boxes of no class (label 0),
    scored by their objectness.
    """

    thresh: float
    nms: float
    hier_thresh: float = .5
    pixels: bool = False
    objectness: bool = False

    def __str__(self) -> str:
        return f"scores above {self.thresh:g}, NMS {self.nms:g}"


PIXELS, MOST = 8 * 608 * 608, 16        # of a batch; images of a batch

MAP = PostProcessing(.005, .45, 0)                     # as C's detector map
VALID = PostProcessing(.001, .6, pixels=True)          # as C's detector valid, whose files COCO's tools measure
RECALL = PostProcessing(.001, .4, objectness=True)     # as C's detector recall


@dataclass(frozen=True, eq=False)
class Predictions:
    """Detections of a network on a list of images, with the ground truth.

    Attributes:
        detections: of each of the settings, images in order.
        objects: the ground truth; its labels, and those of the detections, number the network's classes.
        sizes: (N, 2) int64 height and width of the images in pixels; 0 for one that cannot be read.
        problems: why images and labels were left out, a line each.
        seconds: that inference took, and ``network_seconds`` of these inside the network.
    """

    detections: tuple[DetectionTable, ...]
    objects: GroundTruth
    sizes: np.ndarray
    problems: tuple[str, ...]
    seconds: float
    network_seconds: float

    def speed(self) -> str:
        """Images a second, and the share of the time outside the network, in words."""
        count = int((self.sizes[:, 0] > 0).sum())
        return (f"{count} images in {self.seconds:.1f} s: {count / self.seconds:.1f} a second, "
                f"{max(0, 1 - self.network_seconds / self.seconds):.0%} of the time outside the network")


def predict(network: Network, samples: Sequence[Sample], names: Sequence[str], settings: Sequence[PostProcessing], *,
         labels: bool = True, letterbox: bool | None = None, difficult: Sequence[Sample] | None = None,
         batch: int | None = None, device: str | int | torch.device | None = None, workers: int | None = None,
         world: World | None = None, progress: Callable[[int, int], None] | None = None,
         backend: Backend | None = None, tiling: Tiling | None = None) -> Predictions:
    """Run a network over images, a batch at a time, while others are loaded.

    Args:
        settings: of post-processing; the outputs are post-processed with each of them.
        labels: read the labels too.
        network, samples, names, letterbox, difficult, batch, device, workers, world, progress, backend, tiling, and
            what is raised: see ``evaluation.evaluate_map``.
    """
    postprocess = PostProcessor.of(network)
    check_takes_images(network)
    classes = postprocess.classes
    if len(names) != classes:
        raise DataError(f"expected {classes} names, one for each class of {network.cfg.path}, found {len(names)}",
                        Reason.WRONG_COUNT)
    if not samples:
        raise DataError("there are no images to measure with", Reason.EMPTY)
    if difficult is not None and len(difficult) != len(samples):
        raise DataError(f"needs as many lists of difficult objects as images, {len(samples)}, got {len(difficult)}",
                        Reason.WRONG_COUNT)
    if letterbox is None:
        letterbox = bool(network.options.letter_box)
    backend = PyTorch.copy_of(network, device) if backend is None else backend
    backend.reset_state()
    shape = network.input_shape
    stateful = any(layer.stateful for layer in network.layers)
    if tiling is not None:
        tiling.check(network)
    if stateful:
        batch = 1
    elif batch is None:
        batch = max(1, min(MOST, PIXELS // (shape.width * shape.height)) // (1 if tiling is None else tiling.inputs))

    def load(number: int) -> Preprocessed:
        image = read_image(samples[number].image, shape.channels)
        easy, problems = read_rows(samples[number], classes) if labels else (NO_ROWS, [])
        hard, others = (NO_ROWS, []) if difficult is None or not labels else read_rows(difficult[number], classes)
        return Preprocessed(as_inputs(image, shape, letterbox, tiling), _Labelled(
            number, image.shape[:2], np.concatenate([easy, hard]), np.arange(len(easy) + len(hard)) >= len(easy),
            [str(problem) for problem in (*problems, *others) if problem.error],
            any(problem.message == NO_LABEL for problem in problems)))

    def decode(ran: BatchOutputs) -> list[_ImageDetections]:
        decoded = [list(_decode(postprocess, ran, setting, letterbox, tiling)) for setting in settings]
        return [_ImageDetections(image, list(tables)) for image, *tables in zip(ran.contexts, *decoded, strict=True)]

    def work() -> _Shard:
        pipeline = Pipeline(backend, load, decode, workers=workers, where=lambda number: (
            f"in the batch that starts with {samples[number].image}; the network cannot be measured"))
        return _run_shard(pipeline, shard, len(settings), report)

    # Whole batches are sharded, so that each holds the same images whatever the number of processes. The state of
    # recurrent networks goes from image to image, so there each process does all.
    blocks = [range(start, min(start + batch, len(samples))) for start in range(0, len(samples), batch)]
    alone = world is None or stateful
    shard = blocks if alone else [blocks[number] for number in world.shard(len(blocks))]    # type: ignore[union-attr]
    count = sum(map(len, shard))

    def report(done: int) -> None:
        if progress is not None:
            progress(len(samples) * done // count, len(samples))

    parts = [work()] if alone else world.gather(work)             # type: ignore[union-attr]
    return _merged(parts, samples, len(settings))


class _Labelled(NamedTuple):
    """An image's number, its (height, width), its labels (T, 5), (T,) which are difficult, the problems with them, and
    whether their file is missing."""

    number: int
    size: tuple[int, ...]
    rows: np.ndarray
    difficult: np.ndarray
    problems: list[str]
    unlabelled: bool


class _ImageDetections(NamedTuple):
    """An image, and its detections with each of the settings."""

    image: _Labelled
    detections: list[DetectionTable]


class _Shard(NamedTuple):
    """The results of one process: detections of each of the settings, by image; the ground truth; (image, height,
    width); (image, problem); images without a label file; seconds in all and in the network."""

    detections: list[list[DetectionTable]]
    objects: list[GroundTruth]
    sizes: list[tuple[int, ...]]
    problems: list[tuple[int, str]]
    unlabelled: list[int]
    seconds: float
    network_seconds: float


def _run_shard(pipeline: Pipeline[int, _ImageDetections], batches: Sequence[range], settings: int,
               report: Callable[[int], None]) -> _Shard:
    """Run the images of one process; ``settings``: how many there are."""
    part = _Shard([[] for _ in range(settings)], [], [], [], [], 0, 0)
    begin = time.perf_counter()
    ends = {batch[-1]: len(batch) for batch in batches}
    done = 0
    for number, one in pipeline.stream(batches, max(map(len, batches), default=1)):
        if isinstance(one, DataError):
            part.problems.append((number, str(one)))
        else:
            image = one.image
            for ours, more in zip(part.detections, one.detections, strict=True):
                ours.append(more)
            part.problems.extend((number, problem) for problem in image.problems)
            part.objects.append(GroundTruth(np.full(len(image.rows), number), image.rows[:, 0].astype(np.int64),
                                            image.rows[:, 1:5].astype(np.float32), image.difficult))
            part.sizes.append((number, *image.size))
            part.unlabelled.extend([number] * image.unlabelled)
        if number in ends:
            done += ends[number]
            report(done)
    return part._replace(seconds=time.perf_counter() - begin, network_seconds=pipeline.network_seconds)


def _decode(postprocess: PostProcessor, ran: BatchOutputs, setting: PostProcessing, letterbox: bool,
            tiling: Tiling | None) -> Iterator[DetectionTable]:
    """Decode a batch's outputs and suppress, image by image."""
    def suppress(boxes: Tensor, scores: Tensor, size: tuple[int, ...]) -> Tensor:
        height, width = size if setting.pixels else (1, 1)
        return postprocess.suppress(boxes * boxes.new_tensor([width, height, width, height]), scores, setting.nms,
                                    "default" if setting.objectness else None)

    with torch.inference_mode():
        pictures = postprocess.find_in_pictures(
            ran.outputs, [image.size for image in ran.contexts], setting.thresh, suppress if setting.nms else None,
            setting.hier_thresh, letterbox, setting.objectness, tiling=tiling)
        for image, (boxes, scores, kept) in zip(ran.contexts, pictures, strict=True):
            yield _table(image.number, boxes, scores, kept)


def _merged(parts: Sequence[_Shard], samples: Sequence[Sample], settings: int) -> Predictions:
    """The predictions of all processes, images in order."""
    problems = sorted(problem for part in parts for problem in part.problems)
    sizes = np.zeros((len(samples), 2), np.int64)
    for number, height, width in (size for part in parts for size in part.sizes):
        sizes[number] = height, width
    if not sizes.any():
        raise DataError(f"none of the {len(samples)} images can be read; the first: {problems[0][1]}",
                        Reason.UNREADABLE)
    lines = [text for _, text in problems]
    if unlabelled := sorted(number for part in parts for number in part.unlabelled):
        lines.append(f"{len(unlabelled)} of {len(samples)} images have no label file, so they count as images without "
                     f"objects; the first: {samples[unlabelled[0]].image}")
    return Predictions(tuple(_concatenated([one for part in parts for one in part.detections[at]])
                             for at in range(settings)),
                       _concatenated([one for part in parts for one in part.objects]), sizes, tuple(lines),
                       max(part.seconds for part in parts), sum(part.network_seconds for part in parts) / len(parts))


def _table(image: int, boxes: Tensor, before: Tensor, scores: Tensor) -> DetectionTable:
    """The detections of an image in C's order: boxes (B, 4), scores (B, C) ``before`` and after suppression."""
    boxes, scores = boxes.cpu(), scores.cpu()
    order = sorted_order(before.cpu())
    box, label = (scores[order] > 0).nonzero().unbind(1)
    box = order[box]
    return DetectionTable(np.full(len(box), image), label.numpy(), scores[box, label].numpy(), boxes[box].numpy())


def _concatenated(parts: Sequence[Columns]) -> Columns:
    """Columns of images one below the other, images in order."""
    columns = type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))
    order = np.argsort(columns.images, kind="stable")
    return type(parts[0])(*(column[order] for column in columns))
