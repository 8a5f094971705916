"""Checks of a data set: its pictures, labels and lists."""
from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from darknet_py.data.dataset import NO_LABEL, NO_ROWS, Objects, Problem, Sample, read_objects, read_rows
from darknet_py.data.formats import find_annotations
from darknet_py.data.image import decode_file
from darknet_py.data.jpeg import jpeg_warnings, orientation
from darknet_py.errors import DataError, cause

Progress = Callable[[int, int], None]       # (pictures done, of how many)
CHUNK = 1024                                # samples handed to the threads at a time
CUT = "the file is cut off: what is missing, most often the last rows, is grey"
DAMAGED = "the file is damaged, though it can be read"
JPEG = {".jpg", ".jpeg"}
WORKERS = os.cpu_count() or 1
OTHER_SHAPE = .02       # difference of proportions, relative, from which pictures are not the same
FEW = 10                                    # names in one message


@dataclass
class SplitStatistics:
    """Statistics of one split.

    pictures: those that are listed, broken: those of them that are missing or no pictures; all else counts the others.
    empty: pictures without objects. most: objects in the fullest picture. per_class: (classes,) objects of each class.
    boxes: (K, 2) float32 width and height of all objects, relative. sizes: (P, 2) width and height in pixels of the
    pictures that were decoded.
    """
    name: str
    pictures: int = 0
    broken: int = 0
    empty: int = 0
    objects: int = 0
    most: int = 0
    per_class: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))


class NetworkLimits(NamedTuple):
    """A network's limits on a data set.

    pixel: the size of its pixel, relative. most: objects that it takes from a picture; 0 for any number. labels: for a
    classifier, whose pictures have one of these in their paths instead of boxes.
    """
    classes: int
    pixel: tuple[float, float] = (0, 0)
    most: int = 0
    labels: Sequence[str] = ()


class _Examined(NamedTuple):
    """The check of one sample; rows is None where its picture is broken."""
    rows: np.ndarray | None
    problems: list[Problem]
    size: tuple[int, int] | None


def check_for_training(samples: Sequence[Sample], classes: int) -> tuple[list[Sample], list[Problem]]:
    """Quick checks before training: pictures that are missing or empty files, and labels without any object.

    Returns:
        The samples whose pictures are there, and the problems. One problem says that no picture has an object.
    """
    good, problems = [], []
    for sample in samples:
        wrong = _missing(sample.image)
        if wrong is None:
            good.append(sample)
        else:
            problems.append(_about_picture(sample, wrong))
    if good and not any(len(read_rows(sample, classes)[0]) for sample in good):
        problems.append(Problem(_place(good[0].where)[0], 0, _no_objects(classes)))
        problems += other_annotations(good)
    return good, problems


def other_annotations(unlabelled: Sequence[Sample]) -> Iterator[Problem]:
    """One problem for samples without label files where there are annotations in another format."""
    found = find_annotations([sample.image for sample in unlabelled if sample.rows is None])
    if found is not None:
        folder, path = found
        count = "a picture has no label file" if len(unlabelled) == 1 else \
            f"{len(unlabelled):,} pictures have no label files"
        yield Problem(_place(unlabelled[0].where)[0], 0, f"{count}, but {path} is there: darknet-py dataset "
                      f"{shlex.quote(str(folder))} makes label files of such annotations", error=False)


