"""A training run over HTTP while it goes on: its chart as C's MJPEG, and a dashboard with server-sent events.

A thread beside the training publishes once a second. Pictures are drawn when a client asks for them, in its thread, and
for a small share of the time; nobody waits for a client.

Darknet: draw_train_loss, which sends the chart after each iteration, and MJPG_sender.
"""
from __future__ import annotations

import json
import math
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from darknet_py.data.targets import MiniBatch
from darknet_py.errors import DarknetError, one_line
from darknet_py.live.dashboard_page import page
from darknet_py.live.http_forms import MJPEG_FORMS, NOT_HERE, Answer, Events, Form, Mjpeg
from darknet_py.live.http_streams import StreamServer, is_loopback
from darknet_py.live.results import Drawn
from darknet_py.training.chart import plot_history
from darknet_py.training.events import Event, Iteration, Note, Started
from darknet_py.training.history import History, Point
from darknet_py.training.pictures import batch_grid
from darknet_py.training.report_page import facts_of
from darknet_py.training.trainer import Run
from darknet_py.utils.machine import memory
from darknet_py.viz.figures import RENDERING, rendered

EVERY = 1.              # seconds between two pictures of the chart, and two events of the dashboard
SHARE = .01             # of the time may go into drawing charts, and mini-batches; meanwhile the last one is sent again
BATCH_AGE = 5.          # seconds for which a picture of a mini-batch is shown at least
HEARTBEAT = 10.         # seconds after which there is an event without news, for whoever lies between
QUALITY = 70            # of the chart's JPEGs, as C's
MOST_NOTES = 50         # messages on the dashboard


class Shown(Drawn):
    """A picture of a run; ``cost``: the seconds that it took, 0 until it is drawn."""

    quality = QUALITY

    def __init__(self) -> None:
        super().__init__()
        self.made, self.cost = time.monotonic(), 0.

    def is_old(self, least: float) -> bool:
        """Whether it is time for another one: after ``least`` seconds, and for a small share of the time."""
        return time.monotonic() - self.made >= max(least, self.cost / SHARE)

    def draw(self) -> np.ndarray:
        begin = time.monotonic()
        image = self.image()
        self.cost = time.monotonic() - begin
        return image

    def image(self) -> np.ndarray:
        """See ``draw``."""
        raise AssertionError(f"{type(self).__name__} lacks image")

    @property
    def jpeg(self) -> bytes:
        with RENDERING:
            return super().jpeg

    @property
    def png(self) -> bytes:
        with RENDERING:
            return cv2.imencode(".png", self.drawn)[1].tobytes()


class ChartPicture(Shown):
    """The chart of a history, which stays as it is. most, before: see ``Chart``."""

    def __init__(self, history: History, most: float, before: np.ndarray | None):
        super().__init__()
        self.history, self.most, self.before = history, most, before

    def image(self) -> np.ndarray:
        return rendered(plot_history(self.history, self.most, self.before))


class BatchPicture(Shown):
    """The first pictures of a mini-batch."""

    def __init__(self, batch: MiniBatch, names: list[str]):
        super().__init__()
        self.batch, self.names = batch, names

    def image(self) -> np.ndarray:
        return batch_grid(self.batch, self.names)


class Update(NamedTuple):
    """News of a run: JSON, see ``RunStreams.status``."""

    number: int
    record: str


