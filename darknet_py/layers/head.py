"""Base classes of heads: layers whose output is the network's, and those of them with boxes."""
from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from darknet_py.errors import Reason
from darknet_py.layers.base import Layer


class Candidates(NamedTuple):
    """Boxes of a batch that a detection head proposes.

    boxes: (K, 4) center x, center y, width, height, relative to the network's input.
    objectness: (K,) in [0, 1].
    scores: (K, classes) objectness times class probability where that is above the threshold, else 0.
    image: (K,) which image of the batch.
    """

    boxes: Tensor
    objectness: Tensor
    scores: Tensor
    image: Tensor


class Head(Layer):
    """A layer whose output is one of the network's."""

    counted: ClassVar[str] = "filters"  # the option of the layer before it that says how much it reads
    classifies: ClassVar[bool] = False  # its output are probabilities of an image's classes
    classes: int = 0
    channels_per_class: int = 0     # how many values of its input each class takes


class DetectionHead(Head):
    """A head whose output holds boxes."""

    guarded: ClassVar[int] = 0          # the layers before it whose filters weights_reject_freq= leaves alone
    anchored: ClassVar[bool] = True     # its boxes are relative to ``anchors``
    has_objectness: ClassVar[bool] = True   # apart from the scores
    letterboxed: bool = True            # its boxes are corrected for letterboxing
    embedding_layer: int | None = None  # the layer with an embedding of each box, for tracking
    embedding_size: int = 0             # the numbers of one

    anchors: tuple[tuple[float, float], ...]

    @classmethod
    def needed_filters(cls, options: Any) -> int:
        """The number of channels that the head reads, or of values if it is not ``anchored``."""
        raise AssertionError(f"{cls.__name__} lacks needed_filters")

    def decode(self, output: Tensor, width: int, height: int, threshold: float, tree_threshold: float) -> Candidates:
        """Decode the output of ``forward`` to boxes.

        Args:
            width, height: the network input's size in pixels.
            threshold: objectness and scores must be above it.
            tree_threshold: the same for class probabilities down a tree.
        """
        raise AssertionError(f"{type(self).__name__} lacks decode")

    def embeddings(self, output: Tensor, found: Tensor, threshold: float) -> Tensor:
        """The embeddings (K, E) of the boxes that ``decode`` finds in the same output, in its order.

        Args:
            found: (N, A * E, H, W) the output of ``embedding_layer``.
        """
        raise AssertionError(f"{type(self).__name__} lacks embeddings")

    def facts(self) -> dict[str, Any]:
        """What it takes to decode its output, in JSON's types, for programs that have only an exported model."""
        raise AssertionError(f"{type(self).__name__} lacks facts")

    def onnx_boxes(self, graph: Any, output: str) -> tuple[str, str]:
        """Add what ``decode`` computes, without thresholds.

        Returns:
            Names of boxes (N, 4, K), x1, y1, x2, y2 relative to the network's input, and of scores (N, classes, K).
        """
        raise self.place.error("has boxes that cannot be said in ONNX", reason=Reason.UNSUPPORTED)
