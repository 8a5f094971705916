"""``Detector`` and ``Detections``, on the network in the repository and on real ones where ../shared is there."""
import json
import os
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SHARED, raises

from darknet_py import CfgError, DarknetError, DataError, Detector, Reason, WeightsError, load_network

FASTEST = SHARED / "models/yolo-fastest-1.1-xl"


@pytest.fixture
def detector(demo):
    return Detector(*demo[:2], device="cpu")


def test_path_array_and_list_agree(detector, demo):
    picture = cv2.imread(str(demo[2]))
    found = detector(demo[2])
    assert len(found) > 5
    for other in (detector(str(demo[2])), detector(picture), *detector([picture, demo[2]])):
        np.testing.assert_allclose(other.boxes, found.boxes, atol=1e-3)
        assert other.labels.tolist() == found.labels.tolist()
        np.testing.assert_allclose(other.scores, found.scores, atol=1e-5)
    assert detector([]) == []


def test_detections(detector, demo):
    found = detector(demo[2])
    height, width = cv2.imread(str(demo[2])).shape[:2]
    assert found.boxes.shape == (len(found), 4) and found.boxes.dtype == np.float32
    assert found.scores.shape == found.labels.shape == (len(found),)
    assert (np.diff(found.scores) <= 0).all() and (found.scores > detector.thresh).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    first = next(iter(found))
    assert first.name == found.names[first.label] and first.score == pytest.approx(found.scores[0])
    assert first.name in repr(found) and f"{width} x {height}" in repr(found)
    drawn = found.draw()
    assert drawn.shape == (height, width, 3) and drawn.dtype == np.uint8
    assert (drawn != cv2.imread(str(demo[2]))).any()
    frame = json.loads(found.to_json(7))
    assert frame["frame_id"] == 7 and frame["filename"] == str(demo[2]) and len(frame["objects"]) == len(found)
    place = frame["objects"][0]["relative_coordinates"]
    assert place["center_x"] == pytest.approx((first.box[0] + first.box[2]) / 2 / width, abs=1e-5)
    assert place["height"] == pytest.approx((first.box[3] - first.box[1]) / height, abs=1e-5)


def test_who_keeps_the_picture(detector, demo):
    """A call of one image, and of arrays; a stream keeps no pixels, nor does a list of files, which are read again."""
    picture = cv2.imread(str(demo[2]))
    assert detector(picture).image is picture and detector([picture, demo[2]])[0].image is picture
    np.testing.assert_array_equal(detector(demo[2]).image, picture)
    _, from_file = detector([picture, demo[2]])
    assert from_file.image is None and np.array_equal(from_file.draw(), from_file.draw(picture))
    (_, from_array), (_, streamed) = detector.stream([picture, demo[2]])
    assert from_array.detections.image is None and streamed.detections.image is None
    assert from_array.detections.draw(picture).shape == picture.shape
    for use in from_array.detections.draw, from_array.detections.crop, from_array.detections.show:
        with pytest.raises(ValueError, match="came from an array and do not hold it"):
            use()


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1), (60, 80, 3), (60, 80, 4), (1, 1, 3), (3, 400, 3)])
def test_any_picture(detector, shape):
    assert detector(np.full(shape, 127, np.uint8)).image_size == shape[:2]


def test_letterbox_finds_the_same(detector, demo):
    plain = detector(demo[2])
    detector.letterbox = True
    boxed = detector(demo[2])
    assert sorted(plain.labels.tolist()) == sorted(boxed.labels.tolist()) or len(boxed) > 0
    limits = np.array([boxed.image_size[1], boxed.image_size[0]] * 2)
    assert (boxed.boxes > -.2 * limits).all() and (boxed.boxes < 1.2 * limits).all()


def test_thresholds(detector, demo):
    everything = detector(demo[2])
    detector.thresh = float(everything.scores[2])
    assert len(detector(demo[2])) == 2
    detector.thresh, detector.nms = .25, 0
    assert len(detector(demo[2])) >= len(everything)


def test_thresholds_of_a_call(detector, demo):
    """They do not stay."""
    plain, picture = detector(demo[2]), cv2.imread(str(demo[2]))
    several = detector(demo[2], thresh=.01, nms=0)
    assert len(several) > len(plain) == len(detector(demo[2])) and several.scores.min() < .25
    best = float(plain.scores[2])
    assert len(detector([picture, demo[2]], thresh=best)[1]) == 2
    streamed = [len(frame.detections) for _, frame in detector.stream([picture], thresh=.01, nms=0)]
    assert streamed == [len(several)]
    detector.thresh, detector.nms = .01, 0
    assert len(detector(demo[2])) == len(several) and len(detector(demo[2], thresh=.25, nms=.45)) == len(plain)


