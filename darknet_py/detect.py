"""From image to boxes: resize, run, decode, suppress. ``Detector`` holds a network ready for it."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from darknet_py.boxes import cxcywh_to_xyxy, nms, xyxy_to_cxcywh
from darknet_py.cfg import Cfg
from darknet_py.data.coco import category_ids as coco_category_ids
from darknet_py.data.datafile import find_names
from darknet_py.data.image import letterbox as letterbox_image
from darknet_py.data.image import read_image, resize, to_tensor, undo_letterbox
from darknet_py.draw import draw_detections
from darknet_py.errors import CfgError, DarknetError, locate
from darknet_py.layers.base import Candidates, Layer, Shape
from darknet_py.network import Network, load_network
from darknet_py.world import local_device

HIDDEN = "dont_show"            # classes whose names start so are not reported
FEW = 1 << 19                   # scores of a batch that are suppressed on the CPU


class Detection(NamedTuple):
    """One object in one image. ``box``: (4,) left, top, right, bottom in pixels, not clipped to the image."""

    box: np.ndarray
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one image, the surest first. A box with two likely classes stands there twice.

    Attributes:
        boxes: (K, 4) float32 left, top, right, bottom in pixels; they may reach beyond the image.
        scores: (K,) float32 in [0, 1].
        labels: (K,) int64 class numbers.
        names: of all classes.
        image_size: (height, width) in pixels.
        path: of the image, where it came from a file.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    image_size: tuple[int, int]
    path: str | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, label in zip(self.boxes, self.scores.tolist(), self.labels.tolist(), strict=True):
            yield Detection(box, score, label, self.names[label])

    def __repr__(self) -> str:
        lines = [f"  {d.name} {d.score:.0%} at {', '.join(f'{side:.0f}' for side in d.box)}" for d in self]
        height, width = self.image_size
        return "\n".join([f"{len(self)} detections in {self.path or 'an image'} ({width} x {height})", *lines])

    def draw(self, image: np.ndarray | None = None) -> np.ndarray:
        """The picture with boxes and names on it.

        Args:
            image: (H, W, 3) BGR or (H, W) grey, uint8; read from ``path`` if None.

        Returns:
            (H, W, 3) BGR uint8, a copy.
        """
        if image is None:
            if self.path is None:
                raise ValueError("these detections came from an array, so draw(image) needs it again")
            image = read_image(self.path)
        return draw_detections(image, self.boxes, self.labels, self.scores, self.names)

    def relative(self) -> np.ndarray:
        """(K, 4) center x, center y, width, height in parts of the image, as Darknet writes them."""
        height, width = self.image_size
        return xyxy_to_cxcywh(torch.from_numpy(self.boxes).double()).numpy() / [width, height, width, height]

    def to_json(self, frame_id: int = 1) -> str:
        """One frame of Darknet's JSON (detection_to_json), as ``detector test -out`` writes it; names are escaped."""
        objects = [
            f'  {{"class_id":{d.label}, "name":{json.dumps(d.name)}, "relative_coordinates":{{"center_x":{x:f}, '
            f'"center_y":{y:f}, "width":{w:f}, "height":{h:f}}}, "confidence":{d.score:f}}}'
            for d, (x, y, w, h) in zip(self, self.relative().tolist(), strict=True)]
        filename = "" if self.path is None else f' "filename":{json.dumps(self.path)}, \n'
        return f'{{\n "frame_id":{frame_id}, \n{filename} "objects": [ \n' + ", \n".join(objects) + "\n ] \n}"

    def to_supervision(self) -> Any:
        """As ``supervision.Detections``, with the names as its ``data["class_name"]``."""
        supervision = _package("supervision")
        return supervision.Detections(xyxy=self.boxes.reshape(-1, 4), confidence=self.scores, class_id=self.labels,
                                      data={"class_name": np.array([d.name for d in self], str)})

    def to_pandas(self) -> Any:
        """As ``pandas.DataFrame``: xmin, ymin, xmax, ymax in pixels, confidence, class, name."""
        table = dict(zip(("xmin", "ymin", "xmax", "ymax"), self.boxes.reshape(-1, 4).T, strict=True))
        return _package("pandas").DataFrame({**table, "confidence": self.scores, "class": self.labels,
                                             "name": [d.name for d in self]})

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """As results in COCO's format, which json.dump takes: boxes are left, top, width, height in pixels.

        Args:
            category_ids: of the classes; None takes COCO's own for its 80 classes, else the numbers from 1 on.
        """
        ids = coco_category_ids(self.names) if category_ids is None else category_ids
        return [{"image_id": image_id, "category_id": ids[d.label],
                 "bbox": [left, top, right - left, bottom - top], "score": d.score}
                for d in self for left, top, right, bottom in [d.box.tolist()]]


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise DarknetError(f"this needs the package {name}: pip install {name}") from None


