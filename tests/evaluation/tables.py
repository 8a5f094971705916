"""Detections and objects as rows, for tests of measures, and boxes cxcywh for them."""
import numpy as np

from darknet_py.evaluation.matching import DetectionTable, GroundTruth

HERE, HALF, QUARTER, AWAY = (.5, .5, .25, .25), (.5, .5, .25, .125), (.5, .5, .25, .0625), (.125, .125, .25, .25)


def table(rows, scored):
    """(image, class, box, score or difficult) rows as columns."""
    images, labels, boxes, last = zip(*rows, strict=True) if rows else ((), (), (), ())
    columns = np.array(images, int), np.array(labels, int), np.array(boxes, np.float32).reshape(-1, 4)
    return DetectionTable(*columns[:2], np.array(last, np.float32), columns[2]) if scored else \
        GroundTruth(*columns, np.array(last, bool))
