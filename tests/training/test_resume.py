"""What becomes of a training run that lies in the backup folder already, typed as users do."""
import json
import os
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import finish, start
from runs import QUICK, change
from safetensors import safe_open
from safetensors.torch import save_file

from darknet_py import load_network, train
from darknet_py.training import checkpoint
from darknet_py.training.events import Iteration
from darknet_py.training.report import read_log
from darknet_py.training.saving import Saver
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run

WORDS = ["tiny.data", "tiny.cfg", "-device", "cpu", "-workers", "0"]


@pytest.fixture
def typed(tiny, cli):
    """Type a command: its exit code, the iterations that it did, and the lines that it said beside them."""
    def type_in(*words, seed="3", report=False):
        words = [*words, *["-no_report"] * (not report)]
        code, out, err = cli("train", *WORDS, *(["-seed", seed] if seed else []), *words)
        lines = [line for line in (out + err).splitlines() if not line.startswith("saved ")]
        done = [line for line in lines if " avg loss, " in line]
        said = [line for line in lines if line not in done]
        return code, [int(line.split(":")[0]) for line in done], "\n".join(said)
    return type_in


def files(folder="backup"):
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in Path(folder).rglob("*") if path.is_file()}


def contents(folder="backup"):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def cut_off(at, weights=None, **settings):
    """Train up to an iteration, and stop as Ctrl-C does."""
    run = Run("tiny.data", "tiny.cfg", weights, Settings(**QUICK | settings))
    for event in run:
        if isinstance(event, Iteration) and event.iteration == at:
            list(run.save_last_now())
            break
    run.close()


def seen(name):
    return load_network("tiny.cfg", f"backup/tiny_{name}.weights").seen // 4


def logged():
    return [entry["iteration"] for entry in read_log("backup/tiny_log.jsonl") if "loss" in entry]


def refused(result, *parts, ways=("-clear", "-backup")):
    code, iterations, said = result
    assert code == 1 and iterations == [] and len(said.splitlines()) == 1
    for part in (*parts, *ways):
        assert part in said
    return said


def test_the_same_command_after_the_end(typed):
    assert typed()[:2] == (0, list(range(1, 13)))
    before = files(".")
    code, iterations, said = typed()
    assert (code, iterations) == (0, []) and files(".") == before
    assert said == ("backup/tiny_final.weights: this run is finished, 12 of 12 iterations are done; raise max_batches "
                    "to train longer, or start afresh with -clear (what is there moves to backup/previous-1)")
    run = train("tiny.data", "tiny.cfg", "backup/tiny_final.weights", **QUICK)
    assert run.iteration == 12 and run.start.todo == "nothing" and files(".") == before


@pytest.mark.parametrize("done, old, new, said", [
    (5, "learning_rate=0.01", "learning_rate=0.005", "[net] learning_rate 0.01 -> 0.005"),
    (5, "subdivisions=2", "subdivisions=4", "[net] subdivisions 2 -> 4"),
    (5, "max_batches=12", "max_batches=16", "[net] max_batches 12 -> 16"),
    (12, "max_batches=12", "max_batches=16", "[net] max_batches 12 -> 16"),
    (5, "burn_in=0", "burn_in=0\nadam=1", "[net] adam none -> 1"),
    (5, "iou_normalizer=.07", "iou_normalizer=.1\nignore_thresh=.6",
     "[yolo] (line 29) iou_normalizer .07 -> .1, [yolo] (line 29) ignore_thresh none -> .6"),
    (5, "learning_rate=0.01", "# a comment\nlearning_rate=.010", None),
])
def test_an_edited_cfg_goes_on(typed, done, old, new, said):
    cut_off(done) if done < 12 else typed()
    change("tiny.cfg", old, new)
    code, iterations, text = typed()
    last = 16 if "16" in new else 12
    assert code == 0 and iterations == list(range(done + 1, last + 1))
    assert f"\ngoing on from iteration {done} of backup/tiny_last.weights" in text
    assert [line for line in text.splitlines() if "changed" in line] == [f"changed since: {said}"] * (said is not None)
    assert seen("final") == last and logged() == list(range(1, last + 1)) and not Path("backup/previous-1").exists()
    assert typed()[1] == []                                 # now it is this cfg that the run has