class Detector:
    """A network that finds objects in images, made fast for that: ``network`` is folded (see ``Network.fold``).

    Args:
        cfg: path of a .cfg file, or a parsed ``Cfg``.
        weights: path of a .weights file.
        names: path of a file with a class name a line, or the names themselves; None takes those of ``data``, else
            looks beside the cfg and the weights, and takes class numbers in the end.
        data: path of a .data file.
        thresh: scores must be above it, in [0, 1].
        nms: overlap above which the less sure box goes; 0 keeps all.
        hier_thresh: the probability that a class of a tree must exceed (C fixes it at .5).
        letterbox: keep the picture's proportions; None does as the cfg says (letter_box=).
        device: "auto" takes a GPU where there is one.

    Raises:
        CfgError, WeightsError, DataError: see ``load_network``; also for a network without a detection head.
    """

    def __init__(self, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike,
                 names: str | os.PathLike | Sequence[str] | None = None, *, data: str | os.PathLike | None = None,
                 thresh: float = .25, nms: float = .45, hier_thresh: float = .5, letterbox: bool | None = None,
                 device: str | torch.device = "auto"):
        self.network = made_fast(load_network(cfg, weights), device)
        self.names = find_names(self.network.cfg.path, weights, count_classes(self.network), names, data)
        self.thresh, self.nms, self.hier_thresh = thresh, nms, hier_thresh
        self.letterbox = bool(self.network.options.letter_box) if letterbox is None else letterbox

    @overload
    def __call__(self, image: str | os.PathLike | np.ndarray) -> Detections: ...    # type: ignore[overload-overlap]

    @overload
    def __call__(self, image: Sequence[str | os.PathLike | np.ndarray]) -> list[Detections]: ...

    def __call__(self, image: str | os.PathLike | np.ndarray | Sequence) -> Detections | list[Detections]:
        """Find objects.

        Args:
            image: a path; an array (H, W, 3) BGR or (H, W) grey, as OpenCV gives them; or a list of either, which
                runs as one batch.

        Returns:
            ``Detections``, or for a list a list of them in the same order.

        Raises:
            DataError: an image that cannot be read.
        """
        if isinstance(image, (str, os.PathLike, np.ndarray)):
            return self([image])[0]
        if not image:
            return []
        shape = self.network.input_shape
        paths = [None if isinstance(one, np.ndarray) else str(one) for one in image]
        arrays = [one if isinstance(one, np.ndarray) else read_image(one, shape.channels) for one in image]
        x = torch.stack([as_input(array, shape, self.letterbox) for array in arrays])
        with torch.inference_mode():
            weight = next(self.network.parameters())
            outputs = self.network(x.to(weight.device, weight.dtype, memory_format=torch.channels_last))
            found = find_boxes(self.network, outputs, [array.shape[:2] for array in arrays], self.thresh, self.nms,
                               self.hier_thresh, self.letterbox)
        return [self._detections(*result, array.shape[:2], path)
                for result, array, path in zip(found, arrays, paths, strict=True)]

    def _detections(self, boxes: Tensor, scores: Tensor, image_size: tuple[int, ...], path: str | None) -> Detections:
        """(B, 4) relative boxes and (B, C) scores -> the pairs above zero, the surest first."""
        box, label = (scores > 0).nonzero().unbind(1)
        score = scores[box, label]
        shown = torch.tensor([not name.startswith(HIDDEN) for name in self.names])[label]
        order = score.argsort(descending=True, stable=True)
        order = order[shown[order]]
        height, width = image_size
        pixels = cxcywh_to_xyxy(boxes) * boxes.new_tensor([width, height, width, height])
        return Detections(pixels[box[order]].numpy(), score[order].numpy(), label[order].numpy(), self.names,
                          (height, width), path)


def made_fast(network: Network, device: str | torch.device | None = None) -> Network:
    """The network itself, ready to run and no longer to train: on that device, folded, pictures without time."""
    if device is not None:
        network.to(local_device(device))
    if not network.folded:
        network.fold()
    network.set_time_steps(1)
    return network.to(memory_format=torch.channels_last)        # type: ignore[call-overload]   # up to 1.6 times as fast


def not_numbers(layer: Layer, output: Tensor) -> str:
    """What is wrong with a layer's output that is not finite throughout."""
    bad = output[~output.isfinite()]
    return (f"{locate(layer.place.cfg.path, layer.place.section.line)}: layer {layer.place.index} [{layer.kind}] gives "
            f"{bad[0]:f} in {len(bad)} of {output.numel()} values")


