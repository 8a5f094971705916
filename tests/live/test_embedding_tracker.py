"""Tracking by embeddings: ids as C's set_track_id gives them, the embeddings of boxes, and the flags."""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from tracked import CASES, IDS, result, sequence

from darknet_py import Detector, load_network
from darknet_py.cli.demo import lines
from darknet_py.errors import DarknetError
from darknet_py.inference.preprocess import as_input
from darknet_py.live.embedding_tracker import EmbeddingOptions, EmbeddingTracker
from darknet_py.live.http_post import message
from darknet_py.live.tracking import TrackByEmbeddings, objects
from darknet_py.model.weights import save

CFG = """[net]
width=64
height=32
channels=3
[convolutional]
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=7
activation=linear
[route]
layers=-2
[convolutional]
filters=14
activation=linear
[yolo]
classes=2
num=4
mask=0,1
anchors=8,8, 16,12, 20,20, 9,30
scale_x_y=1.05
embedding_layer=-3
sim_thresh=.6
track_history_size=4
[route]
layers=0
[convolutional]
filters=14
activation=linear
[yolo]
classes=2
num=4
mask=2,3
anchors=8,8, 16,12, 20,20, 9,30
"""


@pytest.mark.parametrize("name", CASES)
def test_ids_are_those_of_c(name):
    *options, classes = CASES[name]
    tracker = EmbeddingTracker(EmbeddingOptions(*options), classes)
    found = []
    for boxes, embeddings, labels in sequence():
        ids, shown = tracker.update(boxes, embeddings, labels)
        found.append(" ".join(f"{one}{'' if there else '-'}" for one, there in zip(ids, shown, strict=True)))
    assert found == [" ".join(line.split()) for line in IDS[name].strip().splitlines()]


def test_objects_that_cross_vanish_and_return_keep_their_ids():
    """Without noise in the embeddings; of one that was gone for longer than the history there is a new one."""
    tracker = EmbeddingTracker(EmbeddingOptions(dets_for_track=0, dets_for_show=0), 1)
    look, ids = np.eye(4), []
    for frame in range(12):
        there = [n for n in range(4) if not (n == 2 and 3 <= frame < 6) and not (n == 3 and 4 <= frame < 10)]
        x = np.array([10 * frame, 100 - 10 * frame, 50, 70])
        boxes = np.stack([x, x * 0, x + 20, x * 0 + 20], 1).astype(np.float32)[there]
        found, _ = tracker.update(boxes, look[there].astype(np.float32), np.zeros(len(there), int))
        ids.append(dict(zip(there, found.tolist(), strict=True)))
    assert ids[:3] == [{0: 0, 1: 0, 2: 0, 3: 0}] + 2 * [{0: 1, 1: 2, 2: 3, 3: 4}]
    assert ids[6:10] == 4 * [{0: 1, 1: 2, 2: 3}] and ids[10:] == [{0: 1, 1: 2, 2: 3, 3: new} for new in (0, 5)]


def test_a_box_with_two_classes_is_one_object():
    step = TrackByEmbeddings(EmbeddingOptions(dets_for_show=0), 3)
    for frame in range(3):
        one = result(frame + 1, [[0, 0, 9, 9], [50, 50, 60, 60], [0, 0, 9, 9]], [0, 1, 2], [.9, .8, .3])
        one.detections = replace(one.detections, places=np.int64([1, 0, 2]),
                                 embeddings=np.eye(3, dtype=np.float32)[[0, 1, 0]])
        first, box = objects(one.detections)
        assert first.tolist() == [1, 0] and box.tolist() == [1, 0, 1]
        step(one)
    assert one.detections.ids.tolist() == [2, 1, 2]
    assert [made["track_id"] for made in json.loads(one.record)["objects"]] == [1, 2, 2]


@pytest.fixture
def network(workdir):
    """net.cfg and net.weights here, with a layer of embeddings for the first of two heads; and frames to look at."""
    Path("net.cfg").write_text(CFG)
    torch.manual_seed(3)
    made = load_network("net.cfg")
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=.5)
    save("net.weights", made.layers, 0)
    Path("net.names").write_text("a\nb\n")
    return load_network("net.cfg", "net.weights")


def images():
    picture = torch.rand(3, 40, 60, 3, generator=torch.Generator().manual_seed(1))
    return [(one * 255).byte().numpy() for one in picture]


