"""Weights files: every kind's tensors there and back, every header, and each way in which a file can be wrong."""
from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import raises
from every_kind import ALL, floats, header, network, tensors

from darknet_py import load_network
from darknet_py.cfg.language import parse_cfg
from darknet_py.errors import Reason, WeightsError
from darknet_py.model.network import Network
from darknet_py.model.weights import read_header, save

# How many numbers each layer of ALL has in a file, counted by hand.
SIZES = [
    4 + 3 * 4 + 4 * 2 * 9, 4 + 4 * 4 * 9, 4 + 3 * 4 + 4 * 2 * 9, 0, 4 + 3 * 4 + 4 * 4 * 9, 4 * 4, 3 * 4, 3,
    4 * 36 + 36 * 4 * 4 * 9,
    (3 + 9 + 3 * 4 * 9) + (3 + 9 + 3 * 3 * 9) + (4 + 12 + 4 * 3 * 9), 11 * (4 + 12 + 4 * 4 * 9),
    8 * (4 + 4 * 4 * 9), 3 * (4 + 4 * 4 * 9) + (4 + 4 * 8 * 9) + 4 * (4 + 4 * 4 * 9), 4 * 2, 5 + 5 * 8 + 15, 5 + 5 * 5,
    (3 + 15 + 9) + (3 + 9 + 9) + (5 + 15 + 15), 6 * (5 + 5 * 5), 8 * (5 + 5 * 5 + 15), 0,
]
SMALL = """[net]
width=3
height=3
channels=2
[convolutional]
filters=3
batch_normalize=1
[connected]
output=2
"""         # 3 * 4 + 3 * 2 and 2 + 2 * 27 numbers


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_every_kind_there_and_back(tmp_path):
    one, two = network(ALL, 1), network(ALL, 2)
    one.seen = 2 ** 40 + 3
    one.save_weights(tmp_path / "one.weights")
    assert two.load_weights(tmp_path / "one.weights") == len(two.layers) == len(SIZES)
    two.save_weights(tmp_path / "two.weights")
    content = (tmp_path / "one.weights").read_bytes()
    assert content == (tmp_path / "two.weights").read_bytes()
    assert content[:20] == header(seen=2 ** 40 + 3) and two.seen == one.seen
    assert len(content) == 20 + 4 * sum(SIZES)
    assert same(tensors(one), tensors(two))
    x = torch.rand(2, 2, 6, 6)
    torch.testing.assert_close(one(x)[0], two(x)[0], rtol=0, atol=0)


def test_sizes_of_layers():
    net = Network(parse_cfg(ALL))
    assert [sum(blob.tensor.numel() for blob in layer.blobs()) for layer in net.layers] == SIZES


def test_order_within_layers(tmp_path):
    """Numbered values land where C puts them."""
    net = network(SMALL)
    (tmp_path / "x").write_bytes(header() + floats(74))
    net.load_weights(tmp_path / "x")
    conv, conn = net.layers
    for tensor, start in [(conv.norm.bias, 1), (conv.norm.weight, 4), (conv.norm.running_mean, 7),
                          (conv.norm.running_var, 10), (conv.weight, 13), (conn.bias, 19), (conn.weight, 21)]:
        assert torch.equal(tensor.flatten(), torch.arange(start, start + tensor.numel()).float())