def check_samples(samples: Sequence[Sample], limits: NetworkLimits, name: str, *, decode: bool = True,
                  progress: Progress | None = None) -> tuple[SplitStatistics, list[Problem]]:
    """Check the pictures and labels of one split; problems come in the samples' order.

    Args:
        limits: of the network, or only the number of classes.
        name: the split's.
        decode: decode the pictures whole; else only see whether they look like pictures.
        progress: called now and then.
    """
    problems = list(_repeated(samples))
    found = SplitStatistics(name, per_class=np.zeros(limits.classes, np.int64))
    boxes, sizes, unlabelled = [], [], []
    for done, (rows, wrong, size) in enumerate(_in_threads(samples, limits, decode), 1):
        problems += wrong
        unlabelled += [samples[done - 1] for problem in wrong if problem.message == NO_LABEL]
        found.pictures += 1
        if progress is not None and (done % 64 == 0 or done == len(samples)):
            progress(done, len(samples))
        if rows is None:
            found.broken += 1
            continue
        found.objects += len(rows)
        found.empty += len(rows) == 0
        found.most = max(found.most, len(rows))
        np.add.at(found.per_class, rows[:, 0].astype(np.int64), 1)
        boxes.append(rows[:, 3:])
        if size is not None:
            sizes.append(size)
    if boxes:
        found.boxes = np.concatenate(boxes)
    found.sizes = np.array(sizes, np.int64).reshape(-1, 2)
    if others := list(other_annotations(unlabelled)):
        problems = [problem for problem in problems if problem.message != NO_LABEL] + others
    if found.pictures > found.broken and found.objects == 0:
        problems.append(Problem(_place(samples[0].where)[0], 0, _no_objects(limits.classes)))
    return found, problems


def about_image(cut: bool, stated: tuple[float, float] | None, size: tuple[int, int], turned: int = 1
                ) -> Iterator[str]:
    """Warnings of a picture that can be read: it is cut off, it has an EXIF orientation (``turned``), or its annotation
    has other proportions, as of pictures with such an orientation, or turned since."""
    if cut:
        yield CUT
    if turned != 1:
        yield f"is stored turned (EXIF orientation {turned}) and read upright: its boxes must be those of it upright"
    if stated is not None and min(stated) > 0 and abs(stated[0] * size[1] / (stated[1] * size[0]) - 1) > OTHER_SHAPE:
        yield (f"has {size[0]} x {size[1]} pixels, but its boxes were drawn on {stated[0]:g} x {stated[1]:g}: was it "
               "turned?")


def shared_pictures(train: Sequence[Sample], valid: Sequence[Sample]) -> Iterator[Problem]:
    """Pictures of valid that are in train too."""
    known = {os.path.abspath(sample.image): sample.where for sample in train}
    twice = [(sample, known[path]) for sample in valid if (path := os.path.abspath(sample.image)) in known]
    if len(twice) == len(valid) > 1:
        yield Problem(_place(valid[0].where)[0], 0, f"all {len(valid)} pictures are in train too: mAP will say nothing "
                      "about new pictures", error=False)
        return
    for sample, where in twice:
        yield _about_picture(sample, f"is in train too, at {where}", error=False)


def empty_classes(split: SplitStatistics, names: Sequence[str], path: Path) -> Iterator[Problem]:
    """One problem for the classes that have no object, where others have."""
    empty = [names[label] if label < len(names) else str(label)
             for label, count in enumerate(split.per_class.tolist()) if count == 0]
    if empty and split.objects:
        more = f" and {len(empty) - FEW} more" if len(empty) > FEW else ""
        subject = "1 class has" if len(empty) == 1 else f"{len(empty)} classes have"
        yield Problem(path, 0, f"{subject} no object in {split.name}: {', '.join(empty[:FEW])}{more}", error=False)


def _in_threads(samples: Sequence[Sample], limits: NetworkLimits, decode: bool) -> Iterator[_Examined]:
    """The samples' examinations in their order. OpenCV decodes without Python's lock, so threads are enough."""
    rest = iter(samples)
    with ThreadPoolExecutor() as pool:
        while part := list(islice(rest, CHUNK)):
            examined = list(pool.map(lambda sample: _examine(sample, limits, decode), part))
            if decode:
                _add_damage(part, examined, pool)
            yield from examined


def _add_damage(samples: Sequence[Sample], examined: Sequence[_Examined], pool: ThreadPoolExecutor) -> None:
    """Add what libjpeg says of pictures that it reads, and that are not cut off."""
    whole = [(sample, found) for sample, found in zip(samples, examined, strict=True)
             if found.rows is not None and sample.image.suffix.lower() in JPEG
             and not any(problem.message.endswith(CUT) for problem in found.problems)]
    shares = [whole[at::WORKERS] for at in range(WORKERS)]
    said = pool.map(jpeg_warnings, ([sample.image for sample, _ in share] for share in shares))
    for (sample, found), words in zip(chain(*shares), chain(*said), strict=True):
        if words:
            found.problems.insert(0, _about_picture(sample, f"{DAMAGED}: {words}", error=False))


