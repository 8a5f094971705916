"""Convolutions with their weights laid out for the CPU: the same results, and plain weights for all other uses."""
import copy

import pytest
import torch

from darknet_py import load_network, parse_cfg
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.layers.convolutional import FUSED

CONV = "[convolutional]\nfilters=8\nsize=3\npad=1\n"
CFGS = {activation: CONV + f"activation={activation}\n" for activation in (*FUSED, "mish", "linear", "hard_mish")} | {
    "no bias": CONV + "batch_normalize=1\nactivation=leaky\n", "stride": CONV + "stride_x=2\nactivation=leaky\n",
    "dilation": CONV + "dilation=2\nactivation=leaky\n", "blur": CONV + "stride=2\nantialiasing=1\nactivation=leaky\n",
    "groups": CONV + CONV + "groups=4\nactivation=relu\n", "1x1": "[convolutional]\nfilters=5\nactivation=mish\n",
    "shared": CONV + CONV + "activation=leaky\n" + CONV + "share_index=-1\nactivation=relu\n",
    "signs": CONV + CONV + "xnor=1\nbatch_normalize=1\n", "places": CONV + "coordconv=1\nactivation=leaky\n",
    "recurrent": "[crnn]\nhidden=4\noutput=3\nsize=3\npad=1\nactivation=leaky\n"}


def some_network(text):
    torch.manual_seed(0)
    return load_network(parse_cfg(f"[net]\nwidth=9\nheight=7\nchannels=3\nbatch=1\n{text}")).requires_grad_(False)


@pytest.mark.parametrize("text", CFGS.values(), ids=CFGS)
def test_results_stay(text):
    network = some_network(text)
    x = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(1))
    expected, = PyTorch(copy.deepcopy(network).fold(), [len(network.layers) - 1])(x)
    backend = PyTorch.build(network, "cpu", [len(network.layers) - 1])
    assert any(parameter.is_mkldnn for parameter in network.parameters()) == torch.backends.mkldnn.is_available()
    torch.testing.assert_close(backend(x)[0], expected, rtol=1e-5, atol=1e-6)


def test_plain_weights_for_all_else():
    network = some_network(CFGS["groups"])
    before = [parameter.clone() for parameter in network.parameters()]
    x = torch.rand(1, *network.input_shape)
    backend = PyTorch.build(network, "cpu")
    expected, = backend(x)
    for other in (copy.deepcopy(network), network.exportable(), network):
        if other is network:
            network.double().float()
            assert backend(x)[0].allclose(expected, atol=1e-6)
        for found, weight in zip(other.parameters(), before, strict=True):
            assert not found.is_mkldnn and torch.equal(found, weight)
    backend = PyTorch.build(network, "cpu", precision="bfloat16")
    torch.testing.assert_close(backend(x)[0].float(), expected, rtol=.05, atol=.05)
    network.half()
    assert all(parameter.dtype == torch.float16 and not parameter.is_mkldnn for parameter in network.parameters())


def test_another_size_of_a_packed_network():
    network = some_network(CFGS["mish"])
    PyTorch.build(network, "cpu")
    x = torch.rand(1, 3, 20, 24)
    expected = some_network(CFGS["mish"]).fold().resized(24, 20)(x)
    torch.testing.assert_close(network.resized(24, 20)(x), expected, rtol=1e-5, atol=1e-6)
