"""Callbacks of training that log a run to Weights & Biases, MLflow or TensorBoard; for ``train(on_event=...)``."""
from __future__ import annotations

import math
import os
import re
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from darknet_py.errors import DarknetError, one_line, suggestion
from darknet_py.training.events import Event, Finished, Iteration, Scored, Started
from darknet_py.training.report import Board

EVERY = 10              # iterations between two that are logged


class Callback(ABC):
    """Logs the figures of a run: of every so many iterations, of each measurement, and of the end.

    An instance is called with each event. The run there begins with ``Started``, so that nothing is made where there is
    nothing to train. What fails later on, such as a server that is away, is warned of once, and training goes on.

    Args:
        every: iterations between two that are logged; the first and the last always are.
        config: settings of your own to be logged with the run.
        upload: whether the final weights are copied there too.
    """

    name = ""

    def __init__(self, every: int = EVERY, config: Mapping[str, Any] | None = None, upload: bool = False):
        if every < 1:
            raise DarknetError(f"every needs a number of iterations from 1 on, found {every}")
        self.every, self.upload = every, upload
        self.config = {} if config is None else dict(config)
        self.open = self.told = False

    def __call__(self, event: Event) -> None:
        """Log an event; one before ``Started``, as in all processes but the first, is passed over.

        Raises:
            DarknetError: the run cannot be begun.
        """
        if isinstance(event, Started):
            try:
                self.begin(event, self.config | facts_of(event))
            except Exception as error:      # the packages have no common kind of error
                raise DarknetError(f"{self.name}: cannot begin a run: {type(error).__name__}: {error}") from None
            self.open = True
        elif self.open:
            try:
                self._log(event)
            except Exception as error:
                self._warn(error)

    def _log(self, event: Event) -> None:
        if isinstance(event, Iteration):
            if event.iteration % self.every == 0 or event.iteration in (1, event.last):
                self.log(event.iteration, finite(figures_of(event)))
        elif isinstance(event, Scored):
            name, value = event.score.name, event.score.value
            self.log(event.iteration, finite({name: value, f"best {name}": event.best, **event.score.figures}))
        elif isinstance(event, Finished):
            if self.upload and event.weights is not None:
                self.store(event.weights)
            self.open = False
            self.end(event)

    def close(self) -> None:
        """End a run that did not come to its end; ``train`` calls it."""
        if self.open:
            self.open = False
            try:
                self.end(None)
            except Exception as error:
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self.told:
            self.told = True
            warnings.warn(one_line(f"{self.name}: {type(error).__name__}: {error}; training goes on"), stacklevel=3)

    @abstractmethod
    def begin(self, event: Started, config: Mapping[str, Any]) -> None:
        """The run begins, or resumes."""

    @abstractmethod
    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Figures of an iteration, all of them finite."""

    def store(self, path: Path) -> None:    # noqa: B027   # not all can
        """Copy a file of weights."""

    @abstractmethod
    def end(self, event: Finished | None) -> None:
        """The run has ended; None: before its end."""


class Wandb(Callback):
    """A run of Weights & Biases; see ``wandb_callback``."""

    name = "wandb"

    def __init__(self, options: Mapping[str, Any], **settings: Any):
        super().__init__(**settings)
        self.wandb, self.options = needed("wandb"), dict(options)
        self.run: Any = None

    def begin(self, event: Started, config: Mapping[str, Any]) -> None:
        self.run = self.wandb.init(config=dict(config), **self.options)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=iteration)

    def store(self, path: Path) -> None:
        artifact = self.wandb.Artifact(re.sub(r"[^\w.-]", "_", path.stem), type="model")
        artifact.add_file(str(path))
        self.run.log_artifact(artifact)

    def end(self, event: Finished | None) -> None:
        if event is not None:
            self.run.summary.update(summary_of(event))
        self.run.finish(exit_code=int(event is None))


class Mlflow(Callback):
    """A run of MLflow; see ``mlflow_callback``."""

    name = "mlflow"

    def __init__(self, experiment: str | None, run_name: str | None, tracking_uri: str | None, tags: Mapping[str, str],
                 **settings: Any):
        super().__init__(**settings)
        needed("mlflow")
        self.experiment, self.run_name, self.uri, self.tags = experiment, run_name, tracking_uri, dict(tags)

    def begin(self, event: Started, config: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param
        self.client = MlflowClient(self.uri)
        known = None if self.experiment is None else self.client.get_experiment_by_name(self.experiment)
        number = "0" if self.experiment is None else \
            self.client.create_experiment(self.experiment) if known is None else known.experiment_id
        self.run = self.client.create_run(number, tags=self.tags, run_name=self.run_name).info.run_id
        self.client.log_batch(self.run, params=[Param(plain(key), str(value)[:500]) for key, value in config.items()])

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric
        now = int(1000 * time.time())
        self.client.log_batch(self.run, metrics=[Metric(plain(key), value, now, iteration)
                                                 for key, value in values.items()])

    def store(self, path: Path) -> None:
        self.client.log_artifact(self.run, str(path))

    def end(self, event: Finished | None) -> None:
        if event is not None:
            for key, value in summary_of(event).items():
                self.client.set_tag(self.run, plain(key), value)
        self.client.set_terminated(self.run, "KILLED" if event is None else "FINISHED")


class TensorBoard(Callback):
    """TensorBoard's events in a folder; see ``tensorboard_callback``."""

    name = "tensorboard"

    def __init__(self, folder: str | None, **settings: Any):
        super().__init__(**settings)
        needed("tensorboard")
        self.folder = folder

    def begin(self, event: Started, config: Mapping[str, Any]) -> None:
        beside = Path("runs") if event.backup is None else event.backup / "tensorboard"
        self.board = Board(beside if self.folder is None else self.folder, event.iteration)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        self.board.add(iteration, values)

    def end(self, event: Finished | None) -> None:
        self.board.close()


