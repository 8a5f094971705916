"""The verbs for maintenance: what C writes and prints, and what they are for, with every kind of layer."""
import re

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from every_kind import ALL, network, tensors
from torch.utils.flop_counter import FlopCounterMode
from verbs import CASES, numbers, write_inputs

from darknet_py import DarknetError, load_network
from darknet_py.cfg.language import parse_cfg
from darknet_py.layers.recurrent import Recurrent
from darknet_py.model.summary import operations
from darknet_py.model.weights import read_header
from darknet_py.tools import filter_image
from darknet_py.tools import weight_tools as maintenance

EXACT = ("average", "rgbgr", "normalize", "oneoff", "oneoff2")
TEXT, NUMBER = re.compile(r"(Connected Layer|Floating)[\s\S]+"), re.compile(r"\d+\.\d{6}")
NET = "[net]\nwidth=6\nheight=6\nchannels=3\n"


@pytest.fixture(scope="module")
def goldens():
    with np.load(ROOT / "tests/goldens/verbs.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", CASES)
def test_as_c(name, goldens, workdir, cli):
    verb, *words = write_inputs(CASES[name], workdir)
    code, out, _ = cli(verb.removesuffix("2"), *words)
    assert code == 0
    expected = goldens[name]
    if name in ("statistics", "ops"):
        ours, theirs = (TEXT.search("\n".join(line for line in lines if line and not line.startswith("Weights")))[0]
                        for lines in (out.splitlines(), expected))      # of weights C sees a few
        assert NUMBER.sub("", ours) == NUMBER.sub("", theirs)
        np.testing.assert_allclose(*([float(x) for x in NUMBER.findall(text)] for text in (ours, theirs)), atol=2e-6)
        return
    assert read_header(workdir / "out").seen == (0 if "oneoff" in verb else 6400)
    found = numbers(name, workdir / "out")
    if name == "normalize":                     # C's variances are 0
        found, odd = found.copy(), expected == 0
        assert found[odd].tolist() == [0] * 4 + [1] * 4 + [0] * 3 + [1] * 3 + [0] * 5 + [1] * 5
        found[odd] = 0
    np.testing.assert_allclose(found, expected, rtol=0 if name in EXACT else 1e-6,
                               atol=2e-5 if name == "reset_memory" else 0)      # C's epsilon is another one


