"""What a run writes down: the log and how it goes on, the chart, TensorBoard's events, the schedule."""
import builtins
import json
import re
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT, raises
from runs import Step

from darknet_py.cfg.options import NetOptions
from darknet_py.errors import DarknetError, DataError, Reason
from darknet_py.training import chart as chart_module
from darknet_py.training import history as history_module
from darknet_py.training.chart import Chart, plot_history, plot_schedule, read_chart
from darknet_py.training.history import History
from darknet_py.training.report import Log, Report, console_line, read_log
from darknet_py.viz.figures import rendered


def is_blue(picture):
    """Where the curve of the loss may be, by column."""
    blue, green, red = (picture[..., channel].astype(int) for channel in range(3))
    return ((blue > red + 80) & (blue > green + 20)).any(0)


def test_the_line_of_darknet():
    line = console_line(Step(7, loss=1234.5, average=900.25, rate=.00261, seconds=3.25, images=448, hours_left=12.5))
    assert line == (" 7: 1234.500000, 900.250000 avg loss, 0.002610 rate, 3.250000 seconds, 448 images, "
                    "12.500000 hours left")


@pytest.mark.rendered
def test_the_log_and_the_chart(tmp_path):
    report = Report("mine", tmp_path / "backup", 200, charts=tmp_path)
    for iteration in range(1, 101):
        assert report.add(Step(iteration, loss=200 / iteration, average=210 / iteration, images=64 * iteration)) == []
    assert report.add_score(100, .5, .5, f1=.25) == []
    entries = read_log(tmp_path / "backup/mine_log.jsonl")
    assert entries[0] == {"iteration": 1, "loss": 200, "avg_loss": 210, "rate": .001, "seconds": .5,
                          "data_seconds": .1, "images": 64, "16 iou": .75}
    assert entries[-1] == {"iteration": 100, "score": .5, "best": .5, "measure": "mAP", "f1": .25}
    assert [entry["iteration"] for entry in entries] == [*range(1, 101), 100]
    picture = cv2.imread(str(tmp_path / "chart.png"))
    assert picture.shape == (700, 1000, 3)
    assert (cv2.imread(str(tmp_path / "chart_mine.png")) == picture).all()
    assert is_blue(picture)[150:450].all() and not is_blue(picture)[550:900].any()      # half the way
    assert ((picture[..., 2] > 150) & (picture[..., 1] < 80)).any()                     # and a red point
    assert report.close() == [] and sorted(path.name for path in tmp_path.iterdir()) == [
        "backup", "chart.png", "chart_mine.png"]


def test_a_run_that_goes_on(tmp_path):
    """After a save at iteration 40, 20 more iterations and a line that was cut off."""
    path = tmp_path / "mine_log.jsonl"
    report = Report("mine", tmp_path, 100, charts=tmp_path)
    for iteration in range(1, 61):
        report.add(Step(iteration))
        if iteration % 20 == 0:
            report.add_score(iteration, iteration / 100, .6)
    report.close()
    before = path.read_text().splitlines()
    with open(path, "a") as file:
        file.write('{"iteration": 61, "lo')
    assert len(read_log(path)) == 63
    report = Report("mine", tmp_path, 100, iteration=40, charts=tmp_path)
    assert [point.iteration for point in report.history.points] == list(range(1, 41))
    assert [(entry["iteration"], entry["score"]) for entry in report.history.scores] == [(20, .2), (40, .4)]
    report.add(Step(41, loss=3.))
    report.close()
    lines = path.read_text().splitlines()
    assert lines[:42] == before[:42] and len(lines) == 43 and json.loads(lines[42])["loss"] == 3
    Report("mine", tmp_path, 100).close()                   # from the start
    assert path.read_text() == ""


