"""How a training run begins and ends: what is said of it, weights of other classes, patience, which stream has what."""
import io
import os
import sys
from pathlib import Path

import pytest
import torch
from conftest import raises
from processes import ENVIRONMENT, start
from runs import QUICK, change, collect, of, tensors

from darknet_py import DarknetError, Reason, WeightsError, load_network
from darknet_py.cfg.language import read_cfg
from darknet_py.cli import main, train
from darknet_py.prepare.refit_heads import fit_heads
from darknet_py.training import checkpoint, tasks
from darknet_py.training import trainer as run
from darknet_py.training.events import Finished, Iteration, Note, Saved, Scored, Split, Started
from darknet_py.training.iteration import Engine
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run

WORDS = ["tiny.data", "tiny.cfg", "-device", "cpu", "-workers", "0", "-seed", "3"]


def test_beginning_and_end(tiny):
    ran, events = collect("tiny.data", "tiny.cfg", evaluate=True)
    started, finished = events[0], events[-1]
    assert started == Started(
        f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}",
        [Split(name, 6, "pictures", [("light", 6), ("dark", 3)]) for name in ("train", "valid")],
        "none: all 2 layers with weights start fresh", 0, 12, 8., 4, 2, (32, 32), (32, 32), Path("backup"))
    assert isinstance(finished, Finished) and finished.seconds > 0 and finished.score == ran.score
    assert (finished.iteration, finished.best, finished.best_at, finished.stopped, finished.weights) == (
        12, ran.best, 12, None, Path("backup/tiny_best.weights"))
    change("tiny.cfg", "num=2", "num=2\nrandom=1")
    _, events = collect("tiny.data", "tiny.cfg", "backup/tiny_final.weights", clear=True, save=False, stop_after=1)
    assert events[0].largest == (64, 64) and events[0].backup is None and len(events[0].splits) == 1
    assert events[0].weights == "backup/tiny_final.weights: 2 of 2 layers with weights loaded"
    assert (events[-1].score, events[-1].best, events[-1].weights) == (None, None, None)


def test_many_pictures_are_not_counted(tiny, monkeypatch):
    monkeypatch.setattr(tasks, "MOST_COUNTED", 5)
    started = next(iter(Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, save=False))))
    assert started.splits == [Split("train", 6)]


@pytest.mark.parametrize("seen", [0, 10 ** 6])
def test_weights_of_other_classes_start_a_run(tiny, seen):
    """... at iteration 0, though the file has seen images, and a state lies beside it."""
    big = load_network(fit_heads(read_cfg("tiny.cfg"), classes=80))
    big.seen = seen
    checkpoint.save(Path("big.weights"), Engine(big, torch.device("cpu")), {
        "iteration": 7, "average_loss": 1., "best": .5, "scored_at": 0, "seed": 1, "identity": []})
    assert checkpoint.find(Path("big.weights")) is not None
    ran, events = collect("tiny.data", "tiny.cfg", "big.weights", stop_after=1)
    assert [event.iteration for event in of(events, Iteration)] == [1] and not of(events, Note)
    assert events[0].weights == ("big.weights was trained for 80 classes: 1 of 2 layers with weights loaded; layer 1 "
                                 "([convolutional], before [yolo]) starts fresh")
    assert ran.network.seen == 4
    for command in (["detect", "tiny.cfg", "big.weights", "0.png"], ["detector", "map", "tiny.data", "tiny.cfg",
                                                                     "big.weights"]):
        assert main([*command, "-device", "cpu"]) == 1
    change("tiny.cfg", "filters=8", "filters=16")
    with raises(WeightsError, Reason.INCOMPATIBLE):
        collect("tiny.data", "tiny.cfg", "big.weights", clear=True)