def wandb_callback(project: str | None = None, *, every: int = EVERY, config: Mapping[str, Any] | None = None,
                   upload: bool = False, **options: Any) -> Callback:
    """Log a run to Weights & Biases (``pip install wandb``).

    Args:
        project: None: that of WANDB_PROJECT in the environment, else wandb's default.
        every, config, upload: see ``Callback``.
        options: of ``wandb.init``: name, entity, tags, mode="offline", id and resume="allow" to go on in a run ...

    Raises:
        DarknetError: wandb is not installed; later, by the event ``Started``: it cannot begin a run.

        train("obj.data", "my.cfg", on_event=wandb_callback("cells", name="first"))
    """
    return Wandb({"project": project, **options}, every=every, config=config, upload=upload)


def mlflow_callback(experiment: str | None = None, *, run_name: str | None = None, tracking_uri: str | None = None,
                    tags: Mapping[str, str] | None = None, every: int = EVERY,
                    config: Mapping[str, Any] | None = None, upload: bool = False) -> Callback:
    """Log a run to MLflow (``pip install mlflow``, or ``mlflow-skinny`` for a server).

    Args:
        experiment: made if it is not there; None: MLflow's default experiment.
        run_name: None: MLflow invents one.
        tracking_uri: such as "http://server:5000" or "sqlite:///mlflow.db"; None: that of MLFLOW_TRACKING_URI in the
            environment, else MLflow's default.
        tags: of the run.
        every, config, upload: see ``Callback``.

    Raises:
        DarknetError: MLflow is not installed; later, by the event ``Started``: it cannot begin a run.

        train("obj.data", "my.cfg", on_event=mlflow_callback("cells", tracking_uri="sqlite:///mlflow.db"))
    """
    return Mlflow(experiment, run_name, tracking_uri, {} if tags is None else tags, every=every, config=config,
                  upload=upload)


def tensorboard_callback(folder: str | None = None, *, every: int = EVERY) -> Callback:
    """Write events for TensorBoard (``pip install tensorboard``); ``train(tensorboard=folder)`` writes all iterations.

    Args:
        folder: None: tensorboard/ in the backup folder.
        every: see ``Callback``.

    Raises:
        DarknetError: TensorBoard is not installed.
    """
    return TensorBoard(folder, every=every)


CALLBACKS: dict[str, Callable[..., Callback]] = {
    "wandb": wandb_callback, "mlflow": mlflow_callback, "tensorboard": tensorboard_callback}


def named_callbacks(names: Sequence[str], run: str, config: Mapping[str, Any]) -> list[Callback]:
    """Callbacks by their names, set up by the packages' own environment variables.

    Args:
        names: of ``CALLBACKS``.
        run: the name of the run.
        config: settings to be logged.

    Raises:
        DarknetError: an unknown name, or a package that is not installed.
    """
    options: dict[str, dict[str, Any]] = {
        "wandb": {"name": run, "config": config}, "tensorboard": {},
        "mlflow": {"run_name": run, "config": config, "experiment": environment("MLFLOW_EXPERIMENT_NAME")}}
    for name in names:
        if name not in CALLBACKS:
            raise DarknetError(f"expected {', '.join(CALLBACKS)}, found {name}" + suggestion(name, CALLBACKS))
    return [CALLBACKS[name](**options[name]) for name in dict.fromkeys(names)]


def environment(name: str) -> str | None:
    return os.environ.get(name) or None


def needed(package: str) -> ModuleType:
    """Raises:
        DarknetError: it is not installed, or cannot be imported.
    """
    try:
        return import_module(package)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        raise DarknetError(f"{package} is not installed; get it with: pip install {package}" if missing else
                           f"{package} is installed, and cannot be imported: {error}") from None


def facts_of(event: Started) -> dict[str, Any]:
    """The settings of a run, as ``Started`` has them."""
    return {"device": event.device, "weights": event.weights, "first_iteration": event.iteration + 1,
            "iterations": event.last, "epochs": round(event.epochs, 3), "batch": event.images,
            "subdivisions": event.subdivisions, "width": event.size[0], "height": event.size[1],
            **{f"{split.name} {split.unit}": split.total for split in event.splits}}


def figures_of(event: Iteration) -> dict[str, float]:
    return {"loss": event.loss, "avg_loss": event.average, "learning_rate": event.rate, "seconds": event.seconds,
            "data_seconds": event.waited, "images": event.images, **event.figures}


def summary_of(event: Finished) -> dict[str, Any]:
    """Iterations done, the best score and its iteration, why the run stopped, and its weights file."""
    found = {"iterations done": event.iteration, "best": event.best, "best iteration": event.best_at,
             "stopped": event.stopped, "weights file": None if event.weights is None else event.weights.name}
    return {key: value for key, value in found.items() if value is not None}


def finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name.replace(" ", "/"): float(value) for name, value in values.items() if math.isfinite(value)}


def plain(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)
