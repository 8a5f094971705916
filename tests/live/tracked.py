"""Made objects that move, cross, vanish and return, for the tests of what follows objects through frames."""
from __future__ import annotations

import numpy as np

from darknet_py.inference.detections import Detections
from darknet_py.live.results import Result

FRAMES = 24
SIZE = 100          # pixels of a picture's sides
# options of [yolo]: sim_thresh, track_history_size, dets_for_track, dets_for_show, track_ciou_norm; classes
CASES = {"as the cfg's default": (.8, 5, 1, 1, .01, 2),
         "counting from 0": (.8, 5, 2, 2, .01, 1),
         "overlap": (.5, 3, 1, 0, .6, 2),
         "short history, any similarity": (-1., 1, 0, 0, .3, 2),
         "no history": (.8, 0, 1, 1, .01, 2),
         "no box is ever certain": (.8, 20, 8, 2, .2, 1)}
# the ids that C's set_track_id gives the boxes of each frame; "-": it takes the box out
IDS = {
    "as the cfg's default": """
        0 0 0 0 0
        1 2 3 4 5
        2 3 6 7 8
        9 10 2 3 11 0
        12 2 3 13 14
        15 3 16 17 10
        17 10 15 3 16
        10 3 16 17
        3 16 17 10
        17 10 16 3
        10 16 17
        15 16 17 10
        17 10 15 16
        10 15 16 17
        15 16 17 10
        17 10 15 16 0
        10 15 16 17
        15 16 17 10
        17 10 15 16
        10 15 16 17
        15 16 17 10
        17 10 15 0 16 0
        10 15 18 16 17
        15 19 16 17 10
    """,
    "counting from 0": """
        0- 0- 0- 0- 0-
        0- 0- 0- 0- 0-
        0 0 0- 0- 0-
        0- 0- 0 0 0- 0-
        0- 0 0 0- 0-
        0- 0 0- 0- 0
        0 0 0 0 0
        0 1 0 0
        2 3 4 5
        6 7 8 2
        9 10 11
        12 13 14 15
        16 9 12 17
        9 12 17 16
        12 17 16 9
        16 9 12 17 0-
        15 12 17 16
        12 17 16 9
        16 9 12 17
        9 12 17 16
        12 17 16 9
        16 9 12 0- 17 0-
        9 12 0- 17 16
        12 0- 17 16 9
    """,
    "overlap": """
        0 0 0 0 0
        1 2 3 4 5
        2 3 4 5 1
        5 1 2 3 4 0
        1 2 3 4 5
        2 3 4 5 1
        5 1 2 3 4
        1 3 4 5
        3 4 5 1
        5 1 4 0
        1 4 5
        0 4 5 1
        5 1 6 4
        1 6 4 5
        6 4 5 1
        5 1 6 4 0
        1 6 4 5
        6 4 5 1
        5 1 6 4
        1 6 4 5
        6 4 5 1
        5 1 6 0 4 0
        1 6 7 4 5
        6 8 4 5 1
    """,
    "short history, any similarity": """
        1 2 3 4 5
        2 3 4 5 1
        3 4 5 1 2
        1 2 3 4 5 6
        2 3 4 5 1
        3 4 5 1 2
        1 2 3 4 5
        2 4 5 1
        4 5 1 2
        1 2 5 4
        2 5 1
        7 5 1 2
        1 2 7 5
        2 7 5 1
        7 5 1 2
        1 2 7 5 8
        2 7 5 1
        7 5 1 2
        1 2 7 5
        2 7 5 1
        7 5 1 2
        1 2 7 9 5 10
        2 7 9 5 1
        7 9 5 1 2
    """,
    "no history": """
        0 0 0 0 0
        0 0 0 0 0
        0 0 0 0 0
        0 0 0 0 0 0
        0 0 0 0 0
        0 0 0 0 0
        0 0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0
        0 0 0 0 0 0
        0 0 0 0 0
        0 0 0 0 0
    """,
    "no box is ever certain": """
        0- 0- 0- 0- 0-
        0- 0- 0- 0- 0-
        0 0 0 0 0
        0 0 0 0 0 0-
        0 0 0 0- 0-
        0- 0 0- 0- 0
        0 0 0- 0 0
        0 0- 0 0
        0 0 0 0
        0 1 0 0-
        1 0 0
        0 0- 0- 1
        0- 1 0 0-
        1 0 0 0
        0- 0 0 1
        0 1 0 0 0-
        1 0 0 0
        0 0 0 1
        0- 1 0 0-
        1 0 0- 0-
        0 0 0 1
        0 1 0 0 0 0-
        1 0 0 0 0
        0 0 0 0 1
    """,
}


def sequence():
    """(boxes (K, 4) xyxy, embeddings (K, 6), labels (K,)) float32 of each frame: two objects that change places, two
    that vanish, for 4 and for 12 frames, one of another class that looks like the first, and some of one frame."""
    for frame in range(FRAMES):
        part = frame / (FRAMES - 1)
        there = [(0, 10 + 70 * part, 40, 0, 0), (1, 80 - 70 * part, 42, 0, 0)]
        there += [(2, 30, 75, 0, 0)] if not 7 <= frame < 11 else []
        there += [(3, 60, 80, 0, 0)] if not 9 <= frame < 21 else []
        there += [(4, 12 + 70 * part, 41, 1, -4)]
        there += [(5 + frame, 85, 15, 0, 0)] if frame % 6 == 3 else []
        there = there[frame % 3:] + there[:frame % 3]
        x, y = np.array([one[1:3] for one in there]).T
        look = np.array([one[0] + one[4] for one in there])[:, None] + 1
        number = np.arange(1, 7)
        embeddings = np.cos(look * number * 1.7) + .3 * np.sin(frame * number * .9 + 3 * look)
        yield (np.stack([x - 6, y - 9, x + 6, y + 9], 1).astype(np.float32), embeddings.astype(np.float32),
               np.array([one[3] for one in there]))


def result(number: int, boxes, labels=None, scores=None, ids=None, size: int = SIZE) -> Result:
    """Of a frame with these boxes; with names a, b, c."""
    count = len(boxes)
    detections = Detections(np.float32(boxes).reshape(-1, 4), np.float32([.9] * count if scores is None else scores),
                            np.int64([0] * count if labels is None else labels), ["a", "b", "c"], (size, size),
                            ids=None if ids is None else np.int64(ids))
    return Result(number, number / 10, number / 10, detections, np.zeros((size, size, 3), np.uint8), 0.)