@pytest.fixture
def scores(tiny, monkeypatch):
    """Measurements after each iteration, with these scores one after another."""
    change("tiny.cfg", "max_batches=12", "max_batches=100")
    monkeypatch.setattr(run, "SCORE_EVERY", 1)

    def use(*values):
        monkeypatch.setattr(tasks.DetectionTask, "evaluate", lambda self, network: tasks.Score(
            values[network.seen // 4 - 1], "mAP@0.50", "text"))

    return use


@pytest.mark.parametrize("values, patience, end, best_at", [
    ((.1, .2, .1, .1, .3, .4), 2, 4, 2), ((.1, .2, .1, .2, .1, .4), 2, 4, 4), ((.3, .2, .3, .3, .1, .4), 4, 5, 4),
    ((0, 0, 0, 0, 0, .1, 0, 0), 2, 8, 6), ((.5, .4), 1, 2, 1),
])
def test_patience(scores, values, patience, end, best_at):
    """So many measurements without a better one; none counts before the first that is above 0."""
    scores(*values, *[1] * 100)
    ran, events = collect("tiny.data", "tiny.cfg", score_epochs=0, patience=patience)
    assert ran.iteration == end == len(of(events, Scored)) and ran.best == max(values[:end])
    finished = events[-1]
    assert finished.best_at == best_at and finished.stopped == (
        f"measurements in a row without a better mAP@0.50 than {ran.best * 100:.2f} %: {patience} (-patience)")
    assert [event.path.name for event in of(events, Saved)][-2:] == ["tiny_last.weights", "tiny_final.weights"]
    known = checkpoint.facts(Path("backup/tiny_last.state"))
    assert known["stopped"] == finished.stopped


@pytest.mark.parametrize("stop", range(1, 7))
def test_patience_survives_going_on(scores, stop):
    """A run that was cut off ends where one ends that was not, with the same weights."""
    scores(.1, .2, .1, .1, .1, .1, .1, *[1] * 100)
    change("tiny.data", "savelast=4", "savelast=1")
    collect("tiny.data", "tiny.cfg", score_epochs=0, patience=4, backup="whole")
    cut = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, score_epochs=0, patience=4))
    for event in cut:
        if isinstance(event, Saved) and "last" in event.path.name and cut.iteration == stop:
            break
    ran, events = collect("tiny.data", "tiny.cfg", score_epochs=0, patience=4)
    assert (ran.iteration, ran.best_at, ran.worse) == (6, 2, 4)
    for ours, theirs in zip(tensors("backup/tiny_final.weights"), tensors("whole/tiny_final.weights"), strict=True):
        assert torch.equal(ours, theirs)
    assert len(of(events, Scored)) == 6 - stop


def test_a_state_without_patience_is_read(scores, monkeypatch):
    """States of versions that did not count have no best_at and no worse."""
    scores(.3, .2, .2, .2, .2, *[1] * 100)
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda path, engine, facts, *more: save(path, engine, {
        key: value for key, value in facts.items() if key not in ("best_at", "worse", "stopped")}, *more))
    collect("tiny.data", "tiny.cfg", score_epochs=0, evaluate=True, stop_after=2)
    ran, events = collect("tiny.data", "tiny.cfg", score_epochs=0, patience=2)
    assert (ran.iteration, ran.best, events[-1].best_at) == (4, .3, None) and "30.00 %" in events[-1].stopped


def test_no_patience(tiny, cli):
    with pytest.raises(DarknetError, match="patience needs a number of measurements from 1 on, found 0"):
        Run("tiny.data", "tiny.cfg", None, Settings(patience=0))
    assert cli("train", *WORDS, "-patience", "0")[0] == 1
    code, out, _ = cli("train", *WORDS, "-patience", "1")
    assert code == 0 and "mAP@0.50 = " in out


