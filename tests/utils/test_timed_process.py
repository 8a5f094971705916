"""Timing in processes that are kept alive and asked in turn."""
import os
import sys

import pytest
from conftest import ROOT

from darknet_py.errors import DarknetError
from darknet_py.utils.machine import cores, cpu_name, peak_memory
from darknet_py.utils.timed_process import Spread, TimedProcess, alternate, timed_runs

CHILD = """
import os, sys, time
from darknet_py.utils.timed_process import Build, serve
assert "torch" not in sys.modules and "numpy" not in sys.modules
runs = []
def build(request):
    if request["kind"] == "bad":
        raise ValueError("no such\\nthing")
    print("what a library prints", flush=True)
    held = bytearray(request["bytes"])
    held[::4096] = held[::4096].replace(b"\\0", b"\\1")
    def run():
        runs.append(len(held))
        if len(runs) == request.get("ends"):
            print("out of luck", file=sys.stderr, flush=True)
            os._exit(7)
    return Build(run, lambda: {"runs": len(runs)})
serve(build)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def child():
    return TimedProcess([sys.executable, "-c", CHILD], ENVIRONMENT)


def test_spread():
    assert Spread.of([3., 1., 2., 10.]) == (2.5, 1., 10.)


def test_runs_that_fit():
    calls = []
    assert len(timed_runs(lambda: calls.append(0), 0.)) == 1 and len(calls) == 2        # one does not count
    assert len(timed_runs(lambda: calls.append(0), .01)) > 1


def test_two_in_turn():
    """Each is built once; a process that ends leaves the other one's figures."""
    steps = []
    with child() as good, child() as ends:
        facts = good.build(kind="good", bytes=50_000_000)
        assert facts["runs"] == 1 and facts["load"] > 0 and facts["memory"] > 45_000_000
        ends.build(kind="good", bytes=1, ends=4)
        found = alternate({"good": good, "ends": ends}, 2, lambda *step: steps.append(step))
    assert len(found["good"]) >= 2 and min(found["good"]) > 0
    assert isinstance(found["ends"], DarknetError)
    assert str(found["ends"]) == "its process ended with 7: out of luck"
    assert steps == [(1, 4, "good"), (2, 4, "ends"), (3, 4, "good"), (4, 4, "ends")]


def test_what_cannot_be_built():
    with child() as process, pytest.raises(DarknetError, match=r"^no such$"):
        process.build(kind="bad")


def test_facts_of_this_machine():
    assert cpu_name() and 1 <= cores() <= os.cpu_count() and peak_memory() > 1_000_000
