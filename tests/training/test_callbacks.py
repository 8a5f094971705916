"""Runs that are logged to Weights & Biases, MLflow and TensorBoard: with fakes of these, and with what is installed."""
import json
import math
import sys
import types
import warnings
from pathlib import Path

import pytest
from runs import QUICK

from darknet_py import DarknetError, train
from darknet_py.cli.action_flags import TAKEN
from darknet_py.training import callbacks
from darknet_py.training.callbacks import mlflow_callback, tensorboard_callback, wandb_callback
from darknet_py.training.events import Finished, Iteration, Note, Score, Scored, Started

START = Started("CPU", [], "none", 0, 20, 2., 4, 1, (32, 32), (32, 32), None)


def step(iteration, loss=1.):
    return Iteration(iteration, 20, loss, 2., .1, .5, .1, 4 * iteration, 1., (32, 32), {"16 iou": .5})


class Records(list):
    """A run there that records what is called."""

    def __getattr__(self, name):
        return lambda *arguments, **options: self.append((name, *arguments, options))


@pytest.fixture
def wandb(monkeypatch):
    run = Records()
    run.summary = {}
    module = types.ModuleType("wandb")
    module.init = lambda **options: run.append(("init", options)) or run
    monkeypatch.setitem(sys.modules, "wandb", module)
    return run


@pytest.fixture
def mlflow(monkeypatch):
    client = Records()
    client.get_experiment_by_name = lambda name: None
    client.create_run = lambda *arguments, **options: client.append(("create_run", *arguments, options)) or \
        types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))
    module, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    module.MlflowClient = lambda uri: client.append(("client", uri)) or client
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    entities.Param = lambda key, value: (key, value)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return client


def test_wandb(tiny, wandb):
    log = wandb_callback("cells", name="first", config={"a": 1}, every=5)
    train("tiny.data", "tiny.cfg", evaluate=True, on_event=log, **QUICK)
    (first, options), *rest = wandb
    assert first == "init" and options["project"] == "cells" and options["name"] == "first"
    assert options["config"].items() >= {"a": 1, "iterations": 12, "batch": 4, "width": 32}.items()
    logged = [(entry[2]["step"], set(entry[1])) for entry in rest if entry[0] == "log"]
    assert [at for at, _ in logged] == [1, 5, 10, 12, 12]
    names = {"loss", "avg_loss", "learning_rate", "seconds", "data_seconds", "images"}
    assert all(names < keys for _, keys in logged[:4])
    assert {"mAP@0.50", "best/mAP@0.50"} <= logged[-1][1]
    assert wandb[-1] == ("finish", {"exit_code": 0})
    assert wandb.summary["iterations done"] == 12 and wandb.summary["weights file"] == "tiny_best.weights"


def test_mlflow(tiny, mlflow):
    train("tiny.data", "tiny.cfg", evaluate=True, **QUICK, on_event=[mlflow_callback(
        "cells", run_name="first", tracking_uri="sqlite:///x.db", tags={"who": "me"}, every=6, upload=True)])
    assert mlflow[:3] == [("client", "sqlite:///x.db"), ("create_experiment", "cells", {}), mlflow[2]]
    assert mlflow[2][0] == "create_run" and mlflow[2][2] == {"tags": {"who": "me"}, "run_name": "first"}
    params = dict(mlflow[3][2]["params"])
    assert params["iterations"] == "12" and params["train pictures"] == "6"
    metrics = [metric for entry in mlflow if entry[0] == "log_batch" for metric in entry[2].get("metrics", ())]
    assert [at for name, _, at in metrics if name == "loss"] == [1, 6, 12]
    assert [at for name, _, at in metrics if name == "mAP_0.50"] == [12]
    assert ("log_artifact", "r1", str(Path("backup/tiny_best.weights")), {}) in mlflow
    assert mlflow[-1] == ("set_terminated", "r1", "FINISHED", {})


@pytest.mark.parametrize("make, last", [
    ("wandb", ("finish", {"exit_code": 1})), ("mlflow", ("set_terminated", "r1", "KILLED", {}))])
def test_a_run_that_is_broken_off(tiny, request, make, last):
    records = request.getfixturevalue(make)

    def fail(event):
        if isinstance(event, Iteration):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("tiny.data", "tiny.cfg", on_event=[callbacks.CALLBACKS[make](), fail], **QUICK)
    assert records[-1] == last and [entry[0] for entry in records].count(last[0]) == 1


