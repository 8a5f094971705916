"""Training that starts from weights of another number of classes, or of the first layers."""
import warnings

import pytest
import torch
from conftest import ROOT, raises

from darknet_py import Reason, WeightsError, load_network
from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.prepare.edit_cfg import edit_cfg
from darknet_py.prepare.refit_heads import fit_heads
from darknet_py.training.transfer import start_network

FITS = {                # cfg -> (what is said, the layers that start fresh)
    "yolov3-tiny": ("80 classes: 11 of 13 layers with weights loaded; layers 15, 22 ([convolutional], before [yolo]) "
                    "start fresh", [15, 22]),
    "yolov4-tiny": ("80 classes: 19 of 21 layers with weights loaded; layers 29, 36 ([convolutional], before [yolo]) "
                    "start fresh", [29, 36]),
    "yolov2-tiny": ("80 classes: 8 of 9 layers with weights loaded; layer 14 ([convolutional], before [region]) starts "
                    "fresh", [14]),
    "gaussian": ("80 classes: 1 of 2 layers with weights loaded; layer 1 ([convolutional], before [Gaussian_yolo]) "
                 "starts fresh", [1]),
    "yolov1-tiny": ("20 classes: 8 of 9 layers with weights loaded; layer 14 ([connected], before [detection]) starts "
                    "fresh", [14]),
    "darknet19": ("1000 classes: 18 of 19 layers with weights loaded; layer 23 ([convolutional], before [softmax]) "
                  "starts fresh", [23]),
}
GAUSSIAN = parse_cfg("[net]\nwidth=8\nheight=8\nchannels=3\n[conv]\nfilters=6\nbatch_normalize=1\n[conv]\nfilters=178\n"
                     "[Gaussian_yolo]\nclasses=80\nnum=2\nanchors=1,2,3,4\n", "gaussian.cfg")


def quiet(cfg, **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return edit_cfg(cfg, changes) if changes else cfg


def written(cfg, path, seen=0, layers=None):
    """A network with other numbers everywhere, and its weights in a file."""
    torch.manual_seed(5)
    network = load_network(cfg)
    with torch.no_grad():
        for parameter in (*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())):
            parameter.uniform_(.1, 1)
    network.seen = seen
    network.save_weights(path, layers)
    return network


def blobs(layer):
    return [blob.tensor.detach() for blob in layer.blobs()]


@pytest.mark.parametrize("name", FITS)
def test_weights_of_other_classes(name, tmp_path):
    """What fits is taken over exactly, the layers before the heads are those of a network without weights; the file
    is refused by everything but training."""
    cfg, path = GAUSSIAN if name == "gaussian" else read_cfg(ROOT / f"cfg/{name}.cfg"), tmp_path / "big.weights"
    big = written(cfg, path, seen=10 ** 6)
    small = fit_heads(cfg, classes=3)
    network, start = start_network(small, path)
    assert (start.text(), start.fresh) == (f"{path} was trained for {FITS[name][0]}", FITS[name][1])
    assert network.seen == 0
    for index, (ours, theirs) in enumerate(zip(network.layers, big.layers, strict=True)):
        if index in start.fresh:
            bias, weight = blobs(ours)[0], blobs(ours)[-1]
            assert bias.eq(0).all() and weight.lt(.1).any() and weight.isfinite().all() and weight.ne(0).any()
        else:
            assert all(torch.equal(a, b) for a, b in zip(blobs(ours), blobs(theirs), strict=True))
    with raises(WeightsError, Reason.INCOMPATIBLE, "this looks like the same network with classes="):
        load_network(small, path)


@pytest.mark.parametrize("layers, said", [
    (29, "17 of 21 layers with weights loaded; layers 29, 32, 35, 36 start fresh"),
    (0, "0 of 21 layers with weights loaded; layers 0, 1, 2, 4, 5, 7 and 15 more start fresh"),
    (None, "21 of 21 layers with weights loaded"),
])
def test_first_layers(layers, said, tmp_path):
    cfg, path = read_cfg(ROOT / "cfg/yolov4-tiny.cfg"), tmp_path / "tiny.conv"
    big = written(cfg, path, 64, layers)
    network, start = start_network(cfg, path)
    assert start.text() == f"{path}: {said}" and start.classes is None and network.seen == (64 if layers is None else 0)
    for index, (ours, theirs) in enumerate(zip(network.layers, big.layers, strict=True)):
        same = [torch.equal(a, b) for a, b in zip(blobs(ours), blobs(theirs), strict=True)]
        assert all(same) if index not in start.fresh else not any(same[1:])
    assert start_network(cfg, None)[1].text() == "none: all 21 layers with weights start fresh"


@pytest.mark.parametrize("changes", [
    {"yolo.mask": "0,1", "yolo.classes": 3}, {"0.filters": 8, "yolo.classes": 3}, {"4.size": 1, "yolo.classes": 3},
    {"net.channels": 1, "yolo.classes": 3},
])
def test_other_networks_are_refused(changes, tmp_path):
    """Other anchors, filters or sizes, with other classes too."""
    cfg, path = read_cfg(ROOT / "cfg/yolov3-tiny.cfg"), tmp_path / "big.weights"
    written(cfg, path)
    with pytest.raises(WeightsError, match=r"big.weights: holds 8858734 numbers after its header, the network needs"):
        start_network(quiet(cfg, **changes), path)
    path.write_bytes(path.read_bytes()[:-4])
    with raises(WeightsError, Reason.INCOMPATIBLE, "holds 8858733 numbers after its header"):
        start_network(quiet(cfg, **{"yolo.classes": 3}), path)
