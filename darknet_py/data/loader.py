"""Mini-batches of training pictures from worker processes, independent of their number and of the first iteration."""
from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import ceil
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from darknet_py.data.augment_apply import Source, make_picture
from darknet_py.data.augment_plan import Augmentation, draw_recipe
from darknet_py.data.cache import Cache
from darknet_py.data.dataset import Problem, Sample, read_rows
from darknet_py.data.image import read_image
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.errors import DataError, Reason

Scalar = Sequence[float] | float
TRACKS = 4000               # numbers of objects a picture; their square is below 2^24, where float32 counts exactly


class Plan(NamedTuple):
    """The mini-batches of an iteration.

    width, height: of its pictures, in pixels.
    images: how many, over all subdivisions and time steps.
    subdivisions: mini-batches; they share the images evenly.
    time_steps: of the sequences of ``track``; a mini-batch holds all first pictures, then all second ones, and so on.
    chunks: with ``track``, in how many parts the mini-batches are cut; within a part, sequences go on from one
        mini-batch to the next (C: sequential_subdivisions). None: a part is a mini-batch.
    """

    width: int
    height: int
    images: int
    subdivisions: int = 1
    time_steps: int = 1
    chunks: int | None = None

    def share(self, rank: int, world: int) -> range:
        """The mini-batches of one of ``world`` processes that train together: rank 0 has the first ones, and none has
        more than one above another. Where there are as many parts (``chunks``) as processes none is cut."""
        parts = self.chunks if self.chunks is not None and self.chunks >= world else self.subdivisions
        first, end = (ceil(ceil(parts * one / world) * self.subdivisions / parts) for one in (rank, rank + 1))
        return range(first, end)


class Job(NamedTuple):
    """A mini-batch to make."""

    iteration: int
    subdivision: int
    plan: Plan


class Maker(Dataset):
    """The data set that makes mini-batches, in a worker or in the main process."""

    def check(self, plan: Plan) -> None:
        """DataError for a plan that cannot be made."""

    def __getitem__(self, job: Job) -> tuple[MiniBatch | None, list[Problem], DataError | None]:
        """A mini-batch, what was wrong with its files, and why there is none."""
        raise AssertionError(f"{type(self).__name__} lacks __getitem__")


class Batches:
    """Mini-batches by iteration, from worker processes; see ``Loader`` for the arguments and attributes."""

    def __init__(self, maker: Maker, *, workers: int = 0, rank: int = 0, world: int = 1, prefetch: int = 2,
                 pin: bool = False):
        self.maker = maker
        self.workers, self.rank, self.world, self.prefetch, self.pin = workers, rank, world, prefetch, pin
        self.problems: list[Problem] = []
        self.waited = 0.0
        self._known: set[Problem] = set()

    def batches(self, start: int, plan: Callable[[int], Plan]) -> Iterator[MiniBatch]:
        """Mini-batches from an iteration on, without end.

        Args:
            start: the first iteration.
            plan: asked in this process for each iteration, some iterations ahead.

        Raises:
            DataError: no picture can be read, a worker died, or a plan that does not divide evenly.
        """
        fork = self.workers > 0 and sys.platform == "linux"         # elsewhere missing, or unsafe with the system's own
        loader = DataLoader(
            self.maker, batch_size=None, collate_fn=_as_it_is, sampler=self._jobs(start, plan),     # type: ignore
            num_workers=self.workers, pin_memory=self.pin, prefetch_factor=self.prefetch if self.workers else None,
            generator=torch.Generator(),        # else it draws from the global one, and a resumed run differs
            worker_init_fn=_start_worker, multiprocessing_context="fork" if fork else None)
        with _signals_kept():
            results = iter(loader)
        while True:
            begin = time.perf_counter()
            try:
                batch, problems, error = next(results)
            except (RuntimeError, EOFError, OSError) as failure:            # OSError: it died while it was sending
                if self.workers == 0 or str(failure).startswith("Caught"):  # a fault in what it does
                    raise
                raise DataError("a process that loads pictures has died; is there too little memory (also shared "
                                f"memory, /dev/shm)? Fewer workers than {self.workers} need less",
                                Reason.WORKER_DIED) from failure
            self.waited += time.perf_counter() - begin
            for problem in problems:
                if problem not in self._known:
                    self._known.add(problem)
                    self.problems.append(problem)
            if error is not None:
                raise error
            yield batch

    def _jobs(self, start: int, plan: Callable[[int], Plan]) -> Iterator[Job]:
        iteration = start
        while True:
            now = plan(iteration)
            if now.images % now.subdivisions or now.images < now.subdivisions:
                raise DataError(f"{now.images} images cannot be shared evenly by {now.subdivisions} subdivisions",
                                Reason.INDIVISIBLE)
            if now.subdivisions < self.world:
                raise DataError(f"{now.subdivisions} subdivisions cannot be shared by {self.world} processes",
                                Reason.INDIVISIBLE)
            self.maker.check(now)
            for subdivision in now.share(self.rank, self.world):
                yield Job(iteration, subdivision, now)
            iteration += 1


