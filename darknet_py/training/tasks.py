"""Training tasks (detection, classification, character models): their mini-batches and their evaluation."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_py.data.check import check_for_training
from darknet_py.data.classification import ClassifierLoader, ClassifierPictures
from darknet_py.data.datafile import entries_of
from darknet_py.data.dataset import Problem, Sample, class_names, find_near, read_rows, read_samples
from darknet_py.data.loader import Batches, Loader, Plan
from darknet_py.data.targets import MiniBatch
from darknet_py.data.text import Text
from darknet_py.errors import DataError, Reason
from darknet_py.evaluation.classification import evaluate_classifier, read_leaves
from darknet_py.evaluation.error_analysis import find_mistakes
from darknet_py.evaluation.evaluate import map_and_predictions
from darknet_py.evaluation.plots import plot_confusion, plot_f1, plot_precision_recall
from darknet_py.inference.char_rnn import perplexity
from darknet_py.inference.classifier import check_classes, count_outputs, tree_of
from darknet_py.model.network import Network
from darknet_py.prepare.refit_heads import detecting_head
from darknet_py.training.augmentation import augmentation_of, classifier_augmentation_of
from darknet_py.training.events import Score, Split
from darknet_py.training.pictures import (
    Drawing,
    draw_batch,
    draw_predictions,
    plot_accuracy,
    plot_classes,
    plot_labels,
)
from darknet_py.training.settings import Settings
from darknet_py.utils.distributed import World

MOST_WORKERS = 8
EVALUATED = 8           # mini-batches of one sequence, to measure a character model
MOST_TOLD = 20          # problems of pictures and labels
MOST_COUNTED = 10_000   # pictures whose objects are counted before training: a second's work
DRAWN = 3               # mini-batches in the report
MOST_CURVES, MOST_CONFUSED = 1000, 200      # classes whose curves, and whose confusions, can be looked at


class Task:
    """A training task: its loader of mini-batches, and its score.

    random: range of sizes, ``random=``.
    count: pictures to train on.
    notes: what to tell the user before training.
    loader: of mini-batches.
    names: of the classes.
    watched: whether ``latest``, the mini-batch in training, is kept, for those who want to look at it.
    """

    random: float = 0
    watched = False
    latest: MiniBatch | None = None
    count: int
    notes: list[str]
    loader: Batches
    names: list[str]

    def __init__(self, settings: Settings, world: World):
        self.settings, self.world, self.said = settings, world, 0
        self.drawn = 0 if settings.save and settings.report and world.is_main else DRAWN
        self.drawings: list[Drawing] = []

    @property
    def waited(self) -> float:
        """Seconds spent waiting for data so far."""
        return self.loader.waited

    def batches(self, start: int, plan: Callable[[int], Plan]) -> Iterator[MiniBatch]:
        """This process's mini-batches from an iteration on, without end."""
        for batch in self.loader.batches(start, plan):
            if self.drawn < DRAWN:
                self.drawn += 1
                self.drawings.append(Drawing(f"batch {self.drawn}", {
                    f"batch_{self.drawn}.jpg": partial(draw_batch, batch, self.names)}, once=True))
            if self.watched:
                self.latest = batch
            yield batch

    def new_problems(self) -> list[str]:
        """New problems with pictures and labels, each once."""
        found = self.loader.problems[self.said:]
        self.said += len(found)
        return listed(found, MOST_TOLD - self.said + len(found))

    def splits(self) -> list[Split]:
        """The splits of training and evaluation."""
        raise AssertionError(f"{type(self).__name__} lacks splits")

    def new_drawings(self) -> list[Drawing]:
        """Drawings of labels and mini-batches for the report, each once."""
        drawings, self.drawings = self.drawings, []
        return drawings

    def score_drawings(self, score: Score, iteration: int) -> list[Drawing]:
        """Drawings of the results that a score is computed from, for the report."""
        return []

    def evaluate(self, network: Network) -> Score:
        """Evaluate the network; all processes call it at the same time, and get the same score."""
        raise AssertionError(f"{type(self).__name__} lacks evaluate")


