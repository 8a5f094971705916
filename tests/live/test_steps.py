"""Steps between detection in a frame and its consumers."""
import json
from dataclasses import replace

import numpy as np
from clips import result

from darknet_py.inference.detector import Frame
from darknet_py.live.session import Stopper, detect_frames
from darknet_py.live.sources import Shot, Source


class Numbered(Source):
    """Three grey frames."""

    count = 0

    def take(self, wait):
        self.over, self.count = self.count == 3, self.count + 1
        return None if self.over else Shot(np.full((16, 16, 3), 128, np.uint8), (self.count - 1) / 4, 0.)


class Finder:
    """A detector that finds one object in each frame."""

    def stream(self, images, overlapped):
        return ((image, Frame(result(1).detections, image, 0.)) for image in images)


def step(found):
    found.fields["shown"] = {"number": found.number}
    found.detections = replace(found.detections, scores=found.detections.scores / 2)
    found.marks.append(lambda canvas: canvas.__setitem__(slice(None), found.number))


def test_steps_come_between_detection_and_what_is_shown():
    skipped = iter([1, 0])
    found = list(detect_frames(Finder(), Numbered("numbers"), Stopper(), draw=False, steps=[step, step],
                               skip=lambda: next(skipped)))
    for one, drawn in zip(found, (1, 1, 3), strict=True):
        record = json.loads(one.record)
        assert (record["shown"], record["timestamp"]) == ({"number": one.number}, (one.number - 1) / 4)
        assert record["objects"][0]["confidence"] == .1875
        assert (one.picture.drawn == drawn).all()
        assert (one.image == 128).all()


def test_without_boxes_and_marks_the_frame_itself_is_shown():
    for one in detect_frames(Finder(), Numbered("numbers"), Stopper(), draw=False):
        assert one.picture.drawn is one.image