@pytest.mark.parametrize("value", [-.1, 1.1, float("nan"), "much", [1]])
@pytest.mark.parametrize("name", ["thresh", "nms", "hier_thresh"])
def test_thresholds_are_from_0_to_1(detector, demo, name, value):
    with pytest.raises(DarknetError, match=f"^{name} needs a number from 0 to 1, found "):
        Detector(*demo[:2], **{name: value})
    if name != "hier_thresh":
        for use in detector, lambda image, **options: detector.stream([image], **options):
            with pytest.raises(DarknetError, match=f"^{name} needs a number from 0 to 1, found "):
                use(demo[2], **{name: value})


def test_the_most_confident_candidates_alone(demo):
    """With no suppression every candidate is a detection."""
    cfg, weights, picture = demo
    every = Detector(cfg, weights, nms=0, thresh=.01, device="cpu")(picture)
    found = Detector(cfg, weights, nms=0, thresh=.01, device="cpu", max_candidates=3)(picture)
    best = {label: np.sort(every.scores[every.labels == label])[::-1][:3] for label in np.unique(every.labels)}
    assert max(np.bincount(every.labels)) > 3
    for label, scores in best.items():
        np.testing.assert_array_equal(found.scores[found.labels == label], scores)
    assert len(found) == sum(map(len, best.values()))
    all_of_them = Detector(cfg, weights, device="cpu", max_candidates=10 ** 6)(picture)
    np.testing.assert_array_equal(all_of_them.boxes, Detector(cfg, weights, device="cpu")(picture).boxes)
    with pytest.raises(ValueError, match="max_candidates must be at least 1, got 0"):
        Detector(cfg, weights, max_candidates=0)


def test_hidden_names(demo):
    found = Detector(*demo[:2], ["circle", "dont_show_square", "triangle"], device="cpu")(demo[2])
    assert len(found) and 1 not in found.labels


@pytest.mark.parametrize("make, error, reason", [
    (lambda cfg, weights, tmp: Detector(tmp / "no.cfg", weights), CfgError, Reason.MISSING_FILE),
    (lambda cfg, weights, tmp: Detector(cfg, tmp / "no.weights"), WeightsError, Reason.MISSING_FILE),
    (lambda cfg, weights, tmp: Detector(weights, cfg), CfgError, Reason.WRONG_FORMAT),
    (lambda cfg, weights, tmp: Detector(cfg, cfg), WeightsError, Reason.TRUNCATED),
    (lambda cfg, weights, tmp: Detector(cfg, weights, ["one"]), DataError, Reason.WRONG_COUNT),
    (lambda cfg, weights, tmp: Detector(cfg, weights, device="cpu")(tmp / "no.jpg"), DataError, Reason.MISSING_FILE),
    (lambda cfg, weights, tmp: Detector(cfg, weights, device="cpu")(np.zeros((2, 2, 7), np.uint8)), DataError,
     Reason.SHAPE_MISMATCH),
])
def test_bad_input(demo, tmp_path, make, error, reason):
    with raises(error, reason) as caught:
        make(*demo[:2], tmp_path)
    assert "\n" not in str(caught.value)


def test_a_classifier_is_no_detector(tmp_path):
    cfg = tmp_path / "c.cfg"
    cfg.write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\n[softmax]\n")
    load_network(cfg).save_weights(tmp_path / "c.weights")
    with raises(CfgError, Reason.WRONG_TASK):
        Detector(cfg, tmp_path / "c.weights")


def test_pictures_have_one_or_three_channels(tmp_path, demo, cli):
    cfg = tmp_path / "four.cfg"
    cfg.write_text(demo[0].read_text().replace("channels=3", "channels=4"))
    load_network(cfg).save_weights(tmp_path / "four.weights")
    code, _, error = cli("detect", cfg, tmp_path / "four.weights", demo[2])
    assert code == 1
    assert re.fullmatch(r"darknet-py: .*four.cfg:\d+: takes no pictures: its input has 4 channels, expected 3 or 1\n",
                        error)


def test_nan_finds_nothing(detector, demo):
    outputs = [torch.full((1, *detector.network.layers[head].shape), torch.nan) for head in detector.network.heads]
    (_, scores), = detector.postprocess.find_boxes(outputs, [(10, 10)], .25, .45)
    assert not (scores > 0).any()


@pytest.mark.needs_shared("models/yolo-fastest-1.1-xl.weights")
def test_real_photograph():
    detector = Detector(f"{FASTEST}.cfg", f"{FASTEST}.weights", device="cpu")
    found = {d.name: d.score for d in reversed(list(detector(SHARED / "images/dog.jpg")))}
    expected = {"dog": .93, "bicycle": .90, "car": .80, "truck": .46}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=.01)


