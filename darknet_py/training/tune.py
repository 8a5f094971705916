"""Hyper-parameter search by a genetic algorithm over short trials; the best values are written as a cfg."""
from __future__ import annotations

import csv
import io
import os
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_py.cfg.language import Cfg
from darknet_py.cfg.options import NetOptions
from darknet_py.data.datafile import entries_of
from darknet_py.errors import CfgError, CfgWarning, DarknetError, DataError, Reason, WeightsError, cause
from darknet_py.model.network import Network
from darknet_py.training.chart import plot_trials
from darknet_py.training.events import Iteration, Note, Saved
from darknet_py.training.search_space import find_ranges, text_of, with_values
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run
from darknet_py.utils.files import ProcessLock, replacing
from darknet_py.zoo.models import open_cfg

DIGITS = 6              # of a score; sums of the same numbers in another order differ beyond them
NEVER = 1e9             # passes through the data between two scores: only the last iteration is scored


@dataclass(frozen=True)
class Trial:
    """One trial is done.

    number: from 1.
    values: by key, as the cfg's last head, or its [net], has them.
    score: what the run's task measures, in [0, 1]; 0 for one that could not be trained to its end.
    measure: what the score is called.
    best: the number of the best trial so far, the earliest of those that the table shows with equal scores.
    trouble: why it could not be trained to its end, or None.
    """

    number: int
    values: dict[str, float]
    score: float
    measure: str
    seconds: float
    best: int
    trouble: str | None


