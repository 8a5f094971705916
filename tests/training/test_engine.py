"""The parts of a training step that no golden shows."""
import os
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY_CFG, raises

from darknet_py import CfgError, Reason, load_network, parse_cfg, train
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.layers.batchnorm import MOMENTUM
from darknet_py.training import gradient_exchange, tasks
from darknet_py.training import iteration as engine
from darknet_py.training.batchnorm_sync import merge_statistics
from darknet_py.training.ema import Average
from darknet_py.training.iteration import Engine
from darknet_py.training.settings import Settings
from darknet_py.training.step import accumulate, attack, run_heads
from darknet_py.utils.distributed import World
from darknet_py.viz.attention import attention_picture

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
    with raises(CfgError, Reason.SHAPE_MISMATCH,
                r"\[connected\] has weights \(3, 896\) that would be \(3, 3584\) for images of 64 x 64"):
        fixed.resized(64, 64)


def test_subdivisions_add_up():
    """Without batch normalisation a batch in parts is the batch."""
    net = network(TINY_CFG.replace("batch_normalize=1\n", ""))
    x, truth = batch(4)
    accumulate(net, x, truth)
    whole = gradients(net)
    net.zero_grad()
    for part in (slice(0, 2), slice(2, 4)):
        accumulate(net, x[part], Truth(*(t[part] for t in truth)))
    for ours, theirs in zip(gradients(net), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_frozen_layers_get_no_gradient():
    net = network(TINY_CFG.replace("filters=8", "filters=8\nstopbackward=1"))
    accumulate(net, *batch())
    assert [gradient is None for gradient in gradients(net)] == [True] * 3 + [False] * 2
    later = network(TINY_CFG.replace("filters=8", "filters=8\nstopbackward=5"))
    for iteration, frozen in ((4, True), (5, False)):
        later.zero_grad()
        later.context.iteration = iteration
        accumulate(later, *batch())
        assert (gradients(later)[0] is None) == frozen


def test_an_attack_hides_objects():
    """Self-adversarial training: objectness falls, pixels stay in [0, 1], and no weight or statistic notices."""
    net = network()
    x, truth = batch()
    buffers = [buffer.clone() for buffer in net.buffers()]
    changed, delta = attack(net, x, truth, .05)
    assert gradients(net) == [None] * 5 and not net.context.adversarial
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), buffers, strict=True))
    assert changed.min() >= 0 and changed.max() <= 1 and delta.shape == x.shape
    torch.testing.assert_close(changed, (x + .05 * delta).clamp(0, 1))
    net.eval()
    before, after = (net(images)[0].unflatten(1, (2, 7))[:, :, 4].mean() for images in (x, changed))
    assert after < before


def test_of_contrastive_pairs_the_first_is_attacked():
    net = network(TINY_CFG.replace("burn_in=0", "contrastive=1"))
    x, truth = batch(4)
    changed, _ = attack(net, x, truth, .05)
    assert [torch.equal(a, b) for a, b in zip(changed, x, strict=True)] == [False, True, False, True]


def test_attention_picture():
    image, delta = torch.full((3, 32, 40), .5), torch.zeros(3, 32, 40)
    delta[:, 8:16, 24:32] = -1
    picture = attention_picture(image, delta)
    assert picture.shape == (32, 40, 3) and picture.dtype == np.uint8
    assert picture[12, 28, 2] > 2 * picture[28, 4, 2] and picture[12, 28, 0] == picture[28, 4, 0]


@pytest.mark.parametrize("most, start", [(12, 6), (2000, 1000)])
def test_an_average_of_a_short_run_goes_on_to_its_end(most, start):
    """From its middle on. C only takes it over 1000 iterations before the end, which is no later here."""
    net = network(TINY_CFG.replace("burn_in=0", "ema_alpha=.5").replace("max_batches=12", f"max_batches={most}"))
    average = Average(net)
    weight, seen = net.layers[1].bias, []
    at = next(index for index, parameter in enumerate(net.parameters()) if parameter is weight)
    for iteration in range(start - 1, start + 3):
        with torch.no_grad():
            weight.fill_(iteration - start)
        average.update(iteration)
        assert weight[0] == iteration - start
        seen.append(average.values[at][0].item() if average.values else None)
    assert seen == [None, 0, .5, 1.25]


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
    means = [torch.tensor([1., 2, 3]), torch.tensor([4., 5])]            # of each process
    start = torch.tensor([10.])
    expected = start.clone()
    for mean in torch.cat(means):
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
                monkeypatch.setattr(world, "all_reduce", lambda tensors: parts.append(tensors[0].clone()))
            else:
                monkeypatch.setattr(world, "all_reduce", lambda tensors: tensors[0].copy_(sum(parts)))
            merge_statistics(world, [start], [now], [len(part) for part in means])
            if turn:
                torch.testing.assert_close(now, expected)