def test_two_runs_at_once_do_not_double_the_log(tmp_path):
    """Where the file system has no locks: the later one's is the log. One that is doubled already is made single."""
    path = tmp_path / "a.jsonl"
    first = Log(path)
    first.write({"iteration": 1, "loss": 1.})
    second = Log(path, 1)
    assert second.before == [{"iteration": 1, "loss": 1.}]
    for log, loss in ((first, 2.), (second, 3.)):
        log.write({"iteration": 2, "loss": loss})
        log.write({"iteration": 2, "score": .5})
        log.close()
    once = [{"iteration": 1, "loss": 1.}, {"iteration": 2, "loss": 3.}, {"iteration": 2, "score": .5}]
    assert read_log(path) == once
    path.write_bytes(2 * path.read_bytes())
    Log(path, 2).close()
    assert read_log(path) == once


def test_the_log_survives_a_kill(tmp_path):
    code = ("import itertools\nfrom pathlib import Path\nfrom darknet_py.training.report import Log\n"
            f"log = Log(Path({str(tmp_path / 'a.jsonl')!r}))\n"
            "for n in itertools.count(1):\n    log.write({'iteration': n})\n    print(n, flush=True)\n")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(200):
            seen = int(process.stdout.readline())
        process.kill()
    assert process.returncode == -signal.SIGKILL
    written = [entry["iteration"] for entry in read_log(tmp_path / "a.jsonl")]
    assert written == list(range(1, len(written) + 1)) and len(written) >= seen


def test_numbers_that_json_lacks(tmp_path):
    report = Report("a", tmp_path, 10, charts=tmp_path)
    for iteration, loss in enumerate((float("nan"), float("inf"), 1.), 1):
        report.add(Step(iteration, loss=loss, average=loss))
    assert report.close() == [] and (tmp_path / "chart.png").exists()
    lines = (tmp_path / "a_log.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["loss"] for line in lines] == [None, None, 1]
    report = Report("a", tmp_path, 10, iteration=3, charts=tmp_path)
    assert len(report.history.points) == 3 and np.isnan(report.history.points[0].loss)
    report.close()


def test_a_full_disk_stops_no_run(tmp_path):
    report = Report("a", tmp_path, 10, charts=tmp_path / "missing")
    report.log.close()
    with open("/dev/full", "wb", buffering=0) as report.log.file:
        notes = report.add(Step(1)) + report.add(Step(2)) + report.add_score(2, .5, .5)
    assert [re.sub(":.*", "", note) for note in notes] == ["cannot write the log", "cannot write the chart"]
    assert all(note.endswith("; training goes on") for note in notes) and report.close() == []


def test_a_log_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with raises(DataError, Reason.UNWRITABLE):
        Report("a", tmp_path / "file", 10)
    with raises(DataError, Reason.MISSING_FILE):
        read_log(tmp_path / "none.jsonl")


def test_many_points_are_thinned_out(monkeypatch):
    monkeypatch.setattr(history_module, "POINTS", 10)
    history = History(1000)
    for iteration in range(1, 1001):
        history.note({"iteration": iteration, "loss": 1., "avg_loss": 1., "seconds": .5})
    iterations = [point.iteration for point in history.points]
    assert 10 <= len(iterations) <= 20 and set(np.diff(iterations)) == {history.stride} and iterations[-1] > 900
    assert history.latest.iteration == history.iteration == 1000 and history.seconds == 500


def test_drawing_takes_little_of_the_time(monkeypatch):
    now = [0.]
    monkeypatch.setattr(chart_module.time, "monotonic", lambda: now[0])
    chart = Chart("a")
    assert not chart.due(99) and chart.due(100)
    now[0] = 61.
    assert chart.due(1)                                     # slow iterations
    chart.cost = 1.
    assert not chart.due(1000)
    now[0] = 100.
    assert chart.due(1000)


@pytest.mark.parametrize("average, most, top", [(5, 20, 5.5), (19, 20, 20), (500, 20, 550), (0, 20, 1)])
def test_the_scale_of_the_loss(average, most, top):
    history = History(10)
    history.note({"iteration": 1, "loss": average, "avg_loss": average, "seconds": 1.})
    axes = plot_history(history, most).axes[0]
    assert axes.get_ylim() == pytest.approx((0, top))


def test_curves_of_a_chart_that_darknet_drew(tmp_path):
    """They lie under ours at their iterations and losses; a chart of ours brings none, for the log has them."""
    theirs = np.full((1000, 1000, 3), 255, np.uint8)
    theirs[460:480, 60:530] = 0, 0, 255                     # a loss of 10 of 20, up to the half of the iterations
    cv2.imwrite(str(tmp_path / "theirs.png"), theirs)
    history = History(200)
    history.note({"iteration": 150, "loss": 30., "avg_loss": 30., "seconds": 1.})
    picture = rendered(plot_history(history, 20, read_chart(tmp_path / "theirs.png"))).astype(int)
    red = (picture[..., 2] > picture[..., 0] + 80).nonzero()
    axes = plot_history(history, 20, read_chart(tmp_path / "theirs.png"))
    assert axes.axes[0].get_ylim() == (0, 20) and axes.axes[0].get_xlim() == (0, 200)
    assert abs(np.mean(red[0]) - 350) < 40 and abs(red[1].max() - 525) < 40 and red[1].min() < 100
    cv2.imwrite(str(tmp_path / "ours.png"), picture)
    assert read_chart(tmp_path / "ours.png") is None
    cv2.imwrite(str(tmp_path / "other.png"), picture[:80])
    with raises(DataError, Reason.SHAPE_MISMATCH, "1000 x 1000 pixels if Darknet drew it, found 1000 x 80"):
        read_chart(tmp_path / "other.png")


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    for start, stop in ((0, 6), (3, 5)):                    # the second time from iteration 3 on
        report = Report("a", tmp_path, 10, iteration=start, charts=None, tensorboard=tmp_path / "events")
        for iteration in range(start + 1, stop):
            report.add(Step(iteration, loss=iteration + start))
        report.add_score(stop - 1, .5, .5)
        report.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert {"loss", "avg_loss", "rate", "16/iou", "mAP"} <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1), (2, 2), (3, 3), (4, 7)]


