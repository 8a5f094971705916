"""Stratified splits and look-alikes."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import scene

from darknet_py.prepare.similar import BLOCK, DISTANCE, fingerprint, group_similar, near_pairs
from darknet_py.prepare.split import LEAST, stratified_split


@st.composite
def data_sets(draw):
    """(P, C) objects, (P,) groups, a share and a seed."""
    pictures, classes = draw(st.integers(1, 60)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2 ** 32)))
    counts = random.poisson(random.uniform(0, 2, classes), (pictures, classes)) * (random.random((pictures, 1)) < .9)
    groups = random.integers(0, draw(st.integers(1, pictures)), pictures) * 7
    return counts, groups, draw(st.sampled_from([0, .1, .5, .8, .95, 1])), draw(st.integers(0, 99))


@given(data_sets())
def test_groups_stay_whole_and_a_seed_repeats(data):
    counts, groups, share, seed = data
    train = stratified_split(counts, groups, share, seed)
    assert train.shape == (len(counts),) and train.dtype == bool
    assert all(len(set(train[groups == group])) == 1 for group in set(groups))
    assert (train == stratified_split(counts, groups, share, seed)).all()
    assert share not in (0, 1) or (train == share).all()


@given(data_sets())
@settings(max_examples=50)
def test_no_single_group_on_the_other_side_would_be_better(data):
    counts, groups, share, seed = data
    if share in (0, 1):
        return
    table = np.concatenate([counts, np.ones((len(counts), 1)), ~counts.any(1, keepdims=True)], 1).astype(float)
    table = table[:, table.any(0)] / table.sum(0)[table.any(0)]

    def error(train: np.ndarray) -> float:
        return float(((table[train].sum(0) - share) ** 2).sum())

    train = stratified_split(counts, groups, share, seed)
    best = error(train)
    assert all(error(train ^ (groups == group)) >= best - LEAST for group in set(groups))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [.5, .8, .9])
def test_each_class_gets_its_share(share, seed):
    """From 20 objects to thousands of a class, in 300 pictures in groups of up to 5."""
    random = np.random.default_rng(seed)
    counts = random.poisson([.08, .3, 1, 4, 12], (300, 5)) * (random.random((300, 5)) < [1, 1, .5, .5, .9])
    groups = np.repeat(np.arange(300), random.integers(1, 6, 300))[:300]
    train = stratified_split(counts, groups, share, seed)
    shares = counts[train].sum(0) / counts.sum(0)
    assert np.abs(shares[:1] - share).max() < .06 and np.abs(shares[1:] - share).max() < .02
    assert abs(train.mean() - share) < .02
    chance = np.abs(np.stack([counts[random.random(300) < share].sum(0) / counts.sum(0) - share for _ in range(50)]))
    assert np.abs(shares - share).sum() < chance.sum(1).mean() / 3


@pytest.mark.parametrize("objects, train", [([1], 1), ([1, 1], 2), ([1] * 4, 3), ([1] * 5, 4), ([1] * 10, 8)])
def test_rare_classes_are_for_training_first(objects, train):
    assert stratified_split(np.array(objects)[:, None], np.arange(len(objects)), .8).sum() == train


def test_nothing_to_split():
    assert stratified_split(np.zeros((0, 3), int), np.zeros(0, int), .8).shape == (0,)
    assert stratified_split(np.zeros((10, 0), int), np.arange(10), .8).sum() == 8


CHANGES = {
    "compressed": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1),
    "smaller": lambda image: cv2.resize(image, None, fx=.4, fy=.5, interpolation=cv2.INTER_AREA),
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=.8),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 1.5),
    "noisy": lambda image: cv2.add(image, np.random.default_rng(0).integers(0, 20, image.shape, np.uint8)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_near_duplicates_are_found(change):
    images = [scene(seed) for seed in range(40)] + [change(scene(seed)) for seed in range(40)]
    names = np.random.default_rng(0).permutation(len(images))
    groups = group_similar([Path(f"{'xyz'[name % 3]}{name}.jpg") for name in names], list(map(fingerprint, images)), 99)
    assert (groups.of[:40] == groups.of[40:]).all() and len(set(groups.of)) == 40
    assert (groups.alike, groups.cut) == (80, 0)


def film(frames: int, step: float = 1.) -> list[np.ndarray]:
    """A scene that a camera passes."""
    wide = scene(1, (96, 128 + int(frames * step)))
    return [wide[:, int(at * step):int(at * step) + 128] for at in range(frames)]


def groups_of(images, names, most=1000):
    found = group_similar([Path(name) for name in names], [fingerprint(image) for image in images], most)
    return found.of.tolist(), found.cut


def test_frames_of_a_sequence_stay_together():
    """Frames too far apart to look alike are joined by those between; not so without numbers."""
    frames = film(30, 4)
    numbers = [7, 10, 9, *range(11, 38)]
    assert len(set(groups_of(frames, [f"f/frame_{n}.jpg" for n in range(30)])[0])) == 1
    assert len(set(groups_of(frames[::-1], [f"f/{n:05d}_left.jpg" for n in range(30)])[0])) == 1
    assert groups_of([frames[0], frames[29]], ["f/1.jpg", "f/2.jpg"])[0] == [0, 1]
    assert len(numbers) == 30


def test_numbered_photographs_are_no_sequence():
    names = [f"IMG_{n:04d}.jpg" for n in range(60)]
    assert groups_of([scene(n) for n in range(60)], names) == (list(range(60)), 0)


def test_a_long_sequence_is_cut_into_runs():
    of, cut = groups_of(film(50, 2), [f"{n}.jpg" for n in range(50)], most=12)
    assert cut == 1 and of == sorted(of) and len(set(of)) == 5
    assert set(np.bincount(of)) == {10}


def test_pictures_of_one_colour():
    grey = [np.full((40, 40, 3), value, np.uint8) for value in (10, 10, 11, 200, 200)]
    assert groups_of(grey, "abcde")[0] == [0, 0, 0, 1, 1]


def test_near_pairs_finds_all():
    """Against all pairs, with more hashes in a bucket than are compared at once."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2 ** 64, 1500, np.uint64)
    flips = np.array([sum(1 << int(bit) for bit in random.permutation(64)[:count])
                      for count in random.integers(1, 10, 1500)], np.uint64)
    hashes = np.concatenate([hashes, hashes ^ flips])
    hashes[:BLOCK + 200] &= np.uint64(0xFFFF)
    found = {tuple(sorted(pair)) for a, b in near_pairs(hashes, DISTANCE)
             for pair in zip(a.tolist(), b.tolist(), strict=True)}
    bits = np.unpackbits((hashes[:, None] ^ hashes[None, :])[..., None].view(np.uint8), axis=-1).sum(-1)
    wanted = {(int(a), int(b)) for a, b in zip(*np.nonzero(np.triu(bits <= DISTANCE, 1)), strict=True)}
    assert found == wanted and len(wanted) > 500
