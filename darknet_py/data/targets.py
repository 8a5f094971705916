"""Mini-batches of training images, and their ground truth, as tensors."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Truth(NamedTuple):
    """Labelled boxes of a batch, each image's padded to the same number.

    boxes: (N, M, 4) float32 cxcywh, relative to the network's input; 0 where there is none.
    labels: (N, M) int64 class numbers, -1 where there is no box.
    tracks: (N, M) int64, which object it is, the same in all pictures of a sequence; 0 where it is not known.
    """

    boxes: Tensor
    labels: Tensor
    tracks: Tensor

    @classmethod
    def stack(cls, images: Sequence[np.ndarray]) -> Truth:
        """From one array (K, 5 or 6) an image: class, center x, center y, width, height, track."""
        most = max((len(rows) for rows in images), default=0)
        table = np.zeros((len(images), most, 6), np.float32)
        table[:, :, 0] = -1
        for at, rows in zip(table, images, strict=True):
            at[:len(rows), :rows.shape[1]] = rows
        x = torch.from_numpy(table)
        return cls(x[..., 1:5].contiguous(), x[..., 0].long(), x[..., 5].long())

    def rows(self, image: int) -> np.ndarray:
        """(K, 6) float32, what ``stack`` was given for an image, without what it was padded with."""
        labels, tracks = (part[image, :, None].float() for part in (self.labels, self.tracks))
        return torch.cat([labels, self.boxes[image], tracks], 1)[self.labels[image] >= 0].numpy()

    def to(self, device: torch.device | str) -> Truth:
        return Truth(*(x.to(device, non_blocking=True) for x in self))


class MiniBatch(NamedTuple):
    """What the network sees at once in training.

    images: (N, C, H, W), uint8 or float in [0, 1], RGB or grey.
    truth: a ``Truth``; for a classifier (N, classes).
    names: of the images' files, the first where several became one.
    iteration, subdivision: which mini-batch it is.
    """

    images: Tensor
    truth: Truth | Tensor
    names: list[str]
    iteration: int = 0
    subdivision: int = 0

    def owned(self) -> MiniBatch:
        """With tensors outside the memory that worker processes share, which is scarce."""
        if not self.images.is_shared():
            return self
        truth = Truth(*map(torch.clone, self.truth)) if isinstance(self.truth, Truth) else self.truth.clone()
        return self._replace(images=self.images.clone(), truth=truth)
