"""The manifest of official weights, the verbs download and zoo, and what is said where weights are missing."""
import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SHARED, raises
from web import Page

from darknet_py import DataError, Reason, parse_cfg, read_cfg
from darknet_py.model.network import Network
from darknet_py.model.weights import size_in_bytes
from darknet_py.zoo import download
from darknet_py.zoo.architectures import ARCHITECTURES, cfg_text
from darknet_py.zoo.manifest import OFFICIAL, Figures, Published, how_to_get, manifest, read_manifest

DATA = (ROOT / "weights/shapes.weights").read_bytes()
SHA = hashlib.sha256(DATA).hexdigest()
A = {"urls": ["https://a/b"], "bytes": 9}


@pytest.fixture(autouse=True)
def no_mirror(workdir, monkeypatch):
    """Every test starts in an empty folder, and no failed download waits."""
    monkeypatch.delenv("DARKNET_PY_MIRROR", raising=False)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)


@pytest.fixture
def own(web):
    """A manifest, own.json, of a.weights and a.conv.2, which belong to a.cfg, and b.weights, of which
    less is known."""
    facts = Published((f"{web.url}/x/a.weights",), len(DATA), ("0" * 64, SHA), "a.cfg")
    files = {"a.weights": facts, "a.conv.2": facts._replace(urls=(f"{web.url}/x/a.conv.2",), layers=2),
             "b.weights": Published((f"{web.url}/x/b.weights",), len(DATA))}
    Path("own.json").write_text(manifest(files))
    for name in files:
        web.pages[f"/x/{name}"] = Page(DATA, '"1"')
    return ["download", "-manifest", "own.json"]


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if facts.cfg.removesuffix(".cfg") in ARCHITECTURES else [
        pytest.mark.needs_shared(f"reference/cfg/{facts.cfg}")]) for name, facts in OFFICIAL.items()])
def test_sizes_are_what_the_cfgs_need(name):
    facts = OFFICIAL[name]
    stem = facts.cfg.removesuffix(".cfg")
    with torch.device("meta"):
        network = Network(parse_cfg(cfg_text(stem)) if stem in ARCHITECTURES
                          else read_cfg(SHARED / "reference/cfg" / facts.cfg))
    header = 16 if name == "yolov2.weights" else 20
    assert facts.size == size_in_bytes(network.layers[:facts.layers]) - 20 + header
    assert name.endswith(".weights" if facts.layers is None else f".conv.{facts.layers}")
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in facts.sha256)
    assert all(url.startswith("https://") and url.endswith(f"/{name}") for url in facts.urls)


def test_the_manifest():
    path = ROOT / "weights/manifest.json"
    assert path.read_text() == manifest() and read_manifest(path) == OFFICIAL
    entry = json.loads(manifest())["files"]["yolov4.conv.137"]
    assert (entry["cfg"], entry["layers"], entry["bytes"], entry["sha256"]) == ("yolov4.cfg", 137, 170038676, [])
    assert OFFICIAL["yolov4.weights"].figures[0] == Figures(608, 43.5, 65.7, 62)


