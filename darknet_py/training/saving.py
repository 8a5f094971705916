"""Saving of weights and checkpoints during training."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2

from darknet_py.errors import WeightsError, cause
from darknet_py.training import checkpoint
from darknet_py.training.events import Event, Note, Saved
from darknet_py.training.iteration import Engine
from darknet_py.training.statistics import Statistics
from darknet_py.utils.files import replacing


class Saver:
    """Writes ``NAME_last.weights`` and the like, with batch-norm statistics estimated for the weights.

    All processes must call it, since the statistics are estimated by all; rank 0 writes.

    Args:
        folder, name: of the files.
        save: whether anything is written.
        engine, statistics: of the run.
    """

    def __init__(self, folder: Path, name: str, save: bool, engine: Engine, statistics: Statistics):
        self.folder, self.name, self.save = folder, name, save
        self.engine, self.statistics = engine, statistics

    def path(self, what: str) -> Path:
        """The path of NAME_what.weights."""
        return self.folder / f"{self.name}_{what}.weights"

    def weights(self, what: str, iteration: int, *, must: bool = False) -> Iterator[Event]:
        """Write NAME_what.weights."""
        yield from self._written(self.path(what), iteration, self.engine.network.save_weights, must)

    def state(self, facts: dict[str, Any], *, must: bool = False) -> Iterator[Event]:
        """Write NAME_last.weights and its state. facts: further training state, with its ``iteration``."""
        yield from self._written(self.path("last"), facts["iteration"], lambda path: checkpoint.save(
            path, self.engine, facts, self.statistics.running), must)

    def average(self, iteration: int) -> Iterator[Event]:
        """Write NAME_ema.weights, where there is an average of the weights."""
        if self.engine.average.values:
            with self.engine.average.in_place(), self.statistics.in_place(iteration, averaged=True):
                yield from self.weights("ema", iteration)

    def attention(self, iteration: int) -> Iterator[Event]:
        """Write NAME_attention.png, where there was an adversarial stage."""
        if self.engine.attention is not None:
            yield from self._written(self.folder / f"{self.name}_attention.png", iteration, self._write_attention)

    def _written(self, path: Path, iteration: int, write: Callable[[Path], None], must: bool = False
                 ) -> Iterator[Event]:
        """Write a file, where files are written. If that fails the run goes on, unless the file ``must`` be written."""
        if not self.save:
            return
        try:
            with self.statistics.in_place(iteration):
                if not self.engine.world.is_main:
                    return
                write(path)
        except (WeightsError, OSError) as error:
            if must:
                raise
            why = error if isinstance(error, WeightsError) else f"{path}: cannot write the file: {cause(error)}"
            yield Note(f"{why}; training goes on")
            return
        yield Saved(path)

    def _write_attention(self, path: Path) -> None:
        assert self.engine.attention is not None
        with replacing(path) as file:
            file.write(cv2.imencode(".png", self.engine.attention)[1].tobytes())