@pytest.mark.parametrize("backend", ["pytorch", "openvino", "ncnn"])
@pytest.mark.parametrize("letterbox", [False, True])
def test_each_box_has_the_embedding_of_its_cell_and_anchor(network, backend, letterbox):
    pytest.importorskip(backend) if backend != "pytorch" else None
    detector = Detector("net.cfg", "net.weights", thresh=.2, letterbox=letterbox, backend=backend, device="cpu",
                        embeddings=True)
    plain = Detector("net.cfg", "net.weights", thresh=.2, letterbox=letterbox, backend=backend, device="cpu")
    assert plain.postprocess.embedding_size == 0 and detector.postprocess.embedding_size == 3
    seen = 0
    for image in images():
        found = detector(image)
        np.testing.assert_array_equal(found.boxes, plain(image).boxes)
        assert plain(image).embeddings is None and len(found) > 5
        x = as_input(image, detector.backend.shape, letterbox)[None]
        embedded, heads = network.output_of(x, 2)[0], [network.output_of(x, index)[0] for index in (5, 8)]
        for box, embedding in zip(found.relative(), found.embeddings, strict=True):
            match = [place for head, grid, anchors in zip((5, 8), heads, ([(8, 8), (16, 12)], [(20, 20), (9, 30)]),
                                                          strict=True)
                     for place in cells(head, grid, anchors, letterbox)
                     if np.allclose(place[2], box, 1e-3, 1e-5 * box.max() + 1e-4)]
            (head, (anchor, row, column), _), = match
            expected = embedded[3 * anchor:3 * anchor + 3, row, column] if head == 5 else torch.zeros(3)
            np.testing.assert_allclose(embedding, expected.detach(), 1e-3, 1e-4)
            seen |= 1 << (head == 5)
    assert seen == 3            # both heads found something


def cells(head, output, anchors, letterbox):
    """(head, (anchor, row, column), box) of all places of a [yolo], relative to a picture of 60 x 40."""
    _, height, width = output.shape
    for anchor, (w, h) in enumerate(anchors):
        for row in range(height):
            for column in range(width):
                x, y, tw, th = output[7 * anchor:7 * anchor + 4, row, column].tolist()
                box = np.array([(x + column) / width, (y + row) / height, np.exp(tw) * w / 64, np.exp(th) * h / 32])
                if letterbox:           # 48 of the 64 columns show the picture
                    box = (box - [8 / 64, 0, 0, 0]) * [64 / 48, 1, 64 / 48, 1]
                yield head, (anchor, row, column), box


def test_demo_takes_the_tracker_that_the_network_was_made_for(network, cli):
    import cv2
    for number, image in enumerate([images()[0]] * 6):
        cv2.imwrite(f"{number}.png", image)
    common = ("demo", "net.cfg", "net.weights", "-device", "cpu", "-dont_show", "-thresh", ".3", "-json_file_output",
              "o.json")
    code, out, err = cli(*common, "-track", "*.png")
    assert (code, err) == (0, "") and "(track = 1) " in out
    frames = [one["objects"] for one in json.loads(Path("o.json").read_text())]
    assert not any("track_id" in one for one in frames[0])
    assert {one["track_id"] for one in frames[1]} == {one["track_id"] for one in frames[5]}
    assert cli(*common, "*.png", "-track", "embedding", "-dets_for_show", "3")[0] == 0
    frames = [one["objects"] for one in json.loads(Path("o.json").read_text())]
    assert [bool(one) for one in frames] == [False, False, True, True, True, True]
    code, out, err = cli(*common, "*.png", "-line", "0,0 1,1")
    assert (code, err) == (0, "") and "-line needs tracked objects: -track embedding\n" in out
    assert cli("demo", str(ROOT / "cfg/shapes.cfg"), str(ROOT / "weights/shapes.weights"), "*.png", "-dont_show",
               "-track", "embedding")[2].endswith("but no [yolo] has embedding_layer=\n")


def test_options_have_bounds():
    with pytest.raises(DarknetError, match="0 to 1000, found 1001"):
        EmbeddingOptions(track_history_size=1001)
    with pytest.raises(DarknetError, match="sim_thresh needs a number, found nan"):
        EmbeddingOptions(sim_thresh=float("nan"))


def test_ids_are_shown_wherever_detections_are():
    one = result(1, [[0, 0, 9, 9], [40, 60, 90, 90], [0, 0, 9, 9]], [0, 1, 2], [.9, .8, .3], ids=[12, 0, 12])
    assert list(lines(one.detections, False)) == ["a: 90% (track = 12) , c: 30% \n", "b: 80% \n"]
    assert message(one.detections, "").startswith("a, id: 0, track_id: 12\nb, id: 1\n\n")
    plain = replace(one.detections, names=["a 12", "b", "c 12"], ids=None)
    np.testing.assert_array_equal(one.detections.draw(one.image), plain.draw(one.image))
    chosen = one.detections.select(np.array([2, 1]))
    assert chosen.ids.tolist() == [12, 0] and chosen.labels.tolist() == [2, 1] and chosen.places is None
    pytest.importorskip("supervision")
    assert one.detections.to_supervision().tracker_id.tolist() == [12, -1, 12]
    assert chosen.__class__(*[getattr(chosen, name) for name in ("boxes", "scores", "labels", "names", "image_size")]
                            ).to_supervision().tracker_id is None
