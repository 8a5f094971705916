"""What ``detect`` and its kin take for a picture, and what they write: no file of an earlier run is lost."""
import csv
import io
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import write
from web import Page

from darknet_py import load_network
from darknet_py.viz import draw

pytestmark = pytest.mark.usefixtures("workdir")


@pytest.fixture
def detect(cli, demo):
    """Type ``detect`` with the network in the repository: exit code, stdout, stderr."""
    return lambda *words: cli("detect", *demo[:2], "-device", "cpu", *words)


@pytest.fixture
def photos(demo):
    """p/a.png, p/b.png and a.png, the same picture."""
    data = demo[2].read_bytes()
    write({"p/a.png": data, "p/b.png": data, "a.png": data})
    return data


def there(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def predicted(out):
    return [line.split(": Predicted in")[0] for line in out.splitlines() if ": Predicted in" in line]


def test_each_run_has_a_folder_of_its_own(detect, photos):
    for number in ("", "_2"):
        code, _, err = detect("p")
        assert (code, err) == (0, f"wrote 2 pictures in predictions{number}/\n")
        assert there(f"predictions{number}") == ["a.jpg", "b.jpg"]
    for one in Path("predictions").iterdir():
        one.unlink()
    Path("predictions_3").write_text("mine")
    assert detect("p", "-dontdraw_bbox")[2] == "" and there("predictions") == []
    assert detect("p")[2] == "wrote 2 pictures in predictions/\n"
    assert detect("p")[2] == "wrote 2 pictures in predictions_4/\n" and Path("predictions_3").read_text() == "mine"


def test_a_folder_of_the_user_keeps_what_it_has(detect, photos):
    write({"out/a.jpg": "mine", "out/a_2.jpg": "mine"})
    assert detect("p", "-pictures", "out")[2] == "wrote 2 pictures in out/\n"
    assert there("out") == ["a.jpg", "a_2.jpg", "a_3.jpg", "b.jpg"]
    assert Path("out/a.jpg").read_text() == Path("out/a_2.jpg").read_text() == "mine"
    assert detect("a.png", "-pictures", "out")[2] == "wrote out/a_4.jpg\n"
    assert detect("a.png", "-pictures", "new/")[2] == "wrote new/a.jpg\n"


def test_one_picture_is_overwritten_as_in_c_but_never_the_source(detect, photos):
    write({"predictions.jpg": "of the last run", "mine.jpg": cv2.imencode(".jpg", cv2.imread("a.png"))[1].tobytes()})
    assert detect("a.png")[2] == "wrote predictions.jpg\n" and cv2.imread("predictions.jpg") is not None
    before = Path("mine.jpg").read_bytes()
    code, out, err = detect("mine.jpg", "-pictures", "./mine.jpg")
    assert code == 1 and err == ("darknet-py: mine.jpg: is the picture itself, which the one with boxes would replace; "
                                 "-pictures FILE names another one\n")
    assert predicted(out) == ["mine.jpg"] and Path("mine.jpg").read_bytes() == before


def test_all_that_was_written_is_said(detect, photos):
    code, _, err = detect("p", "-out", "r.json", "-save_labels", "-crops", "c")
    assert (code, err) == (0, "wrote 2 pictures in predictions/, r.json, label files of 2 pictures and objects in c/\n")
    assert detect("a.png", "-dontdraw_bbox")[2] == ""


@pytest.mark.parametrize("words", [["p/a.png", "p/b.png"], ["p"], ["p/*"], ["l.txt"], ["p/a.png", "{url}/b.png"]])
def test_pictures_by_any_name(detect, photos, web, words):
    web.pages["/b.png"] = Page(photos)
    write({"l.txt": "\ufeffp\\a.png\r\np\\b.png\r\n"})
    words = [word.format(url=web.url) for word in words]
    code, out, _ = detect(*words)
    paths = predicted(out)
    assert (code == 0 and paths == ["p/a.png", "p/b.png"]) or paths == words
    assert there("predictions") == ["a.jpg", "b.jpg"]
    once = detect("p/a.png")[1].splitlines()[1:]
    assert out.splitlines()[1:1 + len(once)] == once == out.splitlines()[-len(once):]


def typed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))


