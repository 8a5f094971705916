"""Evaluation of a detector on labelled images: Darknet's mAP, COCO's AP and error analysis, in one pass."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from darknet_py.data.dataset import Sample
from darknet_py.errors import DataError, Reason
from darknet_py.evaluation.coco_ap import CocoResult, CocoTruth, coco_average_precision
from darknet_py.evaluation.darknet_map import MapResult, average_precision
from darknet_py.evaluation.error_analysis import Mistakes, find_mistakes
from darknet_py.evaluation.matching import pairs
from darknet_py.evaluation.predict import MAP, RECALL, VALID, PostProcessing, Predictions, predict
from darknet_py.inference.backends.base import Backend
from darknet_py.inference.tiles import Tiling
from darknet_py.model.network import Network
from darknet_py.utils.distributed import World


@dataclass(frozen=True)
class RecallResult:
    """The result of ``detector recall``: of ``objects`` ground-truth boxes ``correct`` are overlapped by more than .5
    by one of the ``proposals`` in ``images`` images; ``average_iou`` is the mean best overlap of the ground truth."""

    images: int
    objects: int
    correct: int
    proposals: int
    average_iou: float

    @property
    def recall(self) -> float:
        return self.correct / self.objects

    def text(self) -> str:
        """The last line that Darknet prints."""
        return (f"{self.images - 1:5d} {self.correct:5d} {self.objects:5d}\tRPs/Img: {self.proposals / self.images:.2f}"
                f"\tIOU: {self.average_iou * 100:.2f}%\tRecall:{self.recall * 100:.2f}%\n")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of ``darknet-py evaluate``.

    Attributes:
        map: Darknet's measures, post-processed with ``settings``.
        coco: COCO's, with a post-processing of its own.
        mistakes: errors among the detections above ``map.thresh``, and missed objects.
        predictions: detections and ground truth, from which all of these are computed.
    """

    map: MapResult
    settings: PostProcessing
    coco: CocoResult
    mistakes: Mistakes
    predictions: Predictions

    def __repr__(self) -> str:
        return (f"{type(self).__name__}({self.map!r}, COCO's AP {self.coco.figures['AP']:.2%}, "
                f"{len(self.predictions.sizes)} images)")


def evaluate(network: Network, samples: Sequence[Sample], names: Sequence[str], *, truth: CocoTruth | None = None,
             iou_thresh: float = .5, points: int = 0, thresh: float = .25, nms: float | None = None,
             difficult: Sequence[Sample] | None = None, world: World | None = None,
             progress: Callable[[int, int], None] | None = None, **options: object) -> Evaluation:
    """Measure a network on labelled images in every way, with one pass over the images.

    Args:
        network, samples, names, iou_thresh, points, thresh, difficult, world, options: see ``evaluate_map``.
        truth: COCO's annotations of these images, for its areas, crowds and ids; None takes the objects of samples,
            of which those that are difficult count as crowds.
        nms: instead of .45 for Darknet's measures and .6 for COCO's.
        progress: called with how many images are done, of how many; then with the steps of COCO's measure.

    Raises:
        see ``evaluate_map``.
    """
    settings = [one if nms is None else one._replace(nms=nms) for one in (MAP, VALID)]
    predictions = predict(network, samples, names, settings, difficult=difficult, world=world, progress=progress,
                          **options)        # type: ignore[arg-type]
    _require_objects(predictions, len(names))

    def measure() -> CocoResult | None:             # it takes long, so only rank 0 does it
        if world is not None and not world.is_main:
            return None
        return coco_average_precision(predictions.detections[1], predictions.objects, predictions.sizes, names, truth,
                                      progress)

    coco = measure() if world is None else world.gather(measure)[0]
    assert coco is not None
    return Evaluation(_map(predictions, names, iou_thresh, points, thresh), settings[0],
                      replace(coco, settings=str(settings[1])),
                      find_mistakes(predictions.detections[0], predictions.objects, names, iou_thresh, thresh),
                      predictions)


