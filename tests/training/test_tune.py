"""The search for better values of a cfg: what it tries and writes, and how it goes on."""
import csv
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from conftest import raises
from processes import start

from darknet_py import CfgError, DarknetError, DataError, Reason
from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.cfg.options import NetOptions
from darknet_py.model.network import Network, load_network
from darknet_py.training import tasks, tune
from darknet_py.training.events import Iteration, Note, Score
from darknet_py.training.search_space import find_ranges, with_values
from darknet_py.training.settings import Settings
from darknet_py.training.tune import Trial, Tuning

optuna = pytest.importorskip("optuna")
QUICK = Settings(device="cpu", workers=0, stop_after=3)
WORDS = ["tune", "tiny.data", "tiny.cfg", "-device", "cpu", "-workers", "0", "-iterations", "3", "-population", "2"]


def search(settings=QUICK, **more):
    tuning = Tuning("tiny.data", "tiny.cfg", settings=settings, **{"trials": 3, "population": 2} | more)
    return tuning, list(tuning)


def outcomes(tuning):
    return [(trial.number, trial.values, trial.score, trial.best) for trial in tuning.done]


def ranges_of(text, keys=None):
    with torch.device("meta"):
        return {r.key: r for r in find_ranges(Network(parse_cfg(text)), keys)}


