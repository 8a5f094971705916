"""Results on the service's page: what is shown and saved, at once, is what the detector finds."""
import json
import re
from base64 import b64encode

import chromium
import cv2
import numpy as np
import pytest
import torch
from chromium import PICTURE, SHAPES, expect
from PIL import Image

from darknet_py.ops.boxes import xyxy_to_cxcywh
from darknet_py.ops.nms import nms

browser, detectors, service, visit = chromium.browser, chromium.detectors, chromium.service, chromium.visit
ORIENTATION = 0x0112            # a tag of EXIF


def test_boxes_are_those_of_the_detector(visit, detectors):
    page = visit()
    page.add(PICTURE)
    expected = detectors["digits"](PICTURE)
    assert page.count() == len(expected)
    expect(page["#boxes li"]).to_have_count(len(expected))
    rows = [row.split("\n")[:2] for row in page["#boxes li"].all_inner_texts()]
    assert rows == [[d.name, f"{d.score:.0%}"] for d in expected]
    assert page["#canvas"].get_attribute("aria-label") == f"digits.jpg: {len(expected)} boxes"
    assert len(page.requests("detect")) == 1
    expect(page["#times dt"]).to_have_text(["Queue", "Decode", "Network", "Post-process", "Service total", "Round trip",
                                            "In this page"])


def test_sliders_act_without_a_request(visit, detectors):
    page = visit()
    page.add(PICTURE)
    before, sent = page.count(), len(page.sent)
    for thresh, overlap in ((.9, .45), (.05, .45), (.05, 1), (.5, 0), (.05, .05)):
        page["#thresh"].fill(str(thresh))
        page["#nms"].fill(str(overlap))
        detector = detectors["digits"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detector, "thresh", thresh)
            patch.setattr(detector, "nms", overlap)
            expect(page["#count"]).to_have_text(re.compile(rf"^{len(detector(PICTURE))} box"))
    assert page.count() != before and len(page.sent) == sent


@pytest.mark.parametrize("name, picture", [("a", PICTURE), ("b", SHAPES)])
def test_selection_equals_that_of_the_service(visit, name, picture):
    """Candidates, and then the boxes, of the service at many settings."""
    differing, compared = visit().page.evaluate("""async ([bytes, model]) => {
        const {candidatesOf, select} = await import("/page/nms.js");
        const ask = async (thresh, nms) => {
            const words = new URLSearchParams({thresh, nms, model, format: "boxes"});
            const body = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
            const headers = {"Content-Type": "application/octet-stream"};
            const answer = await fetch(`/detect?${words}`, {method: "POST", body, headers});
            return (await answer.json()).results[0];
        };
        const {nms_kind, beta_nms} = (await (await fetch("/models")).json()).models.find(({name}) => name === model);
        const candidates = candidatesOf(await ask(0.01, 0));
        const keys = (boxes) => JSON.stringify(boxes.map(({box, score, label}) => [score, label, box]).sort());
        const differing = [];
        let compared = 0;
        for (const thresh of [0.01, 0.25, 0.6]) {
            for (const nms of [0, 0.1, 0.45, 0.8]) {
                const own = select(candidates, thresh, nms, nms_kind, beta_nms);
                const theirs = candidatesOf(await ask(thresh, nms));
                compared += theirs.length;
                if (keys(own) !== keys(theirs)) differing.push([thresh, nms, own.length, theirs.length]);
            }
        }
        return [differing, compared];
    }""", [b64encode(picture.read_bytes()).decode(), name])
    assert differing == [] and compared > 100


