"""The printouts of mean average precision and recall, against C's."""
import copy
import re

import numpy as np
import pytest
from conftest import ROOT, SHARED

from darknet_py import load_network
from darknet_py.data.dataset import read_samples
from darknet_py.evaluation.coco_ap import clipped_boxes
from darknet_py.evaluation.evaluate import evaluate_map, evaluate_recall
from darknet_py.evaluation.predict import VALID, predict
from darknet_py.inference.backends import ON_CPU, build_backend

BCCD = SHARED / "models/bccd-micro"
GOLDENS = ROOT / "tests/goldens"


def numbers(text):
    """The figures of C's printout: name -> value."""
    found = {f"{key} {kind}": float(value) for key, *values in re.findall(
        r"class_id = (\d+), .* ap = ([\d.]+)%\s+\(TP = (\d+), FP = (\d+)\)", text)
        for kind, value in zip(("ap", "tp", "fp"), values, strict=True)}
    for key, pattern in {"tp": r", TP = (\d+)", "fp": r" FP = (\d+), FN", "fn": r"FN = (\d+)", "map": r"or ([\d.]+) %",
                         "iou": r"average IoU = ([\d.]+)", "precision": r"precision = ([\d.]+),"}.items():
        found[key] = float(re.search(pattern, text)[1])
    return found


PRINTOUTS = [*[(points, iou, .25, f"points{points}_iou{iou}") for points in (0, 11, 101) for iou in (.5, .75)],
             (0, .5, .1, "thresh0.1")]
# count, and the sums of score, left, top, right, bottom
VALID_OF_C = [(5685, 213.6001, 1654306.5, 1168625.4, 2092785.6, 1579852.7),
              (487, 17.6996, 132220.5, 102978.5, 181356.2, 148144.0),
              (4926, 17.7721, 1494441.4, 1051375.3, 1835738.8, 1363643.7)]


@pytest.fixture(scope="module")
def cells():
    """A network that C trained, its pictures, and what its evaluation takes."""
    return (load_network(BCCD.with_suffix(".cfg"), BCCD.with_suffix(".weights")),
            read_samples(SHARED / "data/bccd/obj.data", "valid"), ["RBC", "WBC", "Platelets"])


@pytest.mark.needs_shared("models/bccd-micro.cfg")
@pytest.mark.parametrize("points, iou_thresh, thresh, golden", PRINTOUTS)
def test_printouts_of_c(cells, points, iou_thresh, thresh, golden):
    """C's printouts for the very pixels that OpenCV decodes, letter by letter."""
    result = evaluate_map(*cells, points=points, iou_thresh=iou_thresh, thresh=thresh)
    assert result.text() == (GOLDENS / f"map/bccd_{golden}.txt").read_text()


@pytest.mark.needs_shared("models/bccd-micro.cfg")
@pytest.mark.parametrize("name", [kind.name for kind in ON_CPU])
def test_printout_of_c_on_a_cpu(cells, name):
    """The runtimes that evaluation takes by itself print C's very digits too."""
    backend = build_backend(copy.deepcopy(cells[0]), name, device="cpu")
    points, iou_thresh, thresh, golden = PRINTOUTS[0]
    result = evaluate_map(*cells, points=points, iou_thresh=iou_thresh, thresh=thresh, backend=backend)
    assert result.text() == (GOLDENS / f"map/bccd_{golden}.txt").read_text()


@pytest.mark.needs_shared("models/bccd-micro.cfg")
def test_printout_of_c_with_letterboxes(cells):
    """C takes letter_box= of the cfg alone; here the flag counts too."""
    result = evaluate_map(*cells, letterbox=True)
    assert result.text() == (GOLDENS / "map/bccd_letter_box.txt").read_text()


# For these C decoded the JPEG files itself, which moves boxes a little. It matters where boxes must fit closely: 2 of
# 72 white cells then change sides, as they do for C itself when it is given OpenCV's pixels.
LOOSE = {"1 ap": 4, "map": 1.3}


@pytest.mark.needs_shared("models/bccd-micro.cfg")
@pytest.mark.parametrize("points, iou_thresh, thresh, golden", PRINTOUTS)
def test_printouts_of_c_with_its_own_decoder(cells, points, iou_thresh, thresh, golden):
    result = evaluate_map(*cells, points=points, iou_thresh=iou_thresh, thresh=thresh)
    golden = (SHARED / f"conformance/map/bccd_{golden}.txt").read_text()
    ours, theirs = numbers(result.text()), numbers(golden)
    assert ours.keys() == theirs.keys() and len(ours) == 15
    for key, value in theirs.items():
        bar = .5 if "ap" in key else .03 if key in ("iou", "precision") else max(3, .01 * value)
        bar = .3 if key == "map" else .15 if key == "iou" else bar
        assert abs(ours[key] - value) <= (LOOSE.get(key, bar) if iou_thresh == .75 else bar), key


@pytest.mark.needs_shared("models/bccd-micro.cfg")
def test_recall_of_c(cells):
    result, predictions = evaluate_recall(*cells)
    assert result.text() == (GOLDENS / "map/bccd_recall.txt").read_text() and not predictions.problems


@pytest.mark.needs_shared("models/bccd-micro.cfg")
def test_what_c_finds(cells):
    """Of ten pictures the number of detections of each class, and the sums of their scores and coordinates, in the
    files of C's detector valid."""
    found = predict(cells[0], cells[1][:10], cells[2], [VALID], labels=False)
    sizes, (found,) = found.sizes, found.detections
    boxes = clipped_boxes(found, sizes, first=1)
    for label, (count, scores, *sides) in enumerate(VALID_OF_C):
        here = found.labels == label
        assert here.sum() == count
        np.testing.assert_allclose(found.scores[here].sum(), scores, rtol=1e-4)
        np.testing.assert_allclose(boxes[here].sum(0), sides, rtol=1e-5)
