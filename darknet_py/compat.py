"""The functions of Darknet's own Python binding, ``darknet.py``, so that scripts for it run with one line changed.

>>> from darknet_py import compat as darknet
>>> network, names, colors = darknet.load_network("yolov4.cfg", "coco.data", "yolov4.weights")
>>> image = darknet.load_image("dog.jpg", 0, 0)
>>> darknet.print_detections(darknet.detect_image(network, names, image, thresh=.25), True)

Nothing has to be freed; the functions that free do nothing. Paths may be str or bytes.
"""
from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from ctypes import POINTER, c_char_p, c_float, c_int, pointer
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py.data.datafile import count_of, find_names, read_data
from darknet_py.data.image import letterbox, read_image, resize, to_tensor, undo_letterbox
from darknet_py.errors import printable
from darknet_py.inference.backends.pytorch import PyTorch
from darknet_py.inference.classifier import output_layer
from darknet_py.layers import DetectionHead
from darknet_py.model import network as model
from darknet_py.ops.nms import nms as suppressed

__all__ = [
    "BOX", "DETECTION", "DETNUMPAIR", "IMAGE", "METADATA", "POINTER", "bbox2points", "c_char_p", "c_float", "c_int",
    "class_colors", "copy_image_from_bytes", "decode_detection", "detect_image", "do_nms_obj", "do_nms_sort",
    "draw_boxes", "free_batch_detections", "free_detections", "free_image", "free_network_ptr", "get_network_boxes",
    "init_cpu", "letterbox_image", "load_image", "load_meta", "load_net", "load_net_custom", "load_network",
    "make_image", "network_height", "network_predict", "network_predict_batch", "network_width", "pointer", "predict",
    "predict_image", "predict_image_letterbox", "print_detections", "remove_negatives", "remove_negatives_faster",
    "reset_rnn", "rgbgr_image", "set_gpu",
]

Name = str | bytes | os.PathLike        # of a file
Detected = tuple[str, str, tuple[float, float, float, float]]   # name, per cent, (center x, center y, width, height)


class BOX(NamedTuple):
    """Center and size, in parts of the image or in pixels, see ``get_network_boxes``."""

    x: float
    y: float
    w: float
    h: float


@dataclass
class DETECTION:
    """A box that the network proposes. ``best_class_idx``: -1 where no class is above the threshold; C sets it for
    [region] alone, and takes class 0 for the best of others."""

    bbox: BOX
    classes: int
    prob: list[float]
    objectness: float

    @property
    def best_class_idx(self) -> int:
        best = max(range(len(self.prob)), key=self.prob.__getitem__)
        return best if self.prob[best] > 0 else -1


class DETNUMPAIR(NamedTuple):
    """The detections of one image of a batch, and their number."""

    num: int
    dets: list[DETECTION]


@dataclass
class IMAGE:
    """(c, h, w) float32 RGB in [0, 1], as an array or a pointer to c_float; those of a batch one after another."""

    w: int
    h: int
    c: int
    data: Any

    def numbers(self, count: int = 1) -> Tensor:
        """(count, c, h, w)."""
        shape = count, self.c, self.h, self.w
        data = self.data if isinstance(self.data, np.ndarray) else np.ctypeslib.as_array(self.data, shape)
        return torch.from_numpy(np.asarray(data, np.float32).reshape(shape))


@dataclass
class METADATA:
    """The classes of a .data file. ``names`` are bytes, as from C."""

    classes: int
    names: list[bytes]


@dataclass
class Loaded:
    """A network, and the last outputs of its heads, for ``get_network_boxes``."""

    network: model.Network
    backend: PyTorch = field(repr=False)
    heads: list[Tensor] = field(default_factory=list, repr=False)


def load_net_custom(config_file: Name, weights: Name, clear: int = 0, batch_size: int = 1) -> Loaded:
    """A network, on the GPU where there is one (see ``set_gpu``). Batches may have any size, whatever batch_size says.

    Raises:
        CfgError, WeightsError: with file and line.
    """
    network = model.load_network(os.fsdecode(config_file), os.fsdecode(weights))
    return Loaded(network, PyTorch.build(network, _device, [*network.heads, output_layer(network)]))


load_net = load_net_custom


def load_meta(data_file: Name) -> METADATA:
    path = os.fsdecode(data_file)
    classes = count_of(path, read_data(path), "classes", 2)
    return METADATA(classes, [name.encode("utf-8", "surrogateescape")
                              for name in find_names(None, None, classes, data=path)])


def load_network(config_file: Name, data_file: Name, weights: Name, batch_size: int = 1
                 ) -> tuple[Loaded, list[str], dict[str, tuple[int, int, int]]]:
    """A network, the names of its classes, and a random colour for each of them."""
    names = [name.decode("utf-8", "surrogateescape") for name in load_meta(data_file).names]
    return load_net_custom(config_file, weights, 0, batch_size), names, class_colors(names)