def test_to_other_formats(detector, demo, monkeypatch):
    found = detector(demo[2])
    result = found.to_coco(7)[0]
    left, top, right, bottom = found.boxes[0].tolist()
    assert result["bbox"] == [left, top, right - left, bottom - top] and result["score"] == found.scores[0]
    assert (result["image_id"], result["category_id"]) == (7, found.labels[0] + 1)
    assert found.to_coco(7, [5, 6, 9])[0]["category_id"] == [5, 6, 9][found.labels[0]] and json.dumps(found.to_coco(7))
    for package in "supervision", "pandas":
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DarknetError, match=f"pip install {package}"):
            getattr(found, f"to_{package}")()
    assert detector(np.zeros((32, 32, 3), np.uint8)).to_coco(1) == []


@pytest.mark.parametrize("picture", ["shapes", "none"])
def test_to_installed_packages(detector, demo, picture):
    found = detector(demo[2] if picture == "shapes" else np.zeros((32, 32, 3), np.uint8))
    frame = pytest.importorskip("pandas") and found.to_pandas()
    assert len(frame) == len(found) and frame.columns.tolist() == [
        "xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    theirs = pytest.importorskip("supervision") and found.to_supervision()
    assert len(theirs) == len(found) and np.array_equal(theirs.xyxy, found.boxes)
    assert theirs.data["class_name"].tolist() == [one.name for one in found] == frame["name"].tolist()


def test_recurrent_layers_begin_anew_unless_asked(tmp_path, demo):
    """``stateful``: they remember the pictures before, as in C."""
    cfg = tmp_path / "lstm.cfg"
    cfg.write_text("[net]\nwidth=32\nheight=32\nchannels=3\n[conv_lstm]\noutput=6\nsize=3\npad=1\nstride=1\n"
                   "[convolutional]\nfilters=6\nsize=1\n[yolo]\nclasses=1\nnum=1\nmask=0\nanchors=9,9\n")
    torch.manual_seed(0)
    load_network(cfg).save_weights(tmp_path / "lstm.weights")
    picture = cv2.imread(str(demo[2]))

    def scores(stateful):
        detector = Detector(cfg, tmp_path / "lstm.weights", device="cpu", thresh=0, nms=0, stateful=stateful)
        return [detector(picture).scores, *(frame.detections.scores for _, frame in detector.stream([picture] * 2))]

    first, *later = scores(False)
    assert len(first) and all(np.array_equal(one, first) for one in later)
    remembered = scores(True)
    assert np.array_equal(remembered[0], first) and not np.array_equal(remembered[1], first)
    assert not np.array_equal(remembered[2], remembered[1])


def test_weights_that_are_not_finite_are_said(tmp_path, demo, cli):
    """``detect`` would find nothing, and ``convert`` no difference."""
    cfg, weights, picture = demo
    network = load_network(cfg, weights)
    network.layers[0].weight.data[0] = torch.nan
    network.save_weights(tmp_path / "nan.weights")
    for words in (["detect", cfg, tmp_path / "nan.weights", picture],
                  ["convert", cfg, tmp_path / "nan.weights", tmp_path / "a.safetensors"],
                  ["convert", cfg, tmp_path / "nan.weights", tmp_path / "a.onnx"]):
        code, _, error = cli(*words)
        assert code == 1 and re.search(r"layer 0 \[convolutional\] gives nan in \d+ of \d+ values", error), words
    assert [path.name for path in tmp_path.iterdir()] == ["nan.weights"]


def test_names_that_are_no_text(workdir, demo, cli):
    """Bytes that are not UTF-8 and escape sequences, in class names and in a path: OpenCV crashes on the former, and a
    terminal obeys the latter."""
    for source in demo[:2]:
        shutil.copy(source, workdir)
    (workdir / "shapes.names").write_bytes(b"cir\xe9cle\nsq\x1b[31muare\n" + b"triangle" * 125 + b"\n")
    picture = os.fsdecode(b"caf\xe9.png")
    shutil.copy(demo[2], picture)
    code, out, error = cli("detect", "shapes.cfg", "shapes.weights", picture, "-out", "o.json")
    assert code == 0 and error == "wrote predictions.jpg and o.json\n" and "\x1b" not in out
    assert r"caf\udce9.png: Predicted" in out and r"cir\udce9cle: 99%" in out and r"sq\x1b[31muare: 99%" in out
    objects = json.loads(Path("o.json").read_bytes())[0]["objects"]
    assert {"cir\udce9cle", "sq\x1b[31muare", "triangle" * 125} >= {one["name"] for one in objects} and objects
