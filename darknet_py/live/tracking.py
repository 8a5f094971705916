"""Steps that give detections the ids of the objects that they show: ByteTrack, and Darknet's tracking by embeddings."""
from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from darknet_py.errors import DarknetError
from darknet_py.inference.detections import Detections
from darknet_py.live.embedding_tracker import EmbeddingOptions, EmbeddingTracker
from darknet_py.live.results import Result

LOW = .1                # the least score that ByteTrack is given, as in its paper
LOST = 1.               # seconds for which it looks for an object that is missing
INSTALL = "pip install supervision rich && pip install --no-deps trackers"


def objects(detections: Detections) -> tuple[np.ndarray, np.ndarray]:
    """The boxes behind detections, of which those with several classes are listed more than once.

    Returns:
        (U,) indices of the most confident detection of each box, in C's order of boxes; (K,) the box of each detection.
    """
    _, first, inverse = np.unique(detections.boxes.reshape(-1, 4), axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(detections), int)
    rank[detections.order] = np.arange(len(detections))
    order = rank[first].argsort()
    place = np.empty(len(first), int)
    place[order] = np.arange(len(first))
    return first[order], place[inverse.reshape(-1)]


class TrackByEmbeddings:
    """A step: ids by ``EmbeddingTracker``; boxes that were matched too seldom to be shown are left out.

    The detections need embeddings, see ``Detector(embeddings=)``.
    """

    def __init__(self, options: EmbeddingOptions, classes: int):
        self._tracker = EmbeddingTracker(options, classes)

    def __call__(self, result: Result) -> None:
        found = result.detections
        assert found.embeddings is not None
        first, box = objects(found)
        ids, shown = self._tracker.update(found.boxes[first], found.embeddings[first], found.labels[first])
        result.detections = with_ids(found, ids[box], shown[box])


class TrackByByteTrack:
    """A step: ids by ByteTrack, of each class for itself; an object has an id from its second frame on.

    It matches boxes above the threshold to objects first, then those that are less certain to what is left; the latter
    keep an object alive, and are left out of the result.

    Args:
        thresh: scores of what is reported are above it. The detector's own threshold is to be ``LOW`` or less.
        rate: frames a second.
        live: frames come at any distance, so their time counts; else each is 1 / ``rate`` after the one before.

    Raises:
        DarknetError: the package is not installed.

    Source: Y. Zhang et al., ByteTrack, 2022, arXiv:2110.06864, by the package trackers.
    """

    def __init__(self, thresh: float, rate: float, live: bool):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import trackers
        except ImportError:
            raise DarknetError(f"-track bytetrack needs the package trackers: {INSTALL}") from None
        self._package, self._thresh, self._rate, self._live = trackers, thresh, rate, live
        self._trackers: dict[int, Any] = {}             # by class
        self._ids: dict[int, dict[int, int]] = {}       # by class: the ids of its tracker -> ids among all
        self._next = 1

    def __call__(self, result: Result) -> None:
        found = result.detections
        first, box = objects(found)
        labels, ids = found.labels[first], np.zeros(len(first), np.int64)
        for label in self._trackers.keys() | set(labels.tolist()):
            here = (labels == label).nonzero()[0]
            ids[here] = self._update(label, found.boxes[first[here]], found.scores[first[here]], result.taken)
        result.detections = with_ids(found, ids[box], found.scores > np.float32(self._thresh))

    def _update(self, label: int, boxes: np.ndarray, scores: np.ndarray, taken: float) -> np.ndarray:
        """(K,) the ids of a class's boxes (K, 4), 0 for none."""
        from supervision import Detections as Boxes
        if label not in self._trackers:
            self._trackers[label] = self._package.ByteTrackTracker(
                lost_track_buffer=round(30 * LOST), frame_rate=self._rate, track_activation_threshold=self._thresh,
                high_conf_det_threshold=self._thresh)
        given = Boxes(xyxy=boxes.astype(np.float64), confidence=scores.astype(np.float64),
                      data={"row": np.arange(len(boxes))})
        tracked = self._trackers[label].update(given, timestamp=taken if self._live else None)
        known, ids = self._ids.setdefault(label, {}), np.zeros(len(boxes), np.int64)
        for row, number in zip(tracked.data.get("row", ()), tracked.tracker_id.tolist(), strict=True):
            if number >= 0:
                if number not in known:
                    known[number], self._next = self._next, self._next + 1
                ids[row] = known[number]
        alive = {track.tracker_id for track in self._trackers[label].tracks}
        self._ids[label] = {number: one for number, one in known.items() if number in alive}
        return ids


def with_ids(detections: Detections, ids: np.ndarray, shown: np.ndarray) -> Detections:
    """Those that are shown (K,) bool, with their ids (K,)."""
    return replace(detections, ids=ids).select(shown)