class Loader(Batches):
    """Training pictures by iteration.

    Each picture is a function of the seed, its iteration, its number there and the size asked for. Pictures come in a
    new order every epoch, if all plans ask for as many (C draws each at random instead); what a mosaic or mixup adds to
    them is drawn at random, as are the starts of sequences.

    Args:
        samples: pictures and their labels.
        classes: rows of other classes are left out.
        augmentation: what is done to pictures.
        channels: 3, or 1 for grey.
        seed: not negative.
        workers: processes; 0 works in this one.
        rank, world: of the ``world`` processes that train together this one gets its part of each iteration's
            mini-batches, rank 0 the first ones.
        prefetch: mini-batches that each worker prepares ahead.
        pin: put images in page-locked memory, for faster copies to a GPU.
        cache_bytes: how much memory may hold decoded pictures; workers share it (on Linux; elsewhere only workers=0
            has it).

    Attributes:
        problems: pictures that could not be read, each replaced by another, and labels left out, each said once.
        waited: seconds spent waiting for mini-batches so far.

    Raises:
        DataError: no samples, or a number of channels that pictures do not have.
    """

    def __init__(self, samples: Sequence[Sample], classes: int, augmentation: Augmentation, *, channels: int = 3,
                 seed: int = 0, workers: int = 0, rank: int = 0, world: int = 1, prefetch: int = 2, pin: bool = False,
                 cache_bytes: int = 2 ** 30):
        if not samples:
            raise DataError("there are no pictures to train on", Reason.EMPTY)
        if channels not in (1, 3):
            raise DataError(f"pictures have 1 or 3 channels, the network takes {channels}", Reason.SHAPE_MISMATCH)
        maker = _Pictures(samples, classes, augmentation, channels, seed, Cache(len(samples), channels, cache_bytes))
        super().__init__(maker, workers=workers, rank=rank, world=world, prefetch=prefetch, pin=pin)