@pytest.mark.parametrize("kind", ["default", "greedynms", "diounms", "cornersnms"])
def test_selection_by_each_kind_of_overlap(visit, kind):
    """Random boxes in three classes: many overlap, some reach beyond the picture, some have equal scores."""
    draw = np.random.default_rng(len(kind))
    width, height, count = 640, 160, 400
    corner = draw.uniform(-.05, .95, (count // 4, 2)) * [width, height]
    boxes = np.concatenate([corner, corner + draw.uniform(15, 90, corner.shape)], 1).repeat(4, 0)
    boxes = (boxes + draw.normal(0, 2, boxes.shape)).astype(np.float32)
    scores, labels = draw.integers(1, 60, count).astype(np.float32) / 64, draw.integers(0, 3, count)
    relative = xyxy_to_cxcywh(torch.from_numpy(boxes)) / torch.tensor([width, height] * 2)
    table = torch.zeros(count, 3)
    table[torch.arange(count), torch.from_numpy(labels)] = torch.from_numpy(scores)
    result = {"boxes": boxes.tolist(), "scores": scores.tolist(), "labels": labels.tolist(), "width": width,
              "height": height}
    page = visit().page
    for overlap in (.05, .3, .45, .8):
        kept = page.evaluate("""async ([result, nms, kind, beta]) => {
            const {candidatesOf, select} = await import("/page/nms.js");
            return select(candidatesOf(result), 0, nms, kind, beta).map(({box}) => box);
        }""", [result, overlap, kind, .8])
        expected = nms(relative, table, overlap, kind, .8).amax(1) > 0
        assert 50 < expected.sum() < count - 50
        assert sorted(kept) == sorted(boxes[expected.numpy()].tolist())


def test_tracks_keep_their_numbers(visit):
    """Two that cross, one of another class at their place, one that is gone for too long."""
    ids = visit().page.evaluate("""async () => {
        const {Tracker} = await import("/page/tracks.js");
        const tracker = new Tracker();
        const at = (x, label = 0, y = 0.5) => ({x, y, w: 0.2, h: 0.2, label});
        const step = (seconds, ...boxes) => { tracker.update(boxes, seconds); return boxes.map(({id}) => id); };
        const crossing = [];
        for (let n = 0; n <= 20; n += 1) {
            crossing.push(step(n / 10, at(0.3 + n / 50), at(0.7 - n / 50, 0, 0.56), at(0.5, 1)));
        }
        return {crossing, again: step(2, at(0.7)), missed: step(2.9, at(0.8, 1)), late: step(4.5, at(0.8, 1))};
    }""")
    assert {tuple(row) for row in ids["crossing"]} == {(1, 2, 3)}
    assert ids["again"] == [1] and ids["missed"] == [4] and ids["late"] == [5]


def test_hidden_classes(visit, detectors):
    page = visit()
    page.add(PICTURE)
    found = [d.name for d in detectors["digits"](PICTURE)]
    assert page.count() == len(found)
    numbers = dict(row.split("\n") for row in page["#classes li"].all_inner_texts())
    assert numbers == {name: str(found.count(name)) for name in sorted(set(found))}
    page["#classes label"].first.click()
    expect(page["#count"]).to_have_text(f"{len(found) - found.count(min(found))} boxes")
    page["#no-classes"].click()
    expect(page["#count"]).to_have_text("0 boxes")
    page["#all-classes"].click()
    expect(page["#count"]).to_have_text(f"{len(found)} boxes")


def test_json_and_picture_are_saved(visit, detectors):
    page = visit()
    page.add(PICTURE)
    page.count()
    text, name = page.saved("#save-json")
    [record], expected = json.loads(text), json.loads(detectors["digits"](PICTURE).to_json())
    by_place = {"key": lambda found: json.dumps(found, sort_keys=True)}
    assert name == "digits.json" and record["filename"] == "digits.jpg"
    assert sorted(record["objects"], **by_place) == sorted(expected["objects"], **by_place)
    data, name = page.saved("#save-picture")
    drawn, picture = cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.imread(str(PICTURE))
    assert name == "digits_detected.jpg" and drawn.shape == picture.shape
    changed = (np.abs(drawn.astype(int) - picture) > 60).any(2)
    left, top, right, bottom = detectors["digits"](PICTURE).boxes[0].round().astype(int)
    edges = changed[top:bottom, [left, right]].mean(), changed[[top, bottom], left:right].mean()
    assert min(edges) > .5 and changed.mean() < .2
    page.add(SHAPES)
    expect(page["#file"]).to_have_text(re.compile("^shapes.png · 640"))
    text, name = page.saved("#save-json")
    assert name == "detections.json" and [record["frame_id"] for record in json.loads(text)] == [1, 2]


def test_turned_picture(visit, detectors, tmp_path):
    """A JPEG that is stored turned is shown and saved upright, with its boxes."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = Image.open(PICTURE)
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    page = visit()
    page.add(tmp_path / "turned.jpg")
    assert page.count() == len(detectors["digits"](tmp_path / "turned.jpg")) > 20
    expect(page["#file"]).to_have_text("turned.jpg · 640 × 512")
    page["#no-classes"].click()
    data, _ = page.saved("#save-picture")
    saved = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    assert np.abs(saved.astype(int) - cv2.imread(str(PICTURE))).mean() < 6


@pytest.mark.parametrize("way", ["websocket", "post"])
def test_camera(visit, way):
    page = visit(script="delete window.WebSocket" if way == "post" else None)
    page["#empty .camera"].click()
    expect(page["#fps"]).to_have_text(re.compile("frames/s"))
    assert page.count() > 15
    first, name = page.saved("#save-json")
    page.page.wait_for_timeout(300)
    second, _ = page.saved("#save-json")
    ids = [{found["track_id"]: found["name"] for found in json.loads(text)[0]["objects"]} for text in (first, second)]
    kept = ids[0].items() & ids[1].items()
    assert name == "Camera.json" and len(ids[0]) > 15 and len(kept) > .8 * len(ids[0])
    assert bool(page.requests("stream")) == (way == "websocket") and bool(page.requests("detect")) == (way == "post")
    page["#play"].click()
    expect(page["#play"]).to_have_attribute("aria-label", "Play")
    sent = page.settled()
    page["#thresh"].fill("0.99")                                # of the frame that is shown
    assert page.count() < len(ids[0]) and len(page.sent) == sent
    page["#keep"].click()
    expect(page["#thumbs li"]).to_have_count(1)
    page["#stop"].click()
    expect(page["#live-bar"]).to_be_hidden()


def test_video_file(visit, tmp_path):
    path, image = str(tmp_path / "clip.webm"), cv2.imread(str(PICTURE))
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"VP80"), 10, image.shape[1::-1])
    for shift in range(10):
        writer.write(np.roll(image, 2 * shift, 1))
    writer.release()
    page = visit()
    page.add(path, PICTURE)
    expect(page["#fps"]).to_have_text(re.compile("frames/s"))
    assert page.count() > 10 and page["#file"].inner_text() == "clip.webm"
    page.page.wait_for_timeout(1000)
    assert float(page["#fps"].inner_text().split()[0]) < 20     # of 10 that the video has
    page["#play"].click()
    page["#seek"].fill("0.5")
    assert page.page.evaluate("() => document.getElementById('video').currentTime") == .5
    page["#thumbs li:nth-child(2) button"].first.click()
    expect(page["#file"]).to_have_text("digits.jpg · 640 × 512")
    assert len(page.requests("detect")) == 1