@pytest.mark.parametrize("flipped", [0, 1])
def test_flipped_weights_lie_transposed(flipped, tmp_path):
    net = network(f"[net]\nwidth=4\nheight=4\nchannels=2\n[conv]\nfilters=3\nsize=2\nflipped={flipped}\n")
    (tmp_path / "x").write_bytes(header() + floats(27))
    net.load_weights(tmp_path / "x")
    numbers = torch.arange(4., 28)
    expected = numbers.view(8, 3).t() if flipped else numbers.view(3, 8)
    assert torch.equal(net.layers[0].weight.detach(), expected.reshape(3, 2, 2, 2))
    net.save_weights(tmp_path / "y")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.parametrize("major, minor, size, transposed", [
    (0, 1, 16, False), (0, 0, 16, False), (0, 2, 20, False), (0, 5, 20, False), (1, 0, 20, False), (-1, 5, 16, False),
    (-1, 11, 16, False), (-1, 12, 20, False),
    (1000, 0, 20, False), (1001, 0, 20, True), (0, 1001, 20, True),
])
def test_headers(major, minor, size, transposed, tmp_path):
    path = tmp_path / "x.weights"
    seen = 2 ** 32 - 1 if size == 16 else 2 ** 63
    path.write_bytes(header(major, minor, 7, seen, size) + floats(74))
    found = read_header(path)
    assert found == (major, minor, 7, seen, size) and found.transposed == transposed
    net = network(SMALL)
    assert net.load_weights(path) == 2 and net.seen == seen
    matrix = torch.arange(21., 75)
    assert torch.equal(net.layers[1].weight.detach(), matrix.view(27, 2).t() if transposed else matrix.view(2, 27))
    net.save_weights(tmp_path / "y")
    assert read_header(tmp_path / "y") == (0, 2, 5, seen, 20)
    save(tmp_path / "z", net.layers, seen, (major, minor, 7))
    assert (tmp_path / "z").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("line, missing", [
    ("dontload=1", [0, 1, 2, 3, 4]), ("dontloadscales=1", [1, 2, 3]), ("dontload=0", []),
])
def test_layers_that_the_file_leaves_out(line, missing, tmp_path):
    text = SMALL.replace("batch_normalize=1\n", f"batch_normalize=1\n{line}\n")
    net, path = network(text), tmp_path / "x.weights"
    before = tensors(net)
    numbers = sum(tensor.numel() for index, tensor in enumerate(before) if index not in missing)
    path.write_bytes(header() + floats(numbers))
    assert net.load_weights(path) == 2
    after = tensors(net)
    assert [index for index in range(7) if torch.equal(before[index], after[index])] == missing
    loaded = load_network(parse_cfg(text), path)
    if missing:                                     # what no file fills starts as C does, and only that
        assert loaded.layers[0].norm.weight.eq(1).all()
    assert [index for index in range(7) if torch.equal(tensors(loaded)[index], after[index])] == [
        index for index in range(7) if index not in missing]


def test_saving_writes_all_the_same(tmp_path):
    """C's save functions do not look at dontload."""
    net = network(SMALL.replace("filters", "dontload=1\nfilters"))
    net.save_weights(tmp_path / "x")
    assert (tmp_path / "x").stat().st_size == 20 + 4 * 74


@pytest.mark.parametrize("layers", [*range(len(SIZES) + 1)])
def test_partial_files(layers, tmp_path):
    net, other, path = network(ALL, 1), network(ALL, 2), tmp_path / "x.conv"
    net.seen = 64
    net.save_weights(path, layers=layers)
    assert path.stat().st_size == 20 + 4 * sum(SIZES[:layers])
    before = tensors(other)
    reached = other.load_weights(path)
    # A layer without weights after the last one that the file has counts as reached or not: both are the same.
    assert sum(SIZES[:reached]) == sum(SIZES[:layers]) and other.seen == 0
    count = sum(len([*layer.blobs()]) for layer in net.layers[:reached])
    assert same(tensors(other)[:count], tensors(net)[:count])
    assert same(tensors(other)[count:], before[count:])


def test_a_partial_file_leaves_the_rest_to_chance(tmp_path):
    network(SMALL).save_weights(tmp_path / "x", layers=1)
    net = load_network(parse_cfg(SMALL), tmp_path / "x")
    assert net.layers[1].bias.eq(0).all() and net.layers[1].weight.abs().max() <= (2 / 27) ** .5


@pytest.mark.parametrize("content, reason, message", [
    (b"", Reason.TRUNCATED, "expected a header of 16 or 20 bytes, found a file of 0 bytes"),
    (b"x" * 11, Reason.TRUNCATED, "expected a header of 16 or 20 bytes, found a file of 11 bytes"),
    (header()[:19], Reason.TRUNCATED, "expected a header of 16 or 20 bytes, found a file of 19 bytes"),
    (header() + floats(73), Reason.TRUNCATED, "holds 73 numbers after its header, the network needs 74; "
     "it ends inside layer 1 ([connected], line 8 of the cfg)"),
    (header() + floats(19), Reason.TRUNCATED, "holds 19 numbers after its header, the network needs 74; "
     "it ends inside layer 1 ([connected], line 8 of the cfg)"),
    (header() + floats(17), Reason.TRUNCATED, "holds 17 numbers after its header, the network needs 74; "
     "it ends inside layer 0 ([convolutional], line 5 of the cfg)"),
    (header() + floats(74)[:-1], Reason.TRUNCATED, "holds 73.75 numbers after its header, the network needs 74; "
     "it ends inside layer 1 ([connected], line 8 of the cfg)"),
    (header() + floats(18) + b"x", Reason.TRUNCATED, "holds 18.25 numbers after its header, the network needs 74; "
     "it ends inside layer 1 ([connected], line 8 of the cfg)"),
    (header() + floats(75), Reason.INCOMPATIBLE,
     "holds 75 numbers after its header, the network needs 74; 1 are left over"),
    (header() + floats(74) + b"xy", Reason.INCOMPATIBLE,
     "holds 74.5 numbers after its header, the network needs 74; 0.5 are left over"),
    (header(minor=1, size=16) + floats(80), Reason.INCOMPATIBLE,
     "holds 80 numbers after its header, the network needs 74; 6 are left over"),
])
def test_files_that_do_not_fit_change_nothing(content, reason, message, tmp_path):
    path, net = tmp_path / "x.weights", network(SMALL)
    net.seen, before = 5, tensors(net)
    path.write_bytes(content)
    with raises(WeightsError, reason) as caught:
        net.load_weights(path)
    assert str(caught.value) == f"{path}: {message}"
    assert same(tensors(net), before) and net.seen == 5


