"""The loader: the same pictures whatever the workers, in C's order of sequences, past broken files."""
from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal

import cv2
import numpy as np
import pytest
import torch
from conftest import raises

from darknet_py.data.augment_plan import Augmentation
from darknet_py.data.cache import Cache
from darknet_py.data.dataset import Sample
from darknet_py.data.loader import Loader, Plan
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.errors import DataError, Reason

COUNT = 10
CHANGED = Augmentation(jitter=.2, flip=1, hue=.1, saturation=1.5, exposure=1.5, mosaic=1, gaussian_noise=5)


def small(iteration: int) -> Plan:
    return Plan(32, 24, 4, 2)


def tracked(iteration: int) -> Plan:
    return Plan(32, 24, 24, 2, time_steps=3)


def paired(iteration: int) -> Plan:
    return Plan(32, 24, 8, 2)


@pytest.fixture
def samples(tmp_path):
    """Grey level and class say which picture it is."""
    found = []
    for number in range(COUNT):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), np.full((30, 40, 3), 20 * number + 10, np.uint8))
        found.append(Sample(path, None, np.array([[number, .5, .5, .5, .5]], np.float32), f"list:{number}"))
    return found


def rows_of(batch: MiniBatch) -> list[np.ndarray]:
    return [batch.truth.rows(image) for image in range(len(batch.images))]


def take(loader: Loader, count: int, start: int = 0, plan=small) -> list:
    batches = loader.batches(start, plan)
    found = list(itertools.islice(batches, count))
    batches.close()
    return found


def same(first: list, second: list) -> bool:
    return len(first) == len(second) and all(
        (a.iteration, a.subdivision) == (b.iteration, b.subdivision) and torch.equal(a.images, b.images)
        and all(map(np.array_equal, rows_of(a), rows_of(b))) for a, b in zip(first, second, strict=True))


def test_batches(samples):
    batches = take(Loader(samples, COUNT, Augmentation()), 5)
    assert [(batch.iteration, batch.subdivision) for batch in batches] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    for batch in batches:
        assert batch.images.shape == (2, 3, 24, 32) and batch.images.dtype == torch.uint8
        assert batch.truth.boxes.shape == (2, 1, 4)
        for image, rows in zip(batch.images, rows_of(batch), strict=True):
            assert rows.dtype == np.float32 and rows.shape == (1, 6) and (image == 20 * rows[0, 0] + 10).all()


def test_an_epoch_has_each_picture_once(samples):
    drawn = [int(rows[0, 0]) for batch in take(Loader(samples, COUNT, Augmentation()), 10) for rows in rows_of(batch)]
    assert sorted(drawn[:COUNT]) == sorted(drawn[COUNT:]) == list(range(COUNT)) and drawn[:COUNT] != drawn[COUNT:]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(samples, workers):
    alone = take(Loader(samples, COUNT, CHANGED, seed=3), 9)
    assert same(alone, take(Loader(samples, COUNT, CHANGED, seed=3, workers=workers), 9))
    assert same(alone, take(Loader(samples, COUNT, CHANGED, seed=3, cache_bytes=0), 9))
    assert not same(alone, take(Loader(samples, COUNT, CHANGED, seed=4), 9))


def test_names_are_those_of_the_pictures(samples):
    samples[2].image.unlink()
    for a, plan in ((Augmentation(), small), (Augmentation(track=1), tracked)):
        for batch in take(Loader(samples, COUNT, a), 5, plan=plan):
            assert batch.names == [str(samples[int(rows[0, 0])].image) for rows in rows_of(batch)]


def test_what_workers_get_can_be_pickled(samples):
    """As it is where they are not forked."""
    loader = Loader(samples, COUNT, CHANGED)
    whole = take(loader, 3)
    loader.maker = pickle.loads(pickle.dumps(loader.maker))
    assert same(whole, take(loader, 3))


@pytest.mark.parametrize("workers", [0, 1])
def test_random_numbers_of_torch_are_left_alone(samples, workers):
    state = torch.get_rng_state()
    take(Loader(samples, COUNT, CHANGED, workers=workers), 3)
    assert torch.equal(state, torch.get_rng_state())


def test_a_run_goes_on_where_it_stopped(samples):
    whole = take(Loader(samples, COUNT, CHANGED), 8)
    assert same(whole[6:], take(Loader(samples, COUNT, CHANGED), 2, start=3))


def test_ranks_share_the_mini_batches(samples):
    whole = take(Loader(samples, COUNT, CHANGED), 6)
    assert same(whole[::2], take(Loader(samples, COUNT, CHANGED, rank=0, world=2), 3))
    assert same(whole[1::2], take(Loader(samples, COUNT, CHANGED, rank=1, world=2), 3))


def test_rgb_and_grey(samples, tmp_path):
    path = tmp_path / "blue.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), (255, 0, 0), np.uint8))
    blue = [Sample(path, None, np.zeros((0, 5), np.float32), "")]
    (batch,) = take(Loader(blue, 1, Augmentation()), 1)
    assert batch.images[0, :, 0, 0].tolist() == [0, 0, 255] and rows_of(batch)[0].shape == (0, 6)
    (batch,) = take(Loader(blue, 1, Augmentation(), channels=1), 1)
    assert batch.images.shape == (2, 1, 24, 32) and batch.images[0, 0, 0, 0] == 29


