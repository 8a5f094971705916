"""The service's answers: every way in, every form out, exactly what Detector finds."""
import base64
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from serving import NAMES, PICTURES, PNG, TYPE, decoded, detector, multipart, running

from darknet_py.data.image import read_image
from darknet_py.live.service import app

JSON = {TYPE: "application/json; charset=utf-8"}


@pytest.fixture(scope="module")
def found():
    """What Detector finds in the pictures."""
    one = detector()
    return [one(decoded(data)) for data in PICTURES]


@pytest.fixture(scope="module")
def service():
    with running(detector(), detector(thresh=.9), batch=1) as one:
        yield one
        assert one.lines == []


def in_json(*images, **more):
    return json.dumps({"images": [*images]} | more).encode(), JSON


BASE64 = base64.b64encode(PICTURES[0]).decode()
WAYS = [("raw", (PICTURES[0], PNG), None), ("no kind", (PICTURES[0], {TYPE: "application/octet-stream"}), None),
        ("form", multipart(("a.png", PICTURES[0])), "a.png"), ("nameless", multipart((None, PICTURES[0])), None),
        ("control", multipart(("a\x1b[31m\x01é.png", PICTURES[0])), "a\x1b[31m\x01é.png"),
        ("base64", in_json({"data": BASE64}), None),
        ("data URL", in_json({"data": f"data:image/png;base64,{BASE64}", "filename": "b.png"}), "b.png")]


