"""darknet-py batch: rows are those of Detector, in every format; settings, errors, and folders that go on."""
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from batch_runs import CFG, FAST, WEIGHTS, crops, expected, found, manifest, pictures, table, words
from pycocotools.coco import COCO

from darknet_py import Detector


def test_rows_are_those_of_the_detector(workdir, cli):
    paths = pictures("pics", 10)
    code, out, err = cli(*words("pics"))
    assert code == 0 and out.startswith("out: 10 pictures, ") and err == ""
    assert sorted(os.listdir("out/parts")) == [f"part-{part:06d}.parquet" for part in range(3)]
    rows = table().to_pylist()
    assert [row["path"] for row in rows] == paths and [row["id"] for row in rows] == list(range(1, 11))
    assert found() == expected(crops(10)) and sum(len(row["scores"]) for row in rows) > 20
    assert all((row["width"], row["height"], row["error"]) == (200, 160, None) for row in rows)
    assert all(row["names"] == [str(label) for label in row["labels"]] for row in rows)
    facts = manifest()
    assert (facts["pictures"], facts["errors"], facts["parts"], facts["backend"]) == (10, 0, 3, "pytorch")
    assert facts["detections"] == sum(len(row["scores"]) for row in rows)
    assert facts["network_seconds"] <= facts["worker_seconds"] and facts["rate"] > 0
    assert facts["settings"]["thresh"] == .24 and facts["settings"]["part"] == 4 and len(facts["cfg"]["sha256"]) == 64
    assert not list(Path("out").rglob("0*.lock")) and Path("out/errors.jsonl").read_bytes() == b""


def test_flags_are_those_of_detect(workdir, cli):
    pictures("pics", 2)
    assert cli(*words("pics"), "-thresh", ".6", "-nms", ".2", "-letter_box", "-tiles", "2x1", "-batch", "2", "-size",
               "224")[0] == 0
    detector = Detector(CFG, WEIGHTS, size=224, thresh=.6, nms=.2, letterbox=True, tiles="2x1", device="cpu",
                        backend="pytorch")
    assert found() == [(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist()) for one in detector(crops(2))]


def test_a_broken_picture_is_a_row(workdir, cli):
    paths = pictures("pics", 6)
    Path(paths[2]).write_bytes(b"no picture")
    Path("list.txt").write_text("\n".join([*paths, "pics/missing.png"]) + "\n")
    code, out, _ = cli(*words("list.txt"), "-batch", "3")
    assert code == 0 and "7 pictures, 2 of them cannot be read (errors.jsonl)" in out
    rows = table().to_pylist()
    assert [row["path"] for row in rows if row["error"] is not None] == [paths[2], "pics/missing.png"]
    assert "not an image" in rows[2]["error"] and rows[2]["boxes"] is None and rows[3]["error"] is None
    errors = [json.loads(line) for line in Path("out/errors.jsonl").read_text().splitlines()]
    assert [(one["id"], one["path"]) for one in errors] == [(3, paths[2]), (7, "pics/missing.png")]
    assert manifest()["errors"] == 2


def test_errors_are_tried_again(workdir, cli):
    paths = pictures("pics", 9)
    data = Path(paths[5]).read_bytes()
    Path(paths[5]).write_bytes(b"no picture")
    assert cli(*words("pics"))[0] == 0 and manifest()["errors"] == 1
    times = {path.name: path.stat().st_mtime_ns for path in Path("out/parts").iterdir()}
    Path(paths[5]).write_bytes(data)
    code, out, _ = cli(*words("pics"), "-retry_errors")
    assert code == 0 and "cannot be read" not in out and manifest()["errors"] == 0 and found() == expected(crops(9))
    assert [name for name, time in times.items() if Path("out/parts", name).stat().st_mtime_ns != time] == [
        "part-000001.parquet"]
    assert Path("out/errors.jsonl").read_bytes() == b""


def test_only_broken_pictures(workdir, cli):
    Path("a.png").write_bytes(b"no picture")
    assert cli(*words("a.png"))[0] == 1 and manifest()["errors"] == 1


def test_json_lines(workdir, cli):
    pictures("pics", 5)
    assert cli(*words("pics"))[0] == cli(*words("pics", out="lines"), "-format", "jsonl")[0] == 0
    rows = [json.loads(line) for part in sorted(Path("lines/parts").iterdir())
            for line in part.read_text().splitlines()]
    assert [one for one in rows if one.pop("seconds") > 0] == table().to_pylist()


def test_coco(workdir, cli):
    paths = pictures("pics", 6)
    Path(paths[1]).write_bytes(b"no picture")
    assert cli(*words("pics"), "-format", "coco")[0] == 0
    truth = COCO("out/images.json")
    results = truth.loadRes("out/results.json")
    assert [truth.imgs[number]["file_name"] for number in range(1, 7)] == paths and "error" in truth.imgs[2]
    one = results.imgToAnns[3]
    assert not results.imgToAnns[2] and [(found["score"], found["category_id"] - 1) for found in one] == list(
        zip(*expected([paths[2]])[0][1:], strict=True))
    parts = [json.loads(part.read_text()) for part in sorted(Path("out/parts").iterdir())]
    assert [len(part["images"]) for part in parts] == [4, 2] and parts[0]["categories"][9] == {"id": 10, "name": "9"}


