"""The plan of steps and the loop that runs it; and what the package's modules may import."""
from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import raises

from darknet_py import load_network
from darknet_py.cfg.language import parse_cfg
from darknet_py.errors import CfgError, DarknetError, DataError, Reason
from darknet_py.model.network import Network

PACKAGE = Path(__file__).parents[2] / "darknet_py"
TWO_HEADS = """[net]
width=12
height=8
channels=3
[conv]
filters=6
stride=2
size=3
pad=1
batch_normalize=1
activation=leaky
[conv]
filters=6
[shortcut]
from=-2
[conv]
filters=12
activation=linear
[yolo]
classes=1
num=2
anchors=1,2,3,4
[route]
layers=2
[max]
size=2
stride=2
[conv]
filters=4
[route]
layers=-1,-2
groups=2
[upsample]
[route]
layers=0,2
[avg]
[scale_channels]
from=-2
[conv]
filters=7
activation=linear
[region]
classes=2
anchors=1,2
"""
RECURRENT = "[net]\nwidth=3\nheight=3\nchannels=2\ntime_steps={steps}\n{body}"
REMEMBER = {
    "rnn": "[rnn]\nhidden=3\noutput=4\n", "gru": "[gru]\noutput=4\n", "lstm": "[lstm]\noutput=4\n",
    "crnn": "[crnn]\nhidden=3\noutput=4\npad=1\n", "conv_lstm": "[conv_lstm]\noutput=4\npad=1\npeephole=1\n",
    "bottleneck": "[conv_lstm]\noutput=2\npad=1\nbottleneck=1\n", "history": "[history]\nhistory_size=3\n",
    "two": "[conv_lstm]\noutput=2\npad=1\n[empty]\n[lstm]\noutput=3\n",
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return load_network(parse_cfg(TWO_HEADS, strict=True))


def test_heads_in_the_order_of_the_cfg(network):
    assert [network.layers[head].kind for head in network.heads] == ["yolo", "region"]
    yolo, region = network(torch.rand(2, 3, 8, 12))
    assert yolo.shape == (2, 12, 4, 6) and region.shape == (2, 4, 6, 7)


@pytest.mark.parametrize("body, heads", [
    ("[conv]\n[max]\n", (1,)), ("[softmax]\n", (0,)), ("[softmax]\n[cost]\n", (0, 1)),
    ("[conv]\n[softmax]\n[empty]\n", (1,)),
])
def test_the_last_layer_is_the_head_where_there_is_none(body, heads):
    assert Network(parse_cfg(f"[net]\ninputs=4\n{body}")).heads == heads


def test_shapes_are_those_announced(network):
    held = network.trace(torch.rand(2, 3, 8, 12))
    assert [tuple(x.shape) for x in held[:-1]] == [(2, *layer.shape) for layer in network.layers[:-1]]


@pytest.mark.parametrize("training", [False, True])
def test_trace_is_forward(network, training):
    network.train(training)
    x = torch.rand(2, 3, 8, 12)
    outputs, held = network(x), network.trace(x)
    assert type(outputs) is tuple
    for head, output in zip(network.heads, outputs, strict=True):
        assert torch.equal(held[head], output)


@pytest.mark.parametrize("text", [TWO_HEADS, "[net]\ninputs=4\n[conv]\n[conv]\n[route]\nlayers=0\n",
                                  "[net]\ninputs=4\n[softmax]\n[cost]\n[empty]\n"])
def test_every_output_is_freed_once(text):
    network = Network(parse_cfg(text))
    done = [source for step in network.plan for source in step.done]
    assert sorted(done) == [index for index in range(-1, len(network.layers)) if index not in network.heads]
    for index, step in enumerate(network.plan):
        later = {source for after in network.plan[index + 1:] for source in after.sources}
        assert not later & set(step.done) and all(source <= index for source in step.done)


@pytest.mark.parametrize("shape", [(3, 8, 12), (1, 3, 12, 8), (1, 1, 8, 12), (2, 287), (1, 3, 8, 12, 1), (288,), ()])
def test_inputs_of_another_shape(network, shape):
    with raises(DataError, Reason.SHAPE_MISMATCH) as caught:
        network(torch.zeros(shape))
    assert str(caught.value) == f"the network takes (N, 3, 8, 12), got {shape}"
    with raises(DataError, Reason.SHAPE_MISMATCH):
        network.trace(torch.zeros(shape))


def test_flat_inputs(network):
    x = torch.rand(2, 3, 8, 12)
    for flat in (x.flatten(1), x.flatten(1).t().contiguous().t()):
        for first, second in zip(network(x), network(flat), strict=True):
            assert torch.equal(first, second)


def test_images_of_a_batch_do_not_mix(network):
    x = torch.rand(3, 3, 8, 12)
    for batch, single in zip(network(x), network(x[1:2]), strict=True):
        torch.testing.assert_close(batch[1:2], single)


@pytest.mark.parametrize("size, expected", [({}, (3, 8, 12)), ({"width": 24}, (3, 8, 24)),
                                            ({"height": 16}, (3, 16, 12)), ({"width": 32, "height": 24}, (3, 24, 32))])
def test_another_size_than_the_cfg_says(size, expected):
    network = load_network(parse_cfg(TWO_HEADS), **size)
    assert network.input_shape == expected
    assert (network.options.height, network.options.width) == expected[1:]
    yolo, _ = network(torch.rand(1, *expected))
    assert yolo.shape == (1, 12, expected[1] // 2, expected[2] // 2)


@pytest.mark.parametrize("size", [{"width": 0}, {"height": -1}, {"width": 2 ** 40}])
def test_impossible_sizes(size):
    with raises(CfgError, Reason.OUT_OF_RANGE, r"^x.cfg:1: \[net\] needs width, height and channels, or inputs"):
        load_network(parse_cfg(TWO_HEADS, "x.cfg"), **size)


def test_load_network_by_path(tmp_path, network):
    (tmp_path / "x.cfg").write_text(TWO_HEADS)
    network.save_weights(tmp_path / "x.weights")
    again = load_network(tmp_path / "x.cfg", str(tmp_path / "x.weights"))
    assert not again.training and again.cfg.path == tmp_path / "x.cfg"
    x = torch.rand(1, 3, 8, 12)
    for first, second in zip(network(x), again(x), strict=True):
        assert torch.equal(first, second)


def test_state_dict_there_and_back(network):
    other = load_network(parse_cfg(TWO_HEADS))
    other.load_state_dict(network.state_dict())
    x = torch.rand(1, 3, 8, 12)
    assert torch.equal(network(x)[0], other(x)[0])


@pytest.mark.parametrize("kind", ["rnn", "crnn", "gru", "lstm", "conv_lstm"])
def test_what_is_remembered_between_batches_in_training(kind):
    """C starts [rnn] and [crnn] from zero every time; the others go on."""
    torch.manual_seed(0)
    network = load_network(parse_cfg(RECURRENT.format(steps=2, body=REMEMBER[kind]))).train()
    x = torch.rand(4, 2, 3, 3)
    with torch.no_grad():
        first, second = network(x)[0], network(x)[0]
    assert torch.equal(first, second) == (kind in ("rnn", "crnn"))


@pytest.mark.parametrize("kind", REMEMBER)
@torch.no_grad()
def test_state_is_kept_across_calls(kind):
    """Four steps in one call, in two calls or in four are the same; reset_state starts again."""
    steps = 4
    torch.manual_seed(0)
    network = load_network(parse_cfg(RECURRENT.format(steps=steps, body=REMEMBER[kind])))
    x = torch.rand(steps * 2, 2, 3, 3)          # a batch of 2
    (whole,) = network(x)
    (second,) = network(x)
    assert not torch.equal(whole, second)
    network.reset_state()
    assert torch.equal(network(x)[0], whole)
    for pieces in (2,) if kind == "history" else (2, 4):        # [history] with time_steps=1 forgets, as in C
        network.set_time_steps(steps // pieces)
        parts = torch.cat([network(part)[0] for part in x.chunk(pieces)])
        torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("kind", REMEMBER)
@torch.no_grad()
def test_batches_of_sequences_do_not_mix(kind):
    network = load_network(parse_cfg(RECURRENT.format(steps=3, body=REMEMBER[kind])))
    x = torch.rand(3, 2, 2, 3, 3)               # (steps, batch, C, H, W)
    (both,) = network(x.flatten(0, 1))
    (one,) = network(x[:, 1])                   # another batch starts anew
    torch.testing.assert_close(both.unflatten(0, (3, 2))[:, 1], one)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_images_that_make_no_sequence_are_one_step(count):
    network, x = load_network(parse_cfg(RECURRENT.format(steps=3, body=REMEMBER["gru"]))), torch.rand(count, 2, 3, 3)
    (several,) = network(x)
    network.set_time_steps(1)
    torch.testing.assert_close(several, network(x)[0])


def test_state_does_not_keep_the_graph():
    network = load_network(parse_cfg(RECURRENT.format(steps=2, body=REMEMBER["lstm"])))
    for _ in range(2):
        network(torch.rand(2, 2, 3, 3))[0].sum().backward()


@pytest.mark.parametrize("code", ["import darknet_py", "import darknet_py.errors", "import darknet_py.cfg",
                                  "import darknet_py.cli",
                                  "from darknet_py import CfgError; dir(__import__('darknet_py'))"])
def test_imports_without_torch(code):
    check = f"import sys; {code}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=PACKAGE.parent, check=False).returncode == 0


def test_public_names():
    import darknet_py
    for name in darknet_py.__all__:
        assert getattr(darknet_py, name) is not None
    assert dir(darknet_py) == sorted(darknet_py.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = darknet_py.nothing


def test_networks_can_be_copied_and_pickled():
    network = load_network(parse_cfg(
        "[net]\nwidth=4\nheight=4\nchannels=3\n[conv]\nfilters=2\nactivation=leaky\n[conv]\nactivation=mish\n"))
    x = torch.rand(1, 3, 4, 4)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(copied(x), network(x))


FOLDED = """[net]
width=8
height=6
channels=4
{body}
"""


@pytest.mark.parametrize("body", [
    "[conv]\nbatch_normalize=1\nfilters=6\nsize=3\npad=1\nactivation=mish\n",
    "[conv]\nbatch_normalize=1\nfilters=6\nsize=3\ngroups=2\nactivation=leaky\nantialiasing=1\nstride=2\n",
    "[conv]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=relu\n"
    "[conv]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=swish\nshare_index=0\n",
    "[conv]\nbatch_normalize=1\nfilters=32\nactivation=leaky\n"
    "[conv]\nbatch_normalize=1\nfilters=6\nsize=3\npad=1\nactivation=leaky\nxnor=1\n",
    "[conv]\nfilters=3\nactivation=logistic\n",
    "[deconv]\nbatch_normalize=1\nfilters=5\nsize=3\nactivation=relu6\n",
    "[connected]\nbatch_normalize=1\noutput=5\nactivation=tanh\n",
    "[crnn]\nbatch_normalize=1\noutput=3\nhidden=4\npad=1\nactivation=leaky\n",
    "[lstm]\nbatch_normalize=1\noutput=3\n",
])
def test_folding_changes_nothing(body, tmp_path):
    network = load_network(parse_cfg(FOLDED.format(body=body)))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            tensor.uniform_(.5, 1.5) if "running_var" in name else tensor.uniform_(-1, 1)
    x = torch.rand(2, 4, 6, 8)
    (before,) = network(x)
    network.reset_state()
    assert network.fold() is network
    assert not any("running" in name for name in network.state_dict())
    (after,) = network(x)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    for call in (network.save_weights, network.load_weights):
        with pytest.raises(DarknetError, match="folded"):
            call(tmp_path / "x.weights")


def test_activations_on_the_spot_leave_gradients_and_inputs_alone():
    network = load_network(parse_cfg(FOLDED.format(body="[conv]\nfilters=2\nactivation=mish\n")))
    x = torch.rand(1, 4, 6, 8)
    copied = x.clone()
    network(x)[0].sum().backward()
    assert network.layers[0].weight.grad.abs().sum() > 0
    with torch.no_grad():
        torch.testing.assert_close(network(x)[0], network.requires_grad_(True)(x)[0])
    torch.testing.assert_close(x, copied)
