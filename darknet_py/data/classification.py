"""Pictures for classifiers with their labels, and mini-batches of them."""
from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py.data.augment_apply import noisy
from darknet_py.data.classifier_augment import CUTMIX, EITHER, PARTS, ClassifierAugmentation, cut_out, middle, mixed
from darknet_py.data.datafile import EXTENSIONS, bases, read_data, read_names
from darknet_py.data.dataset import Problem, find_near, source_of
from darknet_py.data.image import read_image, to_tensor
from darknet_py.data.layout import pick_base
from darknet_py.data.lists import read_list
from darknet_py.data.loader import Batches, Job, Maker, Plan, order_of_epoch
from darknet_py.data.targets import MiniBatch
from darknet_py.errors import DataError, Reason

SECRET_NUM = -1234      # C's mark of an unknown target: of siblings in a tree none of which is right
BLURRED = .25           # of the pictures
BLUR_KERNEL = 15        # pixels, with blur=1
MOST_BROKEN = 100       # broken pictures in a row before it is an error


class ClassifierPictures:
    """Pictures whose classes are named in their paths, for training or validation.

    A picture has every class whose name its path contains, as the list writes it; one without, or with several, is
    used all the same and noted in ``problems``, and so is a file that is no picture, whose successor stands in for it.

    ``source`` is what errors call them: the .data file.

    Darknet: load_data_augment, fill_truth_smooth, fill_hierarchy; validate_classifier_single.
    """

    def __init__(self, paths: Sequence[str], names: Sequence[str] | None, classes: int,
                 augmentation: ClassifierAugmentation | None = None, *, channels: int = 3,
                 parents: Sequence[int] | None = None, folder: str | os.PathLike = ""):
        """
        Args:
            paths: as a list has them; relative ones lie in ``folder``.
            names: of the classes; None: learn without, where a picture's class is arbitrary but fixed (C's
                ``unsupervised=1``).
            augmentation: None: for validation, the middle of each picture as it is.
            parents: of the classes in a tree, -1 for roots.

        Raises:
            DataError: no pictures, or names or parents that do not fit ``classes``.
        """
        if not paths:
            raise DataError("expected pictures, found none", Reason.EMPTY)
        if names is not None and (len(names) < classes or "" in names[:classes]):
            raise DataError(f"expected names for {classes} classes, found "
                            f"{len(names) if len(names) < classes else 'an empty one'}", Reason.WRONG_COUNT)
        if parents is not None and len(parents) != classes:
            raise DataError(f"expected a tree of {classes} classes, found {len(parents)}", Reason.WRONG_COUNT)
        self.paths, self.names, self.classes = list(paths), None if names is None else list(names[:classes]), classes
        self.augmentation, self.channels, self.folder = augmentation, channels, Path(folder)
        self.parents = None if parents is None else list(parents)
        self.source = "the data set"
        self.problems: list[Problem] = []
        self._noted: set[int] = set()

    @classmethod
    def from_data(cls, path: str | os.PathLike, split: str = "train",
                  augmentation: ClassifierAugmentation | None = None, *, channels: int = 3,
                  parents: Sequence[int] | None = None, unsupervised: bool = False) -> ClassifierPictures:
        """From a .data file: ``classes``, ``labels`` (else ``names``), and ``train`` or ``valid``, a list of pictures
        or a folder of them. ``valid`` is ``train`` where there is none.

        Raises:
            DataError: with the file and what it lacks.
        """
        file, entries = Path(path), read_data(path)
        listed = entries.get(split, entries.get("train"))
        labels = entries.get("labels", entries.get("names"))
        if listed is None or (labels is None and not unsupervised):
            raise DataError(f"{path}: expected {split}= and labels=, found {', '.join(entries) or 'nothing'}",
                            Reason.MISSING_KEY)
        names = None if labels is None else read_names(find_near(labels, file))
        text = entries.get("classes", str(len(names or ())))
        if not text.isdecimal() or len(text) > 40 or int(text) < 1:
            raise DataError(f"{path}: expected classes= and a number above 0, found {text[:40]!r}", Reason.BAD_VALUE)
        source = source_of(entries, split)
        if os.path.isdir(source):
            folder = source
            paths = sorted(str(at.relative_to(source)) for at in source.rglob("*") if at.suffix.lower() in EXTENSIONS)
        else:
            paths = [line for _, line in read_list(source)]
            folder = Path(pick_base(paths, bases(source)))
        try:
            pictures = cls(paths, None if unsupervised else names, int(text), augmentation, channels=channels,
                           parents=parents, folder=folder)
        except DataError as error:
            raise DataError(f"{path}: {split} ({source}): {error}", error.reason) from None
        pictures.source = str(path)
        return pictures

    def __len__(self) -> int:
        return len(self.paths)

    def label(self, index: int) -> int:
        """The class of a picture, the first that its path names; -1 where it names none."""
        return next((number for number, name in enumerate(self.names or ()) if name in self.paths[index]), -1)

    def picture(self, index: int, width: int, height: int) -> Tensor:
        """The middle of one picture as it is: (C, height, width) float32 RGB in [0, 1].

        Raises:
            DataError: it cannot be read.
        """
        return middle(read_image(self.folder / self.paths[index], self.channels), width, height)

    def load(self, indices: Sequence[int], rng: np.random.Generator, width: int, height: int) -> tuple[Tensor, Tensor]:
        """Pictures and their targets.

        Args:
            indices: which pictures. With ``contrastive`` each gives two, which stand next to each other.
            rng: all randomness; draws are made picture by picture, so that with a generator and a call for each
                picture it does not matter which others are loaded.
            width, height: of the result, in pixels.

        Returns:
            (N, C, height, width) float32 RGB in [0, 1], and (N, classes) float32 that add up to 1; down a tree each
            group of siblings does, or is -1234 (not known) throughout.

        Raises:
            DataError: too many broken pictures in a row.

        C decides on ``mixup`` once for all pictures that a thread loads, here it is drawn for each picture. It smooths
        labels before it looks at the tree, which makes every class right; here siblings share what is left.
        """
        images, truths = [], []
        for index in indices:
            if self.augmentation is None:
                image, truth = self._read(index)
                images.append(middle(image, width, height))
                truths.append(truth)
                continue
            for image, truth in self._made(self.augmentation, index, rng, width, height):
                images.append(to_tensor(image))
                truths.append(truth)
        return torch.stack(images), torch.from_numpy(np.stack(truths))

    def _made(self, a: ClassifierAugmentation, index: int, rng: np.random.Generator, width: int, height: int
              ) -> list[tuple[np.ndarray, np.ndarray]]:
        """One picture, or two views of it."""
        way = a.mixup if rng.random() < .5 else 0
        sources = [self._read(at) for at in (index, *rng.integers(len(self), size=PARTS[way] - 1).tolist())]
        made = []
        for _ in range(2 if a.contrastive else 1):
            parts = [cut_out(a, image, rng, width, height) for image, _ in sources]
            image, shares = mixed(parts, int(rng.integers(CUTMIX, EITHER)) if way == EITHER else way, rng)
            truth = _shared([truth for _, truth in sources], shares)
            if a.blur and rng.random() < BLURRED:
                kernel = (BLUR_KERNEL if a.blur == 1 else a.blur) // 2 * 2 + 1
                image = cv2.GaussianBlur(image, (kernel, kernel), 0)
            if a.gaussian_noise and rng.random() < .5:
                image = noisy(image, a.gaussian_noise, rng)
            made.append((image.reshape(height, width, -1), truth))
        return made

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A picture and its target, or those of the next one that can be read."""
        for at in range(index, index + min(len(self), MOST_BROKEN)):
            at %= len(self)
            try:
                image = read_image(self.folder / self.paths[at], self.channels)
            except DataError as error:
                self._note(at, str(error).removeprefix(f"{self.folder / self.paths[at]}: "))
                continue
            return image, self._truth(at)
        raise DataError(f"{self.folder / self.paths[index]}: neither this picture nor the next "
                        f"{min(len(self), MOST_BROKEN) - 1} can be read; the first: {self.problems[0]}",
                        Reason.UNREADABLE)

    def _truth(self, index: int) -> np.ndarray:
        """The target (classes,) float32 of one picture before mixing."""
        if self.names is None:
            found = [zlib.crc32(os.fsencode(self.paths[index])) % self.classes]
        else:
            found = [number for number, name in enumerate(self.names) if name in self.paths[index]]
            if len(found) != 1:
                several = ", ".join(self.names[number] for number in found[:5])
                self._note(index, f"the path names {len(found)} classes ({several}), expected 1" if found else
                           "the path names no class", error=False)
        eps = 0 if self.augmentation is None else self.augmentation.label_smooth_eps
        if self.parents is None:
            flat = np.full(self.classes, eps / max(1, self.classes - 1), np.float32)
            flat[found] = 1 - eps if self.classes > 1 else 1
            return flat
        for number in found:
            if self.parents[number] >= 0 and self.parents[number] not in found:
                found.append(self.parents[number])              # the loop goes on with it
        right = np.zeros(self.classes, bool)
        right[found] = True
        parents = np.array(self.parents)
        starts = np.flatnonzero(np.diff(parents, prepend=parents[0] - 1))
        sizes = np.diff(starts, append=self.classes)
        known = np.repeat(np.logical_or.reduceat(right, starts), sizes)
        siblings = np.repeat(sizes, sizes)
        truth = np.where(right, np.where(siblings > 1, 1 - eps, 1), eps / np.maximum(1, siblings - 1))
        return np.where(known, truth, SECRET_NUM).astype(np.float32)

    def _note(self, index: int, message: str, error: bool = True) -> None:
        if index not in self._noted:
            self._noted.add(index)
            self.problems.append(Problem(self.folder / self.paths[index], 0, message, error))


class ClassifierLoader(Batches):
    """``ClassifierPictures`` by iteration, as ``Loader`` has pictures with boxes; a batch's ``rows`` are (N, classes).

    Args:
        seed: each picture is a function of it, its iteration, its number there and the size.
        options: see ``Batches``.
    """

    def __init__(self, pictures: ClassifierPictures, *, seed: int = 0, **options: Any):
        super().__init__(_Classified(pictures, seed), **options)


class _Classified(Maker):
    """Makes a classifier's mini-batches."""

    def __init__(self, pictures: ClassifierPictures, seed: int):
        self.pictures, self.seed = pictures, seed
        augmentation = pictures.augmentation
        self.views = 2 if augmentation is not None and augmentation.contrastive else 1

    def check(self, plan: Plan) -> None:
        if plan.images // plan.subdivisions % self.views:
            raise DataError("contrastive=1 needs an even number of images a mini-batch, found "
                            f"{plan.images // plan.subdivisions}", Reason.INDIVISIBLE)

    def __getitem__(self, job: Job) -> tuple[MiniBatch | None, list[Problem], DataError | None]:
        plan, count, noted = job.plan, len(self.pictures), len(self.pictures.problems)
        each = plan.images // plan.subdivisions // self.views
        parts, names = [], []
        for number in range(job.subdivision * each, (job.subdivision + 1) * each):
            epoch, at = divmod(job.iteration * (plan.images // self.views) + number, count)
            index = int(order_of_epoch(self.seed, epoch, count)[at])
            draw = np.random.default_rng((self.seed, job.iteration, number))
            try:
                parts.append(self.pictures.load([index], draw, plan.width, plan.height))
            except DataError as error:
                return None, self.pictures.problems[noted:], error
            names += [self.pictures.paths[index]] * self.views
        images, truth = (torch.cat(part) for part in zip(*parts, strict=True))
        batch = MiniBatch(images, truth, names, job.iteration, job.subdivision)
        return batch, self.pictures.problems[noted:], None


def _shared(truths: Sequence[np.ndarray], shares: Sequence[float]) -> np.ndarray:
    """The target of a mixed picture: the mean over the parts whose target is known, class by class."""
    table = np.stack(truths)[:len(shares)]
    weight = np.array(shares)[:, None] * (table != SECRET_NUM)
    total = weight.sum(0)
    mean = (weight * table).sum(0) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, SECRET_NUM).astype(np.float32)
