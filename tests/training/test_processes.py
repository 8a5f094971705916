"""Training by several processes, also on several hosts: the weights of one process, also where one is killed."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hosts import Hosts, children, namespaces_permitted
from processes import finish, start
from runs import QUICK, change, collect, of, tensors

from darknet_py.training.events import Iteration
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run

WORDS = ["train", "tiny.data", "tiny.cfg", "-seed", "3", "-device", "cpu", "-no_report"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(params=["loopback", "namespaces"])
def two_hosts(request, tiny):
    """Two hosts in the working directory."""
    if request.param == "namespaces" and not namespaces_permitted():
        pytest.skip("network namespaces are not permitted")
    change("tiny.cfg", "batch=4\nsubdivisions=2", "batch=8\nsubdivisions=4")
    with Hosts(2, apart=request.param == "namespaces") as hosts:
        yield hosts


def test_two_hosts_of_two_processes_are_one(two_hosts):
    collect("tiny.data", "tiny.cfg", backup="one")
    agents = [two_hosts.torchrun(host, 2, *WORDS, "-workers", "0", "-map") for host in (0, 1)]
    texts = [agent.communicate(timeout=200)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], texts
    assert "device      4 processes, " in texts[0] + texts[1]
    assert sum(text.count(" 12: ") for text in texts) == 1                 # one process speaks
    for ours, theirs in zip(tensors("one/tiny_final.weights"), tensors("backup/tiny_final.weights"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lost", ["the first process", "the last process", "a host"])
def test_what_is_killed_costs_nothing(two_hosts, lost):
    """torchrun starts all anew, with the hosts that are left, and they go on from the last state."""
    if two_hosts.apart == (lost == "the first process"):
        pytest.skip("tested elsewhere")
    change("tiny.cfg", "max_batches=12", "max_batches=24")
    whole = start(*WORDS, "-workers", "0", "-backup", "whole", processes=4, stderr=subprocess.STDOUT)
    assert whole.communicate(timeout=200)[0].count("saved whole/tiny_final.weights") == 1
    agents = [two_hosts.torchrun(host, 2, *WORDS, "-workers", "1", restarts=2, wait=5 if lost == "a host" else 60)
              for host in (0, 1)]
    lines = list(until(agents[0], "saved backup/tiny_last"))
    if lost == "a host":
        two_hosts.switch_off(agents[1])
    else:
        os.kill(children(agents[lost == "the last process"].pid)[-1 if lost == "the last process" else 0],
                signal.SIGKILL)
    left = agents[:1] if lost == "a host" else agents
    texts = ["".join(lines)] + [agent.communicate(timeout=200)[0] for agent in left]
    assert [agent.returncode for agent in left] == [0] * len(left), texts
    assert "going on from iteration " in texts[1]
    if lost == "a host":                # two processes sum in another order than four
        for ours, theirs in zip(tensors("whole/tiny_final.weights"), tensors("backup/tiny_final.weights"), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    else:
        assert Path("backup/tiny_final.weights").read_bytes() == Path("whole/tiny_final.weights").read_bytes()


def until(process, beginning):
    """The lines of a process up to one that begins so."""
    for line in process.stdout:
        yield line
        if line.startswith(beginning):
            return


SHARED = {                  # changes of tiny.cfg; and how many processes train it as one does
    "subdivisions": ("batch=8\nsubdivisions=4", (2, 3, 4)),
    "random": ("batch=8\nsubdivisions=4", (2, 4)),
    "dynamic": ("batch=8\nsubdivisions=4\ndynamic_minibatch=1", (2, 4)),
    "dropblock": ("batch=8\nsubdivisions=4", (2, 4)),
    "adversarial": ("batch=8\nsubdivisions=4\nadversarial_lr=1\nema_alpha=.9", (2, 4)),
}


@pytest.mark.parametrize("case", SHARED)
def test_any_number_of_processes_is_one(tiny, case):
    """Each mini-batch is the same on whichever process: its pictures, its size, and what is random."""
    lines, processes = SHARED[case]
    change("tiny.cfg", "batch=4\nsubdivisions=2", lines)
    if case in ("random", "dynamic"):
        change("tiny.cfg", "num=2", "num=2\nrandom=1")
        change("tiny.cfg", "max_batches=12", "max_batches=132")        # the last 100 are of the largest size
    else:
        change("tiny.cfg", "max_batches=12", "max_batches=32")
    if case == "dropblock":
        change("tiny.cfg", "[convolutional]\nfilters=14",
               "[dropout]\nprobability=.3\ndropblock=1\ndropblock_size_abs=2\n\n[convolutional]\nfilters=14")
    if case == "adversarial":       # attacks see the running statistics of their own process
        change("tiny.cfg", "batch_normalize=1", "batch_normalize=0")
    change("tiny.data", "savelast=4", "savelast=32")
    _, events = collect("tiny.data", "tiny.cfg", backup="1", stop_after=32)
    assert (len({event.size for event in of(events, Iteration)}) > 1) == (case in ("random", "dynamic"))
    for count in processes:
        process = start(*WORDS, "-workers", 0, "-backup", count, processes=count, stderr=subprocess.STDOUT)
        said = list(until(process, f"saved {count}/tiny_last"))
        process.kill()              # the rest of the iterations would take seconds
        process.stdout.close()
        assert Path(f"{count}/tiny_last.weights").exists(), said
        for ours, theirs in zip(tensors("1/tiny_last.weights"), tensors(f"{count}/tiny_last.weights"), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_evaluation_while_training_is_shared(tiny, monkeypatch):
    """By whole batches of pictures; what is measured is the same to the last digit."""
    Path("valid.txt").write_text(Path("train.txt").read_text() * 6)
    change("tiny.data", "valid=train.txt", "valid=valid.txt")
    run = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, save=False, evaluate=True))
    for _ in run:
        pass
    whole, world, parts = run.task.evaluate(run.network), run.task.world, []
    for rank in range(2):
        world.size, world.rank = 2, rank
        monkeypatch.setattr(world, "gather", lambda work: parts.append(work()) or parts[-1:])
        run.task.evaluate(run.network)
    assert [len(part.sizes) for part in parts] == [20, 16]          # batches of 16, 16 and 4
    monkeypatch.setattr(world, "gather", lambda work: parts)
    assert run.task.evaluate(run.network)[:4] == whole[:4]


def test_fewer_subdivisions_than_processes(tiny):
    """They train all the same, and say what differs."""
    change("tiny.cfg", "subdivisions=2", "subdivisions=1")
    code, out, err = finish(*WORDS, "-workers", 0, processes=2)
    assert code == 0, err
    assert "subdivisions=1 are too few for the processes that train: they share 2 mini-batches of 2 images" in out


def test_rolling_statistics_are_a_mean_over_processes(tiny, monkeypatch):
    run = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, save=False))
    engine, others = run.engine, torch.tensor([9., 7, 3, 1, 4, 6, 8, 10], dtype=torch.float64)
    engine.context.rolling.copy_(torch.tensor([2., 4, 6, 8]))
    engine.world.size = 2
    monkeypatch.setattr(engine.world, "all_reduce", lambda tensors: tensors[0].add_(others))
    images, loss, updates = engine._totals(5, [torch.tensor(4., dtype=torch.float64)] * 2)
    assert (images, updates) == (12, [5, 1]) and loss == 17 / 6
    assert engine.context.rolling.tolist() == [5, 8, 11, 14]
