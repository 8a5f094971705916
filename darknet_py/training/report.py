"""What a run writes for people: a log, a chart, and TensorBoard's events on request."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from darknet_py.data.files import replacing
from darknet_py.errors import DarknetError, DataError
from darknet_py.training.chart import Chart


class Step(Protocol):
    """One iteration, as far as it is written down."""

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
    def figures(self) -> Mapping[str, float]: ...       # what the heads say


def console_line(step: Step) -> str:
    """The line that Darknet prints. Darknet: train_detector."""
    return (f" {step.iteration}: {step.loss:f}, {step.average:f} avg loss, {step.rate:f} rate, "
            f"{step.seconds:f} seconds, {step.images} images, {step.hours_left:f} hours left")


class Report:
    """Writes down a run as it goes.

    What cannot be written (a full disk) does not stop the run: the methods return a line that says so, the first time.

    Args:
        name: of the run.
        folder: for the log, NAME_log.jsonl.
        last: the iteration that ends the run.
        iteration: how many are done already; the log's lines after that are dropped, those before go into the chart.
        most: the chart's largest loss (max_chart_loss).
        charts: the folder for the chart; None for no chart.
        tensorboard: a folder for TensorBoard's events; None for none.

    Raises:
        DarknetError: TensorBoard is not installed.
        DataError: the log cannot be written at all.
    """

    def __init__(self, name: str, folder: str | os.PathLike, last: int, *, iteration: int = 0, most: float = 20,
                 charts: str | os.PathLike | None = ".", tensorboard: str | os.PathLike | None = None):
        self.last, self.iteration = last, iteration
        self.board = None if tensorboard is None else Board(tensorboard, iteration)
        self.log = Log(Path(folder, f"{name}_log.jsonl"), iteration)
        self.chart = None if charts is None else Chart(name, last, most, charts)
        self.told: set[str] = set()
        self.title, self.score_name = "", "mAP"
        if self.chart is not None:
            for entry in self.log.before:
                if "loss" in entry:
                    self.chart.add(entry["iteration"], _number(entry["loss"]), _number(entry.get("avg_loss")))
                elif "score" in entry:
                    self.chart.add_score(entry["iteration"], _number(entry["score"]))
        self.log.before.clear()

    def add(self, step: Step) -> list[str]:
        """An iteration is done."""
        self.iteration = step.iteration
        self.title = (f"current avg loss = {step.average:.4f}    iteration = {step.iteration}, "
                      f"{self.last - step.iteration} left    approx. time left = {step.hours_left:.2f} hours")
        values = {"loss": step.loss, "avg_loss": step.average, "rate": step.rate, "seconds": step.seconds,
                  "data_seconds": step.waited}
        troubles = self._try("the log", lambda: self.log.write(
            {"iteration": step.iteration, **values, "images": step.images, **step.figures}))
        if self.board is not None:
            self.board.add(step.iteration, {**values, **step.figures})
        if self.chart is not None:
            self.chart.add(step.iteration, step.loss, step.average)
            if self.chart.due(step.iteration):
                troubles += self._draw()
        return troubles

    def add_score(self, iteration: int, value: float, best: float, name: str = "mAP", **more: float) -> list[str]:
        """The network was measured.

        Args:
            value, best: in [0, 1].
            name: what it is called.
            more: other figures for the log.
        """
        self.score_name = name
        troubles = self._try("the log", lambda: self.log.write(
            {"iteration": iteration, "score": value, "best": best, "measure": name, **more}))
        if self.board is not None:
            self.board.add(iteration, {name: value, **more})
        if self.chart is not None:
            self.chart.add_score(iteration, value)
            troubles += self._draw()
        return troubles

    def close(self) -> list[str]:
        """Draw the last chart, and close the files."""
        troubles = self._draw() if self.chart is not None and self.chart.drawn != self.iteration else []
        if self.board is not None:
            self.board.close()
        self.log.close()
        return troubles

    def _draw(self) -> list[str]:
        chart = self.chart
        if chart is None or not self.title:
            return []
        best = max((value for _, value in chart.scores), default=0)
        scores = f"\n{self.score_name} = {chart.scores[-1][1]:.2%}, best = {best:.2%}" if chart.scores else ""
        return self._try("the chart", lambda: chart.draw(self.title + scores, self.iteration, self.score_name))

    def _try(self, what: str, write: Callable[[], None]) -> list[str]:
        try:
            write()
        except OSError as error:
            if what not in self.told:
                self.told.add(what)
                return [f"cannot write {what}: {error.strerror or error}; training goes on"]
        return []


class Log:
    """A JSONL file that grows by a line at a time, each a JSON object with ``iteration``.

    What was written stays when the process is killed. A line that was cut off is passed over on reading, and dropped
    when the run goes on, as are those of iterations that are done again.

    Attributes:
        before: the entries that are kept from an earlier run.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, path: Path, iteration: int = 0):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            old = path.read_bytes() if path.exists() else b""
            entries = [(line, entry) for line, entry in _entries(old) if entry["iteration"] <= iteration]
            self.before = [entry for _, entry in entries]
            kept = b"".join(line + b"\n" for line, _ in entries)
            if kept != old:
                with replacing(path) as file:
                    file.write(kept)
            self.file = open(path, "ab", buffering=0)       # noqa: SIM115   # closed by close()
        except OSError as error:
            raise DataError(f"{path}: cannot write the log: {error.strerror}") from None

    def write(self, entry: Mapping[str, Any]) -> None:
        """A line; NaN and infinity, which JSON does not know, become null. OSError if it cannot be written."""
        plain = {key: None if isinstance(value, float) and not math.isfinite(value) else value
                 for key, value in entry.items()}
        self.file.write(json.dumps(plain).encode() + b"\n")

    def close(self) -> None:
        self.file.close()


def read_log(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The entries of a log, without lines that were cut off.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return [entry for _, entry in _entries(Path(path).read_bytes())]
    except OSError as error:
        raise DataError(f"{path}: cannot read the log: {error.strerror}") from None


class Board:
    """TensorBoard's events in a folder; those of iterations that are done again no longer show.

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


def _entries(data: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """(line, entry) of each whole line."""
    for line in data.split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("iteration"), int):
            yield line, entry


def _number(value: float | None) -> float:
    return math.nan if value is None else value
