"""Entry points for ``torch.hub``: an architecture of the zoo is a ``Network``; ``detector`` is one that finds objects.

>>> network = torch.hub.load("OWNER/darknet_py", "yolov4", pretrained=True)
>>> detections = torch.hub.load("OWNER/darknet_py", "detector", "yolov4", thresh=.25)("dog.jpg")
"""
import os
from pathlib import Path as _Path

import torch

from darknet_py import DataError as _DataError
from darknet_py import Detector as _Detector
from darknet_py import Reason as _Reason
from darknet_py import load_network as _load_network
from darknet_py import parse_cfg as _parse_cfg
from darknet_py.zoo.architectures import ARCHITECTURES as _ARCHITECTURES
from darknet_py.zoo.architectures import cfg_text as _cfg_text
from darknet_py.zoo.download import download as _download
from darknet_py.zoo.manifest import OFFICIAL as _OFFICIAL

dependencies = ["torch", "numpy", "cv2", "pyparsing"]
_NAMES = _Path(__file__).parent / "cfg/coco.names"


def detector(name: str, weights: str | None = None, **options) -> _Detector:
    """A ``Detector``.

    Args:
        name: of an architecture, such as "yolov4-tiny".
        weights: path of a .weights file; None fetches the official one.
        options: of ``Detector``: names, thresh, nms, letterbox, device.
    """
    cfg = _parse_cfg(_cfg_text(name))
    if _ARCHITECTURES[name].classes == 80:
        options.setdefault("names", _NAMES)
    return _Detector(cfg, _official(name) if weights is None else weights, **options)


def _official(name: str) -> str:
    """The path of official weights among torch.hub's checkpoints; they are fetched unless they are there."""
    file = f"{name}.weights"
    if file not in _OFFICIAL:
        known = [one.removesuffix(".weights") for one in _OFFICIAL if one.endswith(".weights")]
        raise _DataError(f"there are no official weights of {name}, but of {', '.join(known)}", _Reason.UNKNOWN_NAME)
    facts, path = _OFFICIAL[file], _Path(torch.hub.get_dir(), "checkpoints", file)
    mirrors = [f"{mirror.rstrip('/')}/{file}" for mirror in os.environ.get("DARKNET_PY_MIRROR", "").split()]
    url, *others = *mirrors, *facts.urls
    _download(url, path, mirrors=tuple(others), size=facts.size, sha256=facts.sha256)
    return str(path)


def _entry(name: str):
    def build(pretrained: bool = False, classes: int | None = None, **net) -> torch.nn.Module:
        weights = _official(name) if pretrained else None
        return _load_network(_parse_cfg(_cfg_text(name, classes=classes, **net)), weights)

    build.__name__ = name
    build.__doc__ = f"""{_ARCHITECTURES[name].title}. A ``Network`` in eval mode.

    Args:
        pretrained: with the official weights.
        classes: instead of those that it is published for.
        net: keys of [net] with other values, such as width=416.
    """
    return build


globals().update({name: _entry(name) for name in _ARCHITECTURES})
