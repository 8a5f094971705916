"""Near-duplicates and sequences: groups of similar pictures, which a split must keep on one side."""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

DISTANCE = 6                # bits of 64 in which the hashes of near-duplicates differ at most
ALIKE = .95                 # correlation of the thumbnails of near-duplicates
FOLLOWS = .9                # of consecutive frames
SIDE = 16                   # of a thumbnail
FLAT = 1.                   # standard deviation below which a thumbnail has nothing to correlate
ROUNDS = 32                 # different pictures of one hash, such as those of one colour, that are compared
BLOCK = 1024                # hashes that are compared at once


class Fingerprint(NamedTuple):
    """A picture's features for comparison: a perceptual hash of 64 bits, and a grey thumbnail (16, 16) uint8."""
    hash: int
    thumbnail: np.ndarray


class Groups(NamedTuple):
    """of: (P,) int, the number of each picture's group. alike: how many pictures are in groups of two or more.
    cut: how many groups were too large and were cut."""
    of: np.ndarray
    alike: int
    cut: int


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Of a picture (H, W, 3) uint8 BGR.

    The hash has a bit for each of 64 low frequencies of the cosine transform of 32 x 32 pixels: whether it is above
    their median. Scaling, compression and brightness leave most of them as they are.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    low[0] = 0              # the mean brightness
    bits = np.packbits(low > np.median(low))
    return Fingerprint(int(bits.view(np.uint64)[0]), cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def group_similar(paths: Sequence[Path], fingerprints: Sequence[Fingerprint], most: int) -> Groups:
    """Put near-duplicates, and frames of a sequence that look like the frame before, into groups.

    Near-duplicates are pictures whose hashes differ in at most 6 bits and whose thumbnails correlate with .95. Frames
    of a sequence are files of one folder whose names differ in their last number alone; those next to each other by
    that number belong together where they correlate with .9, so that numbered photographs of different things do not.

    Args:
        paths: of the pictures.
        most: pictures in a group. A larger one, such as a whole film, is cut into runs by folder and number.
    """
    parent = list(range(len(paths)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    thumbnails = np.stack([one.thumbnail for one in fingerprints]) if fingerprints else np.zeros((0, SIDE, SIDE))
    deviations = thumbnails.reshape(len(thumbnails), -1).std(1)
    flat = thumbnails.reshape(len(thumbnails), -1)

    def alike(a: np.ndarray, b: np.ndarray, least: float) -> np.ndarray:
        """Which pairs correlate; pictures of one colour do if it is the same."""
        x, y = flat[a].astype(np.float32), flat[b].astype(np.float32)
        gap = np.abs(x.mean(1) - y.mean(1))
        x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        product = (x * y).mean(1) / np.maximum(deviations[a] * deviations[b], 1e-9)
        plain = (deviations[a] < FLAT) & (deviations[b] < FLAT)
        return np.where(plain, gap < 2 * FLAT, product >= least)

    def join(a: np.ndarray, b: np.ndarray, least: float) -> np.ndarray:
        good = alike(a, b, least)
        for first, second in zip(a[good].tolist(), b[good].tolist(), strict=True):
            parent[root(first)] = root(second)
        return good

    hashes = np.array([one.hash for one in fingerprints], np.uint64)
    first = np.unique(hashes, return_index=True)[1]
    left = np.arange(len(hashes))
    for _ in range(ROUNDS):             # pictures of one hash are compared with one of them, the others with another
        _, index, inverse = np.unique(hashes[left], return_index=True, return_inverse=True)
        one = left[index[inverse]]
        other = one != left
        good = join(left[other], one[other], ALIKE)
        left = left[other][~good]
    for a, b in near_pairs(hashes[first], DISTANCE):
        join(first[a], first[b], ALIKE)
    for members in _families(paths):
        a = np.array(members)
        join(a[:-1], a[1:], FOLLOWS)
    return _numbered([root(index) for index in range(len(paths))], paths, most)


def near_pairs(hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of 64-bit hashes that differ in at most so many bits, some more than once.

    Of distance + 1 bands of bits at least one is then the same in both, so only hashes that share a band are compared.
    """
    width = 64 // (distance + 1)
    for band in range(distance + 1):
        values = (hashes >> np.uint64(band * width)) & np.uint64(2 ** width - 1)
        order = np.argsort(values, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(values[order])) + 1):
            for at in range(0, len(members) - 1, BLOCK):
                block, others = members[at:at + BLOCK], members[at:]
                a, b = np.nonzero(_bits(hashes[block, None] ^ hashes[None, others]) <= distance)
                ordered = a < b
                if ordered.any():
                    yield block[a[ordered]], others[b[ordered]]


def _bits(values: np.ndarray) -> np.ndarray:
    """How many bits of uint64 values are set."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    return np.unpackbits(values[..., None].view(np.uint8), axis=-1).sum(-1)


def _number(path: Path) -> tuple[str, str, str, int]:
    """Folder, name before and behind the last number, and that number, -1 without one."""
    match = re.fullmatch(r"(.*?)(\d{1,18})(\D*)", path.stem)
    return (str(path.parent), path.stem, "", -1) if match is None else (str(path.parent), match[1], match[3],
                                                                       int(match[2]))


def _families(paths: Sequence[Path]) -> Iterator[list[int]]:
    """Pictures whose names differ in their last number alone, by that number."""
    found: dict[tuple, list[tuple[int, int]]] = defaultdict(list)
    for index, path in enumerate(paths):
        *family, number = _number(path)
        if number >= 0:
            found[tuple(family)].append((number, index))
    yield from ([index for _, index in sorted(members)] for members in found.values() if len(members) > 1)


def _numbered(roots: Sequence[int], paths: Sequence[Path], most: int) -> Groups:
    """Groups without gaps in their numbers, the large ones cut."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, root in enumerate(roots):
        members[root].append(index)
    of, count, cut = np.zeros(len(roots), np.int64), 0, 0
    for group in members.values():
        runs = -(-len(group) // max(1, most))
        cut += runs > 1
        group.sort(key=lambda index: (_number(paths[index]), str(paths[index])))
        for run in np.array_split(group, runs):
            of[run], count = count, count + 1
    return Groups(of, sum(len(group) for group in members.values() if len(group) > 1), cut)
