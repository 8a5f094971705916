"""Detections as CSV, as lines and as Pascal VOC, read back with other tools and with our own readers."""
import csv
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from darknet_py.data.voc import loose_layout
from darknet_py.inference.detections import Detections
from darknet_py.inference.result_formats import COLUMNS, to_csv, to_lines, to_voc

NAMES = ["cat", 'a "dog", large', "b\x1b[1m\tc"]


def detections(boxes, labels=(0, 1, 2), path="photos/a.png", size=(60, 80)):
    scores = np.linspace(.9, .3, len(boxes), dtype=np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, np.array(labels[:len(boxes)], np.int64),
                      NAMES, size, path)


FOUND = detections([[1.25, 2.5, 30.125, 40], [-5, -6, 20.5, 90], [3, 4, 5, 6]])


def test_csv_reads_back():
    header, *rows = csv.reader(io.StringIO(to_csv([FOUND, detections([], path="b.png"), detections([[0, 0, 1, 2]],
                                                                                                   path=None)])))
    assert tuple(header) == COLUMNS == ("image", "label", "name", "score", "left", "top", "right", "bottom")
    assert rows == [["photos/a.png", "0", "cat", "0.900000", "1.25", "2.50", "30.12", "40.00"],
                    ["photos/a.png", "1", NAMES[1], "0.600000", "-5.00", "-6.00", "20.50", "90.00"],
                    ["photos/a.png", "2", NAMES[2], "0.300000", "3.00", "4.00", "5.00", "6.00"],
                    ["", "0", "cat", "0.900000", "0.00", "0.00", "1.00", "2.00"]]
    assert to_csv(FOUND) == to_csv([FOUND]) and to_csv([]) == ",".join(COLUMNS) + "\n"


def test_lines():
    first, _, last = to_lines(FOUND).splitlines()
    assert first == "photos/a.png\tcat\t0.900000\t1.25\t2.50\t30.12\t40.00"
    assert last.split("\t")[1] == r"b\x1b[1m\tc" and to_lines([]) == ""


def test_voc_is_read_as_an_annotation(tmp_path):
    """... by our own reader, with the boxes within a pixel."""
    (tmp_path / "a.xml").write_text(to_voc(FOUND))
    (tmp_path / "a.png").write_bytes(b"")
    one, = loose_layout(tmp_path, sorted(tmp_path.iterdir())).read("train", [NAMES[0], NAMES[1], r"b\x1b[1m\tc"])
    assert one.size == (80, 60) and one.rows[:, 0].tolist() == [0, 1, 2]
    clipped = FOUND.boxes.clip(0, [80, 60, 80, 60]) / [80, 60, 80, 60]
    corners = np.concatenate([one.rows[:, 1:3] - one.rows[:, 3:] / 2, one.rows[:, 1:3] + one.rows[:, 3:] / 2], 1)
    assert np.abs(corners - clipped).max() <= 1.01 / 60
    root = ET.fromstring(to_voc(FOUND))
    assert root.findtext("filename") == "a.png" and root.findtext("folder") == "photos"
    assert [entry.findtext("confidence") for entry in root.iter("object")] == ["0.900000", "0.600000", "0.300000"]


@pytest.mark.parametrize("boxes, labels, names", [
    ([[1, 2, 30, 40], [1, 2, 30, 40], [5, 5, 9, 9]], (1, 0, 0), [NAMES[1], "cat"]),     # a box with two classes
    ([[-30, 5, -2, 9], [90, 5, 99, 9], [5, 5, 9, 9]], (0, 0, 1), [NAMES[1]]),           # outside
    ([], (), []),
])
def test_voc_has_each_box_in_the_picture_once(boxes, labels, names):
    root = ET.fromstring(to_voc(detections(boxes, labels, path=None)))
    assert [entry.findtext("name") for entry in root.iter("object")] == names
    for box in root.iter("bndbox"):
        left, top, right, bottom = (int(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax"))
        assert 1 <= left < right <= 80 and 1 <= top < bottom <= 60
