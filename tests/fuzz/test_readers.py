"""Whatever a reader is handed ends in a result or one clear line: mutated inputs, and those of the table of cases."""
from __future__ import annotations

import warnings
from pathlib import Path

import fuzz
import pytest
from cases import CASES, INSTEAD, put
from fuzzing.judge import judge, judge_file, limits
from fuzzing.mutate import Mutator
from fuzzing.readers import READERS
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

SLOW = {"new", "dataset", "calc_anchors", "map-options", "coco-evaluation", "state", "state-facts"}
NO_FILES = {"boxes", "log", "state", "state-facts", *(name for name in READERS if READERS[name].file == "input.words")}


@pytest.fixture(autouse=True, scope="module")
def workplace():
    with fuzz.workplace(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", READERS)
def test_mutated_inputs(name):
    reader = READERS[name]
    mutator = Mutator(reader.seeds(), reader.binary)

    @settings(max_examples=5 if name in SLOW else 25, derandomize=True, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def whatever_is_handed_in(random):
        data = mutator(random)
        note(repr(data[:2000]))
        verdict = judge(reader, data)
        assert verdict.finding is None, verdict.details

    for data in reader.seeds():
        assert judge(reader, data).finding is None
    whatever_is_handed_in()


@pytest.mark.parametrize("name", READERS)
def test_valid_inputs_are_read(name):
    """Without which mutations of them would say little."""
    assert any(not judge(READERS[name], data).refused for data in READERS[name].seeds())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reader}: {case.about}")
def test_cases(case):
    reader = READERS[case.reader]
    path = Path(reader.file)
    path.parent.mkdir(exist_ok=True)
    put(case, path, reader.wrap)
    try:
        with limits():
            verdict = judge_file(reader, path)
    finally:
        path.unlink()
    assert verdict.finding is None, verdict.details


@pytest.mark.parametrize("name", sorted(READERS.keys() - NO_FILES))
@pytest.mark.parametrize("instead", INSTEAD)
def test_what_is_no_file(name, instead):
    reader = READERS[name]
    path = Path(reader.file)
    path.unlink(missing_ok=True)
    INSTEAD[instead](path)
    try:
        with limits(wait=5):
            verdict = judge_file(reader, path)
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    assert verdict.finding is None, verdict.details
