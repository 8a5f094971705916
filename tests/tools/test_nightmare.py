"""Pictures that climb the gradient of a layer."""
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import raises

from darknet_py import DarknetError, DataError, Reason, load_network
from darknet_py.data.image import to_tensor
from darknet_py.tools.nightmare import NightmareOptions, nightmare

SIZE = 50, 38           # width, height: no multiple of anything


@pytest.fixture
def tiny_network(tiny):
    torch.manual_seed(0)
    network = load_network("tiny.cfg")
    network.save_weights("tiny.weights")
    return network


def dream(network, layer, seed=0, image=None, **options):
    if image is None:
        image = np.random.default_rng(1).integers(80, 170, (*SIZE[::-1], 3), np.uint8)
    return image, list(nightmare(network, image, layer, NightmareOptions(**options), np.random.default_rng(seed)))


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_sees_more_of_what_it_saw(tiny_network, layer):
    """And the network is as it was; the same seed dreams the same."""
    before = {name: tensor.clone() for name, tensor in tiny_network.state_dict().items()}
    image, (picture,) = dream(tiny_network, layer, octaves=1, thresh=.5)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    twin = tiny_network.resized(*SIZE, layer + 1)
    strengths = [twin.output_of(to_tensor(one)[None], layer).clamp(min=0).square().mean().item()
                 for one in (image, picture)]
    assert strengths[1] > 1.01 * strengths[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny_network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in tiny_network.parameters())
    assert np.array_equal(dream(tiny_network, layer, octaves=1, thresh=.5)[1][0], picture)


def test_options(tiny_network):
    image, still = dream(tiny_network, 0, iters=0, rounds=3)
    assert len(still) == 3 and all(np.array_equal(picture, image) for picture in still)
    _, zoomed = dream(tiny_network, 0, iters=0, rounds=2, zoom=.5)
    assert np.array_equal(zoomed[0], image) and not np.array_equal(zoomed[1], image)
    _, turned = dream(tiny_network, 0, image=image[:38, :38], iters=0, rounds=2, rotate=np.pi)
    assert np.abs(turned[1][1:, 1:].astype(int) - image[:38, :38][:0:-1, :0:-1]).max() <= 1
    _, (raw,) = dream(tiny_network, 1, norm=0, range=2, octaves=2)
    assert raw.shape == image.shape
    grey = image[:, :, 0]
    assert dream(tiny_network, 0, image=grey)[1][0].shape == image.shape


@pytest.mark.parametrize("layer, options, reason, message", [
    (3, {}, Reason.BAD_REFERENCE, "LAYER and -range ask for layers 3 to 3, expected numbers from 0 to 2"),
    (-1, {}, Reason.BAD_REFERENCE, "layers -1 to -1"), (0, {"range": 2}, Reason.BAD_REFERENCE, "layers -1 to 0"),
    (0, {"octaves": 0}, Reason.OUT_OF_RANGE, "-octaves needs a number from 1 on, found 0"),
    (0, {"zoom": 0}, Reason.OUT_OF_RANGE, "-zoom needs a number above 0")])
def test_what_cannot_be_dreamt(tiny_network, layer, options, reason, message):
    with raises(DataError, reason, message):
        dream(tiny_network, layer, **options)


def test_gradients_that_are_no_numbers(tiny_network):
    tiny_network.layers[1].weight.data[0] = torch.nan
    with pytest.raises(DarknetError, match=r"tiny.cfg:\d+: layer 1 \[convolutional\] gives a gradient that is not"):
        dream(tiny_network, 1)


def test_on_the_command_line(tiny_network, cli):
    """Files are named as C names them."""
    shutil.copy("0.png", "a.b.png")
    words = ["nightmare", "tiny.cfg", "tiny.weights", "a.b.png", "1", "-rounds", "2", "-iters", "2", "-seed", "1",
             "-device", "cpu"]
    assert cli(*words)[:2] == (0, "0 a_tiny_1_000000.jpg\n1 a_tiny_1_000001.jpg\n")
    assert cli(*words, "-prefix", "out", "-format", "png")[0] == 0
    assert cv2.imread("out/a_tiny_1_000001.png").shape == (48, 48, 3)
    assert not list(Path().glob(".*.tmp"))
    code, _, error = cli(*words, "-rounds", "0")
    assert code == 1 and "-rounds needs" in error
