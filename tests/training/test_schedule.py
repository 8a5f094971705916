"""What an iteration's number decides."""
import math
from dataclasses import replace

import pytest
from conftest import raises

from darknet_py import CfgError, Reason
from darknet_py.cfg.options import NetOptions
from darknet_py.data.batch_plan import plan, sequences, shared
from darknet_py.data.loader import Plan
from darknet_py.training.schedule import learning_rate

NET = NetOptions(learning_rate=.1, max_batches=1000, burn_in=0)
RATES = [       # options, iteration, rate
    ({}, 7, .1),
    ({"burn_in": 100}, 50, .1 * .5 ** 4),
    ({"burn_in": 100, "power": 2}, 99, .1 * .99 ** 2),
    ({"burn_in": 100}, 100, .1),
    ({"policy": "step", "step": 10, "scale": .5}, 9, .1),
    ({"policy": "step", "step": 10, "scale": .5}, 29, .025),
    ({"policy": "steps", "steps": (100, 200), "scales": (.1, .2)}, 99, .1),
    ({"policy": "steps", "steps": (100, 200), "scales": (.1, .2)}, 100, .01),
    ({"policy": "steps", "steps": (100, 200), "scales": (.1, .2)}, 999, .002),
    ({"policy": "exp", "gamma": .99}, 10, .1 * .99 ** 10),
    ({"policy": "poly", "power": 4}, 500, .1 * .5 ** 4),
    ({"policy": "poly", "power": 4}, 1001, 0),
    ({"policy": "sigmoid", "gamma": .1, "step": 100}, 100, .05),
    ({"policy": "sigmoid", "gamma": .1, "step": 100}, 110, .1 / (1 + math.e)),
    ({"policy": "sgdr", "learning_rate_min": .01}, 500, .055),
    ({"policy": "sgdr", "learning_rate_min": .01}, 1000, .01),
    ({"policy": "sgdr", "learning_rate_min": 0, "sgdr_cycle": 100}, 150, .1 * (1 + math.cos(math.pi * .25)) / 2),
    ({"policy": "sgdr", "learning_rate_min": 0, "sgdr_cycle": 100, "sgdr_mult": 1}, 150, .05),
]


@pytest.mark.parametrize("options, iteration, rate", RATES)
def test_learning_rate(options, iteration, rate):
    assert learning_rate(replace(NET, **options), iteration) == pytest.approx(rate, rel=1e-6, abs=1e-12)


def test_a_random_rate_can_be_repeated():
    net = replace(NET, policy="random", power=1)
    rates = [learning_rate(net, iteration) for iteration in range(1, 200)]
    assert rates == [learning_rate(net, iteration) for iteration in range(1, 200)]
    assert 0 <= min(rates) < .02 and .08 < max(rates) <= .1


SIZED = replace(NET, width=416, height=320, batch=64, subdivisions=8)


def test_plan_without_random():
    assert plan(SIZED, 0, 5)[:4] == (416, 320, 64, 8)


def test_sizes():
    """Multiples of 32 between 1/1.4 and 1.4 of the cfg's, one step up; kept for 10 iterations; the largest at the
    start and in the end."""
    sizes = [plan(SIZED, 1, iteration)[:2] for iteration in range(1, 1001)]
    assert sizes[0] == sizes[9] == sizes[-1] == sizes[-99] == (608, 480)
    assert all(len(set(sizes[start:start + 10])) == 1 for start in range(0, 900, 10))
    assert {width for width, _ in sizes} == set(range(320, 609, 32)) | {608}
    assert all(width % 32 == height % 32 == 0 for width, height in sizes)
    assert sizes != [plan(SIZED, 1, iteration, seed=1)[:2] for iteration in range(1, 1001)]


def test_dynamic_minibatch():
    net = replace(SIZED, dynamic_minibatch=1)
    plans = [plan(net, 1, iteration) for iteration in range(1, 901)]
    assert plans[0].images == 64 and max(one.images for one in plans) > 100
    assert all(one.images % 8 == 0 and one.images * one.width * one.height <= 64 * 608 * 480 * 1.01 for one in plans)


@pytest.mark.parametrize("iteration, parts", [(1, 8), (100, 4), (200, 8), (300, 1)])
def test_sequences(iteration, parts):
    net = replace(SIZED, steps=(100, 200, 300), scales=(1, 1, 1), seq_scales=(.5, 4, .01))
    assert sequences(net, iteration) == parts


@pytest.mark.parametrize("images, subdivisions, processes, count", [(64, 8, 1, 8), (64, 8, 4, 8), (64, 1, 4, 4),
                                                                   (12, 4, 3, 4), (12, 2, 3, 3),
                                                                   (5, 1, 2, 5), (12, 1, 5, 6)])
def test_a_batch_shared_by_processes(images, subdivisions, processes, count):
    assert shared(Plan(32, 32, images, subdivisions), processes) == Plan(32, 32, images, count)


def test_a_batch_that_cannot_be_shared():
    with raises(CfgError, Reason.INDIVISIBLE, r"^a\.cfg: a batch of 2 images cannot be shared by 3 processes$"):
        shared(Plan(32, 32, 2, 2), 3, "a.cfg")


@pytest.mark.parametrize("subdivisions, chunks, world, shares", [
    (8, None, 1, [8]), (8, None, 4, [2, 2, 2, 2]), (16, None, 3, [6, 5, 5]), (3, None, 2, [2, 1]),
    (8, 2, 2, [4, 4]), (9, 2, 2, [5, 4]), (8, 3, 2, [6, 2]), (8, 1, 2, [4, 4])])
def test_shares_of_processes(subdivisions, chunks, world, shares):
    """Of whole parts of sequences, where there are enough."""
    plan = Plan(32, 32, subdivisions, subdivisions, chunks=chunks)
    ranges = [plan.share(rank, world) for rank in range(world)]
    assert [len(share) for share in ranges] == shares
    assert [number for share in ranges for number in share] == list(range(subdivisions))