@pytest.mark.parametrize("text, reason, message", [
    (None, Reason.MISSING_FILE, "cannot read the manifest: No such file"), (b"{", Reason.SYNTAX, "not JSON: "),
    (b"\xff\xfe\xff", Reason.SYNTAX, "not JSON: "), (b"[" * 10 ** 5, Reason.SYNTAX, "not JSON: "),
    (b"1" * 5000, Reason.SYNTAX, "not JSON: "), ([], Reason.WRONG_FORMAT, 'expected a manifest: {"files": '),
    ({"files": []}, Reason.WRONG_FORMAT, 'expected a manifest: {"files": '),
    ({"files": {"../a": A}}, Reason.BAD_VALUE, "expected the plain name of a file, found ../a"),
    ({"files": {"/a": A}}, Reason.BAD_VALUE, "expected the plain name of a file, found /a"),
    ({"files": {"\x1b[m": A}}, Reason.BAD_VALUE, r"expected the plain name of a file, found \x1b[m"),
    ({"files": {"a": []}}, Reason.BAD_VALUE, "a: expected an object, found []"),
    ({"files": {"a": {"urls": ["https://a/b"]}}}, Reason.WRONG_FORMAT, "bytes is missing"),
    ({"files": {"a": A | {"sha": []}}}, Reason.WRONG_FORMAT,
     "expected urls, bytes and perhaps sha256, cfg, layers, licence, dataset, figures; sha is none"),
    ({"files": {"a": A | {"": []}}}, Reason.WRONG_FORMAT, "figures;  is none of them"),
    ({"files": {"a": A | {"urls": []}}}, Reason.BAD_VALUE,
     "a: urls: expected URLs that begin with https:// or http://, found []"),
    ({"files": {"a": A | {"urls": "http://a"}}}, Reason.BAD_VALUE,
     'urls: expected URLs that begin with https:// or http://, found "h'),
    ({"files": {"a": A | {"urls": ["file:///etc/passwd"]}}}, Reason.BAD_VALUE, "urls: expected URLs"),
    ({"files": {"a": A | {"bytes": "9"}}}, Reason.BAD_VALUE, 'a: bytes: expected a number of bytes, found "9"'),
    ({"files": {"a": A | {"bytes": True}}}, Reason.BAD_VALUE, "a: bytes: expected a number of bytes, found true"),
    ({"files": {"a": A | {"bytes": 0}}}, Reason.BAD_VALUE, "a: bytes: expected a number of bytes, found 0"),
    ({"files": {"a": A | {"sha256": SHA}}}, Reason.BAD_VALUE,
     "a: sha256: expected hashes of 64 hexadecimal digits, found "),
    ({"files": {"a": A | {"sha256": [SHA[:-1] + "x"]}}}, Reason.BAD_VALUE,
     "a: sha256: expected hashes of 64 hexadecimal digits, found "),
    ({"files": {"a": A | {"cfg": "a"}}}, Reason.BAD_VALUE,
     'a: cfg: expected the name of a .cfg file or null, found "a"'),
    ({"files": {"a": A | {"layers": -1}}}, Reason.BAD_VALUE,
     "a: layers: expected a number of layers or null, found -1"),
    ({"files": {"a": A | {"figures": {"AP": 1}}}}, Reason.BAD_VALUE,
     "a: figures: expected objects with size, and AP, AP50 or FPS, "),
    ({"files": {"a": A | {"figures": [{"AP": 1}]}}}, Reason.BAD_VALUE, "a: figures: expected"),
    ({"files": {"a": A | {"figures": [{"size": 9, "AP": float("nan")}]}}}, Reason.BAD_VALUE, "a: figures: expected"),
])
def test_bad_manifests(cli, tmp_path, text, reason, message):
    path = tmp_path / "m.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())
    with raises(DataError, reason):
        read_manifest(path)
    code, out, err = cli("download", "a", "-manifest", path)
    assert (code, out, err.count("\n")) == (1, "", 1) and err.startswith(f"darknet-py: {path}: ") and message in err


@pytest.mark.parametrize("words, files, where", [
    (["a"], ["a.weights"], "a.weights"), (["a.weights", "a", "a.weights"], ["a.weights"], "a.weights"),
    (["a.cfg"], ["a.weights", "a.conv.2"], "a.conv.2"), (["a.conv.2", "b"], ["a.conv.2", "b.weights"], "b.weights"),
    (["a", "-o", "new/folder"], ["a.weights"], "new/folder/a.weights"),
    (["a", "-out", "v1.2/"], ["a.weights"], "v1.2/a.weights"), (["a", "-o=b/m.weights"], ["a.weights"], "b/m.weights"),
    (["a.cfg", "-o", "folder"], ["a.weights", "a.conv.2"], "folder/a.conv.2")])
def test_download(cli, own, web, words, files, where):
    code, out, err = cli(*own, *words)
    assert (code, err) == (0, "") and Path(where).read_bytes() == DATA
    assert [path for path, *_ in web.log] == [f"/x/{name}" for name in files]
    assert f"{where}: fetched from {web.url}/x/{files[-1]}; " in out.splitlines()[-1]
    assert out.endswith("size is right, its SHA-256 is not known\n" if "b" in words else "size and SHA-256 are right\n")
    code, out, err = cli(*own, *words)
    assert (code, err) == (0, "") and len(web.log) == len(files) and out.count("is here already; ") == len(files)


