"""scripts/coco_eval.py, its whole path: on a set that make_coco.py makes, with files from a server here."""
import hashlib
import json
import shutil
from pathlib import Path
from zipfile import ZipFile

import coco_eval
import make_coco
import pytest
from coco.archives import ARCHIVES
from coco.verdict import expected
from conftest import ROOT
from web import Page

from darknet_py.errors import DarknetError
from darknet_py.zoo.manifest import OFFICIAL, Published

COUNT = 5
WEIGHTS = (ROOT / "weights/shapes.weights").read_bytes()
MODEL = ["--cfg", str(ROOT / "cfg/shapes.cfg"), "--weights", str(ROOT / "weights/shapes.weights"), "--size", "512x384",
         "--images", str(COUNT), "--device", "cpu"]
REACHED = ["--expect", "83,97", "--within", "4"]
JSON, PICTURES = "annotations/instances_val2017.json", "val2017"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The set, not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    assert make_coco.main([str(folder), "--images", str(COUNT)]) == 0
    return folder


@pytest.fixture
def coco(made, workdir):
    """The set, to be changed."""
    return Path(shutil.copytree(made, workdir / "coco"))


@pytest.fixture
def run(capsys):
    def call(folder, *words):
        code = coco_eval.main(["--coco", str(folder), *map(str, words)])
        return code, *capsys.readouterr()
    return call