def test_the_standard_input(detect, photos, monkeypatch):
    typed(monkeypatch, photos)
    code, out, err = detect("-", "-out", "r.csv", "-crops", "c")
    assert (code, err) == (0, "wrote predictions.jpg, r.csv and objects in c/\n")
    assert out.splitlines()[1:] == detect("a.png")[1].splitlines()[1:] and predicted(out) == ["-"]
    assert {row["image"] for row in csv.DictReader(Path("r.csv").read_text().splitlines())} == {"-"}
    assert {path.name.split("_")[0] for path in Path("c").rglob("*.jpg")} == {"stdin"}
    typed(monkeypatch, b"")
    code, _, err = detect("-")
    assert code == 1 and err == "darknet-py: the standard input: the image file is empty (0 bytes)\n"
    typed(monkeypatch, photos)
    code, _, err = detect("-", "-save_labels")
    assert code == 1 and err.startswith("darknet-py: -: a label file lies beside its picture")


def test_an_url_that_fails_is_a_line(detect, photos, web):
    code, out, err = detect(f"{web.url}/gone.png", "a.png", "ftp://a/b.png")
    assert code == 1 and predicted(out) == ["a.png"]
    assert err.splitlines() == [f"darknet-py: {web.url}/gone.png: cannot be fetched: the server says 404 Not Found",
                                "darknet-py: ftp://a/b.png: expected an URL of http or https",
                                "wrote predictions/a.jpg"]


def test_a_picture_from_an_url_in_a_grey_network(cli, web, demo):
    """It is fetched once, and drawn in grey."""
    web.pages["/a.png"] = Page(demo[2].read_bytes())
    write({"g.cfg": demo[0].read_text().replace("channels=3", "channels=1")})
    load_network("g.cfg").save_weights("g.weights")
    assert cli("detect", "g.cfg", "g.weights", f"{web.url}/a.png", "-device", "cpu", "-thresh", "1")[0] == 0
    drawn = cv2.imread("predictions.jpg")
    assert len(web.log) == 1 and drawn.shape == cv2.imread(str(demo[2])).shape and np.ptp(drawn, 2).max() < 9


def test_classifier_and_nightmare(cli, photos, demo, web, monkeypatch):
    write({"c.cfg": "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=3\nactivation=linear\n[avgpool]\n"
           "[softmax]\n", "c.data": "classes=3\n", "l.txt": "p\\b.png\n"})
    load_network("c.cfg").save_weights("c.weights")
    web.pages["/u.png"] = Page(photos)
    typed(monkeypatch, photos)
    code, out, _ = cli("classifier", "predict", "c.data", "c.cfg", "c.weights", "p", "l.txt", "-", f"{web.url}/u.png")
    assert code == 0 and predicted(out) == ["p/a.png", "p/b.png", "p/b.png", "-", f"{web.url}/u.png"]
    scores = [line for line in out.splitlines() if "Predicted" not in line]
    assert len(scores) == 5 and len(set(scores)) == 1
    small = cv2.imencode(".png", cv2.resize(cv2.imread("a.png"), (40, 30)))[1].tobytes()
    web.pages["/s.x.png"] = Page(small)
    for image, stem in ((f"{web.url}/s.x.png", "s"), ("-", "stdin")):
        typed(monkeypatch, small)
        code, out, _ = cli("nightmare", *demo[:2], image, "1", "-iters", "1", "-seed", "1", "-device", "cpu")
        assert (code, out) == (0, f"0 {stem}_shapes_1_000000.jpg\n") and Path(f"{stem}_shapes_1_000000.jpg").exists()
    assert cli("nightmare", *demo[:2], "p", "1")[2] == "darknet-py: p: expected one picture, found 2\n"


