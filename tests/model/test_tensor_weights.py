"""Files of tensors, .safetensors and PyTorch's, in the place of .weights."""
import numpy as np
import pytest
import torch
from conftest import ROOT, raises
from safetensors.torch import save_file

from darknet_py import Detector, Reason, WeightsError, load_network
from darknet_py.convert import convert
from darknet_py.model.network import LazyNetwork
from darknet_py.training.transfer import start_network
from darknet_py.zoo.models import open_cfg

CFG, WEIGHTS = ROOT / "cfg/digits.cfg", ROOT / "weights/digits.weights"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same weights in each format, and those of the first layers alone."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("a.safetensors", "a.pt", "a.pth"):
        convert(CFG, WEIGHTS, folder / name, to="pt" if name == "a.pth" else None, check=False)
    load_network(CFG, WEIGHTS).save_weights(folder / "part.weights", 5)
    convert(CFG, folder / "part.weights", folder / "part.safetensors", check=False)
    return folder


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth"])
def test_whole_networks(files, name):
    own, network = load_network(CFG, WEIGHTS), load_network(CFG, files / name)
    assert all(map(torch.equal, own.state_dict().values(), network.state_dict().values()))
    assert (network.seen, network.reached, network.fresh) == (own.seen, len(network.layers), [])
    outline = LazyNetwork(CFG, files / name).outline
    assert (outline.seen, outline.reached) == (own.seen, len(network.layers))
    assert start_network(open_cfg(CFG), files / name)[1].fresh == []


def test_the_first_layers(files):
    """The others start at random, as with .weights."""
    own, network = load_network(CFG, files / "part.weights"), load_network(CFG, files / "part.safetensors")
    assert network.reached == own.reached and network.fresh == own.fresh and network.reached < len(network.layers)
    for index, (ours, theirs) in enumerate(zip(own.layers, network.layers, strict=True)):
        if index < network.reached:
            assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


def test_detectors(files):
    expected, found = (Detector(CFG, weights, device="cpu")(ROOT / "cfg/digits.jpg") for weights in
                       (WEIGHTS, files / "a.safetensors"))
    assert len(found) > 10 and np.array_equal(found.boxes, expected.boxes)


@pytest.mark.parametrize("build", [load_network, LazyNetwork, Detector])
def test_files_that_do_not_fit(files, tmp_path, build):
    save_file({"layers.0.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "x.safetensors")
    (tmp_path / "y.pt").write_bytes(b"no archive")
    with raises(WeightsError, Reason.INCOMPATIBLE, r"x\.safetensors: lacks layers\.0\.norm"):
        build(CFG, tmp_path / "x.safetensors")
    with raises(WeightsError, Reason.CORRUPT, r"y\.pt: "):
        build(CFG, tmp_path / "y.pt")
    with raises(WeightsError, Reason.MISSING_FILE, r"gone\.pt: cannot read the file: No such file or directory"):
        build(CFG, tmp_path / "gone.pt")