def test_what_is_logged(wandb):
    log = wandb_callback()
    log(step(1))                            # of a process that is not the first
    log(START)
    for event in (step(1), step(2), Note("x"), step(10, math.nan), step(20), Scored(20, Score(.5, "mAP", "", {
            "f1": math.inf, "recall": .25}), .75, False)):
        log(event)
    assert [(entry[2]["step"], entry[1].get("loss")) for entry in wandb if entry[0] == "log"] == [
        (1, 1.), (10, None), (20, 1.), (20, None)]
    assert wandb[-1][1] == {"mAP": .5, "best/mAP": .75, "recall": .25} and wandb[-2][1]["16/iou"] == .5
    log(Finished(20, 1., None, None, None, "patience", None))
    log.close()
    assert wandb.summary == {"iterations done": 20, "stopped": "patience"}
    assert [entry[0] for entry in wandb].count("finish") == 1


def test_training_goes_on_without_the_server(tiny, wandb):
    def fail(*_, **__):
        raise ConnectionError("no\nserver")

    wandb.log = wandb.finish = fail
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train("tiny.data", "tiny.cfg", on_event=wandb_callback(every=1), **QUICK)
    assert run.iteration == 12
    assert [str(one.message) for one in caught] == ["wandb: ConnectionError: no\\nserver; training goes on"]


def test_a_run_that_cannot_begin_is_an_error(wandb, monkeypatch):
    def init(**_):
        raise ValueError("no key")

    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    with pytest.raises(DarknetError, match=r"^wandb: cannot begin a run: ValueError: no key$"):
        wandb_callback()(START)


@pytest.mark.parametrize("name", callbacks.CALLBACKS)
def test_a_package_that_is_missing(monkeypatch, name, tiny, cli):
    monkeypatch.setitem(sys.modules, name, None)            # importing it is an ImportError then
    with pytest.raises(DarknetError, match=f"{name} is .*"):
        callbacks.CALLBACKS[name]()
    for words in (["-log", name], *([["-tensorboard", "t"]] if name == "tensorboard" else [])):
        code, _, err = cli("train", "tiny.data", "tiny.cfg", *words)
        assert code == 1 and err.startswith(f"darknet-py: {name} is ") and err.count("\n") == 1
        assert not Path("backup").exists()


def test_the_flag(tiny, cli, wandb, mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cells")
    code, _, err = cli("detector", "train", "tiny.data", "tiny.cfg", "-log", "wandb, mlflow", "-seed", "3", "-device",
                       "cpu", "-no_report")
    assert code == 0, err
    assert wandb[0][1]["name"] == "tiny" and wandb[0][1]["config"].items() >= {"data": "tiny.data", "seed": 3}.items()
    assert ("create_experiment", "cells", {}) in mlflow and mlflow[-1] == ("set_terminated", "r1", "FINISHED", {})
    code, _, err = cli("train", "tiny.data", "tiny.cfg", "-log", "wandbb")
    assert code == 1 and err == "darknet-py: expected wandb, mlflow, tensorboard, found wandbb; did you mean wandb?\n"
    assert all("log" in TAKEN[verb]["train"] for verb in TAKEN)


def test_every_is_checked(wandb):
    with pytest.raises(DarknetError, match="every needs a number of iterations from 1 on, found 0"):
        wandb_callback(every=0)


def test_mlflow_itself(tiny):
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{Path('m.db').absolute()}"
    train("tiny.data", "tiny.cfg", evaluate=True, on_event=mlflow_callback("cells", tracking_uri=uri, every=4), **QUICK)
    client = mlflow.MlflowClient(uri)
    run, = client.search_runs([client.get_experiment_by_name("cells").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["iterations"] == "12"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 4, 8, 12]
    log = [json.loads(line) for line in Path("backup/tiny_log.jsonl").read_text().splitlines()]
    assert run.data.metrics["loss"] == [entry["loss"] for entry in log if "loss" in entry][-1]
    assert run.data.metrics["mAP_0.50"] == log[-1]["score"]


def test_wandb_itself(tiny, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train("tiny.data", "tiny.cfg", evaluate=True, **QUICK,
          on_event=wandb_callback("cells", mode="offline", dir=".", every=4, upload=True))
    assert wandb.run is None                # it was finished
    file, = Path("wandb").glob("offline-run-*/run-*.wandb")
    data = file.read_bytes()
    assert b"learning_rate" in data and b"mAP@0.50" in data and b"tiny_best" in data


def test_tensorboard_itself(tiny):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    train("tiny.data", "tiny.cfg", evaluate=True, on_event=tensorboard_callback(every=4), **QUICK)
    events = EventAccumulator("backup/tensorboard").Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 4, 8, 12] and "mAP@0.50" in events.Tags()["scalars"]