def test_gradients_are_exchanged_while_the_backward_pass_goes_on(monkeypatch):
    """In buckets from the last parameter on; those that lack a gradient hold theirs back to the end."""
    monkeypatch.setattr(gradient_exchange, "BUCKET", 20)
    world, weights, sent = World(torch.device("cpu")), [torch.nn.Parameter(torch.ones(2)) for _ in range(5)], []
    world.size = 2

    def start(gradients):
        sent.append([gradient.clone() for gradient in gradients])
        return 2 * torch.cat(gradients) if gradients else torch.empty(0), SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(world, "start_all_reduce", start)
    exchange = gradient_exchange.GradientExchange(world, weights)
    assert exchange.buckets == [weights[:1:-1], weights[1::-1]]
    for last in (False, True):
        with exchange.during(last):
            sum((number * weight).sum() for number, weight in enumerate(weights) if number != 1).backward()
            assert len(sent) == last
    exchange.finish()
    assert [[int(gradient[0]) for gradient in part] for part in sent] == [[8, 6, 4], [0]]
    assert weights[1].grad is None
    assert [int(weight.grad[1]) for weight in weights if weight.grad is not None] == [0, 8, 12, 16]
    assert exchange.sent == []


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
    outcome = run_heads(net, *batch(), torch.bfloat16)
    (head, loss), = outcome.heads
    assert head.input.dtype == torch.bfloat16 and loss.delta.dtype == torch.float32


def mini_batches(count, broken=-1):
    draw = torch.Generator().manual_seed(0)
    for index in range(count):
        images = torch.randint(256, (2, 3, 32, 32), generator=draw, dtype=torch.uint8)
        if index == broken:
            images = images.float() / 255
            images[1, 0, 3, 3] = torch.nan
        yield MiniBatch(images, Truth.stack([ROWS] * 2), [f"{index}a.png", f"{index}b.png"], 1, index)


@pytest.mark.gpu
def test_the_caller_keeps_its_random_state_on_a_gpu():
    text = TINY_CFG.replace("[convolutional]\nfilters=14", "[dropout]\nprobability=.5\n\n[convolutional]\nfilters=14")
    trainer = Engine(network(text).cuda(), torch.device("cuda"))
    before = torch.cuda.get_rng_state_all()
    trainer.run(1, mini_batches(2))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(torch.cuda.get_rng_state_all(), before, strict=True))
    with engine.seeded(7, torch.device("cuda")):
        ours = torch.rand(4, device="cuda"), torch.rand(4)
    torch.manual_seed(7)
    assert torch.equal(ours[0], torch.rand(4, device="cuda")) and torch.equal(ours[1], torch.rand(4))


def test_images_are_let_go(monkeypatch):
    """Of all mini-batches but this one and the one before, no float copy is kept."""
    trainer, kept, alive = Engine(network(), torch.device("cpu")), [], []
    made = Engine.input

    def watched(self, images):
        alive.append(sum(ref() is not None for ref in kept))
        x = made(self, images)
        kept.append(weakref.ref(x))
        return x

    monkeypatch.setattr(Engine, "input", watched)
    assert trainer.run(1, mini_batches(6)).trouble is None
    assert max(alive) <= 1 and sum(ref() is not None for ref in kept) <= 1


@pytest.mark.parametrize("attacked", [False, True])
def test_what_is_not_finite_is_found_again(attacked, monkeypatch):
    """The images as the network saw them: those of an attack where there was one."""
    trainer = Engine(network(), torch.device("cpu"))
    if attacked:
        monkeypatch.setattr(Engine, "_is_attacked", lambda self, iteration, subdivision: subdivision == 2)

        def attack(network, x, *_):
            x = x.clone()
            x[0, 0, 0, 0] = torch.nan
            return x, torch.zeros_like(x)

        monkeypatch.setattr(engine, "attack", attack)
    trouble = trainer.run(1, mini_batches(4, broken=-1 if attacked else 1)).trouble
    assert trouble.endswith("the images themselves is the first that is not finite, for "
                            + ("2a.png" if attacked else "1b.png"))


@pytest.mark.parametrize("cores, size, local, expected", [(16, 1, None, 8), (16, 4, None, 3), (16, 16, "4", 3),
                                                          (64, 16, "8", 7), (2, 8, "8", 1)])
def test_workers_share_the_cores_of_their_machine(monkeypatch, cores, size, local, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if local is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    world = World(torch.device("cpu"))
    world.size = size
    assert tasks.workers(Settings(), world) == expected
    assert tasks.workers(Settings(workers=5), world) == 5


def test_similar_filters_are_looked_for_once(tiny, monkeypatch):
    """At most once an iteration, in the first three quarters, after the average of the weights."""
    cfg = parse_cfg(TINY_CFG.replace("burn_in=0", "burn_in=0\nweights_reject_freq=2\nema_alpha=.5"), "tiny.cfg")
    done = []
    update = engine.Average.update
    monkeypatch.setattr(engine, "reject_similar_filters", lambda network, seed: done.append(seed - 3))
    monkeypatch.setattr("darknet_py.training.optimizer.reject_similar_filters", lambda *_: done.append("twice"))
    monkeypatch.setattr(engine.Average, "update", lambda self, i: (update(self, i), done.append(f"average {i}")))
    train("tiny.data", cfg, device="cpu", seed=3, workers=0, save=False)
    assert [what for what in done if not isinstance(what, str)] == [2, 4, 6, 8] and "twice" not in done
    assert done[done.index(2) - 1] == "average 2"