def find_boxes(network: Network, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
               nms_thresh: float, hier_thresh: float = .5, letterbox: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Boxes of a batch from what the network's heads gave.

    Args:
        outputs: as ``network(x)`` returns them.
        image_sizes: (height, width) of each image, in pixels.
        thresh: scores must be above it.
        nms_thresh: overlap above which the less sure box goes; 0 keeps all.

    Returns:
        For each image (B, 4) boxes, center x, center y, width, height relative to the image, and (B, classes) scores,
        0 where there is none; on the CPU, float32.

    Darknet: get_network_boxes, do_nms_sort, diounms_sort. The last [yolo], [Gaussian_yolo] or [region] says how to
    suppress (nms_kind, beta_nms). Boxes of [detection] are not corrected for letterboxing, as in C.
    """
    return [(box.cpu(), suppress(network, box, score, nms_thresh).cpu()) for box, score in
            propose(network, outputs, image_sizes, thresh, hier_thresh, letterbox)]


def propose(network: Network, outputs: Sequence[Tensor], image_sizes: Sequence[tuple[int, ...]], thresh: float,
            hier_thresh: float = .5, letterbox: bool = False, objectness: bool = False
            ) -> Iterator[tuple[Tensor, Tensor]]:
    """``find_boxes`` without suppression, and on the outputs' device or, where they are few, on the CPU, which needs
    fewer steps for each image than a GPU. Darknet: get_network_boxes.

    objectness: the scores are (B, 1), the boxes' objectness, whatever their classes.
    """
    _, net_height, net_width = network.input_shape
    heads = [(layer, output.float()) for layer, output in
             zip((network.layers[head] for head in network.heads), outputs, strict=True) if layer.detects]
    proposals = [(layer, layer.decode(output, net_width, net_height, thresh, hier_thresh)) for layer, output in heads]
    if sum(found.scores.numel() for _, found in proposals) <= FEW:
        proposals = [(layer, Candidates(*(part.cpu() for part in found))) for layer, found in proposals]
    classes = count_classes(network)
    for index, (height, width) in enumerate(image_sizes):
        boxes, scores = [], []
        for layer, (box, certain, score, image) in proposals:
            if objectness:
                score = torch.where(certain > thresh, certain, 0)[:, None]
            here = (image == index) & (score > 0).any(1)
            correct = letterbox and layer.kind != "detection"
            boxes.append(undo_letterbox(box[here], width, height, net_width, net_height) if correct else box[here])
            scores.append(score[here] if objectness else
                          torch.nn.functional.pad(score[here], (0, classes - layer.classes)))
        yield torch.cat(boxes), torch.cat(scores)


def count_classes(network: Network) -> int:
    """The most that a detection head has.

    Raises:
        CfgError: the network has no such head.
    """
    classes = [layer.classes for layer in network.layers if layer.detects]
    if not classes:
        raise CfgError("has no [yolo], [Gaussian_yolo], [region] or [detection] layer, so it detects nothing",
                       network.cfg.path)
    return max(classes)


def suppress(network: Network, boxes: Tensor, scores: Tensor, nms_thresh: float, kind: str | None = None) -> Tensor:
    """Non-maximum suppression of (B, 4) boxes, (B, C) scores, of a kind that ``nms`` knows, or None: as the last of the
    network's heads to say so wants it."""
    if not nms_thresh:
        return scores
    if kind is not None:
        return nms(boxes, scores, nms_thresh, kind)
    options = next((layer.options for layer in reversed(network.layers) if hasattr(layer.options, "nms_kind")), None)
    kind, beta = ("default", .6) if options is None else (options.nms_kind, options.beta_nms)
    return nms(boxes, scores, nms_thresh, kind, beta)


def as_input(image: np.ndarray, shape: Shape, letterbox: bool) -> Tensor:
    """An OpenCV array as a network's input of this shape: (C, H, W) in [0, 1]."""
    fit = letterbox_image if letterbox else resize
    return fit(with_channels(to_tensor(image), shape.channels), shape.width, shape.height)


def with_channels(x: Tensor, channels: int) -> Tensor:
    """An image (C, H, W) with as many channels as the network takes: grey to RGB, RGB to grey."""
    if len(x) == 1 and channels == 3:
        return x.expand(3, -1, -1)
    if len(x) == 3 and channels == 1:
        return (x * x.new_tensor([.299, .587, .114])[:, None, None]).sum(0, keepdim=True)
    return x