@pytest.mark.parametrize("verb, batch_normalize", [("reset", None), ("denormalize", 0), ("normalize", 1)])
def test_outputs_stay(verb, batch_normalize, tmp_path):
    """Every kind computes what it did, with what the new file holds and the cfg that it is for."""
    net, x = network(ALL).eval(), torch.rand(2, 2, 6, 6)
    before = net.trace(x)
    getattr(maintenance, verb)(net)
    net.save_weights(tmp_path / "out")
    text = ALL
    if batch_normalize is not None:
        text = re.sub(r"(?m)^(\[(conv\w*|connected|c?rnn|gru|lstm)\])$", rf"\1\nbatch_normalize={batch_normalize}",
                      ALL.replace("batch_normalize=1\n", ""))
    after = load_network(parse_cfg(text), tmp_path / "out").trace(x)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_average_of_every_kind():
    nets = [network(ALL, seed) for seed in range(3)]
    expected = [sum(some) / 3 for some in zip(*map(tensors, nets), strict=True)]
    mean = maintenance.average(iter(nets))
    assert mean is nets[0]
    for ours, theirs in zip(tensors(mean), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(DarknetError, match="equal shapes"):
        maintenance.average([mean, network(NET + "[conv]\n")])


@pytest.mark.parametrize("batch_normalize", [0, 1])
def test_other_inputs(batch_normalize):
    net = network(f"{NET}[conv]\nfilters=4\nsize=3\nbatch_normalize={batch_normalize}\n").eval()
    x = torch.rand(2, 3, 6, 6)
    (scaled,), (swapped,) = net(2 * x - 1), net(x.flip(1))
    maintenance.rescale(net)
    torch.testing.assert_close(net(x)[0], scaled)
    net = network(f"{NET}[conv]\nfilters=4\nsize=3\nbatch_normalize={batch_normalize}\n").eval()
    maintenance.rgbgr(net)
    torch.testing.assert_close(net(x)[0], swapped)


@pytest.mark.parametrize("head, box", [("[yolo]\nmask=0,1\nnum=2\nanchors=1,2,3,4", 5),
                                       ("[Gaussian_yolo]\nmask=0,1\nnum=2\nanchors=1,2,3,4", 9),
                                       ("[region]\nnum=2\nanchors=1,2,3,4", 5)])
def test_a_classifier_becomes_a_detector(head, box, tmp_path):
    body = NET + "[conv]\nfilters=2\nbatch_normalize=1\n[conv]\nbatch_normalize=1\nfilters="
    classifier = network(f"{body}4\n[avgpool]\n[softmax]\n")
    classifier.save_weights(tmp_path / "x")
    detector = load_network(parse_cfg(f"{body}{2 * (box + 4)}\n{head}\nclasses=4\n"))
    detector.seen = 5
    maintenance.oneoff(detector, tmp_path / "x")
    assert detector.seen == 0
    for ours, theirs in zip(tensors(detector)[5:], tensors(classifier)[5:], strict=True):
        first, second = ours.view(2, box + 4, *ours.shape[1:])
        assert torch.equal(first, second) and torch.equal(first[box:], theirs)
        assert not torch.equal(first[:4], theirs)


def test_statistics_of_every_kind():
    net = network(ALL)
    rows = list(maintenance.statistics(net))
    assert {row.layer for row in rows} == {index for index, layer in enumerate(net.layers) if any(layer.blobs())}
    assert np.isfinite([row[3:] for row in rows]).all()
    assert {bool(row.part) for row in rows if isinstance(net.layers[row.layer], Recurrent)} == {True}
    weight = net.layers[-2].uf.weight
    row = next(row for row in rows if row[:3] == (len(net.layers) - 2, "uf", "Weights"))
    np.testing.assert_allclose(row[3:], [weight.pow(2).mean().sqrt().item(), weight.mean().item(),
                                         weight.var(correction=0).item()], rtol=1e-5)


def test_operations_of_every_kind():
    net = network(f"{ALL}[deconvolutional]\nfilters=3\nsize=2\nstride=2\n").eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        net(torch.rand(1, 2, 6, 6))
    counted = counter.get_flop_counts()
    assert operations(net) == [sum(counted.get(f"Network.layers.{index}", {}).values())
                               for index in range(len(net.layers))]


def test_pictures_of_filters():
    net = network(f"{NET}[conv]\nfilters=3\n[conv]\nfilters=2\n[conv]\nsize=2\nfilters=4\n[maxpool]\n"
                  "[connected]\noutput=7\n")
    with torch.no_grad():
        net.layers[0].weight.view(3, 3).copy_(torch.tensor([[0, 1, 2], [7, 5, 3], [.5, .5, .5]]))
        net.layers[2].weight.copy_(torch.arange(32.).view(4, 2, 2, 2))
    colours = filter_image.picture_of_filters(net)
    assert colours.shape == (48, 48, 3) and not colours[16:32].any() and not colours[:, 16:32].any()
    assert colours[::32, ::32].tolist() == [[[255, 127, 0], [0, 127, 255]], [[127] * 3, [0] * 3]]
    grey = filter_image.picture_of_filters(net, 2)[::16, ::16, 0]
    first = [[0, 36, 0, 145, 182], [72, 109, 0, 218, 255]]
    assert grey.tolist() == [*first, *([[0] * 5, *first] * 3)]
    assert filter_image.picture_of_filters(net, 4).shape[0] // 16 == 7 * 6 - 1       # 7 filters of 4 x 5 x 5
    with pytest.raises(DarknetError, match=r"\[maxpool\] has no filters"):
        filter_image.picture_of_filters(net, 3)


@pytest.fixture
def files(workdir):
    """Networks and their weights: a small detector, its first layer, and a dense one."""
    whole = f"{NET}[conv]\nfilters=4\n[conv]\nfilters=12\n[yolo]\nclasses=1\nnum=2\nanchors=1,2,3,4\n"
    for name, text in {"net": whole, "first": whole[:whole.index("[conv]\nfilters=12")]}.items():
        (workdir / f"{name}.cfg").write_text(text)
        network(text).save_weights(f"{name}.weights")
    (workdir / "dense.cfg").write_text(f"{NET}[connected]\noutput=2\n")
    network(f"{NET}[connected]\noutput=2\n").save_weights("dense.weights")
    return workdir


@pytest.mark.parametrize("words, message", [
    ("average net.cfg out net.weights first.weights", "first.weights: holds the first 1 of 3 layers, expected all"),
    ("average net.cfg out net.weights dense.weights", "dense.weights: holds 218 numbers"),
    ("average net.cfg out net.weights no.weights", "no.weights: no such weights file"),
    ("rgbgr net.cfg first.weights out", "first.weights: holds the first 1 of 3 layers, expected all"),
    ("rgbgr dense.cfg dense.weights out", "dense.cfg:5: [connected] comes first, where a [convolutional] whose"),
    ("rescale dense.cfg dense.weights out", "dense.cfg:5: [connected] comes first, where a [convolutional] whose"),
    ("reset net.cfg net.weights no/folder/out", "no/folder/out: cannot write the weights file"),
    ("oneoff net.cfg net.weights out", "net.weights: holds 76 numbers after its header, the network needs 21"),
    ("oneoff net.cfg first.weights out", "first.weights: holds the first 1 layers, expected 2, the last of 1 filters"),
    ("oneoff dense.cfg dense.weights out", "dense.cfg:5: [connected] ends the network"),
    ("oneoff net.cfg first.weights out 3", "LAYER needs a number from 0 to 2, found 3"),
    ("oneoff net.cfg first.weights out 1", "first.weights: holds 16 numbers after its header, the network needs 60"),
    ("visualize net.cfg net.weights out.png -layer 3", "-layer needs a number from 0 to 2, found 3"),
    ("visualize net.cfg net.weights out.png -layer 2", "net.cfg:9: [yolo] has no filters of its own"),
    ("visualize net.cfg net.weights out.nokind", "out.nokind: cannot write a picture of "),
    ("statistics net.cfg first.weights", "first.weights: holds the first 1 of 3 layers, expected all"),
    ("ops no.cfg", "no.cfg: cannot read the cfg file"),
])
def test_bad_input_is_one_line(words, message, files, cli):
    code, out, err = cli(*words.split())
    assert code == 1 and out == "" and err.count("\n") == 1 and err.startswith(f"darknet-py: {message}")
    assert len([*files.iterdir()]) == 6


def test_in_place_and_pictures(files, cli):
    """OUT may be a file that is read; what is there appears as a picture."""
    before = (files / "net.weights").read_bytes()
    for verb in ("rgbgr", "rgbgr"):
        assert cli(verb, "net.cfg", "net.weights", "net.weights")[0] == 0
    assert (files / "net.weights").read_bytes() == before
    assert cli("average", "net.cfg", "net.weights", "net.weights", "net.weights")[0] == 0
    assert (files / "net.weights").read_bytes() == before
    code, out, _ = cli("visualize", "net.cfg", "net.weights")
    assert code == 0 and out.splitlines()[-1] == "wrote filters.png"
    assert cv2.imread("filters.png").shape == (48, 48, 3)