@pytest.mark.parametrize("body, name", [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
def test_every_way_in_gives_darknets_record(service, found, body, name):
    answer = service.post("", *body)
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert answer.body.decode() == replace(found[0], path=name).to_json()
    assert json.loads(answer.body)["frame_id"] == 1 and len(found[0]) > 0


@pytest.mark.parametrize("thresh, nms", [(.25, .45), (.05, .45), (.25, 0), (0.05, 1), (1, .45)])
def test_boxes_are_the_detectors_own(service, thresh, nms):
    expected = detector(thresh=thresh, nms=nms)(decoded(PICTURES[1]))
    body = service.post(f"?format=boxes&thresh={thresh}&nms={nms}", PICTURES[1]).json
    result, = body["results"]
    assert result == {"filename": None, "width": 320, "height": 240, "names": NAMES, "boxes": expected.boxes.tolist(),
                      "scores": expected.scores.tolist(), "labels": expected.labels.tolist()}
    assert body["model"] == "a" and set(body["times"]) == {"queue", "decode", "network", "postprocess", "total"}
    assert 0 < body["times"]["network"] < body["times"]["total"] < 10


def test_several_pictures_keep_their_order_and_a_broken_one_its_place(service, found):
    body, headers = multipart(*((f"{number}.png", data) for number, data in enumerate(PICTURES)), ("5.png", b"broken"))
    named = [replace(one, path=f"{number}.png") for number, one in enumerate(found)]
    *results, broken = service.post("?format=boxes", body, headers).json["results"]
    assert [result["boxes"] for result in results] == [one.boxes.tolist() for one in found]
    assert [result["filename"] for result in results] == [one.path for one in named]
    assert broken["error"]["reason"] == "WRONG_FORMAT" and broken["boxes"] == [] and broken["filename"] == "5.png"
    text = service.post("", body, headers).body.decode()
    assert text.startswith("[\n" + ", \n".join(one.to_json(number) for number, one in enumerate(named, 1)) + ", \n")
    assert json.loads(text)[-1] == {"frame_id": 5, "filename": "5.png", "objects": [], "error": broken["error"]}
    assert service.post("?format=coco", body, headers).refusal == (415, "WRONG_FORMAT")


def test_cocos_results(service, found):
    answer = service.post("?format=coco", *multipart(*(("x", data) for data in PICTURES[:2])))
    assert answer.json == json.loads(json.dumps(found[0].to_coco(1) + found[1].to_coco(2)))


def test_the_picture_with_its_boxes(service, found):
    answer = service.post("?format=image", PICTURES[0])
    drawn = cv2.imencode(".jpg", found[0].draw(decoded(PICTURES[0])), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    assert answer.headers["content-type"] == "image/jpeg" and answer.body == drawn.tobytes()


def test_a_picture_that_no_jpeg_holds_comes_as_png(service):
    wide = cv2.imencode(".png", np.zeros((2, 66_000, 3), np.uint8))[1].tobytes()
    answer = service.post("?format=image", wide)
    assert answer.headers["content-type"] == "image/png" and decoded(answer.body).shape == (2, 66_000, 3)


def test_a_cap_of_boxes_is_said(service):
    whole, cut = (service.post(f"?format=boxes&thresh=.01&nms=0&max_boxes={most}", PICTURES[0]).json["results"][0]
                  for most in (10_000, 3))
    assert "truncated" not in whole and cut["truncated"] is True and len(whole["scores"]) > 3
    assert [cut[key] for key in ("boxes", "scores", "labels")] == [whole[key][:3] for key in (
        "boxes", "scores", "labels")]


def test_networks_by_name(service):
    default = service.post("?format=boxes", PICTURES[0]).json
    other = service.post("?format=boxes&model=b", PICTURES[0]).json
    assert (default["model"], other["model"]) == ("a", "b") and default["results"] == other["results"]
    models = service.get("/models").json
    assert models["default"] == "a" and [model["name"] for model in models["models"]] == ["a", "b"]
    assert models["models"][0] | {"name": ""} == {
        "name": "", "width": 256, "height": 192, "channels": 3, "classes": 3, "names": NAMES, "thresh": .25,
        "nms": .45, "nms_kind": "default", "beta_nms": .6, "backend": "pytorch", "precision": "float32"}


def test_jpegs_that_are_cut_are_read_as_files_are(service, tmp_path):
    data = cv2.imencode(".jpg", decoded(PICTURES[0]))[1].tobytes()[:-3000]
    (tmp_path / "cut.jpg").write_bytes(data)
    expected = detector()(read_image(tmp_path / "cut.jpg"))
    assert service.post("", data, {TYPE: "image/jpeg"}).body.decode() == expected.to_json()


def test_health_documents_and_metrics(service):
    assert service.get("/healthz").json == {"status": "ok"} and service.get("/readyz").json == {"status": "ready"}
    description = service.get("/openapi.json").json
    page = service.get("/docs")
    assert page.headers["content-type"].startswith("text/html") and "default-src 'none'" in page.headers[
        "content-security-policy"]
    for path in description["paths"]:
        assert path in page.body.decode()
    before = service.metric('darknet_requests_total{path="/detect",status="200"}')
    pictures = service.metric('darknet_pictures_total{model="b",result="answered"}')
    service.post("?model=b", *multipart(*(("x", data) for data in PICTURES[:2])))
    assert service.metric('darknet_requests_total{path="/detect",status="200"}') == before + 1
    assert service.metric('darknet_pictures_total{model="b",result="answered"}') == pictures + 2
    assert service.metric('darknet_request_seconds_count{path="/detect"}') > before
    assert service.metric('darknet_batch_size_count{model="b"}') > 0 == service.metric('darknet_queue{model="b"}')


def test_every_reference_in_the_description_is_there(service):
    description = service.get("/openapi.json").json

    def references(part):
        if isinstance(part, dict):
            yield from ([part["$ref"]] if "$ref" in part else [])
            part = list(part.values())
        if isinstance(part, list):
            for one in part:
                yield from references(one)

    found = {one.rpartition("/")[2] for one in references(description)}
    assert {"BoxesAnswer", "JsonImages", "ErrorAnswer"} <= found <= set(description["components"]["schemas"])


@pytest.mark.parametrize("path, kind, status", [
    ("/", "text/html", 200), ("/page/a.js", "text/javascript", 200), ("/page/a.css", "text/css", 200),
    ("/page/secret.txt", "", 404), ("/page/none.js", "", 404), ("/page/..%2foutside.js", "", 404),
    ("/page/%2e%2e/outside.js", "", 404), ("/page/in/a.js", "", 404)])
def test_only_files_of_the_page_are_served(service, workdir, monkeypatch, path, kind, status):
    (workdir / "page/in").mkdir(parents=True)
    for name in ("index.html", "a.js", "a.css", "secret.txt", "in/a.js"):
        (workdir / "page" / name).write_text(name)
    (workdir / "outside.js").write_text("")
    monkeypatch.setattr(app, "PAGE", workdir / "page")
    answer = service.get(path)
    assert answer.status == status
    if status == 200:
        assert answer.headers["content-type"].startswith(kind)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
