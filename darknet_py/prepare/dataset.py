"""Preparation of a data set: read, merge, split and write pictures with annotations in any format."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darknet_py.data.check import SplitStatistics, about_image
from darknet_py.data.dataset import Problem
from darknet_py.data.image import decode_file
from darknet_py.errors import DataError, Reason, suggestion
from darknet_py.prepare.similar import Fingerprint, Groups, fingerprint, group_similar
from darknet_py.prepare.sources import STATISTICS, DataSource, Picture, merge, read_source, unlabelled
from darknet_py.prepare.split import stratified_split
from darknet_py.prepare.statistics import plot_statistics, split_statistics
from darknet_py.prepare.write import FORMATS, WrittenFiles, own_files, write_set
from darknet_py.utils.prefetch import prefetch

SHARE = .8          # of the pictures that are for training
WAITING = 16        # decoded pictures that wait for their use


@dataclass
class Prepared:
    """The result of ``prepare_dataset``.

    splits: the statistics of train and valid, as far as there are any. assigned: how many pictures were split by the
    share, the others had a split of their own. groups: near-duplicates and sequences among all pictures.
    """
    sources: list[DataSource]
    names: list[str]
    splits: list[SplitStatistics]
    problems: list[Problem]
    assigned: int
    groups: Groups
    written: WrittenFiles


def prepare_dataset(sources: Sequence[str | os.PathLike], out: str | os.PathLike, *, share: float = SHARE,
                    style: str = "darknet", remap: dict[str, str] | None = None, seed: int = 0, resplit: bool = False,
                    copy: bool = False, force: bool = False,
                    progress: Callable[[int, int], None] | None = None) -> Prepared:
    """Read data sets, merge and split them, and write the result into a folder.

    Args:
        sources: of any format; see ``read_source``. Several are merged, classes by their names.
        out: the folder, which must be new or empty.
        share: for training, in [0, 1], of those pictures whose source has no split of its own. Near-duplicates and
            frames of a sequence stay on one side, that of those that have a split.
        style: one of FORMATS; see ``write_set``.
        remap: new names of classes, "" to drop one; two of the same name become one class.
        seed: of the split; the same gives the same.
        resplit: forget the splits that sources have of their own.
        copy: see ``write_set``.
        force: out may be there; what this function wrote there before is replaced, and nothing else.
        progress: called now and then with how many files of a step are done, of how many.

    Raises:
        DataError: a source that cannot be read, no objects in all of them, or out cannot be written.
    """
    if style not in FORMATS:
        raise DataError(f"expected the format {', '.join(FORMATS)}, found {style}" + suggestion(style, FORMATS),
                        Reason.UNKNOWN_NAME)
    if not 0 <= share <= 1:
        raise DataError(f"expected a share for training from 0 to 1, found {share:g}", Reason.OUT_OF_RANGE)
    out = Path(out)
    own = own_files(out, force)
    _check_apart(out, sources)
    read = [read_source(source) for source in sources]
    names, pictures = merge(read, remap or {})
    _check_apart(out, [picture.image for picture in pictures], inside=True)
    problems = [problem for source in read for problem in unlabelled(source.problems)]
    pictures, prints = _examined(pictures, problems, progress)
    if not any(len(picture.rows) for picture in pictures):
        raise DataError(_nothing(sources, pictures, problems), Reason.EMPTY)
    if resplit:
        for picture in pictures:
            picture.split = None
    assigned = sum(picture.split is None for picture in pictures)
    most = max(1, round(len(pictures) * min(share, 1 - share) / 2)) if assigned and 0 < share < 1 else len(pictures)
    groups = group_similar([picture.image for picture in pictures], prints, most)
    problems += _leaks(pictures, groups)
    _split(pictures, groups.of, len(names), share, seed)
    parts = {split: [picture for picture in pictures if picture.split == split] for split in ("train", "valid")}
    about = {"made by": "darknet-py dataset", "sources": [str(Path(source).absolute()) for source in sources],
             "split": share, "seed": seed, "remap": remap or {}}
    written = write_set(out, style, parts, names, about=about, copy=copy, own=own, progress=progress)
    plot_statistics(parts, names, out / STATISTICS, f"{', '.join(str(source.path) for source in read)}: "
                    f"{len(pictures):,} pictures, {sum(len(picture.rows) for picture in pictures):,} objects")
    splits = [split_statistics(split, part, len(names)) for split, part in parts.items() if part]
    return Prepared(read, names, splits, problems, assigned, groups, written)


def _check_apart(out: Path, others: Sequence[str | os.PathLike], inside: bool = False) -> None:
    """Raise a DataError where out lies in a source, or pictures lie in out."""
    place = Path(os.path.realpath(out))
    for other in others:
        try:
            path = Path(os.path.realpath(other))
        except ValueError:                      # a NUL in the name: there is no such picture
            continue
        if inside and path.is_relative_to(place):
            raise DataError(f"{out}: has pictures of the source, such as {other}; -o FOLDER writes another one",
                            Reason.CONFLICT)
        if not inside and os.path.isdir(path) and place.is_relative_to(path):
            raise DataError(f"{out}: lies in {other}, where it would be read as a part of it the next time; -o FOLDER "
                            "writes another one", Reason.CONFLICT)


def _examined(pictures: Sequence[Picture], problems: list[Problem], progress: Callable[[int, int], None] | None
              ) -> tuple[list[Picture], list[Fingerprint]]:
    """The pictures that can be read, with their sizes and fingerprints."""
    def look(picture: Picture) -> tuple[Fingerprint, bool] | str:
        try:
            image, cut = decode_file(picture.image)
        except DataError as error:
            return str(error).removeprefix(f"{picture.image}: ")
        picture.size = image.shape[1], image.shape[0]
        return fingerprint(image), cut

    good, prints = [], []
    for done, (picture, found) in enumerate(zip(pictures, prefetch(look, pictures, None, WAITING), strict=True), 1):
        if progress is not None:
            progress(done, len(pictures))
        if isinstance(found, str):
            problems.append(Problem(picture.image, 0, found))
            continue
        problems += [Problem(picture.image, 0, message, error=False)
                     for message in about_image(found[1], picture.stated, picture.size)]
        good.append(picture)
        prints.append(found[0])
    return good, prints


def _nothing(sources: Sequence[str | os.PathLike], pictures: Sequence[Picture], problems: Sequence[Problem]) -> str:
    """The error text for sources without any object."""
    first = next((f"; {problem}" for problem in problems if problem.error), "")
    return (f"{', '.join(map(str, sources))}: no objects in {len(pictures):,} readable pictures: no label files beside "
            "them or in labels/, no XML, JSON or data.yaml that describes them, or only objects that were dropped"
            f"{first}")


def _leaks(pictures: Sequence[Picture], groups: Groups) -> list[Problem]:
    """One problem for pictures of valid that have near-duplicates in train."""
    sides: dict[int, set[str | None]] = {}
    for picture, group in zip(pictures, groups.of.tolist(), strict=True):
        sides.setdefault(group, set()).add(picture.split)
    found = [picture for picture, group in zip(pictures, groups.of.tolist(), strict=True)
             if picture.split == "valid" and "train" in sides[group]]
    if not found:
        return []
    count = f"{len(found):,} pictures of valid look" if len(found) > 1 else "1 picture of valid looks"
    return [Problem(found[0].image, 0, f"{count} like pictures of train, this for one: mAP will say less about new "
                    "pictures; -resplit keeps them together", error=False)]


def _split(pictures: Sequence[Picture], groups: np.ndarray, classes: int, share: float, seed: int) -> None:
    """Assign the pictures without a split; those in the group of one that has a split follow it, to train first."""
    known: dict[int, str] = {}
    for picture, group in zip(pictures, groups.tolist(), strict=True):
        if picture.split is not None and known.get(group) != "train":
            known[group] = picture.split
    free = []
    for index, (picture, group) in enumerate(zip(pictures, groups.tolist(), strict=True)):
        if picture.split is None:
            picture.split = known.get(group)
            if picture.split is None:
                free.append(index)
    counts = np.zeros((len(free), classes), np.int32)
    for row, index in enumerate(free):
        np.add.at(counts[row], pictures[index].rows[:, 0].astype(np.int64), 1)
    train = stratified_split(counts, groups[free], share, seed)
    for index, first in zip(free, train.tolist(), strict=True):
        pictures[index].split = "train" if first else "valid"
