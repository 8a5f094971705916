"""Anchors for a data set, and heads that get other anchors or classes."""

import numpy as np
import pytest
from conftest import raises, write

from darknet_py.errors import DataError, Reason
from darknet_py.prepare import anchors as module
from darknet_py.prepare.anchors import (
    anchors_text,
    counters_text,
    darknet_anchors,
    find_anchors,
    fit_of,
    nearest,
    read_boxes,
)


def boxes(seed: int, count: int = 600) -> np.ndarray:
    """Sizes as they are found: many small ones, few large ones."""
    return np.exp(np.random.default_rng(seed).normal(3.5, 1, (count, 2))).astype(np.float32)


def overlap(a, b) -> float:
    common = min(a[0], b[0]) * min(a[1], b[1])
    return common / (a[0] * a[1] + b[0] * b[1] - common)


def test_nearest():
    sizes, anchors = np.float32([[2, 2], [4, 1], [0, 0]]), np.float32([[2, 4], [1, 1], [4, 2]])
    labels, best = nearest(sizes, anchors)
    assert (labels.tolist(), best.tolist()) == ([0, 2, 0], [.5, .5, 0])


def test_nearest_and_fit_against_loops():
    sizes, anchors = boxes(0, 100), boxes(1, 7)
    table = [[overlap(size, anchor) for anchor in anchors] for size in sizes.tolist()]
    labels, best = nearest(sizes, anchors)
    assert labels.tolist() == [row.index(max(row)) for row in table]
    np.testing.assert_allclose(best, [max(row) for row in table], rtol=1e-5)
    fit = fit_of(sizes, anchors)
    assert fit.iou == pytest.approx(np.mean([max(row) for row in table]), rel=1e-5)
    assert fit.recall == pytest.approx(np.mean([max(row) > .5 for row in table]))


def kmeans_in_loops(sizes: list, anchors: list) -> list:
    """Darknet's k-means, box by box."""
    before = [0] * len(sizes)
    while True:
        labels = [max(range(len(anchors)), key=lambda k, size=size: overlap(size, anchors[k])) for size in sizes]
        if labels == before:
            return anchors
        for k in range(len(anchors)):
            mine = [size for size, label in zip(sizes, labels, strict=True) if label == k]
            if mine:
                anchors[k] = [sum(side) / len(mine) for side in zip(*mine, strict=True)]
        before = labels


@pytest.mark.parametrize("seed", range(3))
def test_darknets_way_against_a_loop(seed):
    sizes = boxes(seed, 150).astype(np.float64)
    start = sizes[np.random.default_rng(seed).choice(150, 5, replace=False)].tolist()
    np.testing.assert_allclose(darknet_anchors(sizes, 5, seed=seed), kmeans_in_loops(sizes.tolist(), start), rtol=1e-9)


def test_one_anchor_of_darknets_is_the_mean():
    sizes = boxes(0).astype(np.float64)
    np.testing.assert_allclose(darknet_anchors(sizes, 1), sizes.mean(0)[None])


def test_an_anchor_without_boxes_stays():
    """Equal boxes at the start: the second one gets none, as in C."""
    sizes = np.float64([[8, 8]] * 9 + [[9, 9]])
    assert darknet_anchors(sizes[:9], 2).tolist() == [[8, 8], [8, 8]]


def test_weights_are_repeated_boxes():
    kinds, counts = boxes(3, 40).astype(np.float64), np.arange(1, 41)
    np.testing.assert_allclose(darknet_anchors(kinds, 3, counts.astype(np.float64), 1),
                               darknet_anchors(kinds.repeat(counts, 0), 3, seed=1))


@pytest.mark.parametrize("clusters", [[[10, 20], [100, 60]], [[300, 5]], [[9, 9], [9, 90], [90, 9], [90, 90]]])
def test_clear_clusters_are_found(clusters):
    found = find_anchors(np.float32(clusters * 30), len(clusters))
    assert sorted(found.best.tolist()) == sorted(clusters)
    around = np.float32(clusters * 200) * np.random.default_rng(0).uniform(.95, 1.05, (200 * len(clusters), 2))
    found = sorted(find_anchors(around, len(clusters)).best.tolist(), key=lambda size: (round(size[0], -1), size[1]))
    np.testing.assert_allclose(found, sorted(clusters), rtol=.02)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 4, 9])
def test_never_worse_than_darknets_way(seed, count):
    sizes = boxes(seed)
    found = find_anchors(sizes, count, seed=seed, restarts=seed % 3)
    own = fit_of(sizes, found.best).iou
    assert own >= fit_of(sizes, found.darknet).iou
    assert own >= fit_of(sizes, darknet_anchors(sizes.astype(np.float64), count, seed=seed)).iou - 1e-6
    for anchors in (found.best, found.darknet):
        assert anchors.shape == (count, 2) and (np.diff(anchors.prod(1)) >= 0).all()
    assert find_anchors(sizes, count, seed=seed, restarts=seed % 3).best.tolist() == found.best.tolist()


def test_no_step_aside_is_better():
    """The best anchors lie on top: moving one by a percent, whichever way, loses overlap."""
    sizes = boxes(0, 3000)
    best = find_anchors(sizes, 5, restarts=4).best
    top = fit_of(sizes, best).iou
    for index in np.ndindex(5, 2):
        for factor in (.98, 1.02):
            moved = best.copy()
            moved[index] *= factor
            assert fit_of(sizes, moved).iou < top + 1e-5


