"""Sections that only pjreddie/darknet has, against numbers measured with it.

(Its loader divides by groups=0 for [deconvolutional]; the measuring program set groups=1.)
"""
import numpy as np
import pytest
import torch
from conftest import raises

from darknet_py import CfgError, Reason, load_network, parse_cfg

NET = "[net]\nwidth=5\nheight=4\nchannels=3\n"
CASES = [   # cfg, outputs at 0, 7, 19 and last, their sum, the sum of their absolute values
    ("[deconvolutional]\nfilters=2\nsize=3\nstride=2\npad=1\nactivation=leaky\n",
     [-0.0333505161, -0.0924597979, -0.0387855656, 0.5233504772], 27.8142890930, 35.4657859802),
    ("[deconv]\nbatch_normalize=1\nfilters=4\nsize=4\nstride=2\npadding=1\nactivation=relu\n"
     "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n",
     [0.1449999958, 0.1143155843, 0.1449999958, 0.0640000030], 17.1392250061, 17.2399368286),
    ("[l2norm]\n", [0, 0.3526380062, 0.0739386156, 0.8767007589], 30.2396926880, 30.2396926880),
    ("[convolutional]\nfilters=2\nsize=3\npad=1\nactivation=linear\n[logistic]\n",
     [0.3620793521, 0.2273364961, 0.4088599384, 0.6222776175], 19.4588279724, 19.4588279724),
]


def filled(cfg):
    """A network whose weights follow from their place in the file."""
    network = load_network(parse_cfg(NET + cfg))
    for number, blob in enumerate(blob for layer in network.layers for blob in layer.blobs()):
        values = (np.arange(blob.tensor.numel()) * 7919 + number * 104729) % 1000 / 1000
        values = values * .5 + .5 if blob.norm else values - .5
        blob.tensor.data.copy_(torch.from_numpy(values).view(blob.tensor.shape))
    return network


@pytest.mark.parametrize("cfg, samples, total, absolute", CASES)
@torch.no_grad()
def test_measured(cfg, samples, total, absolute):
    x = torch.arange(60) * 31 % 97 / 97
    y = filled(cfg)(x.view(1, 3, 4, 5))[-1].flatten()
    torch.testing.assert_close(y[[0, 7, 19, -1]], torch.tensor(samples), atol=2e-6, rtol=0)
    assert (y.sum().item(), y.abs().sum().item()) == pytest.approx((total, absolute), abs=1e-4)


def test_iseg():
    network, x = load_network(parse_cfg(NET + "[iseg]\nclasses=1\nids=2\n")), torch.randn(2, 3, 4, 5)
    (y,) = network(x)
    torch.testing.assert_close(y, torch.cat([x[:, :1].sigmoid(), x[:, 1:]], 1))
    with raises(CfgError, Reason.SHAPE_MISMATCH,
                r"needs filters=6 in the layer before it \(4 classes \+ 2 ids\), got 3"):
        load_network(parse_cfg(NET + "[iseg]\nclasses=4\nids=2\n"))


def test_weights_survive(tmp_path):
    first, second = (filled(CASES[1][0]) for _ in range(2))
    first.save_weights(tmp_path / "a.weights")
    second.reset_parameters()
    assert second.load_weights(tmp_path / "a.weights") == 2
    second.save_weights(tmp_path / "b.weights")
    assert (tmp_path / "a.weights").read_bytes() == (tmp_path / "b.weights").read_bytes()
