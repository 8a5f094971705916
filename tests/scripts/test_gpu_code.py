"""What C's GPU code does where it differs from the CPU code, so that no golden (all measured on a CPU) can show it; and
that our code would run on a GPU without mixing devices, and seldom waits for it."""
import pytest
import torch
import torch.nn.functional as F
from conformance import compare
from conftest import ROOT
from fake_gpu import GPU, fake_gpu
from goldens.reading import find_goldens
from goldens.result import TOLERANCE
from gpu.common import resized_cfg
from gpu.training import mini_batch

from darknet_py import load_network, parse_cfg
from darknet_py.data.image import read_image
from darknet_py.inference.backends.pytorch import prepare_for_inference
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.inference.preprocess import as_input
from darknet_py.layers.convolutional import binarize
from darknet_py.training.iteration import Engine


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


# [lrn] takes channels by a list of numbers, of which PyTorch makes a tensor that the fake GPU does not see.
KINDS = [path for path in find_goldens([ROOT / "tests/goldens/kinds"]) if path.stem != "lrn"]


@pytest.mark.parametrize("path", [pytest.param(path, marks=[pytest.mark.slow] if number % 6 else [])
                                  for number, path in enumerate(KINDS)],
                         ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_layer_mixes_devices(path, monkeypatch):
    monkeypatch.setitem(TOLERANCE, GPU.type, TOLERANCE["cpu"])
    with fake_gpu(monkeypatch):
        _, result = compare(path, GPU.type)
    assert result.passed, result


def test_the_fake_gpu_minds(monkeypatch):
    with fake_gpu(monkeypatch) as gpu:
        x = torch.arange(3, device=GPU)
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.arange(3)
        assert (x + torch.tensor(1)).tolist() == [1, 2, 3] and gpu.waits.total() == 1
        assert bool((x > 1).any()) and x[x > 0].cpu().tolist() == [1, 2] and gpu.waits.total() == 4


@pytest.mark.parametrize("name", ["yolov4-tiny", "enet-coco"])
def test_a_forward_pass_never_waits(name, monkeypatch):
    """So that a CUDA graph can hold it."""
    with fake_gpu(monkeypatch) as gpu:
        network = prepare_for_inference(load_network(resized_cfg(name, 64), device=GPU))
        x = torch.rand(1, *network.input_shape).to(GPU)
        gpu.waits.clear()
        with torch.inference_mode():
            network(x)
    assert not gpu.waits.total()


@pytest.mark.parametrize("name, size, most", [("yolov4-tiny", 64, 4), ("Gaussian_yolov3", 64, 4),
                                              ("yolov2-tiny", 64, 24), ("yolov1-tiny", None, 24)])
def test_a_step_of_training_on_a_gpu(name, size, most, monkeypatch):
    """The loss is the CPU's, and heads with anchors on several scales wait for nothing but the end."""
    def engine(device):
        torch.manual_seed(0)
        return Engine(load_network(resized_cfg(name, size, batch=2, subdivisions=1), device=device),
                      torch.device(device))

    on_cpu = engine("cpu")
    batch = mini_batch(1, 2, on_cpu.network.input_shape.width, 20)
    expected = on_cpu.run(1, [batch])
    with fake_gpu(monkeypatch) as gpu:
        on_gpu = engine(GPU)
        gpu.waits.clear()
        result = on_gpu.run(1, [batch])
    assert result.trouble is None and result.loss == pytest.approx(expected.loss, rel=1e-5)
    assert gpu.waits.total() <= most, gpu.waits


def test_boxes_of_a_batch_on_a_gpu(demo, monkeypatch):
    """They are the CPU's, and a batch waits as often as an image."""
    network = prepare_for_inference(load_network(*demo[:2]))
    image = read_image(demo[2])
    x = as_input(image, network.input_shape, False)[None]
    with torch.inference_mode():
        (boxes, scores), = PostProcessor.of(network).find_boxes(network(x), [image.shape[:2]], .25, .45)
    waits = []
    for count in (1, 4):
        with fake_gpu(monkeypatch) as gpu:
            network = prepare_for_inference(load_network(*demo[:2], device=GPU))
            with torch.inference_mode():
                outputs = network(x.expand(count, -1, -1, -1).to(GPU))
                gpu.waits.clear()
                found = PostProcessor.of(network).find_boxes(outputs, [image.shape[:2]] * count, .25, .45)
            waits.append(gpu.waits)
        for ours, our_scores in found:
            torch.testing.assert_close((ours, our_scores), (boxes, scores))
    assert waits[0] == waits[1] and len(boxes) > 0