def test_tensorboard_is_missing(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if "tensorboard" in name:
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DarknetError, match="pip install tensorboard"):
        Report("a", tmp_path, 10, tensorboard=tmp_path)


@pytest.mark.rendered
@pytest.mark.parametrize("options", [
    NetOptions(max_batches=600, policy="steps", steps=(480, 540), scales=(.1, .1), burn_in=50),
    NetOptions(max_batches=500_500, policy="sgdr", sgdr_cycle=1000), NetOptions(max_batches=1),
    NetOptions(max_batches=50, policy="random", power=1)])
def test_schedules_are_drawn(tmp_path, options):
    plot_schedule(options, tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).shape == (700, 1000, 3)
    turns = chart_module._turns(options)
    assert turns[0] == 1 and turns[-1] == options.max_batches and len(turns) < 5000
    assert all({turn - 1, turn} <= set(turns) for turn in options.steps)


def test_schedule(workdir, cli):
    body = ("[net]\ninputs=4\nlearning_rate=.01\nmax_batches=100\npolicy=steps\nsteps=60\nscales=.1\nburn_in=10\n"
            "[softmax]\n")
    (workdir / "a.cfg").write_text(body)
    code, out, _ = cli("schedule", "a.cfg")
    assert code == 0 and re.findall(r"iteration +(\d+) +rate (\S+)", out) == [
        ("1", "1e-06"), ("10", "0.01"), ("60", "0.001"), ("100", "0.001")]
    assert cli("schedule", "a.cfg", "-out", "b.svg")[0] == 0
    assert (workdir / "schedule_a.png").exists() and (workdir / "b.svg").read_text().startswith("<?xml")
    (workdir / "b.cfg").write_text("[net]\ninputs=4\n[softmax]\n")
    for words, message in ((["b.cfg"], "needs max_batches="), (["a.cfg", "-out", "b.nokind"], "b.nokind"),
                           (["a.cfg", "-out", "no/folder/b.png"], "cannot write the picture")):
        code, _, error = cli("schedule", *words)
        assert code == 1 and message in error and error.count("\n") == 1
