"""Batch inference in processes that are killed, stopped, or share the parts; all end with the same rows."""
import io
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from batch_runs import manifest, pictures, table, words
from processes import finish, start

from darknet_py.cli.batch import Shown, Stopped
from darknet_py.cli.progress import Progress
from darknet_py.scale.folder import BatchFolder
from darknet_py.scale.manifest import covered
from darknet_py.scale.snapshot import Snapshot
from darknet_py.scale.worker import take_share


@pytest.fixture
def whole(workdir, cli):
    """The rows of a run of one process over 40 pictures."""
    pictures("pics", 40)
    assert cli(*words("pics", out="whole"))[0] == 0
    return table("whole")


def begun(out="out"):
    """Wait until a part is done."""
    for _ in range(400):
        if list(Path(out, "parts").glob("part*")):
            return
        time.sleep(.02)
    raise AssertionError("no part is done after 8 s")


def parts(out="out"):
    return {path.name: path.stat().st_mtime_ns for path in Path(out, "parts").glob("part*")}


def test_kills_at_random_moments(whole):
    rng, kills, kept = random.Random(1), 0, {}
    for _ in range(4):
        process = start(*words("pics"))
        try:
            process.wait(rng.uniform(.1, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        process.wait()
        now = parts()
        assert kept.items() <= now.items()      # what was done once stays
        kept = now
    code, _, err = finish(*words("pics"))
    assert code == 0, err
    assert kills and kept.items() <= parts().items() and table() == whole
    assert manifest()["pictures"] == 40 and not list(Path("out").rglob(".darknet-py*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it(whole, number):
    with open("err.txt", "wb") as err:
        process = start(*words("pics"), stderr=err)
    begun()
    process.send_signal(number)
    assert process.wait(30) == 130
    done = 4 * len(parts())
    assert 0 < done < 40
    assert Path("err.txt").read_text().endswith(
        f"darknet-py: stopped; out has results of {done} pictures, and the same command goes on\n")
    assert not Path("out/manifest.json").exists() and not list(Path("out").rglob(".darknet-py*"))
    assert finish(*words("pics"))[0] == 0 and table() == whole


def test_two_ranks(whole):
    code, out, err = finish(*words("pics"), processes=2)
    assert code == 0 and out.count("out: 40 pictures") == 1, err
    assert table() == whole and manifest()["parts"] == 10


def test_a_killed_rank_is_survived(whole):
    """The other takes over what it had."""
    first, second = start(*words("pics")), start(*words("pics"))
    begun()
    first.kill()
    assert second.wait(60) == 0 and table() == whole


def test_a_claim_ends_with_its_process(workdir):
    pictures("pics", 1)
    settings = {"format": "jsonl", "part": 4}
    one, other = BatchFolder("out", settings), BatchFolder("out", settings)
    with one.claim(0) as mine:
        assert mine
        if os.fork() == 0:
            with BatchFolder("out", settings).claim(1) as mine:
                os._exit(0 if mine else 1)      # as if killed
        assert os.wait()[1] == 0
        with other.claim(0) as taken, other.claim(1) as free:
            assert not taken and free
    one.snapshot = Snapshot(one.state, 4, 8)
    one.write(1, [], [])
    with other.claim(1) as mine:
        assert not mine and one.finished_pictures() == 4


def test_seconds_without_pauses():
    assert covered([(10, 12), (0, 2), (1, 3), (11, 12)]) == 5


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_shares_of_the_cores(monkeypatch):
    bound = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {8, 2, 5, 7, 9})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: bound.append(cores))
    monkeypatch.setattr("torch.set_num_threads", lambda count: bound.append(count))
    for rank in range(2):
        take_share(rank, 2)
    take_share(4, 5)
    take_share(4, 6)            # there are fewer
    take_share(0, 1)
    assert bound == [[2, 5], 2, [7, 8, 9], 3, [9], 1]


def test_progress_counts_what_others_have_done(workdir):
    folder = BatchFolder("out", {"format": "jsonl", "part": 4})
    folder.snapshot, stream, signals = Snapshot(folder.state, 4, 10), io.StringIO(), []
    folder.write(0, [], [])
    with Progress(0, stream, interval=0) as bar:
        shown = Shown(folder, bar, signals)
        shown.start()
        shown.step(0)
        for done in (1, 2):
            shown.step(done)
        folder.write(2, [], [])             # by another process
        shown.looked -= 10
        shown.step(0)
        shown.step(2)
        signals.append(signal.SIGTERM)
        with pytest.raises(Stopped):
            shown.step(3)
    assert list(dict.fromkeys(line.split(",")[0] for line in stream.getvalue().splitlines())) == [
        "4/10 40%", "5/10 50%", "6/10 60%", "8/10 80%"]