def test_command_line(tiny, cli):
    """All that a log should hold is on the standard output, in order."""
    code, out, err = cli("detector", "train", *WORDS, "-map")
    assert (code, err) == (0, "")
    order = ["device      CPU", "train       6 pictures, 9 objects: light 6, dark 3\n",
             "valid       6 pictures", "weights     none: all 2 layers with weights start fresh\n",
             "iterations  1 to 12, each of a batch of 4 in 2 subdivisions: 8 passes through the data in all\n",
             "size        32 x 32\n", "files       backup", " 1: ", " 4: ", "saved backup/tiny_last.weights\n", " 5: ",
             " 12: ", "mean average precision (mAP@0.50)", "mAP@0.50 = ", "saved backup/tiny_best.weights\n",
             "saved backup/tiny_final.weights\n", "saved backup/tiny_report/index.html\n",
             "trained to iteration 12 in ",
             "now: darknet-py detector test tiny.data tiny.cfg backup/tiny_best.weights IMAGE\n",
             "     darknet-py detector map tiny.data tiny.cfg backup/tiny_best.weights\n"]
    places = [out.find(text) for text in order]
    assert -1 not in places and places == sorted(places), dict(zip(order, places, strict=True))
    assert out.endswith(order[-1])
    assert cli("detector", "map", "tiny.data", "tiny.cfg", "backup/tiny_best.weights", "-device", "cpu")[0] == 0


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("out, err, words, lines, bars", [
    (Terminal, Terminal, [], 0, True), (io.StringIO, Terminal, [], 12, True), (Terminal, io.StringIO, [], 12, False),
    (io.StringIO, io.StringIO, [], 12, False), (Terminal, Terminal, ["-v"], 12, False),
])
def test_streams(tiny, monkeypatch, out, err, words, lines, bars):
    """Lines on one stream, a bar on the other if that is a terminal and lines do not say the same there."""
    out, err = out(), err()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["train", *WORDS, *words]) == 0
    assert out.getvalue().count("avg loss") == lines and out.getvalue().count("saved backup") == 5
    assert "\r" not in out.getvalue() and bool(err.getvalue()) == bars and "saved" not in err.getvalue()


def test_a_terminal_is_not_torn(tiny):
    """Both streams on one terminal: each line begins where the bar was taken away."""
    import pty
    main_end, other = pty.openpty()
    process = start("train", *WORDS, stdout=other, stderr=other, env=ENVIRONMENT | {"COLUMNS": "100"})
    os.close(other)
    text = b""
    try:
        while part := os.read(main_end, 1 << 16):
            text += part
    except OSError:                         # the other end was closed
        pass
    os.close(main_end)
    assert process.wait() == 0
    for line in text.decode().replace("\r\n", "\n").split("\n"):
        shown = line.rsplit("\r", 1)[-1]
        assert "saved" not in shown or shown.startswith("saved backup")
    assert b"] 0/12" in text and b"avg loss" not in text


@pytest.mark.parametrize("words, message", [
    (["train", "tiny.cfg", "tiny.data"], "did you mean darknet-py train tiny.data tiny.cfg?"),
    (["detector", "train", "tiny.cfg", "tiny.data", "x.weights"], "detector train tiny.data tiny.cfg x.weights?"),
    (["check", "tiny.cfg", "tiny.data"], "check: expected DATA [CFG], found a .cfg file in the place of DATA: "),
    (["train", "tiny.cfg", "tiny.weights"], "tiny.cfg tiny.weights; there is no DATA"),
    (["train", "train.txt", "tiny.data"], "did you mean darknet-py train tiny.data train.txt?"),
])
def test_swapped_arguments(tiny, cli, words, message):
    code, _, err = cli(*words)
    assert code == 1 and message in err and err.count("\n") == 1


def test_next_commands_quote(tiny):
    training = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, save=False))
    arguments = type("Arguments", (), {"data": "my data.data", "cfg": "tiny.cfg"})
    assert next(train.next_commands(training, arguments, Path("b/x.weights"))) == (
        "darknet-py detector test 'my data.data' tiny.cfg b/x.weights IMAGE")