class Tuning:
    """A search for better values of a cfg; iterate over it to search, an event at a time.

    The first trial has the cfg's own values. Then come children of the best trials so far (NSGA-II). All trials have
    the same seed, so they differ in their values alone. An interrupted study resumes by itself: the trial that ran is
    repeated, and all trials are those of an uninterrupted study.

    Into the backup folder go NAME_tuned.cfg, the best cfg so far; NAME_trials.csv; NAME_trials.png; and NAME_study.log,
    the study itself, which one process at a time may use (NAME_study.lock and .pid while it does).

    Args:
        data, cfg, weights: see ``Run``.
        settings: of each trial. ``stop_after`` is the iterations of a trial; ``clear`` forgets an earlier study;
            ``seed`` is 0 for None; ``evaluate``, ``save`` and what is written go unused.
        trials: how many there shall be, with those of an earlier call.
        population: trials of a generation.
        share: of max_batches for a trial, where ``stop_after`` is None. If that is no more than burn_in, so many
            iterations follow after it.
        keys: those to search for (see ``find_ranges``); None for all that the cfg has.

    Attributes:
        ranges: what is searched.
        iterations: of a trial.
        done: the trials so far.

    Raises:
        DarknetError: optuna is missing, a mistake in a file, or trials that would end before burn_in does.

    The YOLOv4 paper (Bochkovskiy et al. 2020, 3.4) selects hyper-parameters by genetic algorithms in the first 10 % of
    a training.
    """

    def __init__(self, data: str | os.PathLike, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike | None = None,
                 settings: Settings | None = None, *, trials: int = 50, population: int = 10, share: float = .1,
                 keys: Sequence[str] | None = None):
        if trials < 1 or population < 2 or not 0 < share <= 1:
            raise DarknetError("tuning needs at least 1 trial, a population of at least 2 and a share above 0 and up "
                               f"to 1, found {trials}, {population} and {share:g}")
        _optuna()
        self.data, self.weights, self.trials, self.population = data, weights, trials, population
        self.cfg = open_cfg(cfg)
        self.name = "network" if self.cfg.path is None else self.cfg.path.stem
        with torch.device("meta"):
            network = Network(self.cfg)
        self.ranges = find_ranges(network, keys)
        settings = Settings() if settings is None else settings
        net = network.options
        self.iterations, self.notes = _length(net, share, settings.stop_after)
        self.clear = settings.clear
        entries = entries_of(data)
        self.folder = Path(entries.get("backup", "backup") if settings.backup is None else settings.backup)
        self.settings = replace(settings, clear=True, evaluate=True, save=False, stop_after=self.iterations,
                                charts=None, tensorboard=None, score_epochs=NEVER, patience=None,
                                seed=settings.seed or 0)
        with self._storing():
            self.study = self._open()
            self.done = self._finished()

    @property
    def best(self) -> Trial | None:
        """The best trial so far."""
        return self.done[self.done[-1].best - 1] if self.done else None

    def best_cfg(self) -> Cfg:
        """The cfg with the best values so far, its text otherwise as it was."""
        return self.cfg if self.best is None else self._with(self.best.values)

    def __iter__(self) -> Iterator[Iteration | Trial | Saved | Note]:
        yield from map(Note, self.notes)
        told: set[str] = set()
        while len(self.done) < self.trials:
            with self._storing():
                trial = self._ask()
                values = {r.key: trial.suggest_categorical(r.key, r.choices) if r.choices
                          else trial.suggest_float(r.key, r.low, r.high, log=r.log) for r in self.ranges}
            begin, score, measure, trouble = time.monotonic(), 0., "score", None
            run = self._run(values)
            try:
                for event in run:
                    if isinstance(event, Iteration):
                        yield event
                    elif isinstance(event, Note) and event.text not in told and not self.done:
                        told.add(event.text)
                        yield event
            except (CfgError, DataError, WeightsError):
                raise
            except DarknetError as error:               # values that are not finite: so these are no good ones
                trouble = str(error)
            if run.score is not None and trouble is None:
                score, measure = run.score.value, run.score.name
            with self._storing():
                for key, value in (("seconds", time.monotonic() - begin), ("trouble", trouble), ("measure", measure)):
                    trial.set_user_attr(key, value)
                self.study.tell(trial, score)
                self.done = self._finished()
                self._write_table()
            self._written_cfg()
            yield self.done[-1]
        yield self._written_cfg()
        with self._storing():
            self._write_table()
            path = self.folder / f"{self.name}_trials.png"
            taken = {r.key: [t.values[r.key] for t in self.done] for r in self.ranges}
            plot_trials([t.score for t in self.done], taken, {r.key for r in self.ranges if r.log},
                        next((t.measure for t in self.done if t.trouble is None), "score"), path)
        yield Saved(path)

    def _run(self, values: Mapping[str, float]) -> Run:
        """The training of a trial. Warnings of the cfg were given when it was read."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)
            return Run(self.data, self._with(values), self.weights, self.settings)

    def _with(self, values: Mapping[str, float]) -> Cfg:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CfgWarning)
            return with_values(self.cfg, self.ranges, values)

    def _open(self) -> Any:
        """Open the study, new or resumed."""
        optuna, path = _optuna(), self.folder / f"{self.name}_study.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = ProcessLock(path.with_suffix(".lock"), f"tuning {self.name} there", again=True)
        if self.clear:
            path.unlink(missing_ok=True)
        _mend(path)
        made_for = {"cfg": zlib.crc32(self.cfg.text.encode("utf-8", "surrogateescape")),
                    "data": str(Path(self.data).absolute()),
                    "weights": None if self.weights is None else str(Path(self.weights).absolute()),
                    "iterations": self.iterations, "population": self.population, "seed": self.settings.seed,
                    "params": [r.key for r in self.ranges]}
        try:
            storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path), _NoLock()))
            study = optuna.create_study(storage=storage, study_name=self.name, direction="maximize",
                                        load_if_exists=True)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{path}: expected the study of an earlier tuning, found something else; take it away, or "
                            "start afresh with -clear", Reason.WRONG_FORMAT) from None
        known = study.user_attrs.get("made_for")
        if known is None:
            study.set_user_attr("made_for", made_for)
        elif known != made_for:
            other = ", ".join(key for key, value in made_for.items() if known.get(key) != value)
            raise DataError(f"{path}: is the study of another tuning (other: {other}); start afresh with -clear, or "
                            "choose another folder with -backup", Reason.INCOMPATIBLE)
        states = optuna.trial.TrialState
        for trial in study.get_trials(deepcopy=False, states=[states.RUNNING]):
            study.tell(trial.number, state=states.FAIL)
        if not study.get_trials(deepcopy=False, states=[states.COMPLETE, states.WAITING]):
            study.enqueue_trial({r.key: r.own for r in self.ranges})
        return study

    def _ask(self) -> Any:
        """A new trial. Its random values depend on the finished trials and their number alone."""
        drawn = np.random.SeedSequence([self.settings.seed or 0, len(self.done)]).generate_state(1)
        self.study.sampler = _optuna().samplers.NSGAIISampler(population_size=self.population, seed=int(drawn[0]))
        return self.study.ask()

    def _finished(self) -> list[Trial]:
        done: list[Trial] = []
        best = 1
        for number, trial in enumerate(self.study.get_trials(states=[_optuna().trial.TrialState.COMPLETE]), 1):
            better = number > 1 and round(trial.value, DIGITS) > round(done[best - 1].score, DIGITS)
            best = number if better else best
            done.append(Trial(number, trial.params, trial.value, trial.user_attrs["measure"],
                              trial.user_attrs["seconds"], best, trial.user_attrs["trouble"]))
        return done

    def _write_table(self) -> None:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["trial", "score", "measure", "seconds", *(r.key for r in self.ranges), "trouble"])
        for t in self.done:
            rows.writerow([t.number, f"{t.score:.{DIGITS}f}", t.measure, f"{t.seconds:.1f}",
                           *(text_of(t.values[r.key]) for r in self.ranges), t.trouble or ""])
        with replacing(self.folder / f"{self.name}_trials.csv") as file:
            file.write(text.getvalue().encode())

    def _written_cfg(self) -> Saved:
        path = self.folder / f"{self.name}_tuned.cfg"
        self.best_cfg().write(path)
        return Saved(path)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{error.filename or self.folder}: cannot write what tuning has found: {cause(error)}; "
                            "the same command goes on from the last whole trial", Reason.UNWRITABLE) from None


def _length(net: NetOptions, share: float, asked: int | None) -> tuple[int, list[str]]:
    """The iterations of a trial, and a note on them. Below burn_in the learning rate does not depend on the values as
    later, so trials go beyond it."""
    iterations = max(1, round(net.max_batches * share)) if asked is None else asked
    if iterations < 1:
        raise DarknetError(f"trials need at least 1 iteration, found {iterations}")
    if iterations > net.burn_in:
        return iterations, []
    longer = min(net.burn_in + iterations, net.max_batches)
    if asked is not None or longer <= net.burn_in:
        raise DarknetError(f"trials of {iterations} iterations end before burn_in={net.burn_in} does and "
                           "would compare little more than that; take more iterations, or a shorter burn_in=")
    return longer, [f"trials take {longer} iterations, for {iterations} ({share * 100:g} % of max_batches="
                    f"{net.max_batches}) would end before burn_in={net.burn_in} does; -iterations sets another number"]


class _NoLock:
    """Replaces Optuna's lock, a file that a killed process leaves behind and the next one waits for."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> None:
    """Drop an incomplete last line, left by a killed process or a full disk."""
    if path.is_file() and not (data := path.read_bytes()).endswith(b"\n"):
        with replacing(path) as file:
            file.write(data[:data.rfind(b"\n") + 1])


def _optuna() -> Any:
    """Import Optuna, which is needed only here."""
    try:
        import optuna
    except ImportError:
        raise DarknetError("tuning needs the package optuna; get it with: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
