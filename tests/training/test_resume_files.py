"""Training that goes on from files: C's, earlier versions', moved and linked ones."""
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from resuming import contents, cut_off, logged, refused
from runs import QUICK, change
from safetensors import safe_open
from safetensors.torch import save_file

from darknet_py import load_network, train


def of_c(*names):
    """The folder as C, or a version that kept no states, leaves it: weights of iterations 4, 8 and 12."""
    change("tiny.data", "savelast=4", "savelast=4\nsaveweights=4")
    train("tiny.data", "tiny.cfg", **QUICK)
    for path in Path("backup").iterdir():
        if path.name not in names:
            path.unlink()
    change("tiny.cfg", "max_batches=12", "max_batches=16")
    return contents()


ALL = ("tiny_4.weights", "tiny_8.weights", "tiny_12.weights", "tiny_last.weights", "tiny_final.weights")


@pytest.mark.parametrize("names, weights, first, moved", [
    (ALL, None, 1, ALL),
    (ALL, "backup/tiny_last.weights", 13, ("tiny_final.weights",)),
    (ALL, "backup/tiny_8.weights", 9, ("tiny_12.weights", "tiny_last.weights", "tiny_final.weights")),
    (ALL, "elsewhere.weights", 1, ALL),
    (ALL[:4], "backup/tiny_last.weights", 13, ()),
])
def test_weights_without_a_state(typed, names, weights, first, moved):
    """They go on by what they have seen where they are asked for; what would be written over makes way."""
    before = of_c(*names)
    load_network("tiny.cfg").save_weights("elsewhere.weights")
    code, iterations, said = typed(*[weights] * (weights is not None))
    assert (code, iterations) == (0, list(range(first, 17)))
    assert ("without its momentum" in said) == (first > 1)
    aside = contents("backup/previous-1") if moved else {}
    assert aside == {name: before[name] for name in moved} and ("backup/previous-1" in said) == bool(moved)
    assert typed(*[weights] * (weights is not None))[1] == []         # the same command: this run is finished


def test_back_to_an_earlier_file(typed):
    """NAME_4.weights of the run that lies there: what came later is kept, and the log goes on from there."""
    change("tiny.data", "savelast=4", "savelast=4\nsaveweights=4")
    cut_off(9)
    before = contents()
    code, iterations, said = typed("backup/tiny_4.weights")
    assert (code, iterations) == (0, list(range(5, 13)))
    assert "going on from iteration 4 of backup/tiny_4.weights" in said
    assert contents("backup/previous-1") == {name: data for name, data in before.items() if name != "tiny_4.weights"}
    assert contents()["tiny_4.weights"] == before["tiny_4.weights"] and logged() == list(range(1, 13))


def test_the_final_weights_of_a_run_go_on(typed):
    """... with their momentum, for their state is that of the last weights."""
    typed()
    change("tiny.cfg", "max_batches=12", "max_batches=16")
    _, iterations, said = typed("backup/tiny_final.weights")
    assert iterations == [13, 14, 15, 16] and "momentum" not in said
    change("tiny.cfg", "max_batches=16", "max_batches=14")
    train("tiny.data", "tiny.cfg", **QUICK, backup="whole")
    change("tiny.cfg", "max_batches=14", "max_batches=16")
    train("tiny.data", "tiny.cfg", **QUICK, backup="whole")
    assert contents()["tiny_final.weights"] == contents("whole")["tiny_final.weights"]


def test_weights_behind_a_link(typed):
    """A link that stands for NAME_last.weights stays; its target is written, and is what goes on."""
    for folder in ("kept", "backup"):
        Path(folder).mkdir()
    Path("backup/tiny_last.weights").symlink_to("../kept/last.weights")
    cut_off(5)
    first = Path("kept/last.weights").read_bytes()
    assert typed()[1] == list(range(6, 13)) and Path("backup/tiny_last.weights").is_symlink()
    assert os.listdir("kept") == ["last.weights"] and Path("kept/last.weights").read_bytes() != first
    assert contents()["tiny_last.weights"] == contents()["tiny_final.weights"]


def test_weights_with_a_state_from_elsewhere(typed):
    """They go on here, and the same command does so again after a crash."""
    cut_off(5, backup="there")
    load_network("tiny.cfg").save_weights("first.weights")
    cut_off(8, "there/tiny_last.weights")
    _, iterations, said = typed("there/tiny_last.weights")
    assert iterations == [9, 10, 11, 12] and "going on from iteration 8 of backup/tiny_last.weights" in said
    typed("-backup", "there")
    code, _, said = typed("there/tiny_last.weights", "-backup", "new")
    assert code == 1 and "was trained for 12 iterations already, and the run ends at 12; raise max_batches" in said


def test_states_of_earlier_versions(typed):
    cut_off(5)
    path = Path("backup/tiny_last.state")
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}         # noqa: SIM118
        facts = json.loads(file.metadata()["run"])
    for name in ("run", "amp", "pictures"):
        del facts[name]
    facts |= {"identity": [0, str(Path("tiny.data").absolute()), None], "finished": False}
    save_file(tensors, path, {"run": json.dumps(facts)})
    refused(typed("0"), "began with no weights, this one begins with 0")
    _, iterations, said = typed()
    assert iterations[0] == 6 and "changed since: the cfg (a state of an earlier version does not say where)" in said


def states():
    return (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state()))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_caller_keeps_its_random_state(tiny, workers):
    """At each event as after all; and what is drawn does not depend on it."""
    change("tiny.cfg", "burn_in=0", "burn_in=0\nmosaic=1\nadversarial_lr=1")
    change("tiny.cfg", "[convolutional]\nfilters=14", "[dropout]\nprobability=.3\n\n[convolutional]\nfilters=14")
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before, kept = states(), []
        train("tiny.data", "tiny.cfg", **QUICK | {"workers": workers, "report": True}, clear=True, evaluate=True,
              on_event=lambda event, kept=kept, before=before: kept.append(states() == before))
        assert len(kept) > 12 and all(kept) and states() == before
        weights.append(contents()["tiny_final.weights"])
    assert weights[0] == weights[1]