_device = "auto"


def set_gpu(number: int) -> None:
    """Which GPU the networks that are loaded from now on run on."""
    global _device
    _device = f"cuda:{number}" if torch.cuda.is_available() else "cpu"


def network_width(network: Loaded) -> int:
    return network.network.input_shape.width


def network_height(network: Loaded) -> int:
    return network.network.input_shape.height


def make_image(w: int, h: int, c: int) -> IMAGE:
    return IMAGE(w, h, c, np.zeros((c, h, w), np.float32))


def copy_image_from_bytes(image: IMAGE, pixels: bytes) -> None:
    """Fill an image with h rows of w pixels of c bytes."""
    values = np.frombuffer(pixels, np.uint8, image.w * image.h * image.c).reshape(image.h, image.w, image.c)
    image.data[...] = np.divide(values.transpose(2, 0, 1), 255, dtype=np.float32).reshape(image.data.shape)


def load_image(path: Name, w: int = 0, h: int = 0) -> IMAGE:
    """An image file, stretched to w x h where both are given.

    Raises:
        DataError: it cannot be read.
    """
    x = to_tensor(read_image(os.fsdecode(path)))
    x = resize(x, w, h) if w and h else x
    return IMAGE(x.shape[2], x.shape[1], len(x), x.numpy())


def letterbox_image(image: IMAGE, w: int, h: int) -> IMAGE:
    return IMAGE(w, h, image.c, letterbox(image.numbers()[0], w, h).numpy())


def rgbgr_image(image: IMAGE) -> None:
    """Swap red and blue, in place."""
    image.data[...] = image.numbers()[0].flip(0).numpy().reshape(image.data.shape)


def predict(network: Loaded, data: Any) -> np.ndarray:
    """Run the network on numbers: (c, h, w) of its input, as an array or a pointer to c_float.

    Returns:
        float32 its last layer's output, flat: of a classifier the probabilities.
    """
    channels, height, width = network.network.input_shape
    return _predict(network, IMAGE(width, height, channels, data).numbers())


network_predict = predict


def predict_image(network: Loaded, image: IMAGE) -> np.ndarray:
    """The same for an image of any size, which is stretched."""
    return _predict(network, resize(image.numbers()[0], network_width(network), network_height(network))[None])


def predict_image_letterbox(network: Loaded, image: IMAGE) -> np.ndarray:
    """The same with the image's proportions kept."""
    return _predict(network, letterbox(image.numbers()[0], network_width(network), network_height(network))[None])


def _predict(loaded: Loaded, x: Tensor) -> np.ndarray:
    *heads, last = loaded.backend(x)
    loaded.heads = [head.float().cpu() for head in heads]
    return last.float().cpu().numpy().reshape(-1)


def get_network_boxes(network: Loaded, w: int, h: int, thresh: float = .5, hier_thresh: float = .5, map: Any = None,
                      relative: int = 0, num: Any = None, letter: int = 0) -> list[DETECTION]:
    """The boxes of the image that ran last whose objectness is above the threshold.

    Args:
        w, h: of the image, in pixels.
        relative: 1: boxes are in parts of the image, else in pixels.
        num: a pointer to c_int, or a list, whose first item becomes their number.
        letter: the image came through ``predict_image_letterbox``.
    """
    found = _boxes(network, 0, w, h, thresh, hier_thresh, relative, letter)
    if num is not None:
        num[0] = len(found)
    return found


def _boxes(loaded: Loaded, image: int, w: int, h: int, thresh: float, hier_thresh: float, relative: int, letter: int
           ) -> list[DETECTION]:
    _, net_height, net_width = loaded.network.input_shape
    unit, found = torch.tensor([1.] * 4 if relative else [w, h, w, h]), []
    for index, head in zip(loaded.network.heads, loaded.heads, strict=True):
        layer = loaded.network.layers[index]
        if isinstance(layer, DetectionHead):
            proposed = layer.decode(head[image:image + 1], net_width, net_height, thresh, hier_thresh)
            sure = proposed.objectness > thresh
            boxes = proposed.boxes
            if letter and layer.letterboxed:
                boxes = undo_letterbox(boxes, w, h, net_width, net_height)
            found += [DETECTION(BOX(*box), layer.classes, scores, certain) for box, scores, certain in zip(
                *(part[sure].tolist() for part in (boxes * unit, proposed.scores, proposed.objectness)), strict=True)]
    return found