@pytest.mark.parametrize("before, now, scale", [("fp16", "off", 1), ("off", "fp16", 1024), ("fp16", "fp16", 512)])
def test_another_precision_goes_on(tiny, before, now, scale):
    """The scale of deltas is that of the run only where its precision is, too."""
    run = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, amp=before))
    if before == "fp16":
        run.engine.scale = 512
    next(event for event in run if isinstance(event, Iteration))
    list(run.save_last_now())
    run.close()
    run = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, amp=now))
    assert run.iteration == 1 and run.engine.scale == scale
    run.close()


def test_the_data_file_may_say_more(typed):
    cut_off(5)
    change("tiny.data", "valid=train.txt", "valid=fewer.txt")
    Path("fewer.txt").write_text("0.png\n")
    with open("train.txt", "a") as file:
        file.write("0.png\n")
    _, iterations, said = typed()
    assert iterations[0] == 6 and "changed since: tiny.data valid train.txt -> fewer.txt\n" in said
    assert "pictures to train on: 6 before, 7 now" in said


@pytest.mark.parametrize("old, new, said", [
    ("filters=8", "filters=16", "layer 0 was convolutional 8x3x3x3, is convolutional 16x3x3x3"),
    ("[yolo]", "[maxpool]\nsize=1\n\n[yolo]", "layer 2 was yolo, is maxpool"),
    ("batch_normalize=1\n", "", "layer 0 was convolutional 8 8 8 8 8x3x3x3, is convolutional 8 8x3x3x3"),
])
@pytest.mark.parametrize("done", [5, 12])
def test_another_network_is_refused(typed, old, new, said, done):
    cut_off(done) if done < 12 else typed()
    change("tiny.cfg", old, new)
    before = files()
    refused(typed(), f"backup/tiny_last.weights: is of another network than tiny.cfg: {said}; go on with the cfg")
    assert files() == before


def test_other_data_are_refused(typed):
    cut_off(5)
    before = files()
    Path("other.txt").write_text("1.png\n")
    shutil.copy("tiny.data", "other.data")
    text = Path("tiny.data").read_text()
    change("tiny.data", "train=train.txt", "train=other.txt")
    refused(typed(), f"is of a run on train={Path.cwd()}/train.txt, this one is on train={Path.cwd()}/other.txt; ")
    Path("tiny.data").write_text(text)
    WORDS[0] = "other.data"
    try:
        refused(typed(), "tiny.data, this one is on", "other.data; go on with the data it began with")
    finally:
        WORDS[0] = "tiny.data"
    assert files() == before
    assert typed()[1][0] == 6


def test_a_folder_that_has_moved_goes_on(typed, tiny, monkeypatch):
    cut_off(5)
    there = tiny.with_name("elsewhere")
    tiny.rename(there)
    monkeypatch.chdir(there)
    assert typed()[1][0] == 6


def test_other_first_weights_are_refused(typed):
    load_network("tiny.cfg").save_weights("first.weights")
    load_network("tiny.cfg").save_weights("second.weights")
    cut_off(5, "first.weights")
    before = files()
    refused(typed("second.weights"), "began with first.weights (1516 bytes), this one begins with second.weights")
    refused(typed(), "began with first.weights (1516 bytes), this one begins with no weights; give the same weights")
    assert files() == before
    Path("first.weights").unlink()                          # what began the run is not needed to go on
    code, iterations, said = typed("first.weights")
    assert (code, iterations[0]) == (0, 6) and "going on from iteration 5 of backup/tiny_last.weights" in said
    refused(typed("second.weights"), "began with first.weights")


def test_clear_moves_what_was_there(typed):
    typed("-map", report=True)
    others = {"tiny_b_last.weights", "tiny_study.log", "tiny_notes.txt", "tinier_last.weights", "my_tiny_last.weights"}
    for name in others:
        Path("backup", name).write_bytes(b"another's")
    Path("backup/tiny_ema.weights").write_bytes(b"ours")
    Path("backup/tiny_1000.weights").write_bytes(b"ours")
    for number in (1, 2):
        before = {name: data for name, data in contents().items() if name not in others}
        chart, page = Path("chart_tiny.png").read_bytes(), contents("backup/tiny_report")
        assert set(before) >= {"tiny_last.weights", "tiny_last.state", "tiny_best.weights", "tiny_final.weights",
                               "tiny_log.jsonl"} | ({"tiny_ema.weights", "tiny_1000.weights"} if number == 1 else set())
        code, iterations, said = typed("-map", "-clear", seed=str(number), report=True)
        assert (code, iterations) == (0, list(range(1, 13)))
        assert f"what lay in backup of tiny and would be written over is in backup/previous-{number} now" in said
        assert contents(f"backup/previous-{number}") == before | {"chart_tiny.png": chart}
        assert contents(f"backup/previous-{number}/tiny_report") == page and "index.html" in page
        assert contents()["tiny_final.weights"] != before["tiny_final.weights"]
    assert {name for name, data in contents().items() if data == b"another's"} == others
    assert logged() == list(range(1, 13))


