"""Batch-norm statistics of networks that are measured or saved in training."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY_CFG
from runs import QUICK

from darknet_py import DarknetError, load_network, parse_cfg, train
from darknet_py.data.targets import MiniBatch, Truth
from darknet_py.layers.batchnorm import Norm
from darknet_py.training.iteration import Engine
from darknet_py.training.statistics import IMAGES, Statistics
from darknet_py.training.trainer import Run

ROW = np.array([[0, .4, .5, .3, .3]], np.float32)
CROSS = TINY_CFG.replace("batch_normalize=1", "batch_normalize=2")
CRNN = """[net]
batch=2
inputs=5
time_steps=3
[gru]
batch_normalize=1
output=4
[connected]
output=5
[softmax]
[cost]
"""


def mini_batch(images, size=32):
    """Uniform pictures, unlike from batch to batch."""
    draw = torch.Generator().manual_seed(images)
    return MiniBatch(torch.rand(images, 3, size, size, generator=draw) * images / 4, Truth.stack([ROW] * images), [])


def convolved(network, batch):
    """What the first layer normalises."""
    return torch.nn.functional.conv2d(batch.images, network.layers[0].weight, stride=4, padding=1).detach()


def statistics(text, iterations):
    """What estimates for a fresh network, after it has seen some iterations."""
    torch.manual_seed(0)
    engine = Engine(load_network(parse_cfg(text)), torch.device("cpu"))
    result = Statistics(engine, 4)
    for batches in iterations:
        assert list(result.remembered(batches)) == batches
    return result


def test_estimates_are_the_plain_means_of_mini_batches():
    """Also of several sizes; nothing else of the network changes."""
    batches = [mini_batch(3), mini_batch(2), mini_batch(4, 64)]
    it = statistics(TINY_CFG, [batches[:2], batches[2:]])
    network, (mean, var) = it.engine.network, it.engine.statistics
    seen = [convolved(network, batch) for batch in batches]
    before, random = [mean.clone(), var.clone()], torch.get_rng_state()
    with it.in_place(2):
        torch.testing.assert_close(mean, torch.stack([y.mean((0, 2, 3)) for y in seen]).mean(0))
        torch.testing.assert_close(var, torch.stack([y.var((0, 2, 3)) for y in seen]).mean(0), rtol=1e-4, atol=1e-6)
        assert all(torch.equal(*pair) for pair in zip(it.running, before, strict=True))
    assert torch.equal(mean, before[0]) and torch.equal(var, before[1]) and it.running[0] is mean
    assert torch.equal(torch.get_rng_state(), random) and network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_across_mini_batches():
    """CmBN takes in the mean so far with every mini-batch: 1, then (1 + 2) / 2."""
    batches = [mini_batch(2), mini_batch(4)]
    it = statistics(CROSS, [batches])
    first, second = (convolved(it.engine.network, batch).mean((0, 2, 3)) for batch in batches)
    with it.in_place(1):
        torch.testing.assert_close(it.engine.statistics[0], .75 * first + .25 * second)


def test_recurrent_layers_average_over_time():
    """Each norm is called three times a mini-batch; the weights of the steps are those of a running average."""
    x = torch.rand(6, 5, 1, 1, generator=torch.Generator().manual_seed(0))
    it = statistics(CRNN, [[MiniBatch(x, torch.zeros(6, 5), [])]])
    norm = next(norm for norm in it.engine.network.modules() if isinstance(norm, Norm))
    inputs = []
    hook = norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    with it.in_place(1):
        hook.remove()
        weights = torch.tensor([.99 ** 2, .99, 1])
        means = torch.stack([x.mean(0) for x in inputs])
        torch.testing.assert_close(norm.running_mean, (weights / weights.sum()) @ means, rtol=1e-4, atol=1e-6)
    assert len(inputs) == 3


def test_only_the_latest_images_count():
    it = statistics(TINY_CFG, [[mini_batch(4)]] * 100 + [[mini_batch(8)]] * (IMAGES // 4))
    late = statistics(TINY_CFG, [[mini_batch(8)]])
    with it.in_place(1), late.in_place(1):
        for one, other in zip(it.engine.statistics, late.engine.statistics, strict=True):
            torch.testing.assert_close(one, other)


def test_values_that_are_not_finite_are_not_taken():
    bad = mini_batch(2)
    bad.images[0, 0, 0, 0] = float("nan")
    it = statistics(TINY_CFG, [[mini_batch(4), bad]])
    with it.in_place(1):
        assert it.engine.statistics[0].eq(0).all() and it.engine.statistics[1].eq(1).all()


def difference(network, batches):
    """How far the first layer's output in inference is from that in training."""
    x = torch.cat([batch.images for batch in batches]).float().div(255)
    with torch.no_grad():
        learned, = network.train().outputs_of(x, [0])
        used, = network.eval().outputs_of(x, [0])
    return float((learned - used).abs().mean() / learned.abs().mean())


@pytest.mark.parametrize("kind, fits", [("estimated", True), ("running", False)])
def test_a_short_run_infers_as_it_learned(tiny, kind, fits):
    """After 8 iterations. What is saved has these statistics too, and the running ones lie in the state."""
    run = train("tiny.data", "tiny.cfg", **QUICK | {"stop_after": 8, "statistics": kind})
    saved = load_network("tiny.cfg", "backup/tiny_final.weights")
    batches = [batch for batches in run.statistics.recent for batch in batches] if fits else [
        batch for batch, _ in zip(run.task.batches(1, run.plan), range(16), strict=False)]
    assert (difference(saved, batches) < .05) == fits
    last = load_network("tiny.cfg", "backup/tiny_last.weights")
    again = Run("tiny.data", "tiny.cfg", settings=replace(run.settings, stop_after=9))
    stored = again.engine.statistics[0]
    assert torch.equal(stored, last.layers[0].norm.running_mean) != fits


@pytest.mark.parametrize("stop", [3, 10])
def test_a_run_that_went_on_saves_the_same(tiny, stop):
    """The latest images of a run that was stopped are those that it saw before."""
    train("tiny.data", "tiny.cfg", **QUICK | {"backup": "whole"})
    train("tiny.data", "tiny.cfg", **QUICK | {"stop_after": stop})
    run = train("tiny.data", "tiny.cfg", **QUICK)
    ours, whole = (load_network("tiny.cfg", f"{folder}/tiny_final.weights") for folder in ("backup", "whole"))
    for one, other in zip(ours.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(run.network.buffers(), ours.buffers(), strict=True):
        assert torch.equal(one, other)


def test_an_unknown_kind(tiny):
    with pytest.raises(DarknetError, match="statistics needs one of estimated, running, found 'mean'"):
        train("tiny.data", "tiny.cfg", statistics="mean")
