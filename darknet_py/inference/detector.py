"""From image to boxes: resize, run, decode, suppress. ``Detector`` holds a network ready for it."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

from darknet_py.cfg.language import Cfg
from darknet_py.data.datafile import find_names
from darknet_py.data.image import read_image
from darknet_py.inference.backends.pytorch import made_fast
from darknet_py.inference.detections import Detections
from darknet_py.inference.postprocess import count_classes, find_boxes
from darknet_py.inference.preprocess import as_input
from darknet_py.model.network import load_network
from darknet_py.ops.boxes import cxcywh_to_xyxy

HIDDEN = "dont_show"            # classes whose names start so are not reported


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


