"""``cv2.dnn``'s high-level models: ``Model``, ``DetectionModel``, ``ClassificationModel``."""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from darknet_py.dnn.net import Error, Net, readNet


class Model:
    """A network and its preprocessing of pictures. Arguments and results: see OpenCV's ``cv2.dnn.Model``."""

    def __init__(self, network: Net | str, config: str = ""):
        self._net = network if isinstance(network, Net) else readNet(network, config)
        self._names = self._net.getUnconnectedOutLayersNames()
        self._scale: Sequence[float] = (1., 1., 1., 1.)
        self._mean: Sequence[float] = (0.,) * 4
        self._size: Sequence[int] = (0, 0)
        self._swap = self._crop = False

    def setInputParams(self, scale: float = 1.0, size: Sequence[int] = (0, 0), mean: float | Sequence[float] = (),
                       swapRB: bool = False, crop: bool = False) -> None:
        self.setInputScale(scale).setInputSize(size).setInputMean(mean).setInputSwapRB(swapRB).setInputCrop(crop)

    def setInputSize(self, size: Sequence[int] | int, height: int | None = None) -> Model:
        """(width, height), or the two."""
        self._size = tuple(map(int, (size, height) if height is not None else size))     # type: ignore
        return self

    def setInputMean(self, mean: float | Sequence[float]) -> Model:
        self._mean = _scalar(mean)
        return self

    def setInputScale(self, scale: float | Sequence[float]) -> Model:
        values = _scalar(scale)
        self._scale = values if any(values[1:]) else values[:1] * 4
        return self

    def setInputCrop(self, crop: bool) -> Model:
        self._crop = crop
        return self

    def setInputSwapRB(self, swapRB: bool) -> Model:
        self._swap = swapRB
        return self

    def setOutputNames(self, outNames: Sequence[str]) -> Model:
        self._names = tuple(outNames)
        return self

    def setPreferableBackend(self, backendId: int) -> Model:
        self._net.setPreferableBackend(backendId)
        return self

    def setPreferableTarget(self, targetId: int) -> Model:
        self._net.setPreferableTarget(targetId)
        return self

    def enableWinograd(self, useWinograd: bool) -> Model:
        return self

    def predict(self, frame: np.ndarray) -> tuple[np.ndarray, ...]:
        """The network's outputs for a picture."""
        if 0 in self._size:
            raise Error("the size of the network's input is not known; call setInputSize or setInputParams")
        how = cv2.dnn.Image2BlobParams()
        how.scalefactor, how.size, how.mean, how.swapRB = self._scale, self._size, self._mean, self._swap
        if self._crop:
            how.paddingmode = cv2.dnn.DNN_PMODE_CROP_CENTER
        self._net.setInput(cv2.dnn.blobFromImageWithParams(frame, how))
        return self._net._forward(self._names)


class DetectionModel(Model):
    """A detector. Non-maximum suppression in its heads is turned off."""

    def __init__(self, network: Net | str, config: str = ""):
        super().__init__(network, config)
        self._across = False
        self._net._thresholds = {head: (thresh, 0.) for head, (thresh, _) in self._net._thresholds.items()}

    def setNmsAcrossClasses(self, value: bool) -> DetectionModel:
        self._across = value
        return self

    def getNmsAcrossClasses(self) -> bool:
        return self._across

    def detect(self, frame: np.ndarray, confThreshold: float = .5, nmsThreshold: float = 0.
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | tuple[tuple, tuple, tuple]:
        """Find objects.

        Args:
            confThreshold: the least score.
            nmsThreshold: the overlap above which the box of the lower score is suppressed in a class; 0 keeps all.

        Returns:
            (K,) int32 classes, (K,) float32 scores, (K, 4) int32 left, top, width, height in pixels inside the picture,
            class by class with falling scores; three empty tuples where nothing is found.
        """
        if not self._net._thresholds:
            raise Error("expected a network that ends in [yolo] or [region]; this one finds no boxes")
        rows = np.concatenate(self.predict(frame))
        scores = rows[:, 5:]
        best = scores.max(1)
        kept = best >= np.float32(confThreshold)
        labels, best = scores.argmax(1)[kept].astype(np.int32), best[kept]
        boxes = _pixels(rows[kept, :4], frame.shape[1], frame.shape[0])
        if nmsThreshold:
            groups = [np.arange(len(labels))] if self._across else [np.flatnonzero(labels == label)
                                                                    for label in np.unique(labels)]
            chosen = [group[cv2.dnn.NMSBoxes(boxes[group].tolist(), best[group].tolist(), confThreshold, nmsThreshold)]
                      for group in groups if len(group)]
            order = np.concatenate([np.zeros(0, int), *chosen]).astype(int)
            labels, best, boxes = labels[order], best[order], boxes[order]
        return (labels, best, boxes) if len(labels) else ((), (), ())


class ClassificationModel(Model):
    """A classifier."""

    def __init__(self, network: Net | str, config: str = ""):
        super().__init__(network, config)
        self._softmax = False

    def setEnableSoftmaxPostProcessing(self, enable: bool) -> ClassificationModel:
        self._softmax = enable
        return self

    def getEnableSoftmaxPostProcessing(self) -> bool:
        return self._softmax

    def classify(self, frame: np.ndarray) -> tuple[int, float]:
        """The class of the highest score, and that score."""
        if len(self._names) != 1:
            raise Error(f"expected a network with one end, found {len(self._names)}: {', '.join(self._names)}")
        scores = self.predict(frame)[0].reshape(-1)
        if self._softmax:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        return int(scores.argmax()), float(scores.max())


def _scalar(value: float | Sequence[float]) -> tuple[float, ...]:
    """cv2's Scalar: four numbers."""
    values = tuple(np.atleast_1d(np.asarray(value, float)).tolist())
    return (values + (0.,) * 4)[:4]


def _pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(K, 4) center and size relative to a picture -> (K, 4) int32 left, top, width, height in pixels, clipped to it.
    Fractions of a pixel are cut off, as in OpenCV."""
    x, y, w, h = (boxes * np.array([width, height] * 2, np.float32)).astype(np.int32).T
    left = np.clip(x - np.fix(w / 2).astype(np.int32), 0, width - 1)
    top = np.clip(y - np.fix(h / 2).astype(np.int32), 0, height - 1)
    return np.stack([left, top, np.clip(w, 1, width - left), np.clip(h, 1, height - top)], 1).astype(np.int32)
