"""Networks by their names: which word is a name, where weights are found, and how official ones are fetched."""
import hashlib
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from conftest import ROOT, raises
from web import Page

from darknet_py import (
    CfgError,
    Classifier,
    DataError,
    Detector,
    DownloadError,
    Reason,
    WeightsError,
    load_network,
    parse_cfg,
)
from darknet_py.errors import DownloadWarning
from darknet_py.zoo.architectures import cfg_text
from darknet_py.zoo.manifest import OFFICIAL, Published
from darknet_py.zoo.models import find_weights, is_name, official_weights, open_cfg

pytestmark = pytest.mark.usefixtures("workdir")
DIGITS = ROOT / "weights/digits.weights"
DATA = DIGITS.read_bytes()
TERMS = "; licence public domain (YOLO LICENSE); trained on COCO"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DARKNET_PY_MIRROR", raising=False)
    return tmp_path / "cache/weights"


@pytest.fixture
def official(web, cache, monkeypatch):
    """Our digits' weights, as if they were official."""
    facts = Published((f"{web.url}/digits.weights",), len(DATA), (hashlib.sha256(DATA).hexdigest(),), "digits.cfg",
                      licence="public domain (YOLO LICENSE)", dataset="COCO")
    monkeypatch.setitem(OFFICIAL, "digits.weights", facts)
    web.pages["/digits.weights"] = Page(DATA, '"1"')
    return facts


def test_a_file_is_no_name():
    assert is_name("yolov4") and is_name(Path("yolov4")) and not is_name("yolov4.cfg") and not is_name(3)
    Path("yolov4-tiny").mkdir()
    assert is_name("yolov4-tiny")
    Path("yolov4").write_text(cfg_text("yolov2-tiny"))
    assert not is_name("yolov4") and len(open_cfg("yolov4").sections) == 17
    assert len(open_cfg("yolov4-tiny").sections) == 39 and open_cfg("yolov4-tiny").path == Path("yolov4-tiny")
    parsed = parse_cfg(cfg_text("yolov4-tiny"))
    assert open_cfg(parsed) is parsed


@pytest.mark.parametrize("word, message", [
    ("yolov4.cfg", "; yolov4 alone is the network of the zoo"),
    ("cfg/yolov4.cfg", "; yolov4 alone is the network of the zoo"),
    ("mine.cfg", ""), ("a/yolo4", ""),
    ("yolo4", ", and no network of the zoo; did you mean yolov4?; darknet-py zoo lists them"),
    ("horse", ", and no network of the zoo; darknet-py zoo lists them")])
def test_missing_files_and_misspelt_names(word, message):
    with pytest.raises(CfgError) as caught:
        open_cfg(word)
    assert str(caught.value) == f"{word}: cannot read the cfg file: No such file or directory{message}"
    assert caught.value.reason is Reason.MISSING_FILE


@pytest.mark.parametrize("cfg", [3, None, b"yolov4"])
def test_what_is_no_network(cfg):
    with pytest.raises(TypeError, match=f"^expected a network .* found {type(cfg).__name__}$"):
        open_cfg(cfg)


def test_where_weights_are_found(cache, official):
    assert find_weights("digits") is None
    for path in (cache / "digits.weights", Path("weights/digits.weights"), Path("digits.weights")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"short")
        if path.parent == cache:
            assert find_weights("digits") is None
            path.write_bytes(DATA)
        assert find_weights("digits") == path


def test_they_are_fetched_once(official, cache, web):
    lines, steps = [], []
    path = official_weights("digits", begin=lines.append, progress=lambda *step: steps.append(step))
    assert path == cache / "digits.weights" and path.read_bytes() == DATA
    assert lines == [f"digits.weights: fetching 3 MB from {web.url}/digits.weights into {cache}{TERMS}"]
    assert steps[-1] == (len(DATA), len(DATA))
    assert official_weights("digits", begin=lines.append) == path and len(lines) == len(web.log) == 1


