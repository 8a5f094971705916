"""Average precision on constructed cases and against a plain loop; ``evaluate_map`` on real networks."""
import re

import numpy as np
import pytest
import torch
from conftest import ROOT, SHARED, raises
from tables import AWAY, HALF, HERE, QUARTER, table

from darknet_py import CfgError, DarknetError, DataError, Detector, Reason, load_network
from darknet_py.cfg.language import parse_cfg
from darknet_py.data.dataset import Sample
from darknet_py.evaluation.darknet_map import average_precision
from darknet_py.evaluation.evaluate import (
    RecallResult,
    evaluate,
    evaluate_map,
    map_and_predictions,
)
from darknet_py.evaluation.matching import best_match
from darknet_py.evaluation.predict import MAP, RECALL, Predictions, predict
from darknet_py.inference.postprocess import PostProcessor

BCCD = SHARED / "models/bccd-micro"
GOLDENS = ROOT / "tests/goldens"


def measure(found, objects, classes=1, **options):
    return average_precision(table(found, True), table(objects, False), [str(c) for c in range(classes)], **options)


@pytest.mark.parametrize("found, objects, ap, tp, fp", [
    ([], [], 0, 0, 0),
    ([], [(0, 0, HERE, 0)], 0, 0, 0),
    ([(0, 0, HERE, .9)], [], 0, 0, 1),
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 0)], 1, 1, 0),
    ([(1, 0, HERE, .9)], [(0, 0, HERE, 0)], 0, 0, 1),                       # another image
    ([(0, 0, HALF, .9)], [(0, 0, HERE, 0)], 0, 0, 1),                       # an overlap of just .5 is not above it
    ([(0, 0, HERE, .9), (0, 0, HERE, .8)], [(0, 0, HERE, 0)], 1, 1, 1),     # found twice
    ([(0, 0, AWAY, .9), (0, 0, HERE, .8)], [(0, 0, HERE, 0)], .5, 1, 1),
    ([(0, 0, AWAY, .8), (0, 0, HERE, .8)], [(0, 0, HERE, 0)], .5, 1, 1),    # equal scores keep their order
    ([(0, 0, HERE, .8), (0, 0, AWAY, .8)], [(0, 0, HERE, 0)], 1, 1, 1),
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 0), (1, 0, HERE, 0)], .5, 1, 0),
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 0), (0, 0, HERE, 0)], .5, 1, 0),     # equal overlaps: one object of the two
    ([(0, 0, HERE, .2)], [(0, 0, HERE, 0)], 1, 0, 0),                       # too unsure for tp
    ([(0, 0, HERE, .25)], [(0, 0, HERE, 0)], 1, 0, 0),
    ([(0, 0, HERE, .2), (0, 0, HERE, .9)], [(0, 0, HERE, 0)], 1, 0, 1),     # as C: the first one is the object's
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 1)], 0, 0, 0),                       # a difficult one need not be found
    ([(0, 0, AWAY, .9), (0, 0, HERE, .8)], [(0, 0, AWAY, 1), (0, 0, HERE, 0)], 1, 1, 0),
    ([(0, 0, HERE, .9)], [(0, 0, HERE, 1), (0, 0, HERE, 0)], 1, 1, 0),      # rather an object than a difficult one
    ([(0, 0, HALF, .9)], [(0, 0, HERE, 1)], 0, 0, 1),
])
def test_matches(found, objects, ap, tp, fp):
    result = measure(found, objects)
    assert (result.map, result.tp.sum(), result.fp.sum()) == (ap, tp, fp)


def test_best_match():
    """The first of equals; nothing where the overlap is not above the threshold."""
    found, objects = [(0, 0, HERE, .9), (0, 0, QUARTER, .9)], [(0, 0, AWAY, 0), (0, 0, HERE, 0), (0, 0, HERE, 0)]
    match, overlap = best_match(table(found, True), table(objects, False), .25)
    assert (match.tolist(), overlap.tolist()) == ([1, -1], [1, 0])