class _Pictures(Maker):
    """Pictures with boxes."""

    def __init__(self, samples: Sequence[Sample], classes: int, augmentation: Augmentation, channels: int, seed: int,
                 cache: Cache):
        self.samples, self.classes, self.augmentation = samples, classes, augmentation
        self.channels, self.seed, self.cache = channels, seed, cache
        self.facts: dict[int, tuple[np.ndarray, Scalar]] = {}      # rows, mean colour
        self.broken: set[int] = set()

    def check(self, plan: Plan) -> None:
        a, images = self.augmentation, plan.images // plan.subdivisions
        if a.track and images % plan.time_steps:
            raise DataError(f"mini-batches of {images} images hold no sequences of {plan.time_steps} time steps",
                            Reason.INDIVISIBLE)
        if a.contrastive and images // plan.time_steps % 2:
            raise DataError(f"contrastive=1 needs an even number of images a mini-batch, found "
                            f"{images // plan.time_steps}", Reason.INDIVISIBLE)

    def __getitem__(self, job: Job) -> tuple[MiniBatch | None, list[Problem], DataError | None]:
        plan, problems = job.plan, []       # type: ignore[var-annotated]
        made: list[tuple[np.ndarray, str]] = []
        count = plan.images // plan.subdivisions
        images = torch.empty(count, self.channels, plan.height, plan.width, dtype=torch.uint8)
        try:
            for number, out in enumerate(images.numpy(), job.subdivision * count):
                made.append(self._make(job.iteration, number, plan, out, problems))
        except DataError as error:
            return None, problems, error
        rows, names = zip(*made, strict=True)
        return MiniBatch(images, Truth.stack(rows), list(names), job.iteration, job.subdivision), problems, None

    def _make(self, iteration: int, number: int, plan: Plan, out: np.ndarray,
              problems: list[Problem]) -> tuple[np.ndarray, str]:
        """Write a picture of an iteration to out (C, H, W). Returns its rows and its file."""
        a, count = self.augmentation, len(self.samples)
        group, member, step = _place(number, plan, a)
        recipe = draw_recipe(a, self.seed, iteration, group, member)
        starts = [int(pick * count) for pick in recipe.picks]
        if not a.track:
            groups = -(-plan.images // 2) if a.contrastive else plan.images
            epoch, at = divmod(iteration * groups + group, count)
            starts[0] = int(order_of_epoch(self.seed, epoch, count)[at])
        numbers, sources = zip(*(self._read((start + recipe.speed * step) % count, problems) for start in starts),
                               strict=True)
        rng = np.random.default_rng((self.seed, iteration, group, 1 + member, 1 + step))
        image, rows = make_picture(a, recipe, sources, plan.width, plan.height, rng)
        for channel in range(self.channels):                            # BGR to RGB
            cv2.extractChannel(image, self.channels - 1 - channel, out[channel])
        return rows.astype(np.float32), str(self.samples[numbers[0]].image)

    def _read(self, index: int, problems: list[Problem]) -> tuple[int, Source]:
        """A sample, or the next one that can be read, and its number."""
        for number in (*range(index, len(self.samples)), *range(index)):
            if number in self.broken:
                continue
            image = self.cache.get(number)
            if image is None:
                try:
                    image = read_image(self.samples[number].image, self.channels)
                except DataError as error:
                    path = self.samples[number].image
                    self.broken.add(number)
                    problems.append(Problem(path, 0, str(error).removeprefix(f"{path}: ")))
                    continue
                self.cache.put(number, image)
            if number not in self.facts:
                rows, found = read_rows(self.samples[number], self.classes)
                problems.extend(found)
                self.facts[number] = self._with_tracks(rows, number), cv2.mean(image)
            return number, Source(image, *self.facts[number])
        raise DataError(f"none of the {len(self.samples)} pictures can be read; the first is {self.samples[0].image}",
                        Reason.UNREADABLE)

    def _with_tracks(self, rows: np.ndarray, number: int) -> np.ndarray:
        """Rows with a number for each object of a file, if anyone asks. Darknet: read_boxes, which hashes the path."""
        if not (self.augmentation.track or self.augmentation.contrastive):
            return rows
        tracks = number % TRACKS * TRACKS + np.arange(len(rows)) % TRACKS
        return np.column_stack([rows, tracks])


def _place(number: int, plan: Plan, a: Augmentation) -> tuple[int, int, int]:
    """Of a picture's number in its iteration: group and member (see ``draw_recipe``), and the step in its sequence.

    Darknet: get_sequential_paths, get_random_paths_custom.
    """
    if not a.track:
        return (number // 2, number % 2, 0) if a.contrastive else (number, 0, 0)
    count = plan.images // plan.subdivisions
    lines, chunks = count // plan.time_steps, plan.chunks or plan.subdivisions
    chunk = number // count * chunks // plan.subdivisions
    first = -(-chunk * plan.subdivisions // chunks)                 # mini-batch of the chunk
    step, line = divmod(number - first * count, lines)
    if not a.contrastive:
        return chunk * lines + line, 0, step
    return chunk * -(-lines // 2) + line // 2, line % 2, step


@lru_cache(maxsize=2)
def order_of_epoch(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the samples in an epoch."""
    return np.random.default_rng((seed, epoch, 0, 0, 1)).permutation(count)


def _as_it_is(made: tuple) -> tuple:
    return made


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep DataLoader's handler of dead children out: it raises wherever the main thread happens to be, even while
    weights are being written. Without it, ``next`` notices within seconds."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if handler is not None:                 # None: not one of Python's
            signal.signal(signal.SIGCHLD, handler)
