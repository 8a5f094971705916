"""What lies in the folder of a training run: its files, and runs that are cut off, for tests of going on."""
from pathlib import Path

from runs import QUICK

from darknet_py import load_network
from darknet_py.training.events import Iteration
from darknet_py.training.report import read_log
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run

WORDS = ["tiny.data", "tiny.cfg", "-device", "cpu", "-workers", "0"]


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