def test_shares_of_nothing_are_0():
    """C prints nan."""
    result = measure([], [])
    assert (result.precision, result.recall, result.f1, result.average_iou) == (0, 0, 0, 0)


def test_classes_are_apart():
    result = measure([(0, 0, HERE, .9), (0, 1, HERE, .8), (0, 1, HERE, .7)], [(0, 1, HERE, 0), (0, 2, HERE, 0)], 4)
    assert result.ap.tolist() == [0, 1, 0, 0] and result.map == .25 and result.objects.tolist() == [0, 1, 1, 0]
    assert result.tp.tolist() == [0, 1, 0, 0] and result.fp.tolist() == [1, 1, 0, 0] and result.fn == 1
    assert result.precision == pytest.approx(1 / 3) and result.recall == .5 and result.f1 == pytest.approx(.4)
    assert result.average_iou == pytest.approx(1 / 3)


@pytest.mark.parametrize("iou_thresh, ap", [(.2499, 1), (.25, 0), (.4, 0)])
def test_overlap_must_be_above(iou_thresh, ap):
    assert measure([(0, 0, QUARTER, .9)], [(0, 0, HERE, 0)], iou_thresh=iou_thresh).map == ap


@pytest.mark.parametrize("points, ap", [(0, (1 + 2 / 3) / 3), (2, .5), (4, (2 + 2 / 3) / 4),
                                        (11, (4 + 3 * 2 / 3) / 11)])
def test_points(points, ap):
    """Right, wrong, right, of three objects: precision 1 up to a recall of 1/3, 2/3 up to 2/3."""
    found = [(0, 0, HERE, .9), (0, 0, AWAY, .8), (1, 0, HERE, .7)]
    assert measure(found, [(i, 0, HERE, 0) for i in range(3)], points=points).map == pytest.approx(ap, abs=1e-12)


def test_bad_arguments():
    for points in (1, -1):
        with pytest.raises(ValueError, match="points"):
            measure([], [], points=points)
    with pytest.raises(ValueError, match="labels must be from 0 to 0, got 1 to 2"):
        measure([(0, 1, HERE, .9), (0, 2, HERE, .9)], [])


def test_printouts():
    """As printf of validate_detector_map and validate_detector_recall has them."""
    found = [(0, 0, HERE, .9), (0, 1, (.5, .5, .25, .1875), .8), (0, 1, AWAY, .7)]
    objects = [(0, 0, HERE, 0), (1, 0, HERE, 0), (0, 1, HERE, 0), (1, 1, HERE, 0)]
    counts = " for conf_thresh = 0.20, "
    assert measure(found, objects, 3, thresh=.2, iou_thresh=.6).text() == (
        "\n detections_count = 3, unique_truth_count = 4  \n"
        "class_id = 0, name = 0, ap = 50.00%   \t (TP = 1, FP = 0) \n"
        "class_id = 1, name = 1, ap = 50.00%   \t (TP = 1, FP = 1) \n"
        "class_id = 2, name = 2, ap = 0.00%   \t (TP = 0, FP = 0) \n"
        f"\n{counts}precision = 0.67, recall = 0.50, F1-score = 0.57 \n"
        f"{counts}TP = 2, FP = 1, FN = 2, average IoU = 58.33 % \n"
        "\n IoU threshold = 60 %, used Area-Under-Curve for each unique Recall \n"
        " mean average precision (mAP@0.60) = 0.333333, or 33.33 % \n")
    assert "= 50 %, used 11 Recall-points \n" in measure(found, objects, 3, points=11).text()
    assert RecallResult(4, 8, 6, 10, .625).text() == "    3     6     8\tRPs/Img: 2.50\tIOU: 62.50%\tRecall:75.00%\n"


