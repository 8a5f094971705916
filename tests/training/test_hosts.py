"""Training on several hosts under torchrun: the weights of one process, also where processes are killed."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hosts import Hosts, children, namespaces_permitted
from processes import start
from runs import change, collect, tensors

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


@pytest.mark.parametrize("rank", [0, 3])
def test_a_killed_process_costs_nothing(two_hosts, rank):
    """To the last bit: torchrun starts all anew, and they go on from the last state."""
    change("tiny.cfg", "max_batches=12", "max_batches=60")
    whole = start(*WORDS, "-workers", "0", "-backup", "whole", processes=4, stderr=subprocess.STDOUT)
    text = whole.communicate(timeout=200)[0]
    assert whole.returncode == 0, text
    agents = [two_hosts.torchrun(host, 2, *WORDS, "-workers", "1", restarts=2) for host in (0, 1)]
    victim = None
    # rank 0 may be on either host: it is the one that speaks
    for agent in agents:
        os.set_blocking(agent.stdout.fileno(), True)
    lines = []
    for line in agents[0].stdout:
        lines.append(line)
        if line.startswith("saved backup/tiny_last"):
            victim = children(agents[rank // 2].pid)[rank % 2]
            os.kill(victim, signal.SIGKILL)
            break
    texts = ["".join(lines) + agents[0].communicate(timeout=200)[0], agents[1].communicate(timeout=200)[0]]
    open("/tmp/elastic/texts","w").write("\n=======\n".join(texts))
    assert [agent.returncode for agent in agents] == [0, 0], texts
    assert "going on from iteration " in texts[0]
    assert Path("backup/tiny_final.weights").read_bytes() == Path("whole/tiny_final.weights").read_bytes()