@pytest.mark.parametrize("page, code, message", [
    (Page(DATA, '"1"', faults=[1000]), 0, "fetched"), (Page(DATA, None, "no", [1000]), 0, "fetched"),
    (Page(DATA, '"1"', faults=[{"length": len(DATA), "body": DATA[:99]}]), 0, "fetched"),
    (Page(DATA, faults=[{"status": 503}]), 0, "fetched"), (Page(DATA, faults=["{url}/x/b.weights"]), 0, "fetched"),
    (Page(DATA, faults=[{"status": 503}] * 3), 1, "the server says 503 Service Unavailable"),
    (Page(DATA, faults=[{"length": 9}]), 1, f"expected {len(DATA)} bytes, the server has 9"),
    (Page(DATA[::-1]), 1, f"expected sha256 {'0' * 64} or {SHA}, found "),
    (Page(DATA, '"1"', faults=[1000, 0, 0, 0]), 1, "1000 bytes are in a.weights.part, from where another try goes on"),
    (None, 1, "the server says 404 Not Found"),
])
def test_a_server_that_serves_badly(cli, own, web, page, code, message):
    """One line; the other files come all the same, and the place of the file holds all or nothing."""
    web.pages.pop("/x/a.weights")
    if page is not None:
        page.faults = [fault.format(url=web.url) if isinstance(fault, str) else fault for fault in page.faults]
        web.pages["/x/a.weights"] = page
    found, out, err = cli(*own, "a", "b")
    assert found == code and message in (err if code else out) and err.count("\n") == code
    assert Path("a.weights").exists() == (code == 0) and Path("b.weights").read_bytes() == DATA


def test_mirrors(cli, own, web, monkeypatch):
    """Those of the flag, those of the environment, the manifest's own; what the first began the next completes."""
    web.pages |= {"/1/a.weights": Page(DATA, faults=[7, 0, 0, 0]), "/3/a.weights": Page(DATA[:9])}
    monkeypatch.setenv("DARKNET_PY_MIRROR", f"{web.url}/2 {web.url}/3")
    code, out, err = cli(*own, "a", "-mirror", f"{web.url}/1/")
    assert (code, err) == (0, "") and out.startswith(f"a.weights: fetched from {web.url}/x/a.weights; ")
    assert list(dict.fromkeys(path for path, *_ in web.log)) == [f"/{at}/a.weights" for at in "123x"]
    assert web.log[-1] == ("/x/a.weights", "bytes=7-", None)
    code, _, err = cli(*own, "b", "-mirror", "ftp://a")
    assert code == 1 and "expected a URL that begins with https:// or http://, found ftp://a/b.weights" in err


def test_offline(cli, own, web):
    text = Path("own.json").read_text()
    Path("own.json").write_text(text.replace(web.url, "http://127.0.0.1:1"))
    code, out, err = cli(*own, "a")
    assert (code, out) == (1, "") and err == (
        "darknet-py: a.weights: cannot be fetched: http://127.0.0.1:1/x/a.weights: no connection: Connection refused; "
        f"get it in another way, and put it there ({len(DATA)} bytes, sha256 {'0' * 64} or {SHA})\n")
    assert not Path("a.weights").exists()


def test_a_file_that_is_there_and_wrong(cli, own, web):
    Path("a.weights").write_bytes(b"mine")
    code, _, err = cli(*own, "a")
    assert code == 1 and f"a.weights: expected {len(DATA)} bytes, found 4; take it away to have it fetched" in err
    Path("a.weights").write_bytes(DATA[::-1])
    code, _, err = cli(*own, "a")
    assert code == 1 and f" or {SHA}, found " in err and Path("a.weights").read_bytes() == DATA[::-1] and not web.log


@pytest.mark.parametrize("words, message", [
    (["yolo4"], "found yolo4; did you mean yolov4?"), (["cfg/yolov4.cfg"], "did you mean yolov4.cfg?"),
    (["nothing like it"], "found nothing like it\n"),
    (["yolov4", "yolov4.con.137"], "did you mean yolov4.conv.137?"), ([], "download needs NAME..."),
    (["yolov4.cfg", "-o", "a.weights"], "-out a.weights is the path of one file, found 2 files")])
def test_wrong_words(cli, words, message):
    code, out, err = cli("download", *words)
    assert (code, out, err.count("\n")) == (1, "", 1) and message in err


