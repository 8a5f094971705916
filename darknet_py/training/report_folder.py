"""The folder of a run's report: schedules its pictures, table and page so that they take a small share of the time."""
from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2

from darknet_py.errors import DataError, Reason
from darknet_py.training.curves import Entry, plot_results, write_table
from darknet_py.training.pictures import Drawing
from darknet_py.training.report_page import render
from darknet_py.utils.files import replacing

EVERY = 100                 # iterations between two tables
SLOWEST = 60.               # seconds after which one is due even if the iterations are few
SHARE = .01                 # of the time may go into it,
START = 2.                  # and so many seconds more
POINTS = 2000               # of a curve
FILES = re.compile(r"(results|labels|precision_recall|f1|confusion|accuracy)\.png|(batch|predictions)_\d+\.jpg")
OF_THE_BEST = ("precision_recall.png", "f1.png", "confusion.png", "accuracy.png")


class ReportFolder:
    """NAME_report/: pictures, results.csv, and index.html, which shows them all.

    Drawings wait until the share of the time allows them, except those that are drawn ``once``; a later one of the same
    key replaces a waiting one. So pictures of weights that were the best for a short time only may never be drawn.

    Args:
        path: of the folder.
        name: of the run.
        facts: what is trained on what, for the page.
        links: of the page to other files, by their texts.
        entries: reads the log.
        iteration: how many are done already; an earlier run's pictures of later ones are removed.

    All methods but ``put`` and ``saw`` raise OSError or DataError for what cannot be written.
    """

    def __init__(self, path: Path, name: str, facts: Mapping[str, str], links: Mapping[str, str],
                 entries: Callable[[], Iterable[Entry]], iteration: int = 0):
        self.path, self.name, self.facts, self.links, self.entries = path, name, facts, links, entries
        self.page = path / "index.html"
        self.queue: dict[str, Drawing] = {}
        self.columns: dict[str, None] = {}
        self.scores: list[Entry] = []
        self.begun = self.written_at = time.monotonic()
        self.written, self.spent = iteration - EVERY if iteration else 0, 0.        # what an earlier run wrote is old
        self._drop_later(iteration)

    def saw(self, entry: Entry) -> None:
        """A line of the log, old or new."""
        self.columns.update(dict.fromkeys(entry))
        if "score" in entry:
            self.scores.append(entry)

    def put(self, drawings: Iterable[Drawing]) -> None:
        """Queue a drawing."""
        for drawing in drawings:
            if not (drawing.once and all((self.path / file).exists() for file in drawing.files)):
                self.queue[drawing.key] = drawing

    def step(self, iteration: int, state: str) -> None:
        """After an iteration: draw from the queue, or write table and page again, if there is time for it."""
        now = time.monotonic()
        waits = next(iter(self.queue.values()), None)
        if self.spent > START + SHARE * (now - self.begun) and not (waits is not None and waits.once):
            return
        if waits is not None:
            with self._timed():
                self._draw(self.queue.pop(waits.key))
                self._write_page(state, True)
        elif iteration - self.written >= EVERY or now - self.written_at >= SLOWEST:
            with self._timed():
                self._write(iteration, state, True)

    def close(self, iteration: int, state: str) -> None:
        """Draw the whole queue, and write the last table and page."""
        with self._timed():
            try:
                while self.queue:
                    self._draw(self.queue.pop(next(iter(self.queue))))
            finally:
                self._write(iteration, state, False)

    def _draw(self, drawing: Drawing) -> None:
        for file, draw in drawing.files.items():
            draw(self.path / file)

    def _write(self, iteration: int, state: str, running: bool) -> None:
        try:
            rows = write_table(self.entries(), [*self.columns], self.path / "results.csv", max(1, iteration // POINTS))
            if rows:
                plot_results(rows, f"{self.name}: {state}", self.path / "results.png")
            self._write_page(state, running)
        finally:
            self.written, self.written_at = iteration, time.monotonic()

    def _write_page(self, state: str, running: bool) -> None:
        files = sorted(file.name for file in self.path.iterdir() if FILES.fullmatch(file.name))
        links = {text: link for text, link in self.links.items() if (self.path / link).exists()}
        page = render(self.name, state, self.facts, self.scores, files, links, running)
        with replacing(self.page) as file:
            file.write(page.encode("utf-8", "replace"))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the time of drawing; any error of the drawing libraries becomes an error of the report alone."""
        begin = time.monotonic()
        try:
            self.path.mkdir(exist_ok=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")         # of letters that the font lacks
                yield
        except (ValueError, RuntimeError, cv2.error) as error:
            raise DataError(f"{self.path}: {str(error).splitlines()[0]}", Reason.UNWRITABLE) from error
        finally:
            self.spent += time.monotonic() - begin

    def _drop_later(self, iteration: int) -> None:
        """Remove the pictures of iterations that are repeated."""
        with suppress(OSError):
            files = [file for file in self.path.iterdir() if FILES.fullmatch(file.name)]
            late = [file for file in files if file.name.startswith("predictions_")
                    and int(file.stem.partition("_")[2]) > iteration]
            for file in files:
                if iteration == 0 or file in late or (late and file.name in OF_THE_BEST):
                    file.unlink()