def evaluate_map(network: Network, samples: Sequence[Sample], names: Sequence[str], *, iou_thresh: float = .5,
                 points: int = 0, thresh: float = .25, nms: float = MAP.nms, letterbox: bool | None = None,
                 difficult: Sequence[Sample] | None = None, batch: int | None = None,
                 device: str | int | torch.device | None = None, workers: int | None = None, world: World | None = None,
                 progress: Callable[[int, int], None] | None = None, backend: Backend | None = None,
                 tiling: Tiling | None = None) -> MapResult:
    """Mean average precision of a network on labelled images.

    It works on a copy, so a network may be in the middle of its training: its mode, statistics, recurrent state and
    gradients stay as they are.

    Args:
        network: with a detection head, on any device, folded or not.
        samples: the images and their labels. One that cannot be read is left out, and listed in ``problems``.
        names: of the network's classes.
        iou_thresh, points, thresh: see ``average_precision``.
        nms: overlap above which the box of the lower score is suppressed; 0 keeps all.
        letterbox: keep the pictures' proportions; None does as the cfg says (letter_box=).
        difficult: for each sample one whose labels are objects that need not be found.
        batch: images at a time; None takes what suits their size. Recurrent networks see one after the other.
        device: None takes the network's, "auto" a GPU where there is one.
        workers: threads that load images.
        world: the processes that share the images, batch by batch; all of them get the result of all images. None:
            this one alone.
        progress: called with how many images are done, and how many there are.
        backend: what runs the network, as ``Detector.backend``; the network then need not have its weights, and
            ``device`` does not count. None: PyTorch.
        tiling: into which pictures are cut, as ``Detector`` does; None: none. A recurrent network takes none.

    Raises:
        CfgError: the network has no detection head.
        DataError: no samples, no image that can be read, no object in any, or not as many names as classes or
            difficult samples as samples.
        DarknetError: the network gives something that is not a number; says which layer was the first to.

    Darknet: validate_detector_map; scores above .005 take part.
    """
    return map_and_predictions(network, samples, names, iou_thresh=iou_thresh, points=points, thresh=thresh, nms=nms,
                               letterbox=letterbox, difficult=difficult, batch=batch, device=device, workers=workers,
                               world=world, progress=progress, backend=backend, tiling=tiling)[0]


def map_and_predictions(network: Network, samples: Sequence[Sample], names: Sequence[str], *, iou_thresh: float = .5,
                        points: int = 0, thresh: float = .25, nms: float = MAP.nms, **options: object
                        ) -> tuple[MapResult, Predictions]:
    """``evaluate_map``, with the predictions that it is computed from."""
    predictions = predict(network, samples, names, [MAP._replace(nms=nms)], **options)      # type: ignore[arg-type]
    _require_objects(predictions, len(names))
    return _map(predictions, names, iou_thresh, points, thresh), predictions


def evaluate_recall(network: Network, samples: Sequence[Sample], names: Sequence[str], *, nms: float = RECALL.nms,
                    **options: object) -> tuple[RecallResult, Predictions]:
    """Recall of the proposals, whatever their class. See ``evaluate_map`` for arguments and errors.

    Darknet: validate_detector_recall; objectness above .001, an overlap above .5.
    """
    predictions = predict(network, samples, names, [RECALL._replace(nms=nms)], **options)     # type: ignore[arg-type]
    _require_objects(predictions, len(names))
    (proposals,), objects = predictions.detections, predictions.objects
    best = np.zeros(len(objects.labels), np.float32)
    for _, truth, overlap in pairs(proposals.images, proposals.boxes, objects.images, objects.boxes):
        np.maximum.at(best, truth, overlap)
    return RecallResult(int((predictions.sizes[:, 0] > 0).sum()), len(best), int((best > .5).sum()),
                        len(proposals.scores), float(best.mean(dtype=np.float64))), predictions


def _map(predictions: Predictions, names: Sequence[str], iou_thresh: float, points: int, thresh: float) -> MapResult:
    """Darknet's mAP of the first post-processing."""
    result = average_precision(predictions.detections[0], predictions.objects, names, iou_thresh=iou_thresh,
                               points=points, thresh=thresh)
    return replace(result, problems=predictions.problems)


def _require_objects(predictions: Predictions, classes: int) -> None:
    """DataError where the ground truth has no object."""
    if not len(predictions.objects.labels):
        detail = f"; {predictions.problems[-1]}" if predictions.problems else ""
        raise DataError(f"none of the images has an object of a class from 0 to {classes - 1}, so nothing can be "
                        f"measured{detail}", Reason.EMPTY)
