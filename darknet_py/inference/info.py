"""Facts of a detector or a classifier: its files, its network, and the runtime that it runs on."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darknet_py.errors import DarknetError, printable, shown
from darknet_py.inference.backends.base import Backend
from darknet_py.model.network import LazyNetwork
from darknet_py.model.summary import summarize

LINE = 100              # characters of the names, in the table


@dataclass(frozen=True, repr=False)
class ModelInfo:
    """Facts of a ``Detector`` or a ``Classifier``; it prints as a table, and ``dataclasses.asdict`` makes a dict of it.

    Attributes:
        task: "detection" or "classification".
        cfg: the file of the network; None: it came from text.
        weights: the file of weights, or of a model that runs in their place.
        width, height, channels: of the network's input, in pixels.
        names: of all classes.
        layers: how many the network has.
        parameters: numbers in its weights file.
        bflops: 10^9 multiplications and additions for one image, as Darknet counts them.
        backend, precision, device: what runs it, what that computes in, and where.
        thresh, nms, hier_thresh, letterbox: see ``Detector``; None of a classifier.
    """

    task: str
    cfg: Path | None
    weights: Path | None
    width: int
    height: int
    channels: int
    names: tuple[str, ...]
    layers: int
    parameters: int
    bflops: float
    backend: str
    precision: str
    device: str
    thresh: float | None = None
    nms: float | None = None
    hier_thresh: float | None = None
    letterbox: bool | None = None

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.names)

    def __repr__(self) -> str:
        names = printable(", ".join(self.names))
        table = {
            "task": self.task, "cfg": self.cfg, "weights": self.weights,
            "input": f"{self.width} x {self.height} x {self.channels} (width x height x channels)",
            "classes": f"{self.classes}: {names if len(names) <= LINE else names[:LINE - 4] + ' ...'}",
            "layers": self.layers, "parameters": f"{self.parameters:,}", "BFLOPs": f"{self.bflops:.3f}",
            "backend": f"{self.backend}, {self.precision} on {self.device}", "thresh": self.thresh, "nms": self.nms,
            "hier_thresh": self.hier_thresh, "letterbox": self.letterbox}
        return "\n".join(f"{key:<12}{value}" for key, value in table.items() if value is not None)

    @property
    def line(self) -> str:
        """The most important of them, in a line."""
        files = ", ".join(path.name for path in dict.fromkeys((self.cfg, self.weights)) if path is not None)
        return (f"{files}: {self.classes} classes, {self.width} x {self.height}, {self.backend} {self.precision} on "
                f"{self.device}")


def info_of(task: str, files: LazyNetwork, backend: Backend, names: Sequence[str], **settings: Any) -> ModelInfo:
    """The facts of a network on a runtime.

    Args:
        settings: thresh, nms, hier_thresh, letterbox.
    """
    network = files.outline
    summary, shape = summarize(network), network.input_shape
    return ModelInfo(task, network.cfg.path, None if files.weights is None else Path(files.weights), shape.width,
                     shape.height, shape.channels, tuple(names), len(network.layers), summary.parameters,
                     summary.flops / 1e9, backend.name, backend.precision, str(backend.device), **settings)


def check_thresholds(**values: float | None) -> None:
    """Raises:
        DarknetError: one of them is no number from 0 to 1, nor None.
    """
    for name, value in values.items():
        try:
            good = value is None or 0 <= float(value) <= 1
        except (TypeError, ValueError):
            good = False
        if not good:
            raise DarknetError(f"{name} needs a number from 0 to 1, found {shown(value)}")
