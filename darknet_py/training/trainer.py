"""The training run: set-up, loop of iterations, evaluation, checkpoints, and resuming after an interruption."""
from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from darknet_py.cfg.language import Cfg
from darknet_py.cfg.options import NetOptions
from darknet_py.data import batch_plan
from darknet_py.data.datafile import count_of, entries_of, opened
from darknet_py.data.loader import Plan
from darknet_py.data.targets import MiniBatch
from darknet_py.errors import DarknetError, Reason, WeightsError
from darknet_py.training import checkpoint, resume
from darknet_py.training.chart import read_chart
from darknet_py.training.events import Event, Finished, Iteration, Note, Saved, Scored, Started
from darknet_py.training.history import History
from darknet_py.training.identity import Identity, trainable
from darknet_py.training.iteration import Engine, seeded
from darknet_py.training.report import Report
from darknet_py.training.report_page import facts_of
from darknet_py.training.saving import Saver
from darknet_py.training.settings import Settings
from darknet_py.training.statistics import Statistics
from darknet_py.training.tasks import Score, Task, task_for
from darknet_py.training.transfer import start_network
from darknet_py.utils.device import local_device
from darknet_py.utils.distributed import World
from darknet_py.utils.files import ProcessLock, sweep, write_file
from darknet_py.zoo.models import open_cfg

SAVE_LAST = 100             # iterations between two _last.weights
LONG = 10_000               # runs of as many iterations keep a numbered file only so often, shorter ones every 1000
GIVE_UP = 10                # iterations in a row that are not finite
SCORE_EVERY = 100           # iterations at least between two scores


