"""Training runs, whole: files, going on after a crash, several processes, and what goes wrong."""
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import raises
from pictures import classifier_set
from processes import finish, start
from runs import CLASSIFIER, QUICK, change, collect, of, tensors

from darknet_py import CfgError, DarknetError, DataError, Reason, WeightsError, load_network, train
from darknet_py.training import checkpoint
from darknet_py.training.events import Iteration, Note, Saved, Scored
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run
from darknet_py.utils.files import HOST


def start_training(*words, **options):
    return start("train", "tiny.data", "tiny.cfg", "-seed", "3", "-device", "cpu", *words, stderr=subprocess.STDOUT,
                 **options)


def test_files_and_events(tiny):
    run, events = collect("tiny.data", "tiny.cfg", evaluate=True, score_epochs=0)
    assert [event.iteration for event in of(events, Iteration)] == list(range(1, 13))
    assert [event.images for event in of(events, Iteration)] == list(range(4, 49, 4))
    saved = [event.path.name for event in of(events, Saved)]
    assert saved == ["tiny_last.weights", "tiny_last.weights", "tiny_best.weights", "tiny_last.weights",
                     "tiny_final.weights"]
    scored, = of(events, Scored)                     # every 100 iterations, or at the end
    assert scored.iteration == 12 and scored.is_best and scored.score.name == "mAP@0.50"
    assert run.best == scored.score.value
    assert repr(run) == f"Run(tiny: iteration 12 of 12, best score {run.best:.2%} in iteration 12)"
    assert sorted(path.name for path in Path("backup").iterdir()) == [
        "tiny_best.weights", "tiny_final.weights", "tiny_last.state", "tiny_last.weights", "tiny_log.jsonl"]
    assert load_network("tiny.cfg", "backup/tiny_final.weights").seen == 48


def test_a_run_goes_on_where_nothing_can_be_measured(tiny):
    Path("bare.png").write_bytes(Path("0.png").read_bytes())
    Path("valid.txt").write_text("bare.png\n")
    change("tiny.data", "valid=train.txt", "valid=valid.txt")
    run, events = collect("tiny.data", "tiny.cfg", evaluate=True)
    assert run.iteration == 12 and run.score is None and not of(events, Scored)
    assert [note.text for note in of(events, Note) if "not measured: none of the images has an object" in note.text]
    change("tiny.data", "valid=valid.txt", "valid=valid.txt\ndifficult=train.txt")
    Path("bare.txt").write_text("0 .5 .5 .3 .3\n")
    with raises(DataError, Reason.WRONG_COUNT, r"difficult= lists 6 pictures, expected the 1 of valid="):
        collect("tiny.data", "tiny.cfg", evaluate=True, clear=True)


def test_it_learns(tiny):
    change("tiny.cfg", "max_batches=12", "max_batches=200")
    change("tiny.data", "savelast=4", "savelast=100")
    run, _ = collect("tiny.data", "tiny.cfg", evaluate=True)
    assert run.best > .4


def test_kill_and_go_on(tiny):
    """The weights of a run that was killed twice are those of one that was not, to the last bit."""
    collect("tiny.data", "tiny.cfg", backup="whole")
    for saves, fresh in ((1, True), (1, False)):
        process = start_training("-workers", "1", fresh=fresh)
        for line in process.stdout:
            saves -= "saved backup/tiny_last" in line
            if saves <= 0:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert not Path("backup/tiny_final.weights").exists()
    last = start_training("-workers", "0")
    text = last.communicate(timeout=100)[0]
    assert last.returncode == 0 and "going on from iteration " in text
    assert Path("backup/tiny_final.weights").read_bytes() == Path("whole/tiny_final.weights").read_bytes()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP, "closed terminal"])
