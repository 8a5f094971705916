"""Boxes that do not flicker."""
import json

import numpy as np
from tracked import result

from darknet_py.live.smoothing import Smooth

BOX = np.array([10., 10, 30, 30])


def smoothed(frames, *rows):
    """The results of frames, given as (boxes, labels, scores, ids)."""
    step, found = Smooth(frames), []
    for number, row in enumerate(rows, 1):
        found.append(result(number, *row))
        step(found[-1])
    return [one.detections for one in found]


def test_boxes_are_means_over_the_last_frames():
    found = smoothed(3, *[([BOX + 3 * n, BOX + 50], [0, 1], [.9, .8], [4, 0]) for n in (0, 1, 2, 3)])
    np.testing.assert_allclose([one.boxes[0] for one in found], [BOX, BOX + 1.5, BOX + 3, BOX + 6])
    assert all((one.boxes[1] == BOX + 50).all() and not one.missed.any() for one in found)     # it has no id


def test_an_object_is_shown_on_for_so_many_frames():
    here, away = ([BOX, BOX + 40], [0, 1], [.9, .5], [1, 2]), ([BOX + 40], [1], [.7], [2])
    found = smoothed(2, here, away, away, away, away)
    assert [one.ids.tolist() for one in found] == [[1, 2], [1, 2], [1, 2], [2], [2]]            # by falling score
    assert [one.missed.tolist() for one in found] == [[0, 0], [1, 0], [2, 0], [0], [0]]
    assert found[2].scores.tolist() == np.float32([.9, .7]).tolist() and (found[2].boxes[0] == BOX).all()
    objects = json.loads(found[2].to_json())["objects"]
    assert [one.get("missed_frames") for one in objects] == [None, 2] and objects[1]["track_id"] == 1


def test_an_object_that_returns_is_a_mean_of_what_was_seen_in_those_frames():
    none = ([], [], [], [])
    found = smoothed(4, ([BOX], [0], [.9], [1]), none, none, ([BOX + 8], [0], [.9], [1]), ([BOX + 8], [0], [.9], [1]))
    assert [one.missed.tolist() for one in found] == [[0], [1], [2], [0], [0]]
    np.testing.assert_allclose([one.boxes[0] for one in found], [BOX, BOX, BOX, BOX + 4, BOX + 8])


def test_a_new_id_in_its_place_ends_an_object():
    for label, ids in ((0, [2]), (1, [2, 1])):          # of its class, of another
        found = smoothed(5, ([BOX], [0], [.9], [1]), ([BOX + 2], [label], [.95], [2]))
        assert found[1].ids.tolist() == ids


def test_both_classes_of_a_box_go_together():
    found = smoothed(2, ([BOX, BOX], [2, 0], [.9, .4], [1, 1]), ([BOX + 2, BOX + 2], [2, 0], [.9, .4], [1, 1]),
                     ([], [], [], []))
    assert found[2].labels.tolist() == [2, 0] and found[2].ids.tolist() == [1, 1]
    np.testing.assert_allclose(found[2].boxes, [BOX + 1] * 2)


def test_detections_without_ids_stay():
    one = result(1, [BOX])
    before = one.detections
    Smooth(3)(one)
    assert one.detections is before
