"""Entry points for ``torch.hub``: an architecture of the zoo is a ``Network``; ``detector`` is one that finds objects.

>>> network = torch.hub.load("OWNER/darknet_py", "yolov4", pretrained=True)
>>> detections = torch.hub.load("OWNER/darknet_py", "detector", "yolov4", thresh=.25)("dog.jpg")
"""
import torch

from darknet_py import Detector as _Detector
from darknet_py import load_network as _load_network
from darknet_py import parse_cfg as _parse_cfg
from darknet_py.zoo.architectures import ARCHITECTURES as _ARCHITECTURES
from darknet_py.zoo.architectures import cfg_text as _cfg_text
from darknet_py.zoo.models import official_weights as _official_weights

dependencies = ["torch", "numpy", "cv2", "pyparsing", "filelock"]


def detector(name: str, weights: str | None = None, **options) -> _Detector:
    """A ``Detector``.

    Args:
        name: of an architecture, such as "yolov4-tiny".
        weights: path of a weights file; None fetches the official one.
        options: of ``Detector``: names, thresh, nms, letterbox, device.
    """
    return _Detector(name, weights, **options)


def _entry(name: str):
    def build(pretrained: bool = False, classes: int | None = None, **net) -> torch.nn.Module:
        weights = _official_weights(name) if pretrained else None
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