def test_list(cli, own, web):
    Path("a.weights").write_bytes(DATA)
    Path("a.conv.2.part").write_bytes(DATA[:len(DATA) // 2])
    Path("b.weights").write_bytes(DATA[:1])
    code, out, err = cli(*own, "-list")
    assert (code, err) == (0, "") and [line.split() for line in out.splitlines()[1:]] == [
        ["a.weights", f"{len(DATA):,}", "known", "a.cfg", "here"],
        ["a.conv.2", f"{len(DATA):,}", "known", "a.cfg,", "2", "layers", "50%", "here"],
        ["b.weights", f"{len(DATA):,}", "-", "-", "wrong", "size"]] and not web.log
    code, out, _ = cli("download", "-list", "-o", "weights")
    assert code == 0 and out.count("\n") == 1 + len(OFFICIAL) == 1 + len(re.findall(" download$", out, re.M))


@pytest.mark.parametrize("path", ["yolov4.weights", "weights/yolov4.weights", "../my weights/yolov4.weights",
                                  "./v1.2/yolov4.weights", "it's/yolov4.conv.137", "{tmp}/x/darknet53.conv.74"])
def test_the_command_that_is_named_is_right(cli, web, demo, tmp_path, monkeypatch, path):
    """It fetches the file to where it was looked for, and then the first command works."""
    path = path.format(tmp=tmp_path)
    name = Path(path).name
    web.pages[f"/{name}"] = Page(DATA)
    monkeypatch.setitem(OFFICIAL, name, Published((f"{web.url}/{name}",), len(DATA), (SHA,)))
    first = ["detect", demo[0], path, demo[2]]
    code, _, err = cli(*first)
    hint = re.fullmatch(f"darknet-py: {re.escape(path)}: no such weights file; (darknet-py .*) fetches it\n", err)
    assert code == 1 and hint is not None and not Path(path).exists()
    assert cli(*shlex.split(hint[1])[1:])[0] == 0 and Path(path).read_bytes() == DATA
    assert cli(*first)[0] == 0


def test_what_is_not_official():
    for path in ("mine.weights", "weights/yolov4_best.weights", "yolov4.weights/", "yolov4"):
        assert how_to_get(path) == "it is none of the official weights, so it has to be copied there, or trained"


@pytest.mark.parametrize("words", [
    ["info", "{cfg}", "yolov4.weights"], ["partial", "{cfg}", "yolov4.weights", "out", "1"],
    ["detector", "test", "a.data", "{cfg}", "yolov4.weights", "a.png"],
    ["detector", "map", "a.data", "{cfg}", "yolov4.weights"], ["evaluate", "a.data", "{cfg}", "yolov4.weights"],
    ["detector", "train", "a.data", "{cfg}", "yolov4.weights"], ["tune", "a.data", "{cfg}", "yolov4.weights"],
    ["classifier", "predict", "a.data", "{cfg}", "yolov4.weights", "a.png"],
    ["classifier", "valid", "a.data", "{cfg}", "yolov4.weights"], ["rnn", "generate", "{cfg}", "yolov4.weights"],
    ["nightmare", "{cfg}", "yolov4.weights", "a.png", "1"]])
def test_every_verb_says_it(cli, demo, words):
    cfg, _, picture = demo
    if "train" in words or "tune" in words:         # [net] of the demonstration says nothing of training
        Path("t.cfg").write_text(cfg.read_text().replace("[net]", "[net]\nbatch=4\nmax_batches=9"))
        cfg = "t.cfg"
    shutil.copy(picture, "a.png")
    Path("a.data").write_text("classes=3\ntrain=list.txt\nvalid=list.txt\n")
    Path("list.txt").write_text("a.png\n")
    code, _, err = cli(*(word.format(cfg=cfg) for word in words))
    last = "darknet-py: yolov4.weights: no such weights file; darknet-py download yolov4 fetches it"
    assert code == 1 and err.splitlines()[-1] == last


def test_zoo(cli):
    Path("weights").mkdir()
    with open("weights/yolov4-tiny.weights", "wb") as file:
        file.truncate(OFFICIAL["yolov4-tiny.weights"].size)
    Path("digits.weights").touch()
    Path("yolov4.weights.part").write_bytes(b"x" * 3_000_000)
    code, out, err = cli("zoo", "-json", "zoo.json")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:len(ARCHITECTURES) + 1]}
    assert (code, err) == (0, "") and list(rows) == list(ARCHITECTURES)
    assert rows == rows | {
        "yolov4": ["608x608", "128.459", "64,429,405", "257,717,640", "43.5", "65.7", "62", "608", "1%", "here"],
        "yolov4-tiny": ["416x416", "6.910", "6,062,814", "24,251,276", "-", "40.2", "-", "416", "here"],
        "yolov4-csp": ["512x512", "77.003", "52,986,205", "211,944,840", "46.2", "64.8", "93", "512", "download"],
        "digits": ["288x288", "0.636", "691,590", "2,766,380", "-", "-", "-", "-", "here"],
        "darknet53": ["256x256", "18.576", "41,645,640", "166,582,580", "-", "-", "-", "-", "-"]}
    cards = {card["network"]: card for card in json.loads(Path("zoo.json").read_text())}
    assert cards["yolov4"]["BFLOPs"] == pytest.approx(128.459, abs=.001) and cards["darknet53"]["AP"] is None
    code, out, err = cli("zoo", "yolo4")
    assert code == 1 and out == "" and "did you mean yolov4?" in err