class DetectionTask(Task):
    """Object detection."""

    def __init__(self, data: str | os.PathLike, network: Network, settings: Settings, seed: int, world: World,
                 device: torch.device):
        super().__init__(settings, world)
        head = detecting_head(network)
        self.random = head.options.random
        self.names = class_names(data) or [str(label) for label in range(head.classes)]
        if len(self.names) != head.classes:
            raise DataError(f"{data}: has {len(self.names)} names for a network of {head.classes} classes "
                            f"({network.cfg.path}, line {head.place.section.line})", Reason.WRONG_COUNT)
        samples = read_samples(data, "train", self.names)
        self.valid, self.difficult = ((read_samples(data, split, self.names) for split in ("valid", "difficult"))
                                      if settings.evaluate else ([], []))
        if self.difficult and len(self.difficult) != len(self.valid):
            raise DataError(f"{data}: difficult= lists {len(self.difficult)} pictures, expected the "
                            f"{len(self.valid)} of valid=", Reason.WRONG_COUNT)
        self.samples, problems = check_for_training(samples, head.classes)
        self.count, self.notes = len(self.samples), listed(problems)
        self.loader = Loader(self.samples, head.classes, augmentation_of(network), seed=seed,
                             channels=network.input_shape.channels, **loading(settings, world, device))
        self.drawings.append(Drawing("labels", {"labels.png": partial(plot_labels, self.samples, self.names)},
                                     once=True))

    def splits(self) -> list[Split]:
        return [self._split("train", self.samples)] + ([self._split("valid", self.valid)] if self.valid else [])

    def _split(self, name: str, samples: Sequence[Sample]) -> Split:
        if len(samples) > MOST_COUNTED:
            return Split(name, len(samples))
        labels = [read_rows(sample, len(self.names))[0][:, 0] for sample in samples]
        counts = np.bincount(np.concatenate([*labels, []]).astype(np.int64), minlength=len(self.names))
        return Split(name, len(samples), objects=list(zip(self.names, counts.tolist(), strict=True)))

    def evaluate(self, network: Network) -> Score:
        s = self.settings
        result, predictions = map_and_predictions(
            network, self.valid, self.names, iou_thresh=s.iou_thresh, points=s.points, thresh=s.thresh,
            difficult=self.difficult or None, world=self.world)
        return Score(result.map, f"mAP@{s.iou_thresh:.2f}", result.text(), {
            "precision": result.precision, "recall": result.recall, "f1": result.f1,
            "average_iou": result.average_iou}, (result, predictions))

    def score_drawings(self, score: Score, iteration: int) -> list[Drawing]:
        if score.source is None:
            return []
        result, predictions = score.source
        names, thresh, iou_thresh = self.names, result.thresh, result.iou_thresh

        def confusion(path: Path) -> None:
            mistakes = find_mistakes(predictions.detections[0], predictions.objects, names, iou_thresh, thresh)
            plot_confusion(mistakes.confusion, names, path, f"scores above {thresh:g}, overlaps above {iou_thresh:g}")

        files: dict[str, Callable[[Path], None]] = {
            f"predictions_{iteration}.jpg": partial(draw_predictions, self.valid, predictions, names, thresh)}
        if len(names) <= MOST_CURVES:
            files |= {"precision_recall.png": partial(plot_precision_recall, result.curves, names, result.ap.tolist()),
                      "f1.png": partial(plot_f1, result.curves, names)}
        if len(names) <= MOST_CONFUSED:
            files["confusion.png"] = confusion
        return [Drawing("best", files)]


class ClassificationTask(Task):
    """Image classification."""

    def __init__(self, data: str | os.PathLike, network: Network, settings: Settings, seed: int, world: World,
                 device: torch.device):
        super().__init__(settings, world)
        count_outputs(network)
        net, tree = network.options, tree_of(network)
        shared: dict[str, Any] = {"channels": network.input_shape.channels, "unsupervised": bool(net.unsupervised),
                                  "parents": None if tree is None else tree.parent.tolist()}
        pictures = ClassifierPictures.from_data(data, "train", classifier_augmentation_of(network), **shared)
        check_classes(network, pictures.classes, data)
        self.valid = ClassifierPictures.from_data(data, "valid", **shared) if settings.evaluate else None
        self.leaves = read_leaves(data) if settings.evaluate else None
        self.count, self.notes = len(pictures), []
        self.names = [str(label) for label in range(pictures.classes)] if pictures.names is None else pictures.names
        self.loader = ClassifierLoader(pictures, seed=seed, **loading(settings, world, device))
        if pictures.names is not None:
            self.drawings.append(Drawing("labels", {"labels.png": partial(plot_classes, pictures)}, once=True))

    def splits(self) -> list[Split]:
        return [Split("train", self.count)] + ([] if self.valid is None else [Split("valid", len(self.valid))])

    def evaluate(self, network: Network) -> Score:
        assert self.valid is not None
        result = evaluate_classifier(network, self.valid, leaves=self.leaves, world=self.world)
        one, five = result.top(1), result.top(5)
        return Score(one, "top-1", f" top-1 = {one:.2%}, top-5 = {five:.2%} of {len(result)} pictures", {"top-5": five},
                     result)

    def score_drawings(self, score: Score, iteration: int) -> list[Drawing]:
        return [Drawing("best", {"accuracy.png": partial(plot_accuracy, score.source)})]


