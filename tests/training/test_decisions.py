"""Where a training run starts: what lies in the backup folder and what was asked for, as a table."""
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import raises

from darknet_py import DataError, Reason, WeightsError
from darknet_py.training import resume
from darknet_py.training.identity import Identity

IDENTITY = Identity("[net]\nlearning_rate=.1\n[yolo]\n", ["yolo"], ["/d/a.data", "/d/train.txt"],
                    {"train": "train.txt"}, None)
FOLDER = Path("b")
LAST, FINAL, BEST, TENTH, LOG = (FOLDER / f"a_{name}" for name in (
    "last.weights", "final.weights", "best.weights", "10.weights", "log.jsonl"))
OTHER = Path("conv.137")


def state(iteration=20, path=LAST, **run):
    known = replace(IDENTITY, **run)
    return resume.State(path.with_suffix(".state"), path,
                        {"iteration": iteration, "seen": iteration * 4, "seed": 1, "run": vars(known)})


def tired():
    """The state of a run that -patience 3 ended."""
    known = state()
    return known._replace(facts=known.facts | {"stopped": "measurements in a row", "worse": 3})


THERE = {LAST: 80, BEST: 60, TENTH: 40}
DECISIONS = {               # asked for, there already -> weights, whether with a state, what to do, moved, copied
    "an empty folder": ({}, {}, (None, False, "train", [], [])),
    "first weights": ({"weights": OTHER}, {}, (OTHER, False, "train", [], [])),
    "a run": ({}, {"weights": THERE, "others": [LOG], "state": state()}, (LAST, True, "train", [], [])),
    "a run that was cut off at its end": ({}, {"weights": THERE, "state": state(100)}, (LAST, True, "finish", [], [])),
    "one with an older end": ({}, {"weights": {LAST: 400, FINAL: 80}, "state": state(100)},
                              (LAST, True, "finish", [], [])),
    "a finished run": ({}, {"weights": {LAST: 400, FINAL: 400}, "state": state(100)},
                       (LAST, True, "nothing", [], [])),
    "fewer iterations than there are": ({"last": 15}, {"weights": THERE, "state": state()},
                                        (LAST, True, "finish", [], [])),
    "clear": ({"clear": True}, {"weights": THERE, "others": [LOG], "state": state()},
              (None, False, "train", [LAST, BEST, TENTH, LOG], [])),
    "clear, from a file of the run": ({"clear": True, "weights": BEST}, {"weights": THERE, "state": state()},
                                      (BEST, False, "train", [LAST, TENTH], [BEST])),
    "clear a log": ({"clear": True}, {"others": [LOG]}, (None, False, "train", [LOG], [])),
    "a log alone": ({}, {"others": [LOG]}, (None, False, "train", [], [])),
    "C's files": ({}, {"weights": THERE, "others": [LOG]}, (None, False, "train", [LAST, BEST, TENTH, LOG], [])),
    "C's files and other weights": ({"weights": OTHER}, {"weights": THERE},
                                    (OTHER, False, "train", [LAST, BEST, TENTH], [])),
    "C's last": ({"weights": LAST}, {"weights": THERE, "others": [LOG], "seen": 80},
                 (LAST, False, "train", [BEST], [LOG])),
    "an earlier file": ({"weights": TENTH, "first": ["a_10.weights", 9]},
                        {"weights": THERE, "others": [LOG], "state": state(), "seen": 40},
                        (TENTH, False, "train", [LAST, BEST], [LOG])),
    "the last of the run": ({"weights": LAST}, {"weights": THERE, "state": state(first=["x", 1]), "given": state()},
                            (LAST, True, "train", [], [])),
    "a state from elsewhere": ({"weights": OTHER}, {"given": state(path=OTHER)}, (OTHER, True, "train", [], [])),
    "a state from elsewhere, C's files here": ({"weights": OTHER}, {"weights": THERE, "given": state(path=OTHER)},
                                               (OTHER, True, "train", [LAST, BEST, TENTH], [])),
    "the same first weights": ({"weights": OTHER, "first": ["conv.137", 9]},
                               {"weights": THERE, "state": state(first=["conv.137", 9])},
                               (LAST, True, "train", [], [])),
    "the same, deleted since": ({"weights": OTHER, "first": ["conv.137", 0]},
                                {"weights": THERE, "state": state(first=["conv.137", 9])},
                                (LAST, True, "train", [], [])),
    "a run that went on from C's": ({}, {"weights": THERE, "state": state(first=["a_last.weights", 9])},
                                    (LAST, True, "train", [], [])),
    "data that moved": ({}, {"weights": THERE, "state": state(data=["/old/a.data", "/old/train.txt"]),
                             "gone": frozenset(["/old/a.data", "/old/train.txt"])}, (LAST, True, "train", [], [])),
    "data that did not": ({}, {"weights": THERE, "state": state(data=["/old/a.data", None])},
                          "run on /old/a.data, this one is on /d/a.data"),
    "other pictures": ({}, {"weights": THERE, "state": state(data=["/d/a.data", "/d/more.txt"])},
                       "run on train=/d/more.txt, this one is on train=/d/train.txt"),
    "other first weights": ({"weights": OTHER, "first": ["conv.137", 9]}, {"weights": THERE, "state": state()},
                            r"began with no weights, this one begins with conv.137 \(9 bytes\)"),
    "the same name, other bytes": ({"weights": OTHER, "first": ["conv.137", 8]},
                                   {"weights": THERE, "state": state(first=["conv.137", 9])}, "9 bytes.*8 bytes"),
    "the same name and size, other bytes": (
        {"weights": OTHER, "first": ["conv.137", 9, 5]}, {"weights": THERE, "state": state(first=["conv.137", 9, 6])},
        r"began with conv.137 \(9 bytes\), this one begins with other conv.137 \(9 bytes\)"),
    "the same bytes, as an earlier version knows them": (
        {"weights": OTHER, "first": ["conv.137", 9, 5]}, {"weights": THERE, "state": state(first=["conv.137", 9])},
        (LAST, True, "train", [], [])),
    "a state from elsewhere, a run here": ({"weights": OTHER, "first": ["conv.137", 9]},
                                           {"weights": THERE, "state": state(), "given": state(path=OTHER)},
                                           "began with no weights"),
    "a state from elsewhere, on other data": (
        {"weights": OTHER}, {"given": state(path=OTHER, data=["/d/b.data", None])},
        "go on with the data it began with, or begin with these weights at iteration 0 with -clear"),
    "a state from elsewhere, of other layers": (
        {"weights": OTHER}, {"given": state(path=OTHER, layers=["yolo", "yolo"])}, (OTHER, False, "train", [], [])),
    "out of patience": ({"patience": 3}, {"weights": THERE | {FINAL: 80}, "state": tired()},
                        (LAST, True, "nothing", [], [])),
    "more patience": ({"patience": 4}, {"weights": THERE | {FINAL: 80}, "state": tired()},
                      (LAST, True, "train", [], [])),
    "other layers": ({}, {"weights": THERE, "state": state(layers=["yolo", "yolo"])}, "layer 1 was yolo, is missing"),
}


@pytest.mark.parametrize("case", DECISIONS)
def test_decisions(case):
    asked, found, expected = DECISIONS[case]
    run = replace(IDENTITY, first=asked.get("first"))
    asked = resume.RunRequest("a", FOLDER, run, **{"last": 100} | {k: v for k, v in asked.items() if k != "first"})
    if isinstance(expected, str):
        with raises((DataError, WeightsError), Reason.INCOMPATIBLE, expected) as error:
            resume.decide(asked, resume.Checkpoints(**found))
        assert "state" not in found or str(error.value).endswith(
            "start afresh with -clear (what is there moves to previous-1), or choose another folder with -backup")
        return
    start = resume.decide(asked, resume.Checkpoints(**found))
    assert (start.weights, start.state is not None, start.todo, list(start.moved), list(start.copied)) == expected