def plain(found, objects, classes, iou_thresh, thresh):
    """The definition as a loop: (AP, tp, fp) of each class."""
    def overlap(a, b):
        sides = [min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
                 for i in (0, 1)]
        shared = sides[0] * sides[1] if min(sides) > 0 else 0
        return shared / (a[2] * a[3] + b[2] * b[3] - shared)

    results = []
    for label in range(classes):
        truths = [(image, box, hard) for image, c, box, hard in objects if c == label]
        kept, used, tp, fp = [], set(), 0, 0
        for image, c, box, score in found:
            if c != label:
                continue
            values = [(overlap(box, b), -i) for i, (im, b, hard) in enumerate(truths) if im == image and not hard]
            best, at = max(values, default=(0, 0))
            at = -at if best > iou_thresh else None
            if at is None and any(hard and im == image and overlap(box, b) > iou_thresh for im, b, hard in truths):
                continue
            kept.append((score, at))
            if score > thresh:
                tp, fp = (tp + 1, fp) if at is not None and at not in used else (tp, fp + 1)
            used.add(at)
        used, hits, curve = {None}, 0, []
        for rank, (_, at) in enumerate(sorted(kept, key=lambda one: -one[0]), 1):
            hits += at not in used
            used.add(at)
            curve.append((hits, hits / rank))
        count, area, before = sum(not hard for _, _, hard in truths), 0, 0
        for i, (now, _) in enumerate(curve):
            area += (now - before) * max(p for _, p in curve[i:])
            before = now
        results.append((area / count if count else 0, tp, fp))
    return results


@pytest.mark.parametrize("seed", range(6))
def test_against_a_plain_loop(seed, monkeypatch):
    """With scores from a few values, so that many are equal, and more pairs than are compared at a time."""
    monkeypatch.setattr("darknet_py.evaluation.matching.PAIRS", 7)
    rng = np.random.default_rng(seed)

    def rows(count, last):
        return [(int(rng.integers(4)), int(rng.integers(3)), (*rng.integers(2, 5, 2) / 8, *rng.integers(1, 4, 2) / 8),
                 float(value)) for value in last(count)]

    found = rows(80, lambda n: rng.integers(1, 32, n) / 32)
    objects = rows(30, lambda n: rng.integers(0, 4, n) == 0)
    result = measure(found, objects, 3, iou_thresh=.4, thresh=.5)
    for label, (ap, tp, fp) in enumerate(plain(found, objects, 3, .4, .5)):
        assert result.ap[label] == pytest.approx(ap, abs=1e-12)
        assert (result.tp[label], result.fp[label]) == (tp, fp)


@pytest.fixture
def labelled(demo):
    """The network in the repository, its names, and its picture with what it finds there as labels."""
    detector = Detector(*demo[:2], device="cpu")
    found = detector(demo[2])
    rows = np.concatenate([found.labels[:, None], found.relative()], 1).astype(np.float32)
    return load_network(*demo[:2]), detector.names, Sample(demo[2], None, rows, "here")


def test_what_a_network_finds_is_right(labelled):
    network, names, sample = labelled
    calls = []
    result = evaluate_map(network, [sample] * 3, names, batch=2, progress=lambda *call: calls.append(call))
    assert result.map > .99 and result.recall == 1 and result.precision == 1 and result.average_iou > .999
    assert result.objects.sum() == 3 * len(sample.rows) and calls == [(2, 3), (3, 3)]
    assert result.problems == () and result.detections > result.tp.sum()
    one = evaluate_map(network, [sample] * 3, names, batch=1, workers=1)
    np.testing.assert_allclose(one.ap, result.ap, atol=1e-6)
    folded = evaluate_map(network.fold(), [sample] * 3, names)
    np.testing.assert_allclose(folded.ap, result.ap, atol=1e-6)


