"""Darknet's networks in Python: .cfg and .weights files run, and compute what the C program computes.

>>> from darknet_py import Detector
>>> detector = Detector("yolov4")                       # or Detector("my.cfg", "my.weights")
>>> found = detector("dog.jpg")
>>> found["dog"].crop(), found.save("found.jpg")
"""
from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from darknet_py.utils.version import __version__

_HOMES = {
    "Cfg": "cfg.language", "parse_cfg": "cfg.language", "read_cfg": "cfg.language",
    "BackendWarning": "errors", "CfgError": "errors", "CfgWarning": "errors", "DarknetError": "errors",
    "DataError": "errors", "DownloadError": "errors", "Reason": "errors", "WeightsError": "errors",
    "LazyNetwork": "model.network", "Network": "model.network", "load_network": "model.network",
    "Detection": "inference.detections", "Detections": "inference.detections", "Detector": "inference.detector",
    "Frame": "inference.detector", "ModelInfo": "inference.info",
    "ClassScore": "inference.classifier", "Classified": "inference.classifier", "Classifier": "inference.classifier",
    "Prediction": "inference.classifier",
    "read_samples": "data.dataset", "evaluate_classifier": "evaluation.classification", "quantize": "convert.quantize",
    "generate": "inference.char_rnn", "perplexity": "inference.char_rnn",
    "evaluate": "evaluation.evaluate", "evaluate_map": "evaluation.evaluate", "Run": "training.trainer",
    "train": "training.trainer",
}
__all__ = [
    "BackendWarning", "Cfg", "CfgError", "CfgWarning", "ClassScore", "Classified", "Classifier", "DarknetError",
    "DataError", "Detection", "Detections", "Detector", "DownloadError", "Frame", "LazyNetwork", "ModelInfo", "Network",
    "Prediction", "Reason", "Run", "WeightsError", "__version__", "convert", "evaluate", "evaluate_classifier",
    "evaluate_map", "generate", "load_network", "parse_cfg", "perplexity", "quantize", "read_cfg", "read_samples",
    "train",
]

if TYPE_CHECKING:
    from darknet_py.cfg.language import Cfg, parse_cfg, read_cfg
    from darknet_py.convert import convert
    from darknet_py.convert.quantize import quantize
    from darknet_py.data.dataset import read_samples
    from darknet_py.errors import (
        BackendWarning,
        CfgError,
        CfgWarning,
        DarknetError,
        DataError,
        DownloadError,
        Reason,
        WeightsError,
    )
    from darknet_py.evaluation.classification import evaluate_classifier
    from darknet_py.evaluation.evaluate import evaluate, evaluate_map
    from darknet_py.inference.char_rnn import generate, perplexity
    from darknet_py.inference.classifier import Classified, Classifier, ClassScore, Prediction
    from darknet_py.inference.detections import Detection, Detections
    from darknet_py.inference.detector import Detector, Frame
    from darknet_py.inference.info import ModelInfo
    from darknet_py.model.network import LazyNetwork, Network, load_network
    from darknet_py.training.trainer import Run, train


class _Moved(MetaPathFinder, Loader):
    """Modules that documentation of earlier versions names, at their places of today."""

    places = {"darknet_py.custom": "darknet_py.prepare.new_cfg", "darknet_py.edit": "darknet_py.prepare.edit_cfg"}

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.places else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self.places[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It was executed under its own name, and keeps that."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_Moved())


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes a second, and the command line's ``--help`` needs none of it."""
    if name == "convert":           # the package, which can be called
        return import_module("darknet_py.convert")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
