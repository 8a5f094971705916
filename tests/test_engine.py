"""The parts of a training step that no golden shows."""
import numpy as np
import pytest
import torch
from conftest import TINY_CFG

from darknet_py import CfgError, load_network, parse_cfg
from darknet_py.boxes import Truth
from darknet_py.layers.batchnorm import MOMENTUM
from darknet_py.losses import Moment
from darknet_py.training.attention import attention_picture
from darknet_py.training.ema import Average
from darknet_py.training.engine import Engine, MiniBatch
from darknet_py.training.step import accumulate, attack, run_heads
from darknet_py.world import World

ROWS = np.array([[0, .4, .5, .3, .3], [1, .7, .2, .2, .4]], np.float32)


def network(text=TINY_CFG):
    torch.manual_seed(0)
    return load_network(parse_cfg(text)).train()


def batch(images=2):
    return torch.rand(images, 3, 32, 32, generator=torch.Generator().manual_seed(1)), Truth.stack([ROWS] * images)


def gradients(net):
    return [None if p.grad is None else p.grad.clone() for p in net.parameters()]


def test_another_size_has_the_same_weights():
    net = network()
    twin = net.resized(64, 48)
    assert [a is b for a, b in zip(net.parameters(), twin.parameters(), strict=True)] == [True] * 5
    assert all(a is b for a, b in zip(net.buffers(), twin.buffers(), strict=True))
    assert twin.training and twin(torch.rand(1, 3, 48, 64))[0].shape == (1, 14, 12, 16)
    fixed = network(TINY_CFG[:TINY_CFG.index("[yolo]")] + "[connected]\noutput=3\n[softmax]\n")
    with pytest.raises(CfgError, match=r"\[connected\] has weights \(3, 896\) that would be \(3, 3584\) for images of "
                                       "64 x 64"):
        fixed.resized(64, 64)


def test_subdivisions_add_up():
    """Without batch normalisation a batch in parts is the batch."""
    net = network(TINY_CFG.replace("batch_normalize=1\n", ""))
    x, truth = batch(4)
    accumulate(net, x, truth, Moment(net.options, 32, 32))
    whole = gradients(net)
    net.zero_grad()
    for part in (slice(0, 2), slice(2, 4)):
        accumulate(net, x[part], Truth(*(t[part] for t in truth)), Moment(net.options, 32, 32))
    for ours, theirs in zip(gradients(net), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_frozen_layers_get_no_gradient():
    net = network(TINY_CFG.replace("filters=8", "filters=8\nstopbackward=1"))
    accumulate(net, *batch(), Moment(net.options, 32, 32))
    assert [gradient is None for gradient in gradients(net)] == [True] * 3 + [False] * 2
    later = network(TINY_CFG.replace("filters=8", "filters=8\nstopbackward=5"))
    for iteration, frozen in ((4, True), (5, False)):
        later.zero_grad()
        accumulate(later, *batch(), Moment(later.options, 32, 32, iteration))
        assert (gradients(later)[0] is None) == frozen


def test_an_attack_hides_objects():
    """Self-adversarial training: objectness falls, pixels stay in [0, 1], and no weight or statistic notices."""
    net = network()
    x, truth = batch()
    moment = Moment(net.options, 32, 32)
    buffers = [buffer.clone() for buffer in net.buffers()]
    changed, delta = attack(net, x, truth, moment, .05)
    assert gradients(net) == [None] * 5 and not moment.adversarial and not net.now.adversarial
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), buffers, strict=True))
    assert changed.min() >= 0 and changed.max() <= 1 and delta.shape == x.shape
    torch.testing.assert_close(changed, (x + .05 * delta).clamp(0, 1))
    net.eval()
    before, after = (net(images)[0].unflatten(1, (2, 7))[:, :, 4].mean() for images in (x, changed))
    assert after < before


def test_of_contrastive_pairs_the_first_is_attacked():
    net = network(TINY_CFG.replace("burn_in=0", "contrastive=1"))
    x, truth = batch(4)
    changed, _ = attack(net, x, truth, Moment(net.options, 32, 32), .05)
    assert [torch.equal(a, b) for a, b in zip(changed, x, strict=True)] == [False, True, False, True]


def test_attention_picture():
    image, delta = torch.full((3, 32, 40), .5), torch.zeros(3, 32, 40)
    delta[:, 8:16, 24:32] = -1
    picture = attention_picture(image, delta)
    assert picture.shape == (32, 40, 3) and picture.dtype == np.uint8
    assert picture[12, 28, 2] > 2 * picture[28, 4, 2] and picture[12, 28, 0] == picture[28, 4, 0]


def test_average():
    net = network(TINY_CFG.replace("burn_in=0", "ema_alpha=.5").replace("max_batches=12", "max_batches=2004"))
    average = Average(net)
    weight, seen = net.layers[1].bias, []
    at = next(index for index, parameter in enumerate(net.parameters()) if parameter is weight)
    for iteration in range(1000, 1006):
        with torch.no_grad():
            weight.fill_(iteration)
        average.update(iteration)
        seen.append((average.values[at][0].item() if average.values else None, weight[0].item()))
    assert seen == [(None, 1000), (None, 1001), (1002, 1002), (1002.5, 1003), (1002.5, 1002.5), (1002.5, 1005)]
    with average.in_place():
        assert weight[0] == 1002.5
    assert weight[0] == 1005


def test_statistics_of_several_processes(monkeypatch):
    """Merged running statistics are those of one process that saw all mini-batches in turn."""
    means = torch.tensor([[1., 2, 3], [4, 5, 6]])            # (processes, mini-batches)
    start = torch.tensor([10.])
    expected = start.clone()
    for mean in means.flatten():
        expected.lerp_(mean, MOMENTUM)
    parts = []
    for turn in range(2):                                   # the sum is only known once both have spoken
        for rank in range(2):
            world = World(torch.device("cpu"))
            world.size, world.rank = 2, rank
            now = start.clone()
            for mean in means[rank]:
                now.lerp_(mean, MOMENTUM)
            if turn == 0:
                monkeypatch.setattr(world, "add_up", lambda tensors: parts.append(tensors[0].clone()))
            else:
                monkeypatch.setattr(world, "add_up", lambda tensors: tensors[0].copy_(sum(parts)))
            world.merge_statistics([start], [now], 3)
            if turn:
                torch.testing.assert_close(now, expected)


def test_what_is_random_follows_the_seed():
    """DropBlock and the like draw the same in a repeated iteration, other things in the next."""
    text = TINY_CFG.replace("[convolutional]\nfilters=14", "[dropout]\nprobability=.5\n\n[convolutional]\nfilters=14")
    results = []
    for iteration in (5, 5, 6):
        engine = Engine(network(text), torch.device("cpu"), seed=4)
        x, truth = batch()
        results.append(engine.run(iteration, [MiniBatch(x, truth, ["a", "b"])]).loss)
    assert results[0] == results[1] != results[2]


def test_precision_of_the_forward_pass():
    net = network()
    outcome = run_heads(net, *batch(), Moment(net.options, 32, 32), torch.bfloat16)
    (head, loss), = outcome.heads
    assert head.input.dtype == torch.bfloat16 and loss.delta.dtype == torch.float32