@pytest.mark.parametrize("name, reason, message", [
    ("missing", Reason.MISSING_FILE,
     "no such weights file; it is none of the official weights, so it has to be copied there, or trained"),
    (".", Reason.UNREADABLE, "cannot read the weights file: Is a directory"),
    ("file/x", Reason.UNREADABLE, "cannot read the weights file: Not a directory"),
    ("x" * 300, Reason.UNREADABLE, "cannot read the weights file: File name too long")])
def test_unreadable_files(name, reason, message, tmp_path):
    (tmp_path / "file").write_text("")
    with raises(WeightsError, reason) as caught:
        network(SMALL).load_weights(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {message}"


def test_weights_take_the_networks_type(tmp_path):
    network(SMALL, 1).save_weights(tmp_path / "x")
    net = network(SMALL, 2).half()
    net.load_weights(tmp_path / "x")
    expected = [tensor.half() for tensor in tensors(network(SMALL, 1))]
    assert {tensor.dtype for tensor in tensors(net)} == {torch.float16} and same(tensors(net), expected)


def test_a_file_that_gets_shorter_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(header() + floats(74))
    net, read = network(SMALL), np.fromfile
    before = tensors(net)

    def cut(*words, **options):
        os.truncate(tmp_path / "x", 20 + 4 * 73)
        return read(*words, **options)

    monkeypatch.setattr(np, "fromfile", cut)
    with raises(WeightsError, Reason.TRUNCATED, "expected 74 numbers after the header, could read 73"):
        net.load_weights(tmp_path / "x")
    assert same(tensors(net), before)


@pytest.mark.parametrize("target, reason", [("missing/x", "No such file or directory"), ("file/x", "Not a directory"),
                                            ("folder", "Is a directory"), ("x" * 300, "File name too long")])
def test_failed_save_leaves_nothing(target, reason, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with raises(WeightsError, Reason.UNWRITABLE) as caught:
        network(SMALL).save_weights(tmp_path / target)
    assert str(caught.value) == f"{tmp_path / target}: cannot write the weights file: {reason}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_failure_in_the_middle_of_a_save_keeps_the_old_file(tmp_path, monkeypatch):
    net, path = network(SMALL, 1), tmp_path / "x.weights"
    net.save_weights(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with raises(WeightsError, Reason.UNWRITABLE, r"cannot write the weights file: No space left on device$"):
        network(SMALL, 2).save_weights(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.weights"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_closed_folder(tmp_path):
    (tmp_path / "closed").mkdir(0o500)
    with raises(WeightsError, Reason.UNWRITABLE):
        network(SMALL).save_weights(tmp_path / "closed" / "x")


def test_a_network_without_weights(tmp_path):
    net = network("[net]\nwidth=4\nheight=4\nchannels=2\n[max]\n")
    net.save_weights(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == header()
    assert net.load_weights(tmp_path / "x") == 1
    (tmp_path / "x").write_bytes(header() + floats(1))
    with raises(WeightsError, Reason.INCOMPATIBLE,
                r"holds 1 numbers after its header, the network needs 0; 1 are left over$"):
        net.load_weights(tmp_path / "x")


def test_loaded_networks_train_apart(tmp_path):
    """Blobs may be views of one buffer: a change of one must not show in another."""
    network(SMALL, 1).save_weights(tmp_path / "x")
    net = load_network(parse_cfg(SMALL), tmp_path / "x")
    starts = [(tensor.data_ptr(), tensor.numel() * 4) for layer in net.layers for tensor, *_ in layer.blobs()]
    assert all(start + size <= after for (start, size), (after, _) in pairwise(sorted(starts)))
    before = tensors(net)
    with torch.no_grad():
        net.layers[1].bias.add_(1)
    changed = [not torch.equal(*pair) for pair in zip(before, tensors(net), strict=True)]
    assert changed == [index == 5 for index in range(7)]


def test_tensors_keep_their_own_layer_in_memory(tmp_path):
    """And not the whole file."""
    network(SMALL, 1).save_weights(tmp_path / "x")
    for layer in load_network(parse_cfg(SMALL), tmp_path / "x").layers:
        own = sum(blob.tensor.nbytes for blob in layer.blobs())
        assert all(blob.tensor.untyped_storage().nbytes() == own for blob in layer.blobs())