def test_ctrl_c_saves(tiny, how):
    """Also a hangup, more than one, and where nobody reads the output any more."""
    change("tiny.cfg", "max_batches=12", "max_batches=100000")
    change("tiny.data", "savelast=4", "savelast=100000")
    far_end, near_end = os.openpty() if how == "closed terminal" else os.pipe()
    process = start_training("-workers", "0", "-v", stdout=near_end, fresh=how == signal.SIGINT)
    os.close(near_end)
    with open(far_end, "rb", buffering=0) as output:
        text = b""
        while b" 6: " not in text:
            text += output.read(1 << 16)
        for _ in range(1 + (how == signal.SIGHUP)):
            if isinstance(how, int):
                process.send_signal(how)
        while isinstance(how, int) and (part := output.read(1 << 16)):
            text += part
    assert process.wait(100) == 130 and (b"goes on from there" in text) == isinstance(how, int)
    state = checkpoint.find(Path("backup/tiny_last.weights"))
    assert checkpoint.facts(state)["iteration"] >= 6


def test_nohup_keeps_it_running(tiny):
    process = start_training("-workers", "0", "-no_report", ignored=[signal.SIGHUP])
    next(line for line in process.stdout if line.startswith(" 1:"))
    process.send_signal(signal.SIGHUP)
    assert "goes on from there" not in process.communicate(timeout=100)[0]
    assert process.returncode == 0 and Path("backup/tiny_final.weights").exists()