def change(folder, edit):
    """Edit the JSON."""
    path = folder / JSON
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def test_what_is_made(made, tmp_path):
    data = json.loads((made / JSON).read_text())
    assert [image["id"] for image in data["images"]] != list(range(1, COUNT + 1)) and len(data["images"]) == COUNT
    assert all(int(Path(image["file_name"]).stem) == image["id"] for image in data["images"])
    assert [(one["id"], one["name"]) for one in data["categories"]] == [(3, "triangle"), (18, "square"), (90, "circle")]
    crowds = [one for one in data["annotations"] if one["iscrowd"]]
    assert 0 < len(crowds) < COUNT and all(one["area"] < 1.1 * one["bbox"][2] * one["bbox"][3] for one in crowds)
    for folder in ("a", "b"):
        make_coco.main([str(tmp_path / folder), "--images", "1", "--seed", "9"])
    files = [sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file()) for folder in ("a", "b")]
    assert len(files[0]) == 2 and [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_pass_and_fail(run, made, tmp_path):
    code, out, err = run(made, *MODEL, *REACHED, "--json", tmp_path / "r.json", "--results", tmp_path)
    assert code == 0 and out.splitlines()[-2] == "PASS" and err == "" and "not one of the official weights" in out
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["passed"] is True and figures["images"] == COUNT and figures["unread"] == 0
    assert 80 < figures["measured"]["AP"] < 90 < figures["measured"]["AP50"] < 100
    for expect in ("99,97", "83,20"):
        code, out, _ = run(made, *MODEL, "--expect", expect)
        assert code == 1 and out.splitlines()[-1] == "FAIL"
    (results,) = tmp_path.glob("detections_val2017_shapes-512x384_results.json")
    ours = [-1 if value is None else value / 100 for value in figures["measured"].values()]
    assert ours == pytest.approx(figures_of_files(made / JSON, results), abs=1e-4)


def figures_of_files(truth, results):
    """The figures of pycocotools' own way, from file to file."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    truth = COCO(truth)
    measure = COCOeval(truth, truth.loadRes(str(results)), "bbox")
    measure.evaluate()
    measure.accumulate()
    measure.summarize()
    return measure.stats.tolist()


def test_a_trial_gives_no_verdict(run, coco):
    shutil.move(coco / PICTURES, coco / "images" / PICTURES)
    for path in sorted((coco / "images" / PICTURES).iterdir())[2:]:
        path.unlink()
    code, out, _ = run(coco, *MODEL, "--limit", 2)
    assert code == 0 and "No verdict: these are only 2 of the images" in out and "All figures: AP" in out


def test_a_picture_that_cannot_be_read(run, coco):
    next((coco / PICTURES).iterdir()).write_bytes(b"no picture")
    code, out, err = run(coco, *MODEL, "--expect", "50,50", "--within", "50")
    assert code == 1 and out.splitlines()[-1] == f"FAIL: 1 of {COUNT} images cannot be read" and "warning: " in err


def without_a_picture(folder):
    sorted((folder / PICTURES).iterdir())[1].unlink()


@pytest.mark.parametrize("spoil, words, message", [
    (lambda folder: (folder / JSON).unlink(), [], "not there; have it fetched with --download (253 MB), or get http://"),
    (lambda folder: shutil.rmtree(folder / PICTURES), [], "val2017.zip in another way, and put it into "),
    (without_a_picture, [], f"1 of {COUNT} pictures are missing, the first is 0000"),
    (None, ["--images", "5000"], f"expected the 5000 images of val2017, found {COUNT}"),
    (lambda folder: (folder / JSON).write_text("{"), [], "not JSON"),
    (lambda folder: change(folder, lambda data: data.pop("annotations")), [], "has no annotations"),
    (lambda folder: change(folder, lambda data: data["images"][0].pop("file_name")), [],
     "images[0]: file_name: expected a text"),
    (lambda folder: change(folder, lambda data: data["categories"].pop()), [], "has no category circle"),
    (None, ["--cfg", "cfg/no.cfg"], "cfg/no.cfg: cannot read the cfg file"),
    (None, ["--cfg", str(ROOT / "cfg/shapes.png")], "expected a cfg text file"),
    (None, ["--weights", "my.weights"], "my.weights: no such weights file; it is none of the official weights"),
    (None, ["--weights", "yolov4.weights"], "darknet-py download yolov4 fetches it, or have it"),
    (None, ["--weights", "half.weights"], "half.weights: holds the first"),
    (None, ["--names", "no.names"], "no.names"),
    (None, ["--json", "/proc/no/file"], "cannot write"),
    (lambda folder: (folder / "val2017.zip").write_bytes(b"no"), ["--split", "test-dev2017", "--images", "1"],
     "image_info_test-dev2017.json: not there"),
])
def test_bad_input_is_one_line(run, coco, spoil, words, message):
    Path("half.weights").write_bytes(WEIGHTS[:20 + 4 * 9 + 4 * 3])
    if spoil is not None:
        spoil(coco)
    code, _, err = run(coco, *MODEL, *REACHED, *words)
    assert code == 1 and err.count("\n") == 1 and err.startswith("coco_eval: ") and message in err


@pytest.mark.parametrize("words, message", [
    (["--expect", "43"], "expected AP,AP50"), (["--size", "0"], "number of pixels"), (["--within", "-1"], "from 0 on"),
    (["--within", "nan"], "from 0 on"), (["--limit", "0"], "from 1 on"), (["--split", "train2017"], "invalid choice")])
def test_wrong_words_exit_with_2(run, capsys, words, message):
    with pytest.raises(SystemExit) as caught:
        run("x", *words)
    assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("facts, message", [
    (OFFICIAL["yolov4.weights"], f"expected 257717640 bytes, found {len(WEIGHTS)}"),
    (Published((), len(WEIGHTS), ("0" * 64,)), f"expected sha256 {'0' * 64}, found "),
    (Published((), len(WEIGHTS)), "")])
def test_weights_must_be_what_they_are_called(run, coco, monkeypatch, facts, message):
    Path("yolov4.weights").write_bytes(WEIGHTS)
    monkeypatch.setitem(OFFICIAL, "yolov4.weights", facts)
    code, out, err = run(coco, *MODEL, *REACHED, "--weights", "yolov4.weights")
    if message:
        assert code == 1 and err.startswith("coco_eval: yolov4.weights: not the official yolov4.weights: ")
        assert message in err
    else:
        assert code == 0 and "size as published, SHA-256 not known" in out


@pytest.fixture
def served(made, workdir, web, monkeypatch):
    """A server with COCO's archives and the weights, whose sizes and hashes are now the official ones."""
    with ZipFile("a.zip", "w") as zipped:
        zipped.write(made / JSON, JSON)
        zipped.writestr("annotations/captions_val2017.json", "{}")
    with ZipFile("p.zip", "w") as zipped:
        zipped.writestr("val2017/", "")
        for path in (made / PICTURES).iterdir():
            zipped.write(path, f"val2017/{path.name}")
    for name, path in (("annotations/annotations_trainval2017.zip", "a.zip"), ("zips/val2017.zip", "p.zip")):
        serve(web, monkeypatch, name, Path(path).read_bytes())
        Path(path).unlink()
    web.pages["/yolov4.weights"] = Page(WEIGHTS)
    monkeypatch.setitem(OFFICIAL, "yolov4.weights", facts_of(WEIGHTS))
    return web


def facts_of(data):
    return Published((), len(data), (hashlib.sha256(data).hexdigest(),))


def serve(web, monkeypatch, name, data):
    web.pages[f"/{name}"] = Page(data, '"1"')
    monkeypatch.setitem(ARCHIVES, name, facts_of(data))


def words(web):
    return [*MODEL, *REACHED, "--download", "--weights", "yolov4.weights", "--weights-url", web.url,
            "--coco-url", web.url]


def test_download(run, served, tmp_path):
    served.pages["/zips/val2017.zip"].faults = [1000]
    code, out, err = run("coco", *words(served))
    assert code == 0 and out.splitlines()[-1] == "PASS" and "size and SHA-256 as published" in out
    assert "coco/val2017.zip: unpacking val2017\n" in err and f"fetched from {served.url}/yolov4.weights" in err
    assert len(served.log) == 4 and sorted(path.name for path in Path("coco").iterdir()) == [
        "annotations", "annotations_trainval2017.zip", "val2017", "val2017.zip"]
    assert [path.name for path in Path("coco/annotations").iterdir()] == ["instances_val2017.json"]
    shutil.rmtree("coco/val2017")
    assert run("coco", *[word for word in words(served) if word != "--download"])[0] == 0 and len(served.log) == 4


def archive_of(names, path=Path("x.zip")):
    with ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, "data")
    return path.read_bytes()


