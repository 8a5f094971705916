"""Drawing: what can be said of a picture without looking at it."""
from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import raises

from darknet_py.errors import DataError, Reason
from darknet_py.viz.draw import LIGHT, MOST_DRAWN, _free_top, class_colour, draw_detections, text_colour

NAMES = ["cat", "a rather long name for such a small thing"]


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 127, np.uint8)


def filled(image: np.ndarray, label: int) -> np.ndarray:
    """Where a picture has exactly the colour of a class, (H, W) bool."""
    return (image == np.array(class_colour(label))).all(2)


@pytest.mark.parametrize("image", [grey(60, 80), grey(60, 80)[..., 0], grey(60, 80)[..., :1], grey(60, 80)[::-1, ::-1],
                                   np.full((60, 80, 4), 127, np.uint8)])
def test_any_image_becomes_a_bgr_copy(image):
    before = image.copy()
    drawn = draw_detections(image, [[10, 20, 50, 50]], [0], [0.5], NAMES)
    assert drawn.shape == (60, 80, 3) and drawn.dtype == np.uint8
    assert filled(drawn, 0).any()
    assert np.array_equal(image, before)
    assert np.array_equal(draw_detections(image, [], [], [], NAMES), grey(60, 80))


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
def test_any_sequence_will_do(kind):
    plain = draw_detections(grey(60, 80), [[10, 20, 50, 50]], [0], [0.5], NAMES)
    assert np.array_equal(plain, draw_detections(grey(60, 80), kind([[10, 20, 50, 50]]), kind([0]), kind([0.5]), NAMES))


def test_lines_and_text_scale_with_the_picture():
    def share(scale: int, label_format: str) -> float:
        image, box = grey(100 * scale, 120 * scale), [[20 * scale, 60 * scale, 100 * scale, 90 * scale]]
        return (draw_detections(image, box, [0], [0.5], NAMES, label_format) != image).any(2).mean()

    for label_format in ("", "{name}"):
        assert share(10, label_format) == pytest.approx(share(30, label_format), rel=0.4)


@pytest.mark.parametrize("box", [[-50, -60, 20, 20], [100, 80, 400, 300], [-1e9, -1e9, 1e9, 1e9], [300, 300, 400, 400],
                                 [float("nan")] * 4, [float("inf")] * 4, [60, 50, 20, 10], [30, 30, 30, 30]])
@pytest.mark.parametrize("size", [(90, 120), (1, 1), (3, 200), (200, 3)])
def test_any_box_on_any_picture(box, size):
    drawn = draw_detections(grey(*size), [box, box], [0, 1], [0.9, 0.8], NAMES)
    assert drawn.shape == (*size, 3)
    assert not np.array_equal(drawn, grey(*size))


@pytest.mark.parametrize("box", [[0, 0, 30, 30], [110, 0, 119, 89], [100, 80, 119, 89], [40, 40, 80, 80]])
def test_the_label_is_inside_the_picture(box):
    bare = filled(draw_detections(grey(90, 120), [box], [1], [0.5], NAMES, label_format=""), 1)
    with_label = filled(draw_detections(grey(90, 120), [box], [1], [0.5], NAMES, label_format="{score:.2f}"), 1)
    assert (with_label & ~bare).sum() > 60


def test_labels_of_the_same_box_are_not_overprinted():
    box, labels = [40, 150, 200, 250], [0, 1, 2, 3]
    drawn = draw_detections(grey(300, 400), [box] * 4, labels, [0.9, 0.8, 0.7, 0.6], NAMES, "{label}")
    for label in labels:
        alone, bare = (filled(draw_detections(grey(300, 400), [box], [label], [0.5], NAMES, text), label).sum()
                       for text in ("{label}", ""))
        assert filled(drawn, label).sum() > 0.8 * (alone - bare)


def test_the_better_box_is_on_top():
    for scores, winner in (([0.9, 0.1], 0), ([0.1, 0.9], 1)):
        drawn = draw_detections(grey(900, 900), [[100, 100, 500, 500]] * 2, [0, 1], scores, NAMES, "")
        assert filled(drawn, winner)[300, 100] and not filled(drawn, 1 - winner).any()


def test_colours_are_stable_and_distinct():
    colours = [class_colour(label) for label in range(80)]
    assert len(set(colours)) == 80
    assert min(np.abs(np.subtract(a, b)).max() for a, b in pairwise(colours)) > 90
    assert text_colour((255, 0, 0)) == LIGHT != text_colour((0, 255, 255))


@pytest.mark.parametrize("image, boxes, labels, reason, complaint", [
    (None, [], [], Reason.WRONG_FORMAT, "got NoneType"),
    (np.zeros((4, 4, 3), np.float32), [], [], Reason.WRONG_FORMAT, r"got float32 \(4, 4, 3\)"),
    (np.zeros((4, 4, 2), np.uint8), [], [], Reason.SHAPE_MISMATCH, "1, 3 or 4 channels, got 2"),
    (np.zeros((0, 4, 3), np.uint8), [], [], Reason.WRONG_FORMAT, r"got uint8 \(0, 4, 3\)"),
    (grey(4, 4), [[0, 0, 1, 1]], [], Reason.WRONG_COUNT, "each of 1 boxes, got 0 labels and 0 scores"),
])
def test_draw_refuses(image, boxes, labels, reason, complaint):
    with raises(DataError, reason, complaint):
        draw_detections(image, boxes, labels, [], NAMES)


def test_the_most_confident_boxes_alone_are_drawn():
    """A threshold of 0 gives tens of thousands, most of them worth nothing."""
    count = 20_000
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 150, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 50, (count, 2))], 1)
    scores, labels = rng.permutation(count) / count, rng.integers(0, 9, count)
    best = scores.argsort()[-MOST_DRAWN:]
    assert np.array_equal(draw_detections(grey(200, 200), boxes, labels, scores, NAMES),
                          draw_detections(grey(200, 200), boxes[best], labels[best], scores[best], NAMES))


@pytest.mark.parametrize("seed", range(20))
def test_a_label_gets_the_nearest_free_place(seed):
    """... as trying every place finds it."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        check_free_top(rng)


def check_free_top(rng):
    height, strip = int(rng.integers(10, 60)), int(rng.integers(1, 10))
    tops = rng.integers(0, height, rng.integers(0, 8))
    spans = np.stack([tops, tops + rng.integers(1, 9, len(tops))], 1)
    preferred = int(rng.integers(0, height))
    found = _free_top(preferred, strip, height, spans)
    wanted = min(preferred, height - strip)
    free = [top for top in range(height - strip + 1) if all(top + strip <= a or b <= top for a, b in spans.tolist())]
    assert found in free if free else found == wanted
    assert abs(found - wanted) == min((abs(top - wanted) for top in free), default=0)