def test_many_sizes_are_taken_together(monkeypatch):
    sizes = boxes(0, 5000)
    exact = fit_of(sizes, find_anchors(sizes, 6, restarts=6).best).iou
    monkeypatch.setattr(module, "MANY", 300)
    few, times = module._merged(sizes.astype(np.float64), np.ones(5000))
    assert len(few) <= 300 and times.sum() == 5000
    np.testing.assert_allclose(times @ few, sizes.sum(0, dtype=np.float64))
    found = find_anchors(sizes, 6, restarts=6)
    assert fit_of(sizes, found.best).iou > max(exact - .002, fit_of(sizes, found.darknet).iou)


@pytest.mark.parametrize("sizes, count, reason, message", [
    ([[8, 8], [8, 8], [4, 4]], 3, Reason.WRONG_COUNT, "3 anchors need boxes of as many different sizes, found 2"),
    ([[8, 8]], 0, Reason.OUT_OF_RANGE, "expected a number of anchors from 1 to 256, found 0"),
    ([[8, 8]], 257, Reason.OUT_OF_RANGE, "expected a number of anchors from 1 to 256, found 257"),
])
def test_impossible_numbers(sizes, count, reason, message):
    with raises(DataError, reason, message):
        find_anchors(np.float32(sizes), count)


@pytest.mark.parametrize("anchors, width, text", [          # as C prints them
    ([[25.5, 34.49], [101.2, 7]], 416, " 26, 34, 101,  7"),
    ([[24.5, 1234.5]], 33, " 24,1234"),
    ([[.80964, 1.053], [14.35, 5.2348]], 13, "0.8096,1.0530, 14.3500,5.2348"),
    ([[1.5, 2.25]], 32, "1.5000,2.2500"),
])
def test_the_text_of_anchors(anchors, width, text):
    assert anchors_text(np.array(anchors), width) == text


@pytest.mark.parametrize("anchors, reason, message", [
    ([[8.4, 9], [7.6, 9], [3, 3]], Reason.DUPLICATE, "only 2 of 3 anchors differ when rounded"),
    ([[.4, 9]], Reason.OUT_OF_RANGE, "an anchor of 0.4 is 0 when rounded"),
])
def test_anchors_that_no_text_tells_apart(anchors, reason, message):
    with raises(DataError, reason, message):
        anchors_text(np.array(anchors), 416)


def test_the_text_of_counters():
    assert counters_text(np.array([3, 0, 12])) == "counters_per_class = 3, 0, 12"


@pytest.fixture
def labelled(workdir):
    """A data set without pictures, now the working directory; some of its labels are wrong."""
    write({"o.data": "classes=2\ntrain=train.txt\n", "train.txt": "a.jpg\nb.jpg\nc.jpg\n",
           "a.txt": "0 .5 .5 .25 .5\n1 .5 .5 .125 .25\n0 .5 .5 .25 .5\n",
           "b.txt": "3 .5 .5 .5 .5\n0 .5 .5 0 .5\n0 .5 .5\n1 nan .5 .5 .5\n-1 .5 .5 .2 .2\n"})


def test_reading_boxes(labelled):
    calls = []
    found = read_boxes("o.data", progress=lambda *call: calls.append(call))
    assert found.sizes.tolist() == [[.25, .5], [.125, .25], [.25, .5], [.5, .5]]
    assert (found.counts.tolist(), found.pictures, calls) == ([2, 1, 0, 1], 3, [(3, 3)])
    assert [(problem.path.name, problem.line, problem.error) for problem in found.problems] == [
        ("b.txt", 2, True), ("b.txt", 3, True), ("b.txt", 4, True), ("b.txt", 5, True), ("c.txt", 0, False),
        ("o.data", 0, False)]


def test_reading_a_coco_json(labelled):
    write({"o.json": """{"images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 9, "bbox": [0, 0, 25, 25], "id": 1, "iscrowd": 0}]}"""})
    found = read_boxes("o.json")
    assert (found.sizes.tolist(), found.counts.tolist(), found.pictures) == ([[.25, .5]], [0, 1], 1)


@pytest.mark.parametrize("data, counts", [("classes=5\n", [2, 1, 0, 1, 0]), ("names=o.names\n", [2, 1, 0, 1]),
                                          ("", [2, 1, 0, 1])])
def test_counts_of_classes(labelled, data, counts):
    write({"o.data": data + "train=train.txt\n", "o.names": "cat\ndog\n"})
    assert read_boxes("o.data").counts.tolist() == counts
    assert read_boxes("train.txt").counts.tolist() == [2, 1, 0, 1]


@pytest.mark.parametrize("files, reason, message", [
    ({"o.data": "classes=two\ntrain=train.txt\n"}, Reason.BAD_VALUE,
     "o.data: expected 'classes = N', N from 1 to 10000, found classes"),
    ({"o.data": "classes=2\n"}, Reason.MISSING_KEY, "o.data: expected 'train = LIST'"),
    ({"train.txt": "\n"}, Reason.EMPTY, "o.data: train = train.txt names no pictures to train on"),
])
def test_data_that_cannot_be_read(labelled, files, reason, message):
    write(files)
    with raises(DataError, reason, message):
        read_boxes("o.data")