class RunStreams:
    """Serves a training run, from before it begins until it ends.

    Args:
        mjpeg_port: of the chart's stream; None for none, 0 lets the system choose.
        dashboard_port: of the dashboard, likewise.
        host: where both listen; None: the stream at all addresses, as C's, the dashboard on this machine alone.

    Attributes:
        charts, dashboard: the servers.

    Raises:
        DataError: a port is in use, or the address is none of this machine.

        with RunStreams(dashboard_port=8080) as streams:
            for event in streams.follow(Run("obj.data", "my.cfg")):
                ...
    """

    def __init__(self, mjpeg_port: int | None = None, dashboard_port: int | None = None, host: str | None = None):
        self.run: Run | None = None
        self.history: History | None = None
        self.begun = int(1000 * time.time())            # tells a page that this is another run
        self.facts: dict[str, str] = {}
        self.size = (0, 0)
        self.notes: list[tuple[int, str]] = []
        self.number, self.sent, self.sent_at = 0, (0, 0, 0, False), time.monotonic()
        self._chart: ChartPicture | None = None
        self._batch: BatchPicture | None = None
        self._lock, self._closed = threading.Lock(), threading.Event()
        self.charts: StreamServer[Shown] | None = None
        self.dashboard: StreamServer[Update] | None = None
        try:
            if mjpeg_port is not None:
                self.charts = StreamServer(mjpeg_port, Mjpeg(), MJPEG_FORMS, "0.0.0.0" if host is None else host)
            if dashboard_port is not None:
                host = "127.0.0.1" if host is None else host
                self.dashboard = StreamServer(dashboard_port, NOT_HERE, self._forms(), host, is_loopback(host))
        except BaseException:
            if self.charts is not None:
                self.charts.close()
            raise
        self._thread = threading.Thread(target=self._publish_often, name="run streams", daemon=True)
        self._thread.start()

    def __enter__(self) -> RunStreams:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _forms(self) -> dict[str, Form[Update]]:
        html, headers = page()
        return {"/": Answer("text/html; charset=utf-8", lambda: html, headers), "/events": Events(),
                "/state.json": Answer("application/json", self._state),
                "/batch.jpg": Answer("image/jpeg", self._batch_jpeg),
                "/chart.png": Answer("image/png", lambda: None if (chart := self.chart()) is None else chart.png)}

    def follow(self, run: Run) -> Iterator[Event]:
        """Pass on the events of a run, and serve it."""
        self.run = run
        try:
            for event in run:
                self.history = run.history
                if isinstance(event, Iteration):
                    self.size = event.size
                elif isinstance(event, Note):
                    self._note(event.text)
                elif isinstance(event, Started):
                    self.size = event.size
                    self.facts = facts_of(event, run.name, str(run.request.run.data[0]), run.seed)
                    run.task.watched = self.dashboard is not None
                yield event
        except DarknetError as error:
            self._note(str(error))
            raise

    def close(self) -> None:
        """Send the last chart and the last figures, and end all streams."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        self._publish()
        for server in (self.charts, self.dashboard):
            if server is not None:
                server.close()

    def chart(self) -> ChartPicture | None:
        """The newest chart, drawn or not; None before the first iteration. There is a new one if there is news, and at
        the end, or else if the last one took a small share of the time since."""
        history, run = self.history, self.run
        if history is None or history.latest is None or run is None:
            return None
        with self._lock:
            old = self._chart
            if old is None or (_progress(old.history) != _progress(history)
                               and (self._closed.is_set() or old.is_old(EVERY))):
                self._chart = ChartPicture(history.snapshot(), run.network.options.max_chart_loss, run.before)
            return self._chart

    def status(self, iteration: int = 0, scores: int = 0, notes: int = 0) -> dict[str, Any]:
        """The state of the run, as JSON's types.

        Args:
            iteration: of curves, only the points after it.
            scores, notes: only those after so many.

        Values are those of the log; what is not finite is None.
        """
        status: dict[str, Any] = {
            "run": self.begun, "number": self.number, "phase": "starting", "state": "starting", "facts": self.facts,
            "size": self.size, "memory": self._memory(), "notes": [note for note in self.notes if note[0] > notes],
            "columns": Point._fields, "stride": 1, "points": [], "scores": [], "iteration": 0, "last": None,
            "left": None, "images_per_second": None, "waits": None, "batch": self._shown_batch()}
        history = None if self.history is None else self.history.snapshot()
        if history is not None and (latest := history.latest) is not None:
            points, pace = history.points, history.pace
            seconds, waited = (sum(times) for times in zip(*pace, strict=True)) if pace else (0., 0.)
            rate = len(pace) * latest.images / latest.iteration / seconds if seconds else None
            status |= {
                "phase": "training", "state": history.state(), "stride": history.stride, "iteration": history.iteration,
                "last": history.last, "left": history.left, "seconds": history.seconds, "measure": history.measure,
                "images_per_second": rate, "waits": waited / seconds if seconds else None,
                "points": points[bisect_right(points, iteration, key=lambda point: point.iteration):],
                "latest": _finite(latest), "scores": [dict(entry) for entry in history.scores[scores:]]}
        if self._closed.is_set():
            status["phase"] = "ended"
        status["points"] = [_finite(point) for point in status["points"]]
        return status

    def _note(self, text: str) -> None:
        self.notes = [*self.notes[1 - MOST_NOTES:], (self.notes[-1][0] + 1 if self.notes else 1, one_line(text))]

    def _publish_often(self) -> None:
        while not self._closed.wait(EVERY):
            self._publish()

    def _publish(self) -> None:
        if self.charts is not None and (chart := self.chart()) is not None:
            self.charts.write(chart)
        if self.dashboard is None:
            return
        status = self.status(*self.sent[:3])
        now = (status["iteration"], self.sent[1] + len(status["scores"]), max([self.sent[2], *(
            number for number, _ in status["notes"])]), status["phase"] == "ended")
        if now != self.sent or time.monotonic() - self.sent_at >= HEARTBEAT:
            status["number"] = self.number + 1
            self.dashboard.write(Update(self.number + 1, json.dumps(status)))
            self.number, self.sent, self.sent_at = self.number + 1, now, time.monotonic()

    def _state(self) -> bytes:
        return json.dumps(self.status()).encode()

    def _memory(self) -> dict[str, int | None]:
        """Bytes of this process, and of the GPU that it trains on."""
        found = {"process": memory()}
        if self.run is not None and self.run.device.type == "cuda":
            found |= {"gpu": torch.cuda.memory_reserved(self.run.device),
                      "gpu_total": torch.cuda.get_device_properties(self.run.device).total_memory}
        return found

    def _latest_batch(self) -> MiniBatch | None:
        return None if self.run is None or self.history is None else self.run.task.latest

    def _shown_batch(self) -> dict[str, int] | None:
        batch = self._latest_batch()
        return None if batch is None else {"iteration": batch.iteration, "pictures": len(batch.images)}

    def _batch_jpeg(self) -> bytes | None:
        batch, run = self._latest_batch(), self.run
        if batch is None or run is None:
            return None
        with self._lock:
            old = self._batch
            if old is None or (old.batch is not batch and old.is_old(BATCH_AGE)):
                old = self._batch = BatchPicture(batch, run.task.names)
        return old.jpeg


def _progress(history: History) -> tuple[int, int, bool]:
    return history.iteration, len(history.scores), history.ended


def _finite(point: Point) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in point]