class CharacterTask(Task):
    """Prediction of the next character of a text; ``train`` and ``valid`` are texts.

    Darknet: train_char_rnn, which lets a sequence go on where the last iteration left it; here each begins anew.
    """

    def __init__(self, data: str | os.PathLike, network: Network, settings: Settings, seed: int, world: World,
                 device: torch.device):
        super().__init__(settings, world)
        entries = entries_of(data) if Path(data).suffix == ".data" else {"train": str(data)}
        if "train" not in entries:
            raise DataError(f"{data}: expected train=TEXT, found none", Reason.MISSING_KEY)
        self.texts = {split: Text(find_near(entries[split], Path(data)), network.input_shape.size)
                      for split in ("train", "valid") if split in entries}
        self.steps, self.seed = network.options.time_steps, seed
        self.count, self.notes = len(self.texts["train"]), []

    @property
    def waited(self) -> float:
        return 0

    def new_problems(self) -> list[str]:
        return []

    def batches(self, start: int, plan: Callable[[int], Plan]) -> Iterator[MiniBatch]:
        text, iteration = self.texts["train"], start
        while True:
            now = plan(iteration)
            for number in now.share(self.world.rank, self.world.size):
                draw = np.random.default_rng((self.seed, iteration, number))
                starts = draw.integers(len(text), size=now.images // now.subdivisions // self.steps)
                yield MiniBatch(*text.sequences(starts, self.steps), [str(text.path)] * (len(starts) * self.steps),
                                iteration, number)
            iteration += 1

    def splits(self) -> list[Split]:
        return [Split(split, len(text), "characters") for split, text in self.texts.items()
                if split == "train" or self.settings.evaluate]

    def evaluate(self, network: Network) -> Score:
        text = self.texts.get("valid", self.texts["train"])
        steps = min(self.steps * EVALUATED, len(text) // self.steps * self.steps) or self.steps
        result = perplexity(network, text.bytes[np.arange(steps + 1) % len(text)].tobytes())
        return Score(1 / result.each, "probability", f" {steps} characters: perplexity {result.each:.3f}, "
                     f"{result.bits / result.characters:.3f} bits each")


def task_for(data: str | os.PathLike, network: Network, settings: Settings, seed: int, world: World,
             device: torch.device) -> Task:
    """The task that a network's heads are made for."""
    if network.detection_heads:
        return DetectionTask(data, network, settings, seed, world, device)
    kind = CharacterTask if network.options.width == 0 else ClassificationTask
    return kind(data, network, settings, seed, world, device)


def loading(settings: Settings, world: World, device: torch.device) -> dict[str, Any]:
    """Options of the loader."""
    return {"workers": workers(settings, world), "rank": world.rank, "world": world.size,
            "pin": device.type == "cuda"}


def listed(problems: Sequence[Problem], most: int = MOST_TOLD) -> list[str]:
    """The first problems as text, and how many there are more; darknet-py check shows all."""
    if len(problems) <= most:
        return [str(problem) for problem in problems]
    return [str(problem) for problem in problems[:most]] + (
        ["... and more such problems: darknet-py check lists all"] if most > 0 else [])


def workers(settings: Settings, world: World) -> int:
    """Processes that load pictures, for each that trains; those that train on one machine share its cores."""
    if settings.workers is not None:
        return settings.workers
    if not hasattr(os, "sched_getaffinity"):
        return 2
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world.size))
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // here - 1))