def test_every_measure_at_once(labelled):
    """What the network finds is right by both measures; of a picture without labels all is wrong."""
    network, names, sample = labelled
    empty = sample._replace(rows=sample.rows[:0])
    result = evaluate(network, [sample, empty], names)
    assert re.fullmatch(rf"Evaluation\(MapResult\(mAP@0\.50 {result.map.map:.2%} of 3 classes; precision .*\), "
                        rf"COCO's AP {result.coco.figures['AP']:.2%}, 2 images\)", repr(result))
    assert result.map.text() == evaluate_map(network, [sample, empty], names).text() \
        == map_and_predictions(network, [sample, empty], names)[0].text()
    assert result.coco.figures["AP"] == pytest.approx(result.coco.ap.mean()) and .5 <= result.coco.figures["AP50"] <= 1
    assert result.mistakes.counts.sum() == len(sample.rows)
    assert {(mistake.kind, mistake.image) for mistake in result.mistakes.all} == {("background", 1)}
    assert evaluate(network, [sample], names).coco.figures["AP"] > .95
    assert "2 images in" in result.predictions.speed()


def test_pictures_without_labels_are_counted(labelled, tmp_path):
    network, names, sample = labelled
    (tmp_path / "a.png").write_bytes(sample.image.read_bytes())
    bare = Sample(tmp_path / "a.png", None, None, "list:1")
    result = evaluate_map(network, [sample, bare, bare], names)
    assert result.problems == (f"2 of 3 images have no label file, so they count as images without objects; the first: "
                               f"{tmp_path / 'a.png'}",)
    with raises(DataError, Reason.EMPTY,
                r"none of the images has an object of a class from 0 to 2.*have no label file"):
        evaluate_map(network, [bare], names)
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2\n3 .5 .5 .2 .2\n")
    result = evaluate_map(network, [bare], names)
    assert result.objects.sum() == 1 and len(result.problems) == 1
    assert re.search(r"a\.txt:2: expected a class from 0 to 2, found 3", result.problems[0])


@pytest.mark.gpu
def test_on_a_gpu(labelled):
    network, names, sample = labelled
    result = evaluate_map(network, [sample] * 3, names, device="cuda", batch=2)
    assert result.map > .99 and result.recall == 1 and next(network.parameters()).device.type == "cpu"


def test_difficult_objects(labelled):
    network, names, sample = labelled
    easy, hard = sample._replace(rows=sample.rows[:1]), sample._replace(rows=sample.rows[1:])
    assert evaluate_map(network, [easy], names).precision < 1
    result = evaluate_map(network, [easy], names, difficult=[hard])
    assert result.precision == 1 and result.objects.sum() == 1


@pytest.mark.parametrize("section", ["[conv]\nbatch_normalize=1\nfilters=4\nactivation=leaky\n",
                                     "[conv_lstm]\nbatch_normalize=1\noutput=4\npad=1\n",
                                     "[dropout]\n[crnn]\noutput=4\npad=1\n"])
def test_a_network_in_training_stays_as_it_is(labelled, section):
    torch.manual_seed(0)
    network = load_network(parse_cfg(
        f"[net]\nwidth=16\nheight=16\nchannels=3\nbatch=4\nsubdivisions=2\n{section}"
        "[conv]\nfilters=8\nactivation=linear\n[yolo]\nclasses=3\nnum=1\nanchors=4,4\n")).train()
    network(torch.rand(2, 3, 16, 16))[0].sum().backward()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    states = [getattr(layer, "state", None) for layer in network.layers]
    result = evaluate_map(network, [labelled[2]] * 3, ["a", "b", "c"])
    assert result.objects.sum() == 3 * len(labelled[2].rows)
    assert all(module.training for module in network.modules()) and not network.folded
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert parameter.requires_grad and torch.equal(parameter.grad, gradient)
    assert all(getattr(layer, "state", None) is state for layer, state in zip(network.layers, states, strict=True))


def test_recurrent_networks_see_one_picture_after_the_other(labelled):
    network = load_network(parse_cfg(
        "[net]\nwidth=16\nheight=16\nchannels=3\nbatch=4\n[conv_lstm]\noutput=8\npad=1\n"
        "[yolo]\nclasses=3\nnum=1\nanchors=4,4\n"))
    sizes = []
    network.layers[0].register_forward_hook(lambda layer, x, output: sizes.append((len(x[0]), layer.state is None)))
    evaluate_map(network, [labelled[2]] * 3, ["a", "b", "c"], batch=3)
    assert sizes == [(1, False)] * 3


