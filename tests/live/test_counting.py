"""Zones, lines, and what is counted there."""
import json

import cv2
import numpy as np
import pytest
from tracked import result

from darknet_py.live.counting import (
    FORGET,
    Count,
    CountsFile,
    Line,
    Zone,
    crosses_segment,
    edge_distance,
    inside,
    line_distance,
    parse_points,
)

SQUARE = np.array([[20., 20], [60, 20], [60, 60], [20, 60]])
UPWARDS = np.array([[50., 80], [50, 20]])           # its right is the picture's


@pytest.mark.parametrize("seed", range(4))
def test_points_in_polygons_are_those_of_opencv(seed):
    random = np.random.default_rng(seed)
    points = random.uniform(-10, 110, (300, 2)).astype(np.float32)
    angles = np.sort(random.uniform(0, 2 * np.pi, 9))                   # a star about (50, 50), not convex
    radius = random.uniform(5, 55, (9, 1))
    polygon = (50 + radius * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)
    expected = np.array([cv2.pointPolygonTest(polygon, point.tolist(), True) for point in points])
    np.testing.assert_array_equal(inside(points, polygon), expected > 0)
    np.testing.assert_allclose(edge_distance(points, polygon), np.abs(expected), atol=1e-4)


def test_sides_of_a_line():
    np.testing.assert_allclose(line_distance(np.array([[53., 0], [46, 999], [50, 3]]), UPWARDS), [3, -4, 0])
    for start, end, crossed in (((40, 50), (60, 50), True), ((40, 10), (60, 10), False), ((40, 0), (60, 50), True),
                                ((60, 90), (40, 75), False), ((60, 79), (40, 79), True)):
        assert crosses_segment(np.array(start, float), np.array(end, float), UPWARDS) is crossed, (start, end)


def walk(step, *path, label=0, ids=(7,), side=10):
    """An object whose box has its lower edge's middle at each place of a path; the last record."""
    for x, y in path:
        one = result(1, [[x - side / 2, y - side, x + side / 2, y]] * len(ids), [label] * len(ids), ids=ids)
        step(one)
    return json.loads(one.record)


# a box of side 10, so that within one pixel of the line it is on neither side
@pytest.mark.parametrize("path, counted", [
    ([(40, 50), (60, 50)], (1, 0)),
    ([(60, 50), (40, 50)], (0, 1)),
    ([(40, 50), (60, 50), (40, 50), (60, 50)], (2, 1)),
    ([(40, 50), (49.5, 50), (50.5, 50), (49.5, 50), (50.5, 50), (60, 50)], (1, 0)),
    ([(40, 50), (50.5, 50), (49.5, 50), (50.5, 50), (40, 50)], (0, 0)),
    ([(50, 50), (60, 50)], (0, 0)),                     # it appears on the line
    ([(40, 50), (40, 10), (60, 10), (60, 50)], (0, 0)),         # around its end
    ([(40, 50), (40, 10), (60, 10), (60, 50), (40, 50)], (0, 1))])
def test_crossings_of_a_line(path, counted):
    line = Line("gate", UPWARDS)
    record = walk(Count([], [line]), *path, label=1)
    assert (line.in_["b"], line.out["b"]) == counted
    assert record["lines"] == [{"name": "gate", "in": {"b": counted[0]} if counted[0] else {},
                                "out": {"b": counted[1]} if counted[1] else {}}]


def test_zones_count_what_is_inside_and_what_came_in():
    zone = Zone("yard", SQUARE)
    step = Count([zone], [])
    assert walk(step, (10, 40), (19.5, 40), (20.5, 40), (19.5, 40), (40, 40))["zones"] == [
        {"name": "yard", "inside": {"a": 1}, "entries": {"a": 1}}]
    assert walk(step, (20.5, 40), (19.5, 40), (30, 40))["zones"][0]["entries"] == {"a": 1}
    assert walk(step, (90, 40), (30, 40))["zones"][0]["entries"] == {"a": 2}
    assert walk(step, (50, 50), ids=(8, 9), label=2)["zones"] == [      # one box, and the id of its first row
        {"name": "yard", "inside": {"c": 1}, "entries": {"a": 2, "c": 1}}]
    assert walk(step, (50, 50), ids=(0,))["zones"] == [                 # not tracked yet
        {"name": "yard", "inside": {"a": 1}, "entries": {"a": 2, "c": 1}}]
    assert walk(step, (90, 90))["zones"] == [{"name": "yard", "inside": {}, "entries": {"a": 2, "c": 1}}]


def test_point_of_a_box_parts_of_the_picture_and_drawing():
    for anchor, expected in (("bottom", 0), ("centre", 1)):
        zone = Zone("upper", np.array([[0., 0], [1, 0], [1, .5], [0, .5]]))
        one = result(1, [[40, 40, 50, 56]], ids=[1], size=100)
        Count([zone], [Line("gate", UPWARDS / 100)], anchor)(one)
        assert one.fields["zones"][0]["inside"] == {"a": 1} if expected else not one.fields["zones"][0]["inside"]
        canvas = np.zeros((100, 100, 3), np.uint8)
        for draw in one.marks:
            draw(canvas)
        assert len(one.marks) == 2 and canvas[50, 90].any() and canvas[30, 50].any() and not canvas[95, 5].any()


def test_objects_that_are_gone_are_forgotten():
    line = Line("gate", UPWARDS)
    step = Count([], [line])
    walk(step, (40, 50))
    walk(step, *[(40, 50)] * (2 * FORGET), ids=(1,))
    assert set(line.seen) == {1}


@pytest.mark.parametrize("text, name, points", [
    ("1,2 3,4", None, [[1, 2], [3, 4]]), ("a b = -1.5,2  .3,4e1", "a b", [[-1.5, 2], [.3, 40]]),
    ("a=b=1,2 3,4", "a=b", [[1, 2], [3, 4]])])
def test_points_as_users_write_them(text, name, points):
    found, array = parse_points("line", text, 2, 2)
    assert found == name and array.tolist() == points


def test_file_of_counts(workdir):
    sink = CountsFile("counts/c.csv")
    sink.close()                                        # without any frame nothing is written
    assert not (workdir / "counts").exists()
    step = Count([Zone("a,b", SQUARE)], [Line("gate", UPWARDS)])
    for x in (40, 60):
        one = result(1, [[x - 5, 40, x + 5, 50]], ids=[1])
        step(one)
        sink.write(one)
    sink.close()
    assert (workdir / "counts/c.csv").read_text().splitlines() == [
        "kind,name,class,in,out,entries,inside", 'zone,"a,b",a,,,1,0', "line,gate,a,1,0,,"]
