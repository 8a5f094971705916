"""What layers do in training alone, against C's formulas as its GPU code states them."""
import math

import numpy as np
import pytest
import torch

from darknet_py import load_network, parse_cfg
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.training.iteration import Engine
from darknet_py.training.step import accumulate

NET = "[net]\nwidth=8\nheight=6\nchannels=4\nmax_batches=100\nburn_in=10\nbatch=6\nsubdivisions=3\n"


def build(*sections, net=NET):
    torch.manual_seed(0)
    return load_network(parse_cfg(net + "\n".join(sections), "test.cfg")).train()


def run(network, x):
    """The last layer's output, and the gradient of its sum times a fixed pattern with respect to x."""
    x = x.clone().requires_grad_()
    y, = network(x)
    weight = torch.linspace(-1, 1, y.numel()).view_as(y)
    (y * weight).sum().backward()
    return y.detach(), x.grad


def images(count=2, seed=0, shape=(4, 6, 8)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_cross_mini_batch_normalization():
    network = build("[convolutional]\nbatch_normalize=1\ncbn=1\nfilters=3\nsize=1\nactivation=linear\n")
    layer = network.layers[0]
    mean_so_far = square_so_far = 0
    rolling = np.zeros(3), np.ones(3)
    for part in range(3):
        network.context.subdivision = part
        x = images(2, part)
        z = torch.einsum("nchw,fc->nfhw", x, layer.weight[:, :, 0, 0]).detach().double().numpy()
        y, _ = run(network, x)
        count = z.size / 3
        mean = z.mean((0, 2, 3))
        square = np.maximum((z ** 2).sum((0, 2, 3)) / (count - 1), mean ** 2)
        share = 1 / (part + 1)
        mean_so_far = share * mean + (1 - share) * mean_so_far
        square_so_far = share * square + (1 - share) * square_so_far
        var = np.maximum(0, square_so_far - mean_so_far ** 2)
        rolling = tuple(.01 * new + .99 * old for new, old in zip((mean_so_far, var), rolling, strict=True))
        expected = (z - mean_so_far[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None]
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.norm.running_mean.numpy(), rolling[0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(layer.norm.running_var.numpy(), rolling[1], rtol=1e-4)


def test_one_mini_batch_crosses_nothing():
    """Alone, CmBN is batch normalisation but for the N - 1 under its squares, going back as well."""
    section = "[convolutional]\nfilters=3\nsize=1\nactivation=linear\nbatch_normalize="
    x = images(16)
    (plain, back), (cross, cross_back) = (run(build(f"{section}{kind}\n"), x) for kind in (1, 2))
    torch.testing.assert_close(cross, plain, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(cross_back, back, rtol=5e-3, atol=1e-3)


def test_adversarial_pass_uses_running_statistics():
    network = build("[convolutional]\nbatch_normalize=1\nfilters=3\nsize=1\nactivation=linear\n")
    norm = network.layers[0].norm
    before = norm.running_mean.clone()
    network.context.adversarial = True
    y, _ = run(network, images())
    torch.testing.assert_close(norm.running_mean, before)
    network.context.adversarial = False
    torch.testing.assert_close(y, network.eval()(images())[0].detach())


def test_dropout():
    network = build("[dropout]\nprobability=.25\n")
    x = torch.ones(50, 4, 6, 8)
    y, _ = run(network, x)
    assert y.unique().tolist() == [0, pytest.approx(1 / .75)]
    assert float((y == 0).float().mean()) == pytest.approx(.25, abs=.03)
    torch.testing.assert_close(network.eval()(x)[0], x)


@pytest.mark.parametrize("options, iteration, side", [
    ("dropblock_size_abs=3\n", 85, 3), ("dropblock_size_abs=3\n", 60, 2), ("dropblock_size_abs=3\n", 1, 1),
    ("dropblock_size_rel=.5\n", 100, 3), ("", 100, 6), ("dropblock_size_abs=2\ndropblock_size_rel=.5\n", 100, 2),
])
def test_drop_blocks(options, iteration, side):
    """Each channel loses one square or nothing, and an image is scaled up by its loss; gradients follow."""
    network = build(f"[dropout]\nprobability=.9\ndropblock=1\n{options}")
    network.context.iteration = iteration
    y, back = run(network, torch.ones(40, 4, 6, 8))
    lost = y == 0
    assert set(lost.sum((2, 3)).unique().tolist()) <= {0, side ** 2} and lost.any()
    for channel in lost.flatten(0, 1):
        if channel.any():
            rows, columns = channel.any(1).nonzero().ravel(), channel.any(0).nonzero().ravel()
            assert int(rows[-1] - rows[0]) == int(columns[-1] - columns[0]) == side - 1
    scale = 1 / (1 - lost.flatten(1).float().mean(1))
    torch.testing.assert_close(y, (~lost * scale[:, None, None, None]))
    pattern = torch.linspace(-1, 1, y.numel()).view_as(y)
    torch.testing.assert_close(back, pattern * y)


@pytest.mark.parametrize("assisted, iteration, share", [
    (1, 0, 1), (1, 25, (1 + math.cos(math.pi / 4)) / 2), (1, 51, 0),
    (40, 5, 0), (40, 20, (1 + math.cos(math.pi * 20 / 50)) / 2), (40, 41, 0),
])
def test_assisted_excitation(assisted, iteration, share):
    section = f"[convolutional]\nfilters=3\nsize=1\nactivation=linear\nassisted_excitation={assisted}\n"
    network, plain = build(section), build(section.replace(f"excitation={assisted}", "excitation=0"))
    network.context.iteration = iteration
    rows = [np.array([[0, .5, .5, .25, .34]], np.float32), np.zeros((0, 5), np.float32)]
    network.context.boxes = Truth.stack(rows).boxes
    x = images()
    (y, back), (z, plain_back) = run(network, x), run(plain, x)
    expected = z.clone()
    if share:
        w, h = .25 + .75 * (1 - share), .34 + .66 * (1 - share)
        left, right = max(0, math.floor((.5 - w / 2) * 8)), math.ceil((.5 + w / 2) * 8)
        top, bottom = max(0, math.floor((.5 - h / 2) * 6)), math.ceil((.5 + h / 2) * 6)
        expected[0, :, top:bottom, left:right + 1] += share * z[0].mean(0)[top:bottom, left:right + 1]
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(back, plain_back)
    torch.testing.assert_close(network.eval()(x)[0], z)


def test_signs_pass_gradients_straight_on():
    network = build("[convolutional]\nfilters=3\nsize=1\nactivation=linear\nxnor=1\n")
    layer, x = network.layers[0], images()
    _, back = run(network, x)
    pattern = torch.linspace(-1, 1, 2 * 3 * 48).view(2, 3, 6, 8)
    weight = layer.weight.detach()[:, :, 0, 0]
    binary = weight.abs().mean(1, keepdim=True) * torch.where(weight > 0, 1, -1)
    torch.testing.assert_close(back, torch.einsum("nfhw,fc->nchw", pattern, binary) * (x.abs() < 1))
    signs = torch.where(x > 0, 1., -1.)
    torch.testing.assert_close(layer.weight.grad[:, :, 0, 0], torch.einsum("nfhw,nchw->fc", pattern, signs))


def test_connected_bounds_its_delta():
    network = build("[connected]\noutput=2\nactivation=linear\n")
    y, = network(images())
    (y * torch.tensor([5., -.5])[:, None, None]).sum().backward()
    torch.testing.assert_close(network.layers[0].bias.grad, torch.tensor([2., -1.]))


@pytest.mark.parametrize("kind, slope", [("none", lambda w: 1 + 0 * w), ("relu", lambda w: w),
                                         ("softmax", lambda w: w * (1 - w))])
def test_weighted_shortcut(kind, slope):
    network = build("[empty]\n[empty]\n[shortcut]\nfrom=-2\nweights_type=per_channel\n"
                    f"weights_normalization={kind}\n")
    layer, x = network.layers[2], images()
    with torch.no_grad():
        layer.weight.uniform_(.5, 1.5)
    run(network, x)
    pattern = torch.linspace(-1, 1, x.numel()).view_as(x)
    expected = (pattern * x).sum((0, 2, 3)) * slope(layer.normalized_weight().detach())
    torch.testing.assert_close(layer.weight.grad, expected)


@pytest.mark.parametrize("section, keeps", [
    ("[rnn]\noutput=3\nhidden=3\n", False), ("[gru]\noutput=3\n", True), ("[lstm]\noutput=3\n", True),
    ("[crnn]\noutput=3\nhidden=3\npad=1\n", False), ("[conv_lstm]\noutput=3\npad=1\n", True),
    ("[history]\nhistory_size=2\n", True),
])
def test_what_recurrent_layers_remember_in_training(section, keeps):
    """[rnn] and [crnn] start each mini-batch anew, the others go on until ``reset_state``."""
    network = build(section, net=NET + "time_steps=2\n")
    x = images(2)
    first = network(x)[0].detach()
    second = network(x)[0].detach()
    assert torch.equal(first, second) != keeps
    network.reset_state()
    torch.testing.assert_close(network(x)[0].detach(), first)


def test_onlyforward_and_stopbackward():
    conv = "[convolutional]\nfilters=3\nsize=1\nactivation=linear\n"
    for option, at, frozen in (("onlyforward=1\n", 1, {0, 1}), ("stopbackward=1\n", 1, {0, 1}),
                               ("stopbackward=5\n", 1, {0, 1}), ("", 1, set())):
        network = build(conv, conv + option, conv, "[softmax]\n")
        truth = torch.zeros(2, network.layers[-1].shape.size)
        truth[:, 1] = 1
        network.context.iteration = at
        accumulate(network, images(), truth)
        assert {i for i in range(3) if network.layers[i].weight.grad is None} == frozen, option
    later = build(conv, conv + "stopbackward=5\n", conv, "[softmax]\n")
    later.context.iteration = 5
    accumulate(later, images(), truth)


def test_layers_share_one_training_context():
    network = build("[convolutional]\nbatch_normalize=1\nfilters=3\nsize=1\nactivation=linear\n[avgpool]\n[softmax]\n")
    twin = network.resized(16, 12)
    for one in (network, twin):
        assert one.context is network.context and one.layers[0].norm.context is network.context
        assert all(layer.place.context is network.context for layer in one.layers)
    truth = torch.zeros(2, network.layers[-1].shape.size)
    accumulate(twin, images(shape=(4, 12, 16)), truth)
    assert (network.context.width, network.context.height) == (16, 12)


def test_engine_counts_the_mini_batches_of_a_batch():
    network = build("[convolutional]\nfilters=3\nsize=1\nactivation=linear\ncbn=1\n[softmax]\n")
    truth = torch.zeros(2, network.layers[-1].shape.size)
    seen = []
    network.layers[0].register_forward_hook(lambda *_: seen.append(network.context.subdivision))
    engine = Engine(network, torch.device("cpu"))
    for iteration in (1, 2):
        engine.run(iteration, [MiniBatch(images(), truth, [], iteration, index) for index in range(3)])
    assert seen == [0, 1, 2] * 2
