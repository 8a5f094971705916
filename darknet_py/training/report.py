"""The report of a training run: a log, a chart, a folder with an HTML page, and TensorBoard's events on request."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from darknet_py.errors import DarknetError, DataError, Reason, cause
from darknet_py.training.chart import Chart
from darknet_py.training.events import Event, Iteration, Note, Saved, Scored
from darknet_py.training.history import History
from darknet_py.training.pictures import Drawing
from darknet_py.training.report_folder import ReportFolder
from darknet_py.training.tasks import Task
from darknet_py.utils.files import is_number, parse_json, replacing


class LoggedIteration(Protocol):
    """The figures of one iteration that are logged."""

    @property
    def iteration(self) -> int: ...         # from 1
    @property
    def loss(self) -> float: ...
    @property
    def average(self) -> float: ...         # the running mean of the loss
    @property
    def rate(self) -> float: ...            # of learning
    @property
    def seconds(self) -> float: ...         # that it took
    @property
    def waited(self) -> float: ...          # seconds of these without data
    @property
    def images(self) -> int: ...            # in all iterations so far
    @property
    def hours_left(self) -> float: ...
    @property
    def figures(self) -> Mapping[str, float]: ...       # of the heads


def console_line(step: LoggedIteration) -> str:
    """The line that Darknet prints. Darknet: train_detector."""
    return (f" {step.iteration}: {step.loss:f}, {step.average:f} avg loss, {step.rate:f} rate, "
            f"{step.seconds:f} seconds, {step.images} images, {step.hours_left:f} hours left")


class Report:
    """Writes the log, chart, report folder and TensorBoard events of a run.

    A write error (a full disk) does not stop the run: the methods return a line about it, the first time.

    Args:
        name: of the run.
        folder: for the log, NAME_log.jsonl.
        last: the iteration that ends the run.
        iteration: how many are done already; the log's lines after that are dropped, those before go into the chart.
        most: the chart's largest loss (max_chart_loss).
        charts: the folder for the chart; None for no chart.
        tensorboard: a folder for TensorBoard's events; None for none.
        facts: what is trained on what, for the page in NAME_report/ beside the log; None for no such folder.
        before: of the chart, see ``read_chart``.

    Attributes:
        history: of the run, with what the log has of it from before.

    Raises:
        DarknetError: TensorBoard is not installed.
        DataError: the log cannot be written at all.
    """

    def __init__(self, name: str, folder: str | os.PathLike, last: int, *, iteration: int = 0, most: float = 20,
                 charts: str | os.PathLike | None = ".", tensorboard: str | os.PathLike | None = None,
                 facts: Mapping[str, str] | None = None, before: np.ndarray | None = None):
        self.history = History(last, iteration)
        self.board = None if tensorboard is None else Board(tensorboard, iteration)
        self.log = Log(Path(folder, f"{name}_log.jsonl"), iteration)
        self.chart = None if charts is None else Chart(name, most, charts, before)
        self.pages = None if facts is None else ReportFolder(
            Path(folder, f"{name}_report"), name, facts,
            {"results.csv": "results.csv", self.log.path.name: f"../{self.log.path.name}"}, self.log.entries, iteration)
        self.told: set[str] = set()
        for entry in self.log.before:
            self._note(entry, new=False)
        self.log.before.clear()

    def follow(self, events: Iterator[Event], task: Task) -> Iterator[Event]:
        """Pass on the events of a training of ``task``, log them, and add notes of write errors."""
        try:
            for event in events:
                troubles = []
                if isinstance(event, Iteration):            # first, for after an event the user may stop
                    self.put(task.new_drawings())
                    troubles = self.add(event)
                elif isinstance(event, Scored):
                    if event.is_best:
                        self.put(task.score_drawings(event.score, event.iteration))
                    troubles = self.add_score(event.iteration, event.score.value, event.best, event.score.name,
                                              **event.score.figures)
                yield event
                yield from map(Note, troubles)
        finally:
            troubles = self.close()
        yield from map(Note, troubles)
        if self.pages is not None and not self.told:
            yield Saved(self.pages.page)

    def add(self, step: LoggedIteration) -> list[str]:
        """An iteration is done."""
        values = {"loss": step.loss, "avg_loss": step.average, "rate": step.rate, "seconds": step.seconds,
                  "data_seconds": step.waited}
        entry = {"iteration": step.iteration, **values, "images": step.images, **step.figures}
        troubles = self._try("the log", lambda: self.log.write(entry))
        self._note(entry)
        if self.board is not None:
            self.board.add(step.iteration, {**values, **step.figures})
        if self.chart is not None and self.chart.due(step.iteration):
            troubles += self._draw()
        if (pages := self.pages) is not None:
            troubles += self._try("the report", lambda: pages.step(step.iteration, self.history.state()))
        return troubles

    def add_score(self, iteration: int, value: float, best: float, name: str = "mAP", **more: float) -> list[str]:
        """The network was measured.

        Args:
            value, best: in [0, 1].
            name: what it is called.
            more: other figures for the log.
        """
        entry = {"iteration": iteration, "score": value, "best": best, "measure": name, **more}
        troubles = self._try("the log", lambda: self.log.write(entry))
        self._note(entry)
        if self.board is not None:
            self.board.add(iteration, {name: value, **more})
        return troubles + self._draw()

    def put(self, drawings: Iterable[Drawing]) -> None:
        """Pictures for the folder, to be drawn when there is time."""
        if self.pages is not None:
            self.pages.put(drawings)

    def close(self) -> list[str]:
        """Draw the last chart, and close the files."""
        history = self.history
        history.ended = True
        troubles = self._draw() if self.chart is not None and self.chart.drawn != history.iteration else []
        if (pages := self.pages) is not None:
            troubles += self._try("the report", lambda: pages.close(history.iteration, history.state()))
        if self.board is not None:
            self.board.close()
        self.log.close()
        return troubles

    def _note(self, entry: Mapping[str, Any], new: bool = True) -> None:
        """Take a line of the log, old or new, into account."""
        self.history.note(entry, new)
        if self.pages is not None:
            self.pages.saw(entry)

    def _draw(self) -> list[str]:
        chart = self.chart
        if chart is None or not self.history.pace:
            return []
        return self._try("the chart", lambda: chart.draw(self.history))

    def _try(self, what: str, write: Callable[[], None]) -> list[str]:
        try:
            write()
        except (OSError, DarknetError) as error:
            if what not in self.told:
                self.told.add(what)
                return [f"cannot write {what}: {cause(error)}; training goes on"]
        return []


class Log:
    """A JSONL file that grows by a line at a time, each a JSON object with ``iteration``.

    Each line is flushed, so that it survives a killed process. An incomplete line is skipped on reading, and dropped
    when the run resumes, as are those of iterations that are repeated. The file is a new one then, into which no other
    process writes: not one that runs in the same folder either, where the file system has no locks.

    Attributes:
        before: the entries that are kept from an earlier run.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, path: Path, iteration: int = 0):
        try:
            self.path = path
            path.parent.mkdir(parents=True, exist_ok=True)
            old = path.read_bytes() if path.exists() else b""
            entries = {(entry["iteration"], "score" in entry): (line, entry)
                       for line, entry in _entries(old.split(b"\n")) if entry["iteration"] <= iteration}
            self.before = [entry for _, entry in entries.values()]
            with replacing(path) as file:
                file.write(b"".join(line + b"\n" for line, _ in entries.values()))
            self.file = open(path, "ab", buffering=0)       # noqa: SIM115   # closed by close()
        except OSError as error:
            raise DataError(f"{path}: cannot write the log: {cause(error)}", Reason.UNWRITABLE) from None

    def write(self, entry: Mapping[str, Any]) -> None:
        """A line; NaN and infinity, which JSON does not know, become null. OSError if it cannot be written."""
        plain = {key: None if isinstance(value, float) and not math.isfinite(value) else value
                 for key, value in entry.items()}
        self.file.write(json.dumps(plain).encode() + b"\n")

    def entries(self) -> Iterator[dict[str, Any]]:
        """Those of the file. OSError if it cannot be read."""
        with open(self.path, "rb") as file:
            for _, entry in _entries(file):
                yield entry

    def close(self) -> None:
        self.file.close()


def read_log(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The entries of a log, without incomplete lines.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return [entry for _, entry in _entries(Path(path).read_bytes().split(b"\n"))]
    except OSError as error:
        raise DataError(f"{path}: cannot read the log: {cause(error)}", Reason.reading(error)) from None


class Board:
    """TensorBoard's events in a folder; those of iterations that are repeated are hidden.

    Raises:
        DarknetError: the package tensorboard is missing.
    """

    def __init__(self, folder: str | os.PathLike, iteration: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise DarknetError("TensorBoard is not installed; get it with: pip install tensorboard") from None
        self.writer: Any = SummaryWriter(str(folder), purge_step=iteration + 1)

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name.replace(" ", "/"), value, iteration)

    def close(self) -> None:
        self.writer.close()


def _entries(lines: Iterable[bytes]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """(line, entry) of each whole line."""
    for line in lines:
        try:
            entry = parse_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and type(entry.get("iteration")) is int and all(
                value is None or is_number(value) or (key == "measure" and type(value) is str)
                for key, value in entry.items()):
            yield line, entry
