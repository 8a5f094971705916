"""``hubconf.py``, as ``torch.hub`` uses it."""
from importlib import import_module

import pytest
import torch
from conftest import ROOT, raises
from web import Page

from darknet_py import DarknetError, DataError, Detector, Network, Reason, load_network
from darknet_py.zoo.architectures import ARCHITECTURES
from darknet_py.zoo.manifest import OFFICIAL


def hub(*words, **options):
    return torch.hub.load(str(ROOT), *words, source="local", **options)


def test_entry_points(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    names = vars(import_module("hubconf"))
    assert {name for name in names if name[0] != "_" and callable(names[name])} == {*ARCHITECTURES, "detector"}
    assert names["yolov4-tiny"].__doc__.startswith("YOLOv4-tiny (arXiv")
    network = hub("yolov4-tiny", classes=3, width=64)
    assert isinstance(network, Network) and not network.training
    assert [head.shape[1] for head in network(torch.zeros(1, 3, 64, 64))] == [24, 24]
    with raises(DataError, Reason.UNKNOWN_NAME, "no official weights of darknet19, but of yolov4, "):
        hub("darknet19", pretrained=True)
    with pytest.raises(DarknetError, match="did you mean yolov4-tiny"):
        hub("detector", "yolov4-tin")


@pytest.mark.filterwarnings("ignore::darknet_py.errors.DownloadWarning")
def test_official_weights(web, tmp_path, monkeypatch):
    """In the cache that ``Detector`` has too."""
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    network = hub("yolov4-tiny")
    network.save_weights(tmp_path / "a.weights")
    data = (tmp_path / "a.weights").read_bytes()
    monkeypatch.setitem(OFFICIAL, "yolov4-tiny.weights", OFFICIAL["yolov4-tiny.weights"]._replace(
        size=len(data), sha256=()))
    monkeypatch.setenv("DARKNET_PY_MIRROR", f"{web.url}/")
    web.pages["/yolov4-tiny.weights"] = Page(data)
    loaded = hub("yolov4-tiny", pretrained=True)
    assert all(map(torch.equal, network.state_dict().values(), loaded.state_dict().values()))
    assert (tmp_path / "cache/weights/yolov4-tiny.weights").read_bytes() == data
    detector = hub("detector", "yolov4-tiny", device="cpu", thresh=.99)
    assert isinstance(detector, Detector) and detector.names[0] == "person" and len(web.log) == 1
    assert load_network("yolov4-tiny").reached == len(network.layers) and len(web.log) == 1
    own = load_network(detector.network.cfg, tmp_path / "a.weights")
    assert own.input_shape == (3, 416, 416)
