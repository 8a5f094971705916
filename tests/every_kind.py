"""A network of every kind of layer that has weights, and networks whose weights all differ."""
from __future__ import annotations

import struct

import torch

from darknet_py import load_network
from darknet_py.cfg.language import parse_cfg
from darknet_py.model.network import Network

ALL = """[net]
width=6
height=6
channels=2
[convolutional]
filters=4
size=3
pad=1
batch_normalize=1
[convolutional]
filters=4
size=3
pad=1
flipped=1
[convolutional]
filters=4
size=3
pad=1
groups=2
batch_normalize=1
[convolutional]
filters=4
size=3
pad=1
groups=2
batch_normalize=1
share_index=-1
[convolutional]
filters=4
size=3
pad=1
batch_normalize=1
flipped=1
[batchnorm]
[shortcut]
from=-2,-3
weights_type=per_channel
[shortcut]
from=-2,-3
weights_type=per_feature
weights_normalization=softmax
[local]
filters=4
size=3
pad=1
[crnn]
hidden=3
output=4
pad=1
batch_normalize=1
[conv_lstm]
output=4
pad=1
batch_normalize=1
peephole=1
[conv_lstm]
output=4
pad=1
[conv_lstm]
output=4
pad=1
bottleneck=1
peephole=1
[implicit]
filters=4
atoms=2
[connected]
output=5
batch_normalize=1
[connected]
output=5
[rnn]
hidden=3
output=5
batch_normalize=1
[gru]
output=5
[lstm]
output=5
batch_normalize=1
[maxpool]
"""


def header(major: int = 0, minor: int = 2, revision: int = 5, seen: int = 0, size: int = 20) -> bytes:
    return struct.pack("<iiiQ" if size == 20 else "<iiiI", major, minor, revision, seen)


def floats(count: int) -> bytes:
    return torch.arange(1., count + 1).numpy().tobytes()


def network(text: str, seed: int = 0) -> Network:
    """A network whose every weight is another number."""
    net = load_network(parse_cfg(text, "x.cfg"))
    generator = torch.Generator().manual_seed(seed)
    for layer in net.layers:
        for blob in layer.blobs():
            blob.tensor.data.copy_(torch.rand(blob.tensor.shape, generator=generator) + .1)
    return net


def tensors(net: Network) -> list[torch.Tensor]:
    return [blob.tensor.detach().clone() for layer in net.layers for blob in layer.blobs()]
