"""The benchmark of the service: its load and its uploads, against a service of this process; and batches that wait."""
import argparse
import asyncio
import os
import random
import threading
import time

import pytest
from benchmarks import serving as benchmark
from serving import PICTURES, Gated, detector, running

from darknet_py.live.service import gate


def test_every_kind_of_upload_is_refused_or_answered(monkeypatch):
    monkeypatch.setattr(benchmark, "SLOW", .05)
    monkeypatch.setattr(gate, "LINGER", .2)
    dice = random.Random(0)

    async def statuses(port):
        return [await benchmark.send(port, make(PICTURES[0], dice), name) for name, make in benchmark.KINDS]

    with running(detector(), max_body=1 << 22) as service:
        found = asyncio.run(statuses(service.port))
        assert set(found) <= {0, 200, 400, 413, 415, 422} and {200, 400, 413, 415, 422} <= set(found)
        assert found[-1] == 200 and service.lines == []


def test_load_is_counted():
    with running(detector()) as service:
        answers, seconds = asyncio.run(benchmark.load(service.port, PICTURES, 3, .3))
        assert len(answers) >= 3 and all(one.status == 200 for one in answers) and .3 <= seconds < 10
        assert service.metric('darknet_requests_total{path="/detect",status="200"}') == len(answers)
        assert benchmark.batch_of(service.port) > 1


@pytest.mark.parametrize("statuses, pipeline, missed", [
    ([200] * 9, 10, []), ([200] * 8, 10, ["below 90% of the pipeline"]), ([200] * 9 + [503], 10, ["1 errors"])])
def test_bars_of_the_load(statuses, pipeline, missed):
    answers = [benchmark.Asked(status, .1) for status in statuses]
    found = benchmark.of_load((answers, 1.), pipeline, argparse.Namespace(clients=1))
    assert found["missed"] == missed and found["share"] == statuses.count(200) / pipeline


def test_memory_of_this_process_is_told():
    assert benchmark.resident(os.getpid()) > 1 << 24


def test_an_incomplete_batch_waits_for_others():
    one = detector()
    one.backend = backend = Gated(one.backend)
    backend.released.set()
    with running(one, batch=2, wait=8.) as service:
        begin = time.monotonic()
        threads = [threading.Thread(target=service.post, args=("", data)) for data in PICTURES[:2]]
        for thread in threads:
            thread.start()
            time.sleep(.1)
        for thread in threads:
            thread.join()
        assert backend.sizes == [2] and time.monotonic() - begin < 6
    one.backend = backend.backend
    with running(one, batch=2, wait=.2) as service:
        begin = time.monotonic()
        assert service.post("", PICTURES[0]).status == 200 and time.monotonic() - begin >= .2
