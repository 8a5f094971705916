"""The report of a run: its files, its page, going on after a crash, and what cannot be written."""
import csv
import html.parser
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import classifier_set
from runs import CLASSIFIER, QUICK, Step, change, of

from darknet_py import train
from darknet_py.data.dataset import Sample
from darknet_py.training import report_folder
from darknet_py.training.curves import merged, plot_results, write_table
from darknet_py.training.events import Note, Saved
from darknet_py.training.pictures import Drawing, plot_labels
from darknet_py.training.report import Report, read_log
from darknet_py.training.report_folder import ReportFolder
from darknet_py.training.report_page import SECTIONS, render
from darknet_py.training.trainer import Run, Settings

DETECTOR = ["batch_1.jpg", "batch_2.jpg", "batch_3.jpg", "confusion.png", "f1.png", "index.html", "labels.png",
            "precision_recall.png", "predictions_12.jpg", "results.csv", "results.png"]


class Page(html.parser.HTMLParser):
    """What a page refers to, and whether all its tags are closed."""

    def __init__(self, path):
        super().__init__()
        self.used, self.open, self.text = [], [], path.read_text("utf-8")
        self.feed(self.text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.used += [value for name, value in attributes if name in ("src", "href")]
        assert tag not in ("script", "link", "iframe")
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(folder, files):
    """The files are there, the pictures can be decoded, the page shows each and nothing from elsewhere, and the table
    holds what the log does."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    page = Page(folder / "index.html")
    assert "://" not in page.text and "@import" not in page.text
    for used in page.used:
        assert (folder / used).is_file(), used
    pictures = {file for file in files if file.endswith((".png", ".jpg"))}
    assert pictures <= set(page.used)
    for picture in pictures:
        assert cv2.imread(str(folder / picture)) is not None, picture
    check_table(folder / "results.csv", folder.with_name(folder.name.replace("_report", "_log.jsonl")))
    return page


def check_table(path, log):
    entries = read_log(log)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == [entry["iteration"] for entry in entries if "loss" in entry]
    by_iteration = {int(row["iteration"]): row for row in rows}
    for entry in entries:
        row = by_iteration[entry["iteration"]]
        for name, value in entry.items():
            assert row[name] == ("" if value is None else str(value)), name


@pytest.mark.rendered
def test_a_detector(tiny):
    (tiny / "tiny.names").write_text("a <b>\n$x_$\n")
    events = []
    run = train("tiny.data", "tiny.cfg", evaluate=True, score_epochs=0, on_event=events.append,
                **QUICK | {"report": True})
    assert events[-2] == Saved(Path("backup/tiny_report/index.html"))
    page = check(tiny / "backup/tiny_report", DETECTOR)
    assert "12 iterations done in" in page.text and f"{run.best:.2%}" in page.text and "refresh" not in page.text
    assert "8 x 8" not in page.text and "32 x 32" in page.text and "4 in 2 mini-batches of 2" in page.text
    first = cv2.imread(str(tiny / "backup/tiny_report/batch_1.jpg"))
    assert first.shape == (320, 2 * 320 + 4, 3)                     # two pictures of 32 x 32, enlarged
    assert cv2.imread(str(tiny / "backup/tiny_report/predictions_12.jpg")).shape == (836, 1676, 3)      # six


def test_without_measuring(tiny):
    train("tiny.data", "tiny.cfg", **QUICK | {"report": True})
    page = check(tiny / "backup/tiny_report", [file for file in DETECTOR if file not in (
        "confusion.png", "f1.png", "precision_recall.png", "predictions_12.jpg")])
    assert "What the best weights find" not in page.text


@pytest.mark.parametrize("settings", [{"report": False}, {"save": False}, {"save": False, "report": False}])
def test_none_is_asked_for(tiny, settings):
    run = train("tiny.data", "tiny.cfg", stop_after=2, evaluate=True, **QUICK | {"report": True} | settings)
    assert not list(tiny.rglob("*report*")) and (tiny / "backup").exists() == settings.get("save", True)
    assert run.task.drawn == 3 and len(run.task.drawings) <= 1      # no mini-batches are kept


def test_the_flag(tiny, cli):
    assert cli("train", "tiny.data", "tiny.cfg", "-device", "cpu", "-workers", "0", "-no_report")[0] == 0
    assert not (tiny / "backup/tiny_report").exists() and (tiny / "backup/tiny_log.jsonl").exists()


def test_trials_write_none(tiny):
    pytest.importorskip("optuna")
    from darknet_py.training.tune import Tuning
    list(Tuning("tiny.data", "tiny.cfg", settings=Settings(**QUICK | {"report": True}, stop_after=2), trials=2,
                keys=["learning_rate"]))
    assert not list(tiny.rglob("*report*"))


def test_two_names_in_one_folder(tiny):
    Path("other.cfg").write_text(Path("tiny.cfg").read_text())
    for name in ("tiny", "other"):
        train("tiny.data", f"{name}.cfg", stop_after=2, **QUICK | {"report": True})
    for name in ("tiny", "other"):
        check_table(f"backup/{name}_report/results.csv", f"backup/{name}_log.jsonl")


def test_going_on(tiny, monkeypatch):
    """Cut off between two saves, as by a kill: what was drawn is of iterations that are done again."""
    change("tiny.cfg", "max_batches=12", "max_batches=30")
    monkeypatch.setattr(report_folder, "EVERY", 3)
    monkeypatch.setattr(report_folder, "START", 1e9)
    monkeypatch.setattr(report_folder.ReportFolder, "close", lambda *_: None)
    monkeypatch.setattr("darknet_py.training.trainer.SCORE_EVERY", 5)
    settings = QUICK | {"report": True, "evaluate": True, "score_epochs": 0}
    folder = tiny / "backup/tiny_report"
    for event in (run := iter(Run("tiny.data", "tiny.cfg", None, Settings(**settings)))):
        if getattr(event, "iteration", 0) == 23:
            break
    run.close()
    page = Page(folder / "index.html")
    assert "refresh" in page.text and "of 30, avg loss" in page.text and "left " in page.text
    found = {path.name for path in folder.glob("predictions_*")}
    assert found and found <= {f"predictions_{number}.jpg" for number in (5, 10, 15, 20)}
    (folder / "predictions_22.jpg").write_bytes(b"of an iteration that is done again")
    with open(folder / "results.csv", "a") as file:
        file.write("22,1\n22,1\n")
    labels = (folder / "labels.png").stat()
    monkeypatch.undo()
    monkeypatch.chdir(tiny)
    train("tiny.data", "tiny.cfg", **settings)              # from 20 on
    files = {path.name for path in folder.iterdir()}
    assert "predictions_22.jpg" not in files and files >= set(DETECTOR) - {"predictions_12.jpg"}
    check(folder, files)
    assert (folder / "labels.png").stat().st_mtime_ns == labels.st_mtime_ns


@pytest.mark.parametrize("how", ["a file", "a full disk", "a picture that fails"])
def test_what_cannot_be_written(tiny, monkeypatch, how):
    """It is said once, and the run ends well."""
    monkeypatch.setattr(report_folder, "EVERY", 1)

    def fail(*_, **__):
        raise OSError(28, "No space left on device") if how == "a full disk" else ValueError("a formula\nthat is wrong")

    if how == "a file":
        (tiny / "backup").mkdir()
        (tiny / "backup/tiny_report").write_text("")
    else:
        monkeypatch.setattr(report_folder, "plot_results", fail)
        monkeypatch.setattr("darknet_py.training.pictures.write_jpeg", fail)
    events = []
    run = train("tiny.data", "tiny.cfg", evaluate=True, on_event=events.append, **QUICK | {"report": True})
    found = [note.text for note in of(events, Note) if "report" in note.text]
    assert len(found) == 1 and re.fullmatch(r"cannot write the report: .*; training goes on", found[0])
    assert {"a file": "File exists", "a full disk": "No space left on device",
            "a picture that fails": "tiny_report: a formula;"}[how] in found[0]
    assert Path("backup/tiny_report/index.html") not in [saved.path for saved in of(events, Saved)]
    assert run.iteration == 12 and Path("backup/tiny_final.weights").exists()


@pytest.mark.rendered
def test_a_classifier(workdir):
    classifier_set("set", 24, 12, 24)
    Path("c.cfg").write_text(re.sub("max_batches=.*", "max_batches=6", CLASSIFIER))
    train("set/pictures.data", "c.cfg", evaluate=True, **QUICK | {"report": True})
    page = check(next(workdir.rglob("c_report")), ["accuracy.png", "batch_1.jpg", "batch_2.jpg", "batch_3.jpg",
                                                    "index.html", "labels.png", "results.csv", "results.png"])
    assert "top-1" in page.text and "top-5" in page.text


def test_a_character_model(workdir):
    Path("t.txt").write_text("abcd" * 50)
    Path("t.cfg").write_text("[net]\ninputs=256\nbatch=8\nsubdivisions=1\ntime_steps=4\nmax_batches=4\n"
                             "learning_rate=.01\n[rnn]\nhidden=8\noutput=8\n[connected]\noutput=256\n"
                             "activation=linear\n[softmax]\n")
    train("t.txt", "t.cfg", evaluate=True, **QUICK | {"report": True})
    page = check(workdir / "backup/t_report", ["index.html", "results.csv", "results.png"])
    assert "200 characters to train on" in page.text


def test_the_time_that_it_takes(tmp_path, monkeypatch):
    """What is drawn once is drawn at once; all else waits until its time is a hundredth of the run's."""
    now = [0.]
    monkeypatch.setattr(report_folder.time, "monotonic", lambda: now[0])
    drawn = []

    def draw(path):
        now[0] += 3
        drawn.append((path.name, now[0]))

    def put(key, once=False):
        folder.put([Drawing(key, {key: draw}, once)])

    monkeypatch.setattr(ReportFolder, "_write", lambda *_: None)
    folder = ReportFolder(tmp_path / "a_report", "a", {}, {"results.csv": "results.csv"}, lambda: iter([]))
    put("labels", once=True)
    put("batch", once=True)
    put("best")
    for iteration in range(1, 1001):
        now[0] += 1
        if iteration in (200, 500):
            put("best")
        folder.step(iteration, "")
    assert [name for name, _ in drawn] == ["labels", "batch", "best", "best"]
    assert drawn[0][1] < 10 and drawn[1][1] < 10 and drawn[2][1] > 400      # 6 seconds are due at (6 - 2) / .01
    assert folder.spent <= 2 + 3 + .01 * now[0]
    assert "results.csv" not in Page(tmp_path / "a_report/index.html").text


def test_many_rows_are_thinned_out(tmp_path):
    entries = [{"iteration": number, "loss": 1 / number, "0 iou": None if number == 7 else .5}
               for number in range(1, 101)]
    entries[55:55] = [{"iteration": 55, "score": .5, "best": .5, "measure": "mAP"}]
    kept = write_table(iter(entries), ["iteration", "loss", "0 iou", "f1"], tmp_path / "a.csv", 10)
    assert [row["iteration"] for row in kept] == sorted([*range(10, 101, 10), 55])
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "iteration,loss,avg_loss,rate,seconds,data_seconds,images,0 iou,f1,score,best,measure"
    assert len(lines) == 101 and lines[7] == f"7,{1 / 7},,,,,,,,,," and lines[55].endswith(",0.5,,0.5,0.5,mAP")
    assert [row["iteration"] for row in merged(entries)] == list(range(1, 101))


@pytest.mark.rendered
@pytest.mark.parametrize("rows", [
    [{"iteration": 1, "loss": 1.}], [{"iteration": 1, "loss": None, "avg_loss": None, "0 iou": None}],
    [{"iteration": n, "loss": 1e9 / n, "avg_loss": 1e9 / n, "3 iou": 1e300, "9 iou": -1} for n in range(1, 99)],
    [{"iteration": 2, "score": 0., "measure": "a $x$", "best": 0.}]])
def test_strange_curves(tmp_path, rows):
    plot_results(rows, "a $b$", tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")) is not None


@pytest.mark.rendered
@pytest.mark.parametrize("classes", [1, 80])
def test_strange_labels(tmp_path, classes):
    draw = np.random.default_rng(0)
    rows = np.column_stack([draw.integers(0, classes, 60), draw.random((60, 4)) + .01]).astype(np.float32)
    names = [f"$_{'long ' * 20}{{}}<&>{number}" for number in range(classes)]
    for number, chosen in enumerate((rows, rows[:0])):
        plot_labels([Sample(Path("a.png"), None, chosen, "here")], names, tmp_path / f"{number}.png")
        assert cv2.imread(str(tmp_path / f"{number}.png")).shape == (1000, 1400, 3)


def test_the_page(tmp_path):
    scores = [{"iteration": number, "score": value, "best": .9, "measure": "<mAP>", "f1": None}
              for number, value in enumerate([.1, .9, *[.5] * 30])]
    files = ["predictions_9.jpg", "predictions_10.jpg", "f1.png", "confusion.png", "precision_recall.png"]
    path = tmp_path / "index.html"
    path.write_text(render('<a href="http://x">', "50 % & more", {"<": "\x00&"}, scores, files, {"é": "../a b&.jsonl"},
                           True), "utf-8")
    page = Page(path)
    assert page.used[0] == "../a%20b%26.jsonl" and "<mAP>" not in page.text and "50 % &amp; more" in page.text
    pictures = [used for used in page.used if used in files]
    assert list(dict.fromkeys(pictures)) == ["predictions_10.jpg", "predictions_9.jpg", "precision_recall.png",
                                             "f1.png", "confusion.png"]
    assert page.text.count("class=best") == 1 and page.text.count("<td class=\"number\">90.00%") == 1
    assert all(re.fullmatch(section.pattern, file) for section, file in zip(SECTIONS, (
        "results.png", "predictions_1.jpg", "f1.png", "accuracy.png", "labels.png", "batch_1.jpg"), strict=True))


def test_the_log_has_the_figures_of_scores(tiny):
    train("tiny.data", "tiny.cfg", evaluate=True, **QUICK)
    scored, = (json.loads(line) for line in Path("backup/tiny_log.jsonl").read_text().splitlines() if "score" in line)
    assert {"precision", "recall", "f1", "average_iou"} <= scored.keys()


def test_what_the_chart_and_the_page_say(tmp_path):
    """Lengths of time, not a clock; the first iteration's, which is slow, does not count for ever."""
    report = Report("a", tmp_path, 200, charts=None)
    for iteration in range(1, 151):
        report.add(Step(iteration, seconds=60 if iteration == 1 else 2))
    assert report.history.state() == "iteration 150 of 200, avg loss 2.5, left 1 min 40 s"
    report.close()
    assert report.history.state() == "ended after iteration 150 of 200 and 5 min 58 s, avg loss 2.5"
    report = Report("a", tmp_path, 200, iteration=150, charts=None)
    for iteration in range(151, 201):
        report.add(Step(iteration, seconds=2))
    assert report.history.state() == "200 iterations done in 7 min 38 s, avg loss 2.5"
    report.close()