def rows():
    with open("backup/tiny_trials.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.rendered
def test_trials_and_files(tiny):
    before = Path("tiny.cfg").read_bytes()
    tuning, events = search()
    trials = [event for event in events if isinstance(event, Trial)]
    assert [trial.number for trial in trials] == [1, 2, 3] and trials == tuning.done
    assert sum(isinstance(event, Iteration) for event in events) == 9
    assert trials[0].values == {r.key: r.own for r in tuning.ranges}
    assert all(trial.measure == "mAP@0.50" and trial.trouble is None for trial in trials)
    assert tuning.best.score == max(trial.score for trial in trials)
    assert all(r.low <= trial.values[r.key] <= r.high for trial in trials for r in tuning.ranges)
    assert sorted(os.listdir("backup")) == [
        "tiny_study.lock", "tiny_study.log", "tiny_study.pid", "tiny_trials.csv", "tiny_trials.png", "tiny_tuned.cfg"]
    assert [float(row["score"]) for row in rows()] == pytest.approx([trial.score for trial in trials], abs=1e-6)
    assert Path("backup/tiny_trials.png").read_bytes()[:4] == b"\x89PNG" and Path("tiny.cfg").read_bytes() == before


def test_the_best_cfg_differs_in_the_tuned_values_alone(tiny):
    text = Path("tiny.cfg").read_bytes().replace(b"batch=4\n", b"batch=4        # a comment in Latin-1: \xe4\n")
    Path("tiny.cfg").write_bytes(text)
    tuning, _ = search(keys=["learning_rate", "iou_normalizer", "hue"])
    tuning.study.add_trial(optuna.create_trial(
        params={"learning_rate": .02, "iou_normalizer": .14, "hue": .05}, value=1., distributions=tuning.study.trials[
            -1].distributions, user_attrs={"measure": "mAP@0.50", "seconds": 1., "trouble": None}))
    again, events = search(keys=["learning_rate", "iou_normalizer", "hue"])
    assert not any(isinstance(event, Trial | Iteration) for event in events) and again.best.number == 4
    for old, new in (b"rate=0.01", b"rate=0.02"), (b"normalizer=.07", b"normalizer=0.14"), (b"hue=.1", b"hue=0.05"):
        text = text.replace(old, new)
    assert Path("backup/tiny_tuned.cfg").read_bytes() == text
    load_network("backup/tiny_tuned.cfg")


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_study_that_was_cut_off_goes_on(tiny, stop):
    """... with what it would have tried, and measured, had it not been."""
    whole, _ = search(Settings(device="cpu", workers=0, stop_after=3, backup="whole"))
    cut = Tuning("tiny.data", "tiny.cfg", settings=QUICK, trials=3, population=2)
    events = (event for event in cut if isinstance(event, Iteration))
    for _ in range(stop):
        next(events)
    with open("backup/tiny_study.log", "ab") as file:
        file.write(b'{"op_code": 6, "work')                 # a line that was being written
    again, _ = search()
    assert outcomes(again) == outcomes(whole)
    assert Path("backup/tiny_tuned.cfg").read_bytes() == Path("whole/tiny_tuned.cfg").read_bytes()


def test_kill(tiny):
    process = start(*WORDS, "-trials", "100")
    assert any(line.startswith("trial 2:") for line in process.stdout)
    with raises(DataError, Reason.IN_USE, f"process {process.pid} is tuning tiny there"):
        search()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = len(rows())
    tuning, events = search(trials=before + 2)
    assert len(tuning.done) == before + 2 and 1 <= sum(isinstance(event, Trial) for event in events) <= 2


def test_more_trials_later_and_afresh(tiny):
    first, _ = search(trials=1)
    more, events = search(trials=2)
    assert outcomes(more)[:1] == outcomes(first) and sum(isinstance(event, Trial) for event in events) == 1
    afresh, events = search(Settings(device="cpu", workers=0, stop_after=2, clear=True), trials=1)
    assert len(afresh.done) == 1 and afresh.iterations == 2


def test_values_that_blow_up_count_as_0(tiny, monkeypatch):
    original = Tuning._with
    monkeypatch.setattr(Tuning, "_with", lambda self, values: original(self, values).with_value(
        0, "learning_rate", 1e18 if self.done else .01))
    tuning, _ = search(Settings(device="cpu", workers=0, stop_after=20), trials=2)
    bad = tuning.done[1]
    assert bad.score == 0 and "not finite" in bad.trouble and "weights are in" not in bad.trouble
    assert tuning.done[0].trouble is None and tuning.best.number == 1


@pytest.mark.parametrize("burn_in, last, share, asked, iterations", [
    (3, 60, .1, None, 6), (6, 60, .1, None, 12), (7, 60, .1, None, 13), (55, 60, .1, None, 60), (59, 60, .9, None, 60),
    (60, 60, .1, None, "trials of 6 iterations end before burn_in=60 does"),
    (3, 60, .1, 4, 4), (3, 60, .1, 3, "trials of 3 iterations end before burn_in=3 does"),
])
def test_trials_go_beyond_burn_in(burn_in, last, share, asked, iterations):
    """A default that is too short becomes longer, which is said; a number that was asked for is refused."""
    net = NetOptions(burn_in=burn_in, max_batches=last)
    if isinstance(iterations, str):
        with pytest.raises(DarknetError, match=iterations):
            tune._length(net, share, asked)
        return
    found, notes = tune._length(net, share, asked)
    assert found == iterations and len(notes) == (asked is None and round(last * share) <= burn_in)


def test_burn_in(tiny, cli):
    Path("tiny.cfg").write_text(Path("tiny.cfg").read_text().replace("burn_in=0", "burn_in=1"))
    tuning, events = search(Settings(device="cpu", workers=0), trials=1)
    assert tuning.iterations == 2 and sum(isinstance(event, Iteration) for event in events) == 2
    assert [event.text for event in events if isinstance(event, Note)] == [
        "trials take 2 iterations, for 1 (10 % of max_batches=12) would end before burn_in=1 does; -iterations sets "
        "another number"]
    refused(cli, [*WORDS, "-iterations", "1", "-clear"], "trials of 1 iterations end before burn_in=1 does")


@pytest.mark.parametrize("scores, best", [
    ([0, 0, 0], [1, 1, 1]), ([.5, .5, .5], [1, 1, 1]), ([.5, .5 + 1e-12, .5], [1, 1, 1]),
    ([.5, .6, .6 + 1e-9, .7], [1, 2, 2, 4]),
])
def test_a_tie_replaces_nothing(tiny, monkeypatch, scores, best):
    """Of trials whose scores the table shows as equal the earliest is the best, the cfg's own values before all."""
    left = list(scores)
    monkeypatch.setattr(tasks.DetectionTask, "evaluate", lambda self, network: Score(left.pop(0), "mAP@0.50", ""))
    tuning, _ = search(Settings(device="cpu", workers=0, stop_after=1), trials=len(scores))
    assert [trial.best for trial in tuning.done] == best
    own = Path("tiny.cfg").read_bytes()
    assert (Path("backup/tiny_tuned.cfg").read_bytes() == own) == (best[-1] == 1)


NET = "[net]\nwidth=8\nheight=8\nchannels=3\nlearning_rate=.01\n"
TWO = NET + "".join(f"[conv]\nfilters=6\nactivation=linear\n[yolo]\nclasses=1\nnum=1\nanchors=4,4\n{more}"
                    for more in ("obj_normalizer=2\nignore_thresh=.7\n", "obj_normalizer=.5\nignore_thresh=.6\n"))


def test_ranges():
    ranges = ranges_of(TWO)
    assert all(r.low <= r.own <= r.high and r.low < r.high for r in ranges.values())
    assert ranges["learning_rate"].own == .01 and ranges["learning_rate"].log
    assert (ranges["momentum"].low, ranges["momentum"].high) == (pytest.approx(.7), pytest.approx(1 - .1 / 3))
    assert ranges["mosaic"].choices == (0, 1) and "class_scale" not in ranges and "uc_normalizer" not in ranges
    region = ranges_of(f"{NET}[conv]\nfilters=6\nactivation=linear\n[region]\nclasses=1\nnum=1\nanchors=1,1\n")
    assert "class_scale" in region and "iou_thresh" not in region
    softmax = ranges_of("[net]\ninputs=4\nlearning_rate=.1\ndecay=0\nadam=1\n[softmax]\n")
    assert {"learning_rate", "saturation"} <= softmax.keys()
    assert not softmax.keys() & {"mosaic", "jitter", "momentum", "decay"}
    assert "mosaic" not in ranges_of(TWO.replace("channels=3", "channels=3\nletter_box=1"))


def test_heads_that_differ():
    """The cfg's own values leave it alone; normalisers keep the ratio of the heads, thresholds become equal."""
    ranges = list(ranges_of(TWO).values())
    own = {r.key: r.own for r in ranges}
    cfg = parse_cfg(TWO)
    assert with_values(cfg, ranges, own).text == TWO
    changed = with_values(cfg, ranges, own | {"obj_normalizer": .6, "ignore_thresh": .8})
    assert changed.text == TWO.replace("obj_normalizer=2", "obj_normalizer=2.4").replace(
        "obj_normalizer=.5", "obj_normalizer=0.6").replace("=.7", "=0.8").replace("=.6", "=0.8")


@pytest.mark.parametrize("keys, error, message", [
    (["learning_rat"], DarknetError, "found learning_rat; did you mean learning_rate"),
    (["filters"], DarknetError, "can be tuned .*found filters"),
    (["hue", "class_scale"], CfgError, "class_scale= cannot be tuned here"),
])
def test_keys(keys, error, message):
    with pytest.raises(error, match=message):
        ranges_of(TWO, keys)
    assert list(ranges_of(TWO, ["hue", "jitter"])) == ["hue", "jitter"]


def refused(cli, words, message):
    code, _, error = cli(*words)
    assert code == 1 and message in error and error.startswith("darknet-py: ") and error.count("\n") == 1


def test_bad_input(tiny, cli):
    for words, message in ((["-trials", "0"], "at least 1 trial"), (["-population", "1"], "population of at least 2"),
                           (["-share", "0"], "share"), (["-share", "2"], "share"), (["-params", "foo"], "found foo"),
                           (["-iterations", "0"], "at least 1 iteration")):
        refused(cli, WORDS + words, message)
    refused(cli, ["tune", "missing.data", "tiny.cfg"], "missing.data")
    refused(cli, [*WORDS, "-backup", "tiny.cfg"], "tiny.cfg: cannot")
    assert cli(*WORDS, "-trials", "1")[0] == 0
    refused(cli, [*WORDS, "-seed", "5"], "another tuning (other: seed)")
    refused(cli, [*WORDS, "-params", "hue"], "another tuning (other: params)")
    Path("backup/tiny_study.log").write_text("a\nb\n")
    refused(cli, WORDS, "tiny_study.log: expected the study")


def test_command_line(tiny, cli):
    code, out, error = cli(*WORDS, "-trials", "2", "-params", "learning_rate,hue")
    assert code == 0 and "2 trials of 3 iterations: mAP@0.50 = " in out
    assert error == "" and out.startswith("2 trials of 3 iterations, 0 of them done, for 2 values: learning_rate, hue;")
    assert "trial 1: mAP@0.50 = " in out and "saved backup/tiny_tuned.cfg" in out
    assert read_cfg("backup/tiny_tuned.cfg").sections[0].first.keys() == read_cfg("tiny.cfg").sections[0].first.keys()


def test_without_optuna(tiny, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    refused(cli, WORDS, "pip install")


def test_data_that_fail_end_the_search(tiny, monkeypatch):
    tuning = Tuning("tiny.data", "tiny.cfg", settings=QUICK, trials=2, population=2)
    monkeypatch.setattr(tune.Run, "__iter__", lambda self: (_ for _ in ()).throw(DataError("gone", Reason.EMPTY)))
    with pytest.raises(DataError, match="gone"):
        list(tuning)
    assert tuning.done == []
