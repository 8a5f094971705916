"""What C's GPU code does where it differs from the CPU code, so that no golden (all measured on a CPU) can show it."""
import pytest
import torch
import torch.nn.functional as F

from darknet_py import load_network, parse_cfg
from darknet_py.layers.convolutional import binarize


def run(body, x, **weights):
    """The outputs of all layers; ``weights`` go to the last one."""
    _, channels, height, width = x.shape
    network = load_network(parse_cfg(f"[net]\nwidth={width}\nheight={height}\nchannels={channels}\n{body}"))
    for name, value in weights.items():
        getattr(network.layers[-1], name).data.copy_(torch.as_tensor(value).view_as(getattr(network.layers[-1], name)))
    with torch.no_grad():
        return network, network.trace(x)


@pytest.fixture
def x():
    return torch.randn(2, 4, 5, 7, generator=torch.Generator().manual_seed(1))


def test_relu6(x):
    torch.testing.assert_close(run("[activation]\nactivation=relu6\n", 9 * x)[1][0], (9 * x).clamp(0, 6))


def test_softmax_over_channels_at_each_place(x):
    torch.testing.assert_close(run("[softmax]\nspatial=1\n", x)[1][0], x.softmax(1))


def test_odd_crop_averages_neighbours(x):
    body = "[crop]\ncrop_height=4\ncrop_width=6\nnoadjust=1\n"
    torch.testing.assert_close(run(body, x)[1][0], F.avg_pool2d(x, 2, 1))
    torch.testing.assert_close(run(body.replace("noadjust=1", ""), x)[1][0], 2 * F.avg_pool2d(x, 2, 1) - 1)


@pytest.mark.parametrize("kind", ["relu", "avg_relu"])
def test_shortcut_weights_are_a_thousandth_at_least(x, kind):
    body = ("[empty]\n[activation]\nactivation=tanh\n"
            f"[shortcut]\nfrom=-2\nweights_type=per_feature\nweights_normalization={kind}\n")
    _, (before, tanh, total) = run(body, x, weight=[.5, -.2])
    torch.testing.assert_close(total, (.5 * tanh + .001 * before) / (.501 + 1e-4))


@pytest.mark.parametrize("channels, padding", [(16, 0), (32, -1)])
def test_xnor_pads_with_minus_one_where_bits_are_packed(channels, padding):
    x = torch.randn(2, channels, 5, 7)
    network, (y,) = run("[conv]\nfilters=3\nsize=3\npad=1\nxnor=1\nactivation=linear\n", x)
    layer = network.layers[0]
    signs = F.pad(torch.where(x > 0, 1., -1.), [1] * 4, value=padding)
    torch.testing.assert_close(y, F.conv2d(signs, binarize(layer.weight), layer.bias))


def test_binary_weights(x):
    network, (y,) = run("[conv]\nfilters=3\nsize=3\nbinary=1\nactivation=linear\n", x)
    weight = network.layers[0].weight
    mean = weight.abs().mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(y, F.conv2d(x, mean * weight.sign(), network.layers[0].bias))


def test_strides_of_one_by_one_filters(x):
    network, (y,) = run("[conv]\nfilters=3\nstride_x=1\nstride_y=2\nactivation=linear\n", x)
    torch.testing.assert_close(y, F.conv2d(x, network.layers[0].weight, network.layers[0].bias, (2, 1)))


def test_coordinates_replace_three_channels(x):
    network, (y,) = run("[conv]\nfilters=5\ncoordconv=1\nactivation=linear\n", x)
    assert y[0, 0, 3].tolist() == pytest.approx([2 * i / 7 - 1 for i in range(7)])
    assert y[1, 1, :, 2].tolist() == pytest.approx([2 * i / 5 - 1 for i in range(5)])
    torch.testing.assert_close(y[:, 2], torch.hypot(y[:, 0], y[:, 1]))
    torch.testing.assert_close(y[:, 3:], F.conv2d(x, network.layers[0].weight, network.layers[0].bias)[:, 3:])


def test_maxima_stay_where_they_are(x):
    _, (y,) = run("[maxpool]\nsize=3\nstride=1\nmaxpool_zero_nonmax=1\n", x)
    torch.testing.assert_close(y, torch.where(F.max_pool2d(x, 3, 1, 1) == x, x, 0))


def test_overflow_in_softmax_of_channels_is_zero():
    x = torch.tensor([100., 1]).view(1, 2, 1, 1)
    assert run("[activation]\nactivation=normalize_channels_softmax\n", x)[1][0].flatten().tolist() == [0, 0]


def test_bottleneck_of_conv_lstm():
    """One convolution of state and input feeds all gates; with shortcut=1 half of it joins the output."""
    x = torch.rand(1, 4, 3, 3)
    network, (y,) = run("[conv_lstm]\noutput=4\npad=1\nbottleneck=1\nshortcut=1\n", x)
    layer = network.layers[0]
    with torch.no_grad():
        mixed = torch.tanh(layer.wf(torch.cat([torch.zeros_like(x), x], 1)))
        cell = torch.sigmoid(layer.ui(mixed)) * torch.tanh(layer.ug(mixed))
        output = torch.sigmoid(layer.uo(mixed)) * torch.tanh(cell)
    torch.testing.assert_close(y[:, 2:], output[:, 2:])
    torch.testing.assert_close(y[:, :2], output[:, :2] + mixed[:, :2])
    assert [name for name, _ in layer.named_children()] == ["wf", "uf", "ui", "ug", "uo"]