class Run:
    """Training of one network; iterate over it to train, an event at a time.

    Args:
        data: a .data file, or what else ``read_samples`` reads.
        cfg: a path, a name of the zoo such as "yolov4", or a ``Cfg``.
        weights: a .weights file to start from; with a .state file beside it the run that wrote it goes on exactly.
        settings: None: those that ``Settings`` has by itself.

    A run on the same data, with the same layers and first weights, whose ``NAME_last.weights`` lies in the backup
    folder goes on by itself; ``notes`` list what was changed in the cfg. Of a finished one nothing is touched. What
    belongs to another run is never written over (see ``resume.decide``), and one process at a time may use a folder
    and name.

    Attributes:
        network: in training.
        score: the last measured, and ``best``, of iteration ``best_at``.
        iteration: how many are done.
        origin: where the weights came from.
        stopped: why the run ended before its last iteration, or None.
        start: what was decided on where to start.
        task, engine: what it trains on, unless nothing is left to train, and with.
        history: losses and scores, also those of before; None before the first iteration, and where nothing is written.

    Raises:
        DarknetError: with what is wrong in which file.

    Darknet: train_detector, train_classifier.
    """

    def __init__(self, data: str | os.PathLike, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike | None = None,
                 settings: Settings | None = None):
        self.settings = settings = Settings() if settings is None else settings
        self.device = local_device(settings.device)
        self.cfg = open_cfg(cfg)
        self.name = "network" if self.cfg.path is None else self.cfg.path.stem
        self.world = World(self.device)
        data = opened(data)
        entries = entries_of(data)
        self.backup = Path(entries.get("backup", "backup") if settings.backup is None else settings.backup)
        self.save_every = count_of(data, entries, "saveweights", 0)
        self.save_last = count_of(data, entries, "savelast", SAVE_LAST)
        self.notes: list[str] = []
        self.history: History | None = None
        self.before = None if settings.chart is None else read_chart(settings.chart)
        self.lock: ProcessLock | None = None
        self.made = settings.save and not self.backup.exists()
        blank = trainable(self.cfg)
        net = blank.options
        self.last = net.max_batches if settings.stop_after is None else min(net.max_batches, settings.stop_after)
        first = None if weights is None else Path(weights)
        self.request = resume.RunRequest(
            self.name, self.backup if settings.save else None, Identity.of(blank, data, first), first, settings.clear,
            self.last, settings.seed, settings.patience)
        self.start = self.world.gather(self._decide)[0]
        try:
            self._begin(data, net)
        except BaseException:
            self.close()
            if self.made:
                with suppress(OSError):
                    self.backup.rmdir()
            raise

    def __repr__(self) -> str:
        best = "" if self.best < 0 else f", best score {self.best:.2%} in iteration {self.best_at}"
        return f"{type(self).__name__}({self.name}: iteration {self.iteration} of {self.last}{best})"

    def _decide(self) -> resume.Decision:
        """Decide at which iteration to start, on rank 0 alone, which locks the folder and name first."""
        if not self.world.is_main:
            return resume.Decision()
        if self.settings.save:
            resume.make_folder(self.backup)
            self.lock = ProcessLock(self.backup / f"{self.name}_run.lock", f"training {self.name} there")
            for folder in (self.backup, self.backup / f"{self.name}_report", Path(self.settings.charts or ".")):
                sweep(folder)           # also where nothing will be written, and before files are moved
        try:
            return resume.start(self.request)
        except BaseException:
            self.close()
            raise

    def _begin(self, data: str | os.PathLike, net: NetOptions) -> None:
        """Build network, engine and task, from the start that was decided."""
        settings, start = self.settings, self.start
        known = {} if start.state is None else start.state.facts
        fresh = int.from_bytes(os.urandom(4), "big") if settings.seed is None else settings.seed
        self.seed = self.world.broadcast(known.get("seed", fresh))
        with seeded(self.seed, self.device):
            self.network, self.origin = start_network(self.cfg, start.weights, self.device)
        if self.origin.classes is not None:     # the state is of the run that trained the other network
            start = self.start = replace(start, state=None, notes=())
        self.network.to(memory_format=torch.channels_last)      # type: ignore[call-overload]
        self.images = batch_plan.mini_batch(net) * net.subdivisions
        self.engine = Engine(self.network, self.device, amp=settings.amp, seed=self.seed, world=self.world,
                             compiled=settings.compile)
        self.statistics = Statistics(self.engine, self.images, settings.statistics == "estimated")
        self.files = Saver(self.backup, self.name, settings.save, self.engine, self.statistics)
        self.iteration = 0 if settings.clear else self.network.seen // self.images
        self.average_loss, self.best, self.scored_at, self.bad = -1., -1., self.iteration, 0
        self.score: Score | None = None
        self.notes += start.notes
        self.best_at: int | None = None
        self.stopped: str | None = None
        self.worse = 0                          # measurements since the best one
        if start.state is not None:
            if start.todo == "train":
                checkpoint.restore(start.state.path, self.engine)
            self.iteration, self.average_loss = known["iteration"], known["average_loss"]
            self.best, self.scored_at = known["best"], known["scored_at"]
            self.best_at, self.worse = known.get("best_at"), known.get("worse", 0)      # older states lack them
        elif self.iteration:
            self.notes.append(f"going on from iteration {self.iteration} of {start.weights}, without its momentum: "
                              "there is no .state file that belongs to it")
        if self.iteration >= self.last and start.todo == "train":
            raise WeightsError(f"{start.weights}: was trained for {self.iteration} iterations already, and the run "
                               f"ends at {self.last}; raise max_batches, or train from the start with -clear",
                               Reason.OUT_OF_RANGE)
        if start.weights is not None and self.network.reached == 0 and any(any(layer.blobs())
                                                                           for layer in self.network.layers):
            raise WeightsError(f"{start.weights}: holds no weights for any layer", Reason.EMPTY)
        self.engine.context.seen = self.iteration * self.images
        if start.todo == "train":
            self.task: Task = task_for(data, self.network, settings, self.seed, self.world, self.device)
            if known.get("pictures", self.task.count) != self.task.count:
                self.notes.append(f"pictures to train on: {known['pictures']} before, {self.task.count} now")
            self.notes += self.task.notes + batch_plan.notes(net, self.plan(1))

    def close(self) -> None:
        """Unlock the backup folder; the end of the iteration does so too."""
        if self.lock is not None:
            self.lock.release()

    def plan(self, iteration: int) -> Plan:
        """The mini-batches of an iteration, one or more for each process."""
        plan = batch_plan.plan(self.network.options, self.task.random, iteration, self.seed)
        return batch_plan.shared(plan, self.world.size, self.cfg.path)

    def __iter__(self) -> Iterator[Event]:
        try:
            if self.start.todo == "train" and self.world.is_main:
                yield self._started()
            yield from map(Note, self.notes)
            if self.start.todo == "train":
                yield from self._whole()
            elif self.start.todo == "finish" and self.world.is_main:
                final = self.files.path("final")
                write_file(final, self.files.path("last").read_bytes())
                yield Saved(final)
        finally:
            self.close()

    def _whole(self) -> Iterator[Event]:
        """The training, to its end."""
        begin = time.monotonic()
        yield from self._make_way()
        yield from self._reported() if self.settings.save and self.world.is_main else self._train()
        best = None if self.best < 0 else self.best
        weights = self.files.path("final" if best is None or not self.files.path("best").is_file() else "best")
        yield Finished(self.iteration, time.monotonic() - begin, self.score, best, self.best_at, self.stopped,
                       weights if self.settings.save else None)

    def _started(self) -> Started:
        net, size, first = self.network.options, self.network.input_shape, self.plan(1)
        return Started(self.world.describe(self.device), self.task.splits(), self.origin.text(), self.iteration,
                       self.last, self.last * self.images / self.task.count, self.images, net.subdivisions,
                       (size.width, size.height), first[:2], self.backup if self.settings.save else None)

    def _make_way(self) -> Iterator[Event]:
        """Move the files that would be overwritten."""
        start = self.start
        if not (start.moved or start.copied) or not self.world.is_main:
            return
        chart = Path(self.settings.charts or ".", f"chart_{self.name}.png")
        with_chart = self.settings.charts is not None and chart.is_file()
        resume.set_aside([*start.moved, *[chart] * with_chart], start.copied, start.aside)
        yield Note(f"what lay in {self.backup} of {self.name} and would be written over is in {start.aside} now")

    def _reported(self) -> Iterator[Event]:
        """The training, with log and report."""
        facts = facts_of(self._started(), self.name, str(self.request.run.data[0]), self.seed) \
            if self.settings.report else None
        report = Report(self.name, self.backup, self.last, iteration=self.iteration, charts=self.settings.charts,
                        most=self.network.options.max_chart_loss, tensorboard=self.settings.tensorboard, facts=facts,
                        before=self.before)
        self.history = report.history
        return report.follow(self._train(), self.task)

    def _train(self) -> Iterator[Event]:
        hours = -1.
        first = max(1, self.iteration + 1 - self.statistics.iterations)
        batches = self.task.batches(first, self.plan)
        for iteration in range(first, self.iteration + 1):
            for _ in self._mini_batches(batches, iteration):
                pass
        while self.iteration < self.last:
            begin, waited = time.perf_counter(), self.task.waited
            iteration = self.iteration + 1
            plan, taken = self.plan(iteration), self._mini_batches(batches, iteration)
            result = self.engine.run(iteration, taken)
            self.iteration, self.network.seen = iteration, iteration * self.images
            self.engine.context.seen = self.network.seen
            self.bad = 0 if result.trouble is None else self.bad + 1
            if math.isfinite(result.loss):
                self.average_loss = result.loss if self.average_loss < 0 else \
                    .9 * self.average_loss + .1 * result.loss
            seconds = time.perf_counter() - begin
            left = (self.last - iteration) * seconds / 3600
            hours = left if hours < 0 else .01 * left + .99 * hours
            yield Iteration(iteration, self.last, result.loss, self.average_loss, result.rate, seconds,
                            self.task.waited - waited, self.network.seen, hours, (plan.width, plan.height),
                            result.figures)
            yield from map(Note, self.task.new_problems())
            if result.trouble is not None:
                yield Note(f"iteration {iteration} changed no weights: {result.trouble}")
            if self.bad >= GIVE_UP:
                yield from self.save_last_now()
                kept = f"The last good weights are in {self.files.path('last')}. " if self.settings.save else ""
                raise DarknetError(f"stopped: {GIVE_UP} iterations in a row were not finite; {result.trouble}. {kept}A "
                                   "lower learning_rate= or a longer burn_in= may help, and max_delta= in [yolo]")
            if self.settings.evaluate and self._is_time_to_score():
                yield from self._evaluated()
            yield from self._saves()
        yield from self.save_last_now(must=True)
        yield from self.files.weights("final", self.iteration, must=True)
        self.statistics.settle(self.iteration)

    def _mini_batches(self, batches: Iterator[MiniBatch], iteration: int) -> Iterator[MiniBatch]:
        """Those of an iteration that are this process's."""
        share = self.plan(iteration).share(self.world.rank, self.world.size)
        return self.statistics.remembered(next(batches) for _ in share)

    def _is_time_to_score(self) -> bool:
        each = max(SCORE_EVERY, int(self.settings.score_epochs * self.task.count / self.images))
        due = max(self.scored_at + each, self.network.options.burn_in)
        return self.iteration >= due or self.iteration == self.last

    def _evaluated(self) -> Iterator[Event]:
        """Evaluate, and save the weights if they are the best."""
        self.scored_at = self.iteration
        try:
            with self.statistics.in_place(self.iteration):
                self.score = self.task.evaluate(self.network)
        except DarknetError as error:
            yield Note(f"not measured: {error}; training goes on")
            return
        is_best = self.score.value >= self.best
        self.worse = 0 if self.score.value > self.best or self.best <= 0 else self.worse + 1
        if is_best:
            self.best, self.best_at = self.score.value, self.iteration
        yield Scored(self.iteration, self.score, self.best, is_best)
        if is_best:
            yield from self.files.weights("best", self.iteration)
        if self.settings.patience is not None and self.worse >= self.settings.patience and self.iteration < self.last:
            self.stopped = (f"measurements in a row without a better {self.score.name} than {self.best * 100:.2f} %: "
                            f"{self.worse} (-patience)")
            self.last = self.iteration          # so that it ends as a run does that has come to its end

    def _saves(self) -> Iterator[Event]:
        every = self.save_every or (1000 if self.network.options.max_batches < LONG else LONG)
        if self.iteration % self.save_last == 0:
            yield from self.files.attention(self.iteration)
        if self.iteration % every == 0:
            yield from self.files.weights(str(self.iteration), self.iteration)
        if self.iteration % self.save_last == 0 and self.iteration < self.last:
            yield from self.files.average(self.iteration)
            yield from self.save_last_now()     # after all others, which a restart from it does not write again

    def save_last_now(self, *, must: bool = False) -> Iterator[Event]:
        """Write ``NAME_last.weights`` and its state out of turn, as before an early end; they ``must`` be written."""
        yield from self.files.state({
            "iteration": self.iteration, "average_loss": self.average_loss, "best": self.best,
            "scored_at": self.scored_at, "seed": self.seed, "amp": self.settings.amp, "pictures": self.task.count,
            "best_at": self.best_at, "worse": self.worse, "stopped": self.stopped,
            "run": asdict(replace(self.request.run, first=self.start.first))}, must=must)


def train(data: str | os.PathLike, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike | None = None, *,
          on_event: Callable[[Event], Any] | Sequence[Callable[[Event], Any]] | None = None, **settings: Any) -> Run:
    """Train a network, from the first iteration or from where an earlier run was cut off, to the end.

    Args:
        data, cfg, weights: see ``Run``.
        on_event: called with what happens, one of ``Event``: ``Started``, then ``Iteration``, ``Scored``, ``Saved`` and
            ``Note`` in turn, ``Finished``; or a list of such callables. Those that have ``close()`` are closed.
        settings: see ``Settings``.

    Returns:
        The finished run: its ``network``, ``score`` and ``best``.

    Raises:
        DarknetError: a mistake in a file, a full disk, or values that stay infinite.

        run = train("data/obj.data", "cfg/my.cfg", "yolov4.conv.137", evaluate=True)
    """
    called = [] if on_event is None else [on_event] if callable(on_event) else list(on_event)
    run = Run(data, cfg, weights, replace(Settings(), **settings))
    with ExitStack() as stack:
        for one in (run, *called):
            stack.callback(getattr(one, "close", bool))
        for event in run:
            for call in called:
                call(event)
    return run