def test_out_by_extension(detect, photos, demo):
    boxes = {}
    for name in ("r.json", "r.csv", "r.txt", "r", "r.JSON"):
        code, _, err = detect("p", "-out", name, "-dontdraw_bbox")
        assert (code, err) == (0, f"wrote {name}\n")
    assert Path("r").read_bytes() == Path("r.json").read_bytes() == Path("r.JSON").read_bytes()
    frames = json.loads(Path("r.json").read_text())
    rows = list(csv.DictReader(Path("r.csv").read_text().splitlines()))
    lines = [line.split("\t") for line in Path("r.txt").read_text().splitlines()]
    assert [frame["filename"] for frame in frames] == ["p/a.png", "p/b.png"]
    assert sum(len(frame["objects"]) for frame in frames) == len(rows) == len(lines) > 10
    height, width = cv2.imread("a.png").shape[:2]
    for row, line in zip(rows, lines, strict=True):
        assert line == [row[key] for key in ("image", "name", "score", "left", "top", "right", "bottom")]
        boxes.setdefault((row["image"], row["name"], row["score"]), []).append(
            [(float(row["left"]) + float(row["right"])) / 2 / width,
             (float(row["bottom"]) - float(row["top"])) / height])
    for frame in frames:
        for one in frame["objects"]:
            place = one["relative_coordinates"]
            near = np.abs(np.array(boxes[frame["filename"], one["name"], f"{one['confidence']:.6f}"])
                          - [place["center_x"], place["height"]]).max(1).min()
            assert near < 1e-4


def test_out_as_annotations(detect, photos):
    assert detect("a.png", "-out", "r.xml")[2] == "wrote predictions.jpg and r.xml\n"
    names = [one.text for one in ET.parse("r.xml").iter("name")]
    assert ET.parse("r.xml").findtext("filename") == "a.png" and len(names) > 5
    write({"x/a.xml": "mine"})
    assert detect("p", "-out", "x", "-dontdraw_bbox")[2] == "wrote 2 annotations in x/\n"
    assert detect("p/b.png", "-out", "y/", "-dontdraw_bbox")[2] == "wrote 1 annotation in y/\n"
    assert there("x") == ["a.xml", "a_2.xml", "b.xml"] and there("y") == ["b.xml"]
    assert Path("x/a.xml").read_text() == "mine"
    assert [one.text for one in ET.parse("x/a_2.xml").iter("name")] == names


@pytest.mark.parametrize("words, says", [
    (["p", "-out", ""], "-out : expected a file that ends with .json, .csv, .txt, .xml, or a folder, found nothing"),
    (["p", "-out", "r.yaml"], "-out r.yaml: expected a file that ends with .json, .csv, .txt, .xml, or a folder, "
     "found .yaml"),
    (["p", "-out", "r.xml"], "-out r.xml: an annotation of Pascal VOC is of one picture, found 2 pictures; -out "
     "FOLDER/ writes a file for each"),
    (["-out", "r.xml"], "-out r.xml: an annotation of Pascal VOC is of one picture, found any number of pictures; -out "
     "FOLDER/ writes a file for each"),
    (["l.txt", "-out", "./l.txt"], "-out ./l.txt: is what l.txt names, which it would replace"),
    (["p", "-names", "n.txt", "-out", "n.txt"], "-out n.txt: is what n.txt names, which it would replace"),
])
def test_outs_that_are_refused(detect, photos, words, says):
    """... before anything is computed."""
    write({"l.txt": "p/a.png\n", "n.txt": "a\nb\nc\n"})
    assert detect(*words) == (1, "", f"darknet-py: {says}\n")
    assert there(".") == ["a.png", "l.txt", "n.txt", "p"]


def test_a_threshold_of_0(detect, photos, monkeypatch):
    """All are printed and in the JSON, and few are drawn."""
    monkeypatch.setattr(draw, "MOST_DRAWN", 30)
    code, out, err = detect("p", "-thresh", "0", "-out", "r.json")
    count = len(json.loads(Path("r.json").read_text())[0]["objects"])
    assert count > 100 and out.count("%\n") == 2 * count
    assert (code, err.splitlines()) == (0, [
        f"warning: p/a.png: of {count} detections the 30 most confident are drawn; so in 1 other picture",
        "wrote 2 pictures in predictions/ and r.json"])


def test_a_list_beside_its_pictures(cli, photos, demo):
    write({"o.data": "classes=3\n", "p/l.txt": "b.png\n"})
    code, out, _ = cli("detector", "test", "o.data", *demo[:2], "p/l.txt", "-dontdraw_bbox")
    assert code == 0 and predicted(out) == ["p/b.png"]
