"""Measured figures beside those expected: the verdict, and the report of both."""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from darknet_py.errors import DarknetError
from darknet_py.evaluation.evaluate import Evaluation
from darknet_py.zoo.manifest import OFFICIAL


class Expected(NamedTuple):
    """AP and AP50 in per cent, how many points they may be missed by, and who says so."""

    ap: float
    ap50: float
    within: float
    source: str


TEST_DEV = {figures.size: (figures.ap, figures.ap50) for figures in OFFICIAL["yolov4.weights"].figures}
WITHIN = .5             # points, for --expect
VAL = {                 # (weights, size): measured by others on val2017
    # yolov4.weights have seen pictures of val2017 in training (trainvalno5k), so they do better there than on test-dev
    ("yolov4.weights", 416): Expected(47.1, 71., .7, "what others measured on val2017 (46.6 to 47.2 AP, 70.4 to 71.0 "
                                      "AP50), some of whose pictures these weights were trained on"),
    ("yolov4.weights", 608): Expected(50.6, 73.9, 1., "what others measured on val2017, some of whose pictures these "
                                      "weights were trained on"),
    # trained on train2017 alone
    ("yolov4-tiny.weights", 416): Expected(20.1, 40., 1., "what others measured on val2017"),
}


def expected(a: argparse.Namespace) -> Expected | None:
    """What is to be reached on val2017; None where only a part of it is looked at.

    Raises:
        DarknetError: nothing is known of these weights at this size.
    """
    if a.expect is not None:
        return Expected(*a.expect, WITHIN if a.within is None else a.within, "as given with --expect")
    if a.limit is not None:
        return None
    width, height = a.size
    found = VAL.get((a.weights.name, width)) if width == height else None
    if found is None:
        known = ", ".join(f"{name} at {size}" for name, size in VAL)
        raise DarknetError(f"{a.weights}: figures on val2017 are known of {known}, found {a.weights.name} at "
                           f"{shown(a.size)}; say with --expect AP,AP50 what to reach")
    return found if a.within is None else found._replace(within=a.within)


def on_test_dev(a: argparse.Namespace) -> tuple[float, float] | None:
    """Published AP and AP50."""
    width, height = a.size
    return TEST_DEV.get(width) if a.weights.name == "yolov4.weights" and width == height else None


def verdict(result: Evaluation, goal: Expected | None) -> bool | None:
    """Whether what was expected is reached, neither less nor more; None where nothing was."""
    if goal is None:
        return None
    return unread(result) == 0 and all(abs(row[3]) <= goal.within + 1e-9 for row in rows(result, goal))


def rows(result: Evaluation, goal: Expected) -> Iterator[tuple[str, float, float, float]]:
    """Name, measured, expected and difference, in per cent."""
    for name, value in (("AP", goal.ap), ("AP50", goal.ap50)):
        measured = 100 * max(0, result.coco.figures[name])
        yield name, measured, value, measured - value


def unread(result: Evaluation) -> int:
    return int((result.predictions.sizes[:, 0] == 0).sum())


def report(a: argparse.Namespace, result: Evaluation, goal: Expected | None, passed: bool | None) -> Iterator[str]:
    """The figures, and how they compare."""
    facts, count = OFFICIAL.get(a.weights.name), len(result.predictions.sizes)
    known = "not one of the official weights" if facts is None else \
        "size as published, SHA-256 not known" if not facts.sha256 else "size and SHA-256 as published"
    yield f"{a.split}: {count} images; {a.cfg} at {shown(a.size)}; {a.weights} ({known}); {result.coco.settings}"
    yield ""
    if goal is not None:
        yield f"{'figure':<8}{'measured':>10}{'expected':>10}{'difference':>12}{'tolerance':>11}"
        for name, measured, value, difference in rows(result, goal):
            yield f"{name:<8}{measured:>10.2f}{value:>10.2f}{difference:>+12.2f}{goal.within:>11.2f}"
        yield ""
        yield f"Expected is {goal.source}."
    yield "All figures: " + ", ".join(f"{name} {'-' if value < 0 else f'{100 * value:.2f}'}"
                                      for name, value in result.coco.figures.items())
    yield f"Darknet's own measure ({result.settings}): mAP@0.50 {100 * result.map.map:.2f}"
    yield result.predictions.speed()
    if passed is None:
        yield f"No verdict: these are only {count} of the images (--expect AP,AP50 says what they should give)"
    elif unread(result):
        yield f"FAIL: {unread(result)} of {count} images cannot be read"
    else:
        yield "PASS" if passed else "FAIL"


def as_json(a: argparse.Namespace, result: Evaluation, goal: Expected | None, passed: bool | None) -> dict[str, Any]:
    return {"split": a.split, "images": len(result.predictions.sizes), "unread": unread(result), "cfg": str(a.cfg),
            "weights": str(a.weights), "size": list(a.size), "reading": result.coco.settings,
            "measured": {name: None if value < 0 else 100 * value for name, value in result.coco.figures.items()},
            "darknet_map": 100 * result.map.map, "expected": None if goal is None else goal._asdict(), "passed": passed,
            "seconds": result.predictions.seconds, "network_seconds": result.predictions.network_seconds}


def shown(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