def test_plans_change_the_size(samples):
    batches = take(Loader(samples, COUNT, CHANGED), 3, plan=lambda iteration: Plan(16 + 16 * iteration, 24, 2))
    assert [batch.images.shape[3] for batch in batches] == [16, 32, 48]


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_are_replaced_and_reported_once(samples, workers):
    samples[3].image.write_bytes(b"no picture")
    samples[4].image.unlink()
    loader = Loader(samples, 9, Augmentation(), workers=workers)
    drawn = [int(rows[0, 0]) if len(rows) else 9 for batch in take(loader, 10) for rows in rows_of(batch)]
    assert set(drawn) == {0, 1, 2, 5, 6, 7, 8, 9} and drawn[:COUNT].count(5) == 3
    said = sorted(str(problem) for problem in loader.problems)
    assert len(said) == 3
    assert said[0].endswith("3.png: not an image, or a broken one (10 bytes)")
    assert said[1].endswith("4.png: cannot read the image: No such file or directory") and "list:9" in said[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_no_picture_at_all(samples, workers):
    for sample in samples:
        sample.image.unlink()
    with raises(DataError, Reason.UNREADABLE, r"^none of the 10 pictures can be read; the first is .*0.png$"):
        take(Loader(samples, COUNT, Augmentation(), workers=workers), 1)
    with raises(DataError, Reason.EMPTY):
        Loader([], COUNT, Augmentation())
    with raises(DataError, Reason.SHAPE_MISMATCH):
        Loader(samples, COUNT, Augmentation(), channels=4)


def test_the_death_of_a_worker_is_an_error(samples):
    batches = Loader(samples, COUNT, Augmentation(), workers=1).batches(0, small)
    next(batches)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
    with raises(DataError, Reason.WORKER_DIED):
        for _ in range(9):
            next(batches)


def grid(batches: list) -> np.ndarray:
    """Which picture is where: (mini-batch, time step, line)."""
    return np.array([[int(rows[0, 0]) for rows in rows_of(batch)] for batch in batches]).reshape(len(batches), 3, -1)


def test_sequences(samples):
    a = Augmentation(track=1, augment_speed=2, jitter=.2, hue=.1, flip=1)
    batches = take(Loader(samples, COUNT, a), 6, plan=tracked)
    shown = grid(batches)
    assert shown.shape == (6, 3, 4)
    steps = np.diff(shown, axis=1) % COUNT
    assert set(steps.ravel()) == {1, 2} and (steps[:, 0] == steps[:, 1]).all()
    boxes = Truth.stack([rows for batch in batches for rows in rows_of(batch)]).boxes.view(6, 3, 4, 4)
    assert torch.equal(boxes[:, 0], boxes[:, 1]) and torch.equal(boxes[:, 0], boxes[:, 2])     # changed alike
    assert len(boxes[:, 0].reshape(-1, 4).unique(dim=0)) == 24


def test_each_picture_of_a_sequence_has_its_own_noise(samples):
    a = Augmentation(track=1, gaussian_noise=20)
    (batch,) = take(Loader(samples[:1], COUNT, a), 1, plan=tracked)
    first, second = batch.images.unflatten(0, (3, 4))[:2]
    noisy = (first != first[:, :, :1, :1]).flatten(1).any(1)
    assert noisy.any() and not noisy.all() and torch.equal((first != second).flatten(1).any(1), noisy)


@pytest.mark.parametrize("chunks, parts", [(1, [(0, 4)]), (2, [(0, 2), (2, 4)]), (3, [(0, 2), (2, 3), (3, 4)])])
def test_sequences_go_on_in_the_next_mini_batch(samples, chunks, parts):
    def chained(iteration: int) -> Plan:
        return Plan(32, 24, 24, 4, time_steps=3, chunks=chunks)

    shown = grid(take(Loader(samples, COUNT, Augmentation(track=1, augment_speed=1)), 4, plan=chained))
    for start, end in parts:
        assert (np.diff(shown[start:end].reshape(-1, 2), axis=0) % COUNT == 1).all()
    for _, end in parts[:-1]:
        assert ((shown[end, 0] - shown[end - 1, -1]) % COUNT != 1).any()


@pytest.mark.parametrize("track", [0, 1])
def test_pairs_are_views_of_one_picture(samples, track):
    a = Augmentation(contrastive=1, contrastive_jit_flip=1, jitter=.2, flip=1, track=track)
    batches = take(Loader(samples, COUNT, a), 4, plan=tracked if track else paired)
    for batch in batches:
        for first, second in zip(rows_of(batch)[::2], rows_of(batch)[1::2], strict=True):
            assert first.shape == second.shape == (1, 6)
            assert (first[0, [0, 5]] == second[0, [0, 5]]).all() and (first[0, 1:5] != second[0, 1:5]).any()
            assert first[0, 5] == first[0, 0] * 4000


@pytest.mark.parametrize("plan, options, message", [
    (Plan(32, 32, 5, 2), {}, "5 images cannot be shared evenly by 2 subdivisions"),
    (Plan(32, 32, 6, 3), {"world": 4}, "3 subdivisions cannot be shared by 4 processes"),
    (Plan(32, 32, 4, 2, time_steps=4), {"track": 1}, "hold no sequences of 4 time steps"),
    (Plan(32, 32, 3, 1), {"contrastive": 1}, "an even number of images a mini-batch, found 3"),
])
def test_plans_that_do_not_divide(samples, plan, options, message):
    world = options.pop("world", 1)
    with raises(DataError, Reason.INDIVISIBLE, message):
        take(Loader(samples, COUNT, Augmentation(**options), world=world), 1, plan=lambda iteration: plan)


def test_the_cache_has_a_limit():
    cache, image = Cache(3, 3, 250), np.arange(120, dtype=np.uint8).reshape(5, 8, 3)
    for index in range(3):
        cache.put(index, image + index)
    assert all(np.array_equal(cache.get(index), image + index) for index in (0, 1)) and cache.get(2) is None
    assert pickle.loads(pickle.dumps(cache)).get(0) is None
    none = Cache(3, 3, 0)
    none.put(0, image)
    assert none.get(0) is None