def _examine(sample: Sample, limits: NetworkLimits, decode: bool) -> _Examined:
    """One picture and its labels."""
    rows, lines, path, problems = (_label_in_path(sample, limits.labels[:limits.classes]) if limits.labels
                                   else read_objects(sample, limits.classes))
    seen: dict[tuple[float, ...], int] = {}
    for index, (line, row) in enumerate(zip(lines, rows.tolist(), strict=True)):
        first = seen.setdefault(tuple(row), index)
        if first != index:
            which = f"in line {lines[first]}" if line else f"object {first + 1}"
            problems.append(Problem(path, line, f"the same box as {which}", error=False))
        if row[3] < limits.pixel[0] or row[4] < limits.pixel[1]:
            pixels = f"{row[3] / limits.pixel[0]:.2g} x {row[4] / limits.pixel[1]:.2g}"
            problems.append(Problem(path, line, f"the box has {pixels} pixels of the network, so it is left out",
                                    error=False))
    if limits.most and len(rows) > limits.most:
        problems.append(Problem(path, 0, f"{len(rows)} objects, of which {limits.most} are taken by chance "
                                          "(max= in the cfg)", error=False))
    problems.sort(key=lambda problem: problem.line)
    wrong, size = _missing(sample.image), None
    if wrong is None and decode:
        try:
            image, cut = decode_file(sample.image)
            size = image.shape[1], image.shape[0]
            for message in about_image(cut, sample.size, size, orientation(sample.image)):
                problems.insert(0, _about_picture(sample, message, error=False))
        except DataError as error:
            wrong = str(error).removeprefix(f"{sample.image}: ")
    elif wrong is None and not cv2.haveImageReader(os.fspath(sample.image)):
        wrong = "not an image"
    if wrong is not None:       # warnings of its labels are then of no interest, only errors
        errors = [problem for problem in problems if problem.error]
        return _Examined(None, [_about_picture(sample, wrong), *errors], None)
    return _Examined(rows, problems, size)


def _label_in_path(sample: Sample, labels: Sequence[str]) -> Objects:
    """A classifier's picture: one object, as large as the picture.

    Darknet: fill_truth.
    """
    image = os.fspath(sample.image)
    found = [number for number, label in enumerate(labels) if label in image]
    if len(found) == 1:
        return Objects(np.array([[found[0], .5, .5, 1, 1]], np.float32), [0], sample.image, [])
    names = ", ".join(labels[number] for number in found[:FEW]) or "none"
    problem = _about_picture(sample, f"expected one label in the path, found {names}")
    return Objects(NO_ROWS, [], sample.image, [problem])


def _missing(image: Path) -> str | None:
    """Why there is no picture to read."""
    try:
        found = os.stat(image)
    except OSError as error:
        return f"cannot read the image: {cause(error)}"
    except ValueError as error:                 # a NUL in the name
        return f"cannot read the image: {error}"
    return "the image file is empty (0 bytes)" if found.st_size == 0 else None


def _repeated(samples: Sequence[Sample]) -> Iterator[Problem]:
    """Pictures that are listed more than once."""
    if len({sample.image for sample in samples}) == len(samples):
        return
    times = Counter(sample.image for sample in samples)
    first: dict[Path, str] = {}
    for sample in samples:
        if times[sample.image] > 1 and first.setdefault(sample.image, sample.where) != sample.where:
            yield _about_picture(sample, f"is listed already, at {first[sample.image]}", error=False)


def _about_picture(sample: Sample, message: str, error: bool = True) -> Problem:
    """A problem with a picture, where it is listed."""
    path, line = _place(sample.where)
    return Problem(path, line, message if path == sample.image else f"{sample.image}: {message}", error)


def _place(where: str) -> tuple[Path, int]:
    """File and line of a sample's ``where``."""
    path, _, line = where.rpartition(":")
    return (Path(path), int(line)) if path and line.isdecimal() else (Path(where), 0)


def _no_objects(classes: int) -> str:
    return f"no picture has an object of a class from 0 to {classes - 1}"
