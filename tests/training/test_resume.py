"""What becomes of a training run that lies in the backup folder already, typed as users do."""
import os
import shutil
import signal
from pathlib import Path

import pytest
from processes import finish, start
from resuming import WORDS, contents, cut_off, files, logged, refused, seen
from runs import QUICK, change

from darknet_py import load_network, train
from darknet_py.training import checkpoint
from darknet_py.training.events import Iteration
from darknet_py.training.saving import Saver
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run


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
    refused(typed(data="other.data"), "tiny.data, this one is on", "other.data; go on with the data it began with")
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