def test_yolo(workdir, cli):
    paths = pictures("pics", 5)
    shutil.copy(paths[0], "pics/0000.bmp")              # the same stem
    Path(paths[3]).write_bytes(b"no picture")
    assert cli(*words("../" + os.path.basename(os.getcwd()) + "/pics", part=9), "-format", "yolo")[0] == 0
    with tarfile.open("out/parts/part-000000.tar") as tar:
        texts = {one.name: tar.extractfile(one).read().decode() for one in tar}
    folder = f"{os.path.basename(os.getcwd())}/pics/"
    assert set(texts) == {f"{folder}{name}.txt" for name in ("0000", "0000-2", "0001", "0002", "0004")}
    assert texts[f"{folder}0001.txt"] == Detector(CFG, WEIGHTS, thresh=.24, device="cpu",
                                                  backend="pytorch")(paths[1]).to_labels() != ""


def test_what_is_done_is_not_done_again(workdir, cli):
    pictures("pics", 10)
    assert cli(*words("pics"))[0] == 0
    before = table()
    times = {path.name: path.stat().st_mtime_ns for path in Path("out/parts").iterdir()}
    assert cli(*words("pics"))[0] == 0
    assert times == {path.name: path.stat().st_mtime_ns for path in Path("out/parts").iterdir()}
    Path("out/manifest.json").unlink()
    Path("out/parts/part-000001.parquet").unlink()                  # killed before it was renamed
    with open("out/parts/part-000002.parquet", "r+b") as file:      # lost by a disk
        file.truncate(100)
    assert cli(*words("pics"))[0] == 0 and table() == before and manifest()["pictures"] == 10
    assert times["part-000000.parquet"] == Path("out/parts/part-000000.parquet").stat().st_mtime_ns


@pytest.mark.parametrize(("change", "says"), [
    (("-thresh", ".5"), "thresh 0.24, now 0.5"), (("-part", "5"), "part 4, now 5"),
    (("-format", "jsonl"), "format parquet, now jsonl"), (("-batch", "2", "-nms", ".3"), "batch 1, now 2; nms null"),
    (("0001.png",), 'inputs ["pics"], now ["pics", "0001.png"]')])
def test_other_settings_are_refused(workdir, cli, change, says):
    pictures("pics", 1)
    pictures(".", 2)
    assert cli(*words("pics"))[0] == 0
    code, _, err = cli(*words("pics"), *change)
    assert code == 1 and err.count("\n") == 1 and f"holds results of other settings: {says}" in err


def test_changed_inputs_and_networks_are_refused(workdir, cli):
    paths = pictures("pics", 3)
    assert cli(*words("pics"))[0] == 0
    os.rename(paths[2], "pics/other.png")
    code, _, err = cli(*words("pics"))
    assert code == 1 and "the inputs changed since its pictures were listed (3 files then, 3 now)" in err
    os.rename("pics/other.png", paths[2])
    shutil.copy(WEIGHTS, "digits.weights")
    with open("digits.weights", "r+b") as file:
        file.seek(1000)
        file.write(b"\1")
    code, _, err = cli("batch", CFG, "digits.weights", *words("pics")[3:])
    assert code == 1 and "other settings: weights d595" in err
    Path("out/parts/part-000000.parquet").unlink()
    Path("ten.names").write_text("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n")
    code, _, err = cli(*words("pics"), "-names", "ten.names")
    assert code == 1 and 'results of another network: names ["0", "1"' in err


@pytest.mark.parametrize(("given", "says"), [
    (("nothing",), "nothing: no such file or folder"), (("*.gif",), "*.gif: no file matches this pattern"),
    (("empty",), "empty: found no pictures in this folder"), ((), "needs inputs"),
    (("a.png", "-format", "cocoo"), "found cocoo; did you mean coco?"), (("a.png", "-part", "0"), "from 1 on, found 0"),
    (("a.png", "-workers", "2"), "-workers needs -engine ray"), (("empty.txt",), "found no paths of pictures"),
    (("a.png", "-out", "empty/.."), "expected a new or empty folder")])
def test_what_cannot_be(workdir, cli, given, says):
    Path("empty").mkdir()
    Path("empty.txt").write_text("\n")
    pictures(".", 1)
    os.rename("0000.png", "a.png")
    code, out, err = cli(*words(), *given)
    assert code == 1 and says in err and err.count("\n") == 1 and out == ""


def test_a_network_by_its_name(workdir, cli):
    """The next word is an input, not weights."""
    code, _, err = cli("batch", "yolov4", "nothing.jpg", "-out", "out", *FAST)
    assert code == 1 and "nothing.jpg: no such file or folder" in err