@pytest.mark.parametrize("names, message", [
    (["val2017/../../evil.png"], "expected pictures in val2017/, found val2017/../../evil.png"),
    (["val2017/a.png", "val2017//etc/x.png"], "expected pictures in val2017/, found val2017//etc/x.png"),
    (["val2017/..\\a.png"], "expected pictures in val2017/"), (["other/a.png"], "expected val2017 in it, found oth"),
    ([], "expected val2017 in it, found nothing"), (None, "File is not a zip file"), ("crc", "Bad CRC-32"),
    (["val2017/a.png"], f"{COUNT} of {COUNT} pictures are missing"), ("404", "the server says 404"),
    ("other", "expected sha256")])
def test_archives_that_will_not_do(run, served, monkeypatch, names, message):
    """One line, nothing outside the folder, and nothing in the place of the pictures."""
    if names == "404":
        del served.pages["/zips/val2017.zip"]
    elif names == "other":
        served.pages["/zips/val2017.zip"].data = served.pages["/zips/val2017.zip"].data[::-1]
    else:
        data = b"PK no" if names is None else archive_of(["val2017/a.png"] if names == "crc" else names)
        serve(served, monkeypatch, "zips/val2017.zip", data.replace(b"data", b"date") if names == "crc" else data)
        Path("x.zip").unlink(missing_ok=True)
    code, _, err = run("coco", *words(served))
    last = err.splitlines()[-1]
    assert code == 1 and last.startswith("coco_eval: ") and message in last
    assert sorted(path.name for path in Path().iterdir()) == ["coco", "yolov4.weights"]
    extra = {"annotations", "annotations_trainval2017.zip"} | ({"val2017"} if names == ["val2017/a.png"] else set())
    assert {path.name for path in Path("coco").iterdir()} - {"val2017.zip"} == extra


def test_results_for_the_server(run, workdir, monkeypatch):
    make_coco.main(["t", "--images", "2", "--split", "test-dev2017"])
    monkeypatch.setitem(OFFICIAL, "yolov4.weights", facts_of(WEIGHTS))
    Path("yolov4.weights").write_bytes(WEIGHTS)
    code, out, _ = run("t", *MODEL, "--images", "2", "--split", "test-dev2017", "--weights", "yolov4.weights",
                       "--size", "512")
    assert code == 0 and "Published at 512x512 are 43.0 AP and 64.9 AP50" in out and "not public" in out
    results = json.loads(Path("results/detections_test-dev2017_yolov4-512x512_results.json").read_text())
    data = json.loads(Path("t/annotations/image_info_test-dev2017.json").read_text())
    assert "annotations" not in data and {one["image_id"] for one in results} == {one["id"] for one in data["images"]}
    assert {one["category_id"] for one in results} == {3, 18, 90}
    assert {len(one["bbox"]) for one in results} == {4}


@pytest.mark.parametrize("words, figures, said", [
    ([], (50.6, 73.9, 1), "others measured"), (["--size", "416"], (47.1, 71, .7), "were trained on"),
    (["--within", "2"], (50.6, 73.9, 2), "others"),
    (["--weights", "yolov4-tiny.weights", "--size", "416"], (20.1, 40, 1), "others measured"),
    (["--expect", "50,60.5"], (50, 60.5, .5), "--expect")])
def test_what_is_expected(words, figures, said):
    goal = expected(coco_eval.parsed(["--coco", "x", *words]))
    assert goal[:3] == figures and said in goal.source


@pytest.mark.parametrize("words", [["--size", "352"], ["--size", "512"], ["--size", "608x416"],
                                   ["--weights", "yolov3.weights"]])
def test_nothing_is_published(words):
    with pytest.raises(DarknetError, match=r"figures on val2017 are known of yolov4\.weights at 416, "
                                           r"yolov4\.weights at 608, yolov4-tiny\.weights at 416, found"):
        expected(coco_eval.parsed(["--coco", "x", *words]))