def test_two_processes_are_one(tiny):
    collect("tiny.data", "tiny.cfg", backup="one")
    two = start_training("-backup", "two", "-workers", "0", "-map", processes=2, fresh=True)
    text = two.communicate(timeout=100)[0]
    assert two.returncode == 0, text
    assert text.count(" 12: ") == 1                 # one process speaks
    for ours, theirs in zip(tensors("one/tiny_final.weights"), tensors("two/tiny_final.weights"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_weights_without_a_state_go_on_by_what_they_have_seen(tiny):
    collect("tiny.data", "tiny.cfg", stop_after=5)
    Path("backup/tiny_last.state").unlink()
    _, events = collect("tiny.data", "tiny.cfg", "backup/tiny_last.weights")
    assert of(events, Iteration)[0].iteration == 6
    assert any("without its momentum" in note.text for note in of(events, Note))


@pytest.mark.parametrize("stage", range(3))
def test_a_save_that_is_cut_off(tiny, stage, monkeypatch):
    """Whenever a save is cut off, weights and a state that belong together are there."""
    run, _ = collect("tiny.data", "tiny.cfg", stop_after=4)
    before = checkpoint.find(Path("backup/tiny_last.weights"))
    assert before is not None
    with torch.no_grad():
        next(run.network.parameters()).add_(1)
    replaced, replace = [], Path.replace

    def cut_off(self, target):
        if len(replaced) == stage:
            raise KeyboardInterrupt
        replaced.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    try:
        checkpoint.save(Path("backup/tiny_last.weights"), run.engine, {"iteration": 99})
    except KeyboardInterrupt:
        assert stage < 2
    state = checkpoint.find(Path("backup/tiny_last.weights"))
    assert state is not None
    assert (checkpoint.facts(state)["iteration"] == 99) == (stage > 0)
    monkeypatch.setattr(Path, "replace", replace)
    others = Path(f"backup/.tiny_last.state.darknet-py-{HOST}-{os.getppid()}-0.tmp")
    others.touch()                              # of a process that runs
    checkpoint.settle(Path("backup/tiny_last.weights"))
    assert checkpoint.find(Path("backup/tiny_last.weights")) == Path("backup/tiny_last.state")
    assert (checkpoint.facts(Path("backup/tiny_last.state"))["iteration"] == 99) == (stage > 0)
    assert list(Path("backup").glob("*.tmp")) == [others]


def test_a_full_disk(tiny, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    events = []
    with raises(WeightsError, Reason.UNWRITABLE, r"tiny_last.weights: .*No space left on device"):
        train("tiny.data", "tiny.cfg", on_event=events.append, **QUICK)
    assert len(of(events, Iteration)) == 12
    assert [note.text.endswith("training goes on") for note in of(events, Note)] == [True, True]


@pytest.mark.parametrize("where", ["images", "weights"])
def test_not_finite(tiny, where):
    """It says which layer and which picture, leaves the weights alone, and gives up after ten in a row."""
    run = Run("tiny.data", "tiny.cfg", None, Settings(**QUICK, save=False))
    weights = [parameter.detach().clone() for parameter in run.network.parameters()]
    statistics = [buffer.clone() for buffer in run.network.buffers()]
    if where == "images":
        batches = run.task.batches

        def broken(*arguments):
            for batch in batches(*arguments):
                images = batch.images.float() / 255
                images[1, 0, 3, 3] = torch.nan
                yield batch._replace(images=images)

        run.task.batches = broken
        expected = "the images themselves is the first that is not finite, for "
    else:
        with torch.no_grad():
            run.network.layers[1].weight[0] = torch.inf
        weights[-2 if run.network.layers[1].weight is list(run.network.parameters())[-2] else -1] = \
            run.network.layers[1].weight.detach().clone()
        expected = r"the output of layer 1 \(\[convolutional\], line 24 of the cfg\) is the first"
    with pytest.raises(DarknetError, match=rf"10 iterations in a row were not finite; .*{expected}"):
        for _ in run:
            pass
    assert run.iteration == 10
    for ours, theirs in zip((*run.network.parameters(), *run.network.buffers()), weights + statistics, strict=True):
        assert torch.equal(ours, theirs)


def no_heads(tiny):
    change("tiny.cfg", Path("tiny.cfg").read_text().split("\n\n")[-1], "[avgpool]\n")


WRONG = {                   # what to do to the files -> the error
    "batch 1": (("tiny.cfg", "batch=4\nsubdivisions=2", "batch=1"), CfgError, Reason.OUT_OF_RANGE, "tiny.cfg:1: "),
    "subdivisions": (("tiny.cfg", "subdivisions=2", "subdivisions=8"), CfgError, Reason.INDIVISIBLE, "tiny.cfg:1: "),
    "no end": (("tiny.cfg", "max_batches=12", ""), CfgError, Reason.MISSING_KEY, "tiny.cfg:1: "),
    "no heads": (no_heads, CfgError, Reason.WRONG_TASK, "tiny.cfg: "),
    "classes": (("tiny.names", "dark\n", ""), DataError, Reason.WRONG_COUNT, "1 names for a network of 2 classes"),
    "no list": (("tiny.data", "train=train.txt", "train=none.txt"), DataError, Reason.MISSING_FILE, "none.txt"),
    "no pictures": (lambda _: Path("train.txt").write_text("\n"), DataError, Reason.EMPTY, "train.txt"),
    "backup is a file": (("tiny.data", "backup=backup", "backup=tiny.cfg"), DataError, Reason.UNWRITABLE, "tiny.cfg: "),
    "savelast": (("tiny.data", "savelast=4", "savelast=x"), DataError, Reason.BAD_VALUE, "savelast .* found 'x'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(tiny, case, cli):
    how, error, reason, message = WRONG[case]
    how(tiny) if callable(how) else change(*how)
    with raises(error, reason, message):
        train("tiny.data", "tiny.cfg", **QUICK)
    code, _, err = cli("detector", "train", "tiny.data", "tiny.cfg", "-device", "cpu")
    assert code == 1 and len(err.splitlines()) == 1


def few(tiny):
    Path("train.txt").write_text("0.png\n")


def unlabelled(tiny):
    for path in tiny.glob("[0-9].txt"):
        path.unlink()


def empty(tiny):
    for path in tiny.glob("[0-9].txt"):
        path.write_text("")


def broken(tiny):
    Path("1.png").write_bytes(b"no picture")
    Path("2.png").unlink()
    Path("3.txt").write_text("9 .5 .5 .1 .1\n0 nonsense\n")


@pytest.mark.parametrize("how, notes", [(few, 0), (unlabelled, 1), (empty, 1), (broken, 3)])
def test_poor_data_trains(tiny, how, notes):
    how(tiny)
    run, events = collect("tiny.data", "tiny.cfg")
    assert run.iteration == 12 and all(event.loss == event.loss for event in of(events, Iteration))
    assert len(of(events, Note)) >= notes


@pytest.mark.parametrize("extra", ["adversarial_lr=1", "random", "dynamic", "adam=1", "mosaic=1", "ema_alpha=.9",
                                   "batch_normalize=2", "letter_box=1", "mixup=1"])
def test_options_train(tiny, extra):
    """What changes the whole run goes through, and stays finite."""
    if extra in ("random", "dynamic"):
        change("tiny.cfg", "num=2", "num=2\nrandom=1")
        if extra == "dynamic":
            change("tiny.cfg", "burn_in=0", "burn_in=0\ndynamic_minibatch=1")
            change("tiny.cfg", "max_batches=12", "max_batches=200")
    elif extra == "batch_normalize=2":
        change("tiny.cfg", "batch_normalize=1", extra)
    else:
        change("tiny.cfg", "burn_in=0", f"burn_in=0\n{extra}")
    _, events = collect("tiny.data", "tiny.cfg", stop_after=12)
    assert not of(events, Note) and len(of(events, Iteration)) == 12
    sizes = {event.size for event in of(events, Iteration)}
    assert sizes == ({(64, 64)} if extra == "random" else sizes if extra == "dynamic" else {(32, 32)})


def test_half_precision(tiny):
    weights = {}
    for amp in ("off", "bf16", "fp16"):
        run, _ = collect("tiny.data", "tiny.cfg", amp=amp, clear=True)
        weights[amp] = torch.cat([parameter.detach().flatten() for parameter in run.network.parameters()])
    for amp in ("bf16", "fp16"):
        assert weights[amp].isfinite().all() and not torch.equal(weights[amp], weights["off"])
        assert (weights[amp] - weights["off"]).norm() < .1 * weights["off"].norm()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled(tiny):
    """torch.compile changes nothing but the time; measuring in between still works."""
    weights = {}
    for compiled in (False, True):
        run, _ = collect("tiny.data", "tiny.cfg", compile=compiled, clear=True, evaluate=True, stop_after=4)
        weights[compiled] = torch.cat([parameter.detach().flatten() for parameter in run.network.parameters()])
    torch.testing.assert_close(weights[True], weights[False], rtol=1e-3, atol=1e-4)


def test_processes_agree_on_a_seed(tiny):
    """Without -seed each process would start from other weights, if the first one did not say which."""
    code, _, err = finish("train", "tiny.data", "tiny.cfg", "-device", "cpu", "-workers", "0", "-no_report",
                          processes=2)
    assert code == 0, err
    seed = checkpoint.facts(Path("backup/tiny_last.state"))["seed"]
    collect("tiny.data", "tiny.cfg", seed=seed, backup="one")
    for ours, theirs in zip(tensors("one/tiny_final.weights"), tensors("backup/tiny_final.weights"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_classifier(workdir, cli, monkeypatch):
    """Label smoothing, CutMix and mosaic: better than chance by far; and on the command line."""
    monkeypatch.setattr("darknet_py.training.trainer.SCORE_EVERY", 20)
    classifier_set("set", 48, 24, 24)
    Path("c.cfg").write_text(CLASSIFIER)
    run, events = collect("set/pictures.data", "c.cfg", evaluate=True)
    assert [event.score.name for event in of(events, Scored)] == ["top-1"] * 3
    assert run.best > 2 / 6
    code, out, _ = cli("classifier", "train", "set/pictures.data", "c.cfg", "-topk", "-device", "cpu", "-workers", "0",
                       "-seed", "3", "-clear")
    assert code == 0 and out.count("avg loss") == 60 and "top-1 = " in out
    assert "now: darknet-py classifier predict set/pictures.data c.cfg backup/c_best.weights IMAGE\n" in out
    change("set/pictures.data", "classes = 6", "classes = 5")
    with raises(DataError, Reason.WRONG_COUNT, "has 5 classes, the network 6"):
        train("set/pictures.data", "c.cfg", **QUICK, clear=True)