def test_clear_that_begins_with_a_file_of_the_run(typed):
    """It stays where the command names it, and is kept as it was too."""
    typed()
    old = Path("backup/tiny_last.weights").read_bytes()
    assert typed("backup/tiny_last.weights", "-clear")[:2] == (0, list(range(1, 13)))
    assert Path("backup/previous-1/tiny_last.weights").read_bytes() == old
    assert Path("backup/tiny_last.weights").read_bytes() != old


def test_a_mistake_moves_nothing(typed):
    typed()
    before = files()
    change("tiny.names", "dark\n", "")
    assert typed("-clear")[0] == 1 and files() == before
    change("tiny.cfg", "filters=8", "filters=16")
    code, _, said = typed("backup/tiny_last.weights", "-clear")
    assert code == 1 and "holds 374 numbers after its header, the network needs" in said and files() == before


def test_another_seed_is_said(typed):
    cut_off(5)
    _, iterations, said = typed(seed="4")
    assert iterations[0] == 6 and "-seed 4 is passed over: the run keeps its own, 3" in said
    assert checkpoint.facts(Path("backup/tiny_last.state"))["seed"] == 3


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_between_last_and_final(typed, earlier, monkeypatch):
    """Also where a final file of fewer iterations is there."""
    if earlier:
        change("tiny.cfg", "max_batches=12", "max_batches=8")
        typed()
        change("tiny.cfg", "max_batches=8", "max_batches=12")
    weights = Saver.weights

    def killed(self, what, iteration, **more):
        if what == "final":
            raise KeyboardInterrupt
        return weights(self, what, iteration, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Saver, "weights", killed)
        assert typed()[0] == 130
    assert seen("last") == 12 and Path("backup/tiny_final.weights").exists() == earlier
    code, iterations, said = typed()
    assert (code, iterations) == (0, [])
    assert said == "all 12 iterations are done, but backup/tiny_final.weights was not written; it is now"
    assert contents()["tiny_final.weights"] == contents()["tiny_last.weights"]
    assert "this run is finished" in typed()[2]


def test_two_runs_at_once(typed):
    """The second is refused, one process or two; when the first is killed the lock goes with it, whatever its workers
    do. Nothing of the lock stays behind."""
    change("tiny.cfg", "max_batches=12", "max_batches=100000")
    command = ["train", *WORDS[:-1], "1"]
    first = start(*command)
    assert any(line.startswith(" 5:") for line in first.stdout)
    message = f"backup: process {first.pid} is training tiny there; wait for its end"
    assert typed()[2].endswith(f"{message}, or choose another folder with -backup")
    code, _, err = finish(*command, processes=2)
    assert code != 0 and message in err
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    change("tiny.cfg", "max_batches=100000", "max_batches=2000000")
    last = seen("last")
    change("tiny.cfg", "max_batches=2000000", f"max_batches={last + 2}")
    assert typed()[:2] == (0, [last + 1, last + 2])
    assert not [name for name in os.listdir("backup") if name.endswith((".lock", ".pid", ".tmp"))]


def test_a_run_that_failed_lets_go(typed):
    change("tiny.names", "dark\n", "")
    assert typed()[0] == 1 and not Path("backup").exists()
    Path("tiny.names").write_text("light\ndark\n")
    with pytest.raises(ZeroDivisionError):
        train("tiny.data", "tiny.cfg", **QUICK, on_event=lambda event: 1 / 0)
    run = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK))
    refused(typed(), f"backup: process {os.getpid()} (this one) is training tiny there", ways=["-backup"])
    run.close()
    assert typed()[0] == 0


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
    refused(typed("0.png"), "began with no weights, this one begins with 0.png")
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