def test_kinds_of_suppression(labelled, monkeypatch):
    """The head's own, of boxes in pixels where that is asked for; the default one for proposals, as in
    validate_detector_recall."""
    network, names, sample = labelled
    seen, suppress = {}, PostProcessor.suppress

    def watched(self, boxes, scores, nms, kind):
        seen[nms] = boxes, kind
        return suppress(self, boxes, scores, nms, kind)

    monkeypatch.setattr(PostProcessor, "suppress", watched)
    (height, width), = predict(network, [sample], names, [MAP, MAP._replace(nms=.6, pixels=True), RECALL]).sizes
    assert {nms: kind for nms, (_, kind) in seen.items()} == {.45: None, .6: None, .4: "default"}
    assert height != width and torch.equal(seen[.6][0], seen[.45][0] * torch.tensor([width, height, width, height]))


@pytest.mark.parametrize("network_seconds, share", [(1.5, "25%"), (2.5, "0%")])
def test_speed(network_seconds, share):
    """Of the images that could be read. Several processes may be in the network at once."""
    sizes = np.array([[4, 4], [0, 0], [9, 9], [1, 1]])
    predictions = Predictions((), table([], False), sizes, (), 2., network_seconds)
    assert predictions.speed() == f"3 images in 2.0 s: 1.5 a second, {share} of the time outside the network"


def test_how_many_pictures_are_taken_at_a_time(labelled):
    """16, or the pixels of 8 of 608 x 608, one at least."""
    _, _, sample = labelled
    calls = []
    for width, height, count in ((16, 16, 17), (304, 1216, 9), (2240, 2240, 2)):
        network = load_network(parse_cfg(f"[net]\nwidth={width}\nheight={height}\nchannels=3\n[conv]\nfilters=8\n"
                                         "stride=16\n[yolo]\nclasses=3\nnum=1\nanchors=4,4\n"))
        evaluate_map(network, [sample] * count, ["a", "b", "c"], progress=lambda *call: calls.append(call))
    assert calls == [(16, 17), (17, 17), (8, 9), (9, 9), (1, 2), (2, 2)]


def test_broken_pictures_are_left_out(labelled, tmp_path):
    network, names, sample = labelled
    (tmp_path / "bad.jpg").write_bytes(b"")
    bad = sample._replace(image=tmp_path / "bad.jpg")
    result = evaluate_map(network, [bad, sample, bad], names, batch=2)
    assert len(result.problems) == 2 and all("bad.jpg" in line for line in result.problems)
    assert result.objects.sum() == len(sample.rows) and result.recall == 1
    with raises(DataError, Reason.UNREADABLE, r"none of the 1 images.*bad\.jpg"):
        evaluate_map(network, [bad], names)


def test_numbers_that_are_none(labelled):
    network, names, sample = labelled
    layer = network.layers[2]
    with torch.no_grad():
        next(layer.parameters()).fill_(float("nan"))
    where = rf"shapes\.cfg:{layer.place.section.line}: layer 2 \[{layer.kind}\]"
    with pytest.raises(DarknetError, match=rf"{where} gives nan in \d+ of \d+ values, in the batch .*shapes\.png"):
        evaluate_map(network, [sample], names)


def test_bad_input(labelled):
    network, names, sample = labelled
    for samples, arguments, reason, message in (
            ([], {}, Reason.EMPTY, "images"), ([sample], {"names": names[:1]}, Reason.WRONG_COUNT, "names"),
            ([sample], {"difficult": [sample, sample]}, Reason.WRONG_COUNT, "difficult")):
        with raises(DataError, reason, message):
            evaluate_map(network, samples, **{"names": names, **arguments})
    with raises(CfgError, Reason.WRONG_TASK):
        evaluate_map(load_network(parse_cfg("[net]\ninputs=4\n[softmax]\n")), [sample], names)