def test_the_library_says_it_by_a_warning(official, web, cache):
    with pytest.warns(DownloadWarning, match="fetching 3 MB from http"):
        detector = Detector("digits", device="cpu", backend="pytorch")
    assert len(detector(ROOT / "cfg/digits.jpg")) > 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = load_network("digits")
    own = load_network(ROOT / "cfg/digits.cfg", DIGITS)
    assert all(map(torch.equal, network.state_dict().values(), own.state_dict().values())) and len(web.log) == 1


def test_weights_of_ones_own(cache):
    shutil.copy(DIGITS, "mine.weights")
    assert load_network("digits", "mine.weights").seen == load_network(ROOT / "cfg/digits.cfg", DIGITS).seen
    Path("weights").mkdir()
    shutil.move("mine.weights", "weights/digits.weights")
    assert len(Detector("digits", device="cpu", backend="pytorch", thresh=.4)(ROOT / "cfg/digits.jpg")) > 10


def test_a_parsed_cfg_starts_at_random_and_a_detector_needs_weights(cache):
    assert load_network(open_cfg("digits")).reached == 0
    for build in (Detector, Classifier):
        with raises(WeightsError, Reason.MISSING_KEY, "digits.cfg: needs weights; only a network of the zoo"):
            build(ROOT / "cfg/digits.cfg")


def test_networks_without_official_weights(cache):
    for build in (Classifier, load_network):
        with raises(DataError, Reason.UNKNOWN_NAME, "no official weights of darknet19, but of yolov4, .*; its "
                    "own would be found as darknet19.weights or weights/darknet19.weights or .*/cache/weights/dark"):
            build("darknet19")


def test_mirrors_are_asked_first(official, web, monkeypatch):
    web.pages["/m/digits.weights"] = Page(DATA)
    monkeypatch.setenv("DARKNET_PY_MIRROR", f"{web.url}/gone {web.url}/m/")
    lines = []
    official_weights("digits", begin=lines.append)
    assert [path for path, *_ in web.log] == ["/gone/digits.weights", "/m/digits.weights"]
    assert f" from {web.url}/gone/digits.weights into " in lines[0]


def test_offline(official, cache, monkeypatch):
    monkeypatch.setitem(OFFICIAL, "digits.weights", official._replace(urls=("http://127.0.0.1:1/digits.weights",)))
    monkeypatch.setattr("darknet_py.zoo.download.time.sleep", lambda seconds: None)
    with pytest.raises(DownloadError) as caught:
        official_weights("digits", begin=lambda line: None)
    assert str(caught.value) == (
        f"{cache}/digits.weights: cannot be fetched: http://127.0.0.1:1/digits.weights: no connection: Connection "
        f"refused; get it in another way, and put it there ({len(DATA)} bytes, sha256 {official.sha256[0]}); or "
        "DARKNET_PY_MIRROR=URL names a folder on the web that has it, or darknet-py download digits -mirror URL puts "
        "it here")


def test_no_folder_to_keep_them_in(official, web, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKNET_PY_CACHE", "")
    with pytest.raises(DownloadError, match=r"^digits\.weights: DARKNET_PY_CACHE is empty, so .* download digits"):
        official_weights("digits")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"file/weights/digits\.weights: cannot be written: Not a directory; DA"):
        official_weights("digits")
    assert not web.log


def test_processes_that_fetch_at_once(official, cache, web):
    """One fetches, the other waits, and both have the file."""
    web.pages["/digits.weights"].faults = ["hang", "hang"]
    code = f"""if True:
        from darknet_py.zoo.manifest import OFFICIAL, Published
        from darknet_py.zoo.models import official_weights
        OFFICIAL["digits.weights"] = Published(*{tuple(official)!r})
        print(official_weights("digits", begin=print))
    """
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0].splitlines() for process in both]
    assert [lines[-1] for lines in outputs] == [str(cache / "digits.weights")] * 2
    assert sorted(map(len, outputs)) == [1, 2] and len(web.log) == 1


def test_licences():
    for name, facts in OFFICIAL.items():
        assert facts.licence == ("GPL-3.0" if name.startswith("yolov7") else "public domain (YOLO LICENSE)")
        assert facts.dataset == ("COCO" if facts.layers is None else "ImageNet" if "darknet53" in name else None)
    assert OFFICIAL["yolov7.weights"].terms == "; licence GPL-3.0; trained on COCO" and Published((), 1).terms == ""
