"""A detector behind a bounded queue: a thread runs the network over batches of what arrived together."""
from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from torch import Tensor

from darknet_py.data.image import decode_bytes
from darknet_py.errors import DarknetError, cause
from darknet_py.inference.detections import Detections
from darknet_py.inference.detector import Detector
from darknet_py.inference.pipeline import BatchOutputs, Pipeline, Preprocessed

BATCH = 8               # the most images that run together where that is faster than one after the other


class Outputs(NamedTuple):
    """The forward pass of one image. outputs: (1, ...) of each head; seconds: its share of the batch's time."""

    outputs: tuple[Tensor, ...]
    seconds: float


@dataclass(eq=False)
class Picture:
    """An image on its way through a network.

    Attributes:
        size: height and width in pixels.
        image: (H, W, C) uint8, as decoded, where it is kept.
        x: (1, C, H, W), the network's input; None once it has run.
        decode, queue, network, postprocess: seconds that it took, and waited.
        done: its ``Outputs``.
    """

    size: tuple[int, int]
    x: Tensor | None
    decode: float
    image: np.ndarray | None = None
    queue: float = 0.
    network: float = 0.
    postprocess: float = 0.
    offered: float = 0.
    done: Future[Outputs] = field(default_factory=Future)


class Engine:
    """A network's thread, and the queue before it.

    Args:
        name: of the network.
        most_pixels: of an image.
        most_batch: images that run together; None: ``BATCH`` where the backend is faster with several, else 1.
        wait: seconds for which an incomplete batch waits for others.
        on_batch: called with the size of each batch.

    Attributes:
        running: whether the thread lives.
    """

    def __init__(self, name: str, detector: Detector, most_pixels: int, most_batch: int | None = None,
                 wait: float = 0., on_batch: Callable[[int], None] = lambda size: None):
        self.name, self.detector, self.most_pixels, self.wait, self.on_batch = (
            name, detector, most_pixels, wait, on_batch)
        together = detector.backend.batches and not any(layer.stateful for layer in detector.outline.layers)
        self.most_batch = (BATCH if most_batch is None else most_batch) if together else 1
        self._waiting: deque[Picture] = deque()
        self._taken: list[Picture] = []         # the batch that the network has
        self._again: deque[list[Picture]] = deque()         # those of a batch that failed, each alone
        self._closed, self._changed = False, threading.Condition()
        self._pipeline = Pipeline(detector.backend, _input, self._outputs, where=lambda picture: "for an image",
                                  fresh=True, overlapped=False)
        self._thread = threading.Thread(target=self._run, name=f"network {name}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return len(self._waiting)

    def decode(self, data: bytes | bytearray, name: str, keep: bool = False) -> Picture:
        """Decode and preprocess the bytes of an image file; in any thread. keep: the decoded image, too.

        Raises:
            DataError: it is no image, a broken one, or has too many pixels.
        """
        begin = time.perf_counter()
        channels = self.detector.backend.shape.channels
        image, _ = decode_bytes(np.frombuffer(data, np.uint8), name, channels, self.most_pixels)
        x = self.detector.preprocess(image).x
        return Picture(image.shape[:2], x, time.perf_counter() - begin, image if keep else None)

    def offer(self, picture: Picture) -> Future[Outputs]:
        """Put an image into the queue.

        Returns:
            Its outputs; a future that is cancelled takes it out of the queue.

        Raises:
            DarknetError: from the future: the network's outputs are not finite, or the engine was closed.
        """
        picture.offered = time.perf_counter()
        with self._changed:
            if self._closed:
                picture.done.set_exception(DarknetError("the service shuts down"))
            else:
                self._waiting.append(picture)
                self._changed.notify()
        return picture.done

    def find(self, picture: Picture, outputs: Outputs, thresh: float, nms: float, path: str | None) -> Detections:
        """Post-process an image; in any thread."""
        begin = time.perf_counter()
        found, = self.detector.find(outputs.outputs, [(picture.size, path)], thresh, nms)
        picture.network, picture.postprocess = outputs.seconds, time.perf_counter() - begin
        return found

    def close(self) -> None:
        """Run what is queued, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _take(self) -> list[Picture]:
        """The next batch, which may have waited for others; empty at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self.wait and self.most_batch > 1:
                    self._changed.wait_for(lambda: len(self._waiting) >= self.most_batch or self._closed, self.wait)
                batch: list[Picture] = []
                while self._waiting and len(batch) < self.most_batch:
                    picture = self._waiting.popleft()
                    if picture.done.set_running_or_notify_cancel():
                        batch.append(picture)
                if batch or (self._closed and not self._waiting):
                    return batch

    def _batches(self) -> Iterator[list[Picture]]:
        while batch := self._again.popleft() if self._again else self._take():
            now = time.perf_counter()
            for picture in batch:
                picture.queue = now - picture.offered
            self._taken = batch
            yield batch

    def _outputs(self, batch: BatchOutputs) -> list[Outputs]:
        size = len(batch.contexts)
        self.on_batch(size)
        return [Outputs(tuple(output[index:index + 1] for output in batch.outputs), batch.seconds / size)
                for index in range(size)]

    def _run(self) -> None:
        while True:
            try:
                for picture, outputs in self._pipeline.stream(self._batches(), self.most_batch):
                    picture.x = None
                    picture.done.set_result(outputs)        # type: ignore[arg-type]    # loading raises nothing
                return
            except Exception as error:      # outputs that are not finite, or of a runtime, which have no common kind
                left = [picture for picture in self._taken if not picture.done.done()]
                if len(left) > 1:           # one of them; the others get their answer
                    self._again.extend([picture] for picture in left)
                for picture in left if len(left) == 1 else ():
                    picture.done.set_exception(error if isinstance(error, DarknetError) else DarknetError(
                        f"the network failed: {type(error).__name__}: {cause(error)}"))


def _input(picture: Picture) -> Preprocessed:
    assert picture.x is not None
    return Preprocessed(picture.x, None)