def network_predict_batch(network: Loaded, image: IMAGE, batch_size: int, w: int, h: int, thresh: float,
                          hier_thresh: float, map: Any = None, relative: int = 0, letter: int = 0) -> list[DETNUMPAIR]:
    """``predict`` and ``get_network_boxes`` for a batch.

    Args:
        image: its data are those of all images, each of the network's size, whatever its own size says.
        w, h: of the pictures that they were made from.
    """
    channels, height, width = network.network.input_shape
    _predict(network, IMAGE(width, height, channels, image.data).numbers(batch_size))
    found = [_boxes(network, number, w, h, thresh, hier_thresh, relative, letter) for number in range(batch_size)]
    return [DETNUMPAIR(len(one), one) for one in found]


def do_nms_sort(detections: Sequence[DETECTION], num: int, classes: int, nms: float) -> None:
    """Non-maximum suppression in each class: suppressed boxes get the probability 0."""
    scores = [one.prob + [0.] * (classes - len(one.prob)) for one in detections[:num]]
    for one, left in zip(detections, _suppressed(detections[:num], scores, nms), strict=False):
        one.prob = left[:len(one.prob)]


def do_nms_obj(detections: Sequence[DETECTION], num: int, classes: int, nms: float) -> None:
    """Non-maximum suppression by objectness, whatever the classes: suppressed boxes get the probabilities 0."""
    scores = [[one.objectness] for one in detections[:num]]
    for one, (left,) in zip(detections, _suppressed(detections[:num], scores, nms), strict=False):
        if left == 0:
            one.objectness, one.prob = 0, [0.] * len(one.prob)


def _suppressed(detections: Sequence[DETECTION], scores: list[list[float]], nms: float) -> list[list[float]]:
    return suppressed(torch.tensor([one.bbox for one in detections]).view(-1, 4),
                      torch.tensor(scores).view(len(detections), -1), nms).tolist() if detections else []


def remove_negatives(detections: Sequence[DETECTION], class_names: Sequence[str], num: int) -> list:
    """(name, probability, (x, y, w, h)) of each class of each box whose probability is above 0."""
    return [(name, probability, tuple(one.bbox)) for one in detections[:num]
            for name, probability in zip(class_names, one.prob, strict=False) if probability > 0]


def remove_negatives_faster(detections: Sequence[DETECTION], class_names: Sequence[str], num: int) -> list:
    """The same of each box's likeliest class alone."""
    return [(class_names[best], one.prob[best], tuple(one.bbox)) for one in detections[:num]
            if (best := one.best_class_idx) >= 0]


def decode_detection(detections: Iterable) -> list[Detected]:
    """Probabilities as text, in per cent."""
    return [(str(name), str(round(probability * 100, 2)), box) for name, probability, box in detections]


def detect_image(network: Loaded, class_names: Sequence[str], image: IMAGE, thresh: float = .5, hier_thresh: float = .5,
                 nms: float = .45) -> list[Detected]:
    """Find objects in an image.

    Returns:
        (name, per cent as text, (center x, center y, width, height) in pixels), sorted by the per cent *as text*, as
        ``darknet.py`` does: "100.0" and "9.5" are at the two ends.
    """
    predict_image(network, image)
    detections = get_network_boxes(network, image.w, image.h, thresh, hier_thresh)
    if nms:
        do_nms_sort(detections, len(detections), len(class_names), nms)
    return sorted(decode_detection(remove_negatives(detections, class_names, len(detections))), key=lambda one: one[1])


def bbox2points(bbox: Sequence[float]) -> tuple[int, int, int, int]:
    """Center and size to left, top, right, bottom, rounded."""
    x, y, w, h = bbox
    return round(x - w / 2), round(y - h / 2), round(x + w / 2), round(y + h / 2)


def class_colors(names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """A random colour for each class."""
    return {name: (random.randint(0, 255), random.randint(0, 255), random.randint(0, 255)) for name in names}


def print_detections(detections: Iterable[Detected], coordinates: bool = False) -> None:
    print("\nObjects:")
    for name, confidence, (x, y, w, h) in detections:
        where = f"    (left_x: {x:.0f}   top_y:  {y:.0f}   width:   {w:.0f}   height:  {h:.0f})" if coordinates else ""
        print(f"{printable(name)}: {confidence}%{where}")


def draw_boxes(detections: Iterable, image: np.ndarray, colors: dict[str, tuple[int, int, int]]) -> np.ndarray:
    """Draw boxes with names on an image, in place, and return it."""
    for name, confidence, bbox in detections:
        left, top, right, bottom = bbox2points(bbox)
        cv2.rectangle(image, (left, top), (right, bottom), colors[name], 1)
        cv2.putText(image, f"{printable(name)} [{float(confidence):.2f}]", (left, top - 5),
                    cv2.FONT_HERSHEY_SIMPLEX, .5, colors[name], 2)
    return image


def reset_rnn(network: Loaded) -> None:
    network.network.reset_state()


def _nothing(*_: Any) -> None:
    """Does nothing: C frees memory or sets up the CPU here."""


free_image = free_detections = free_batch_detections = free_network_ptr = init_cpu = _nothing
