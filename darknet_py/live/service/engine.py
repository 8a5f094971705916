"""A detector behind a bounded queue: a thread runs the network over batches of what arrived together, and others decode
and post-process, between runs of a network that is quick."""
from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from darknet_py.data.image import decode_bytes
from darknet_py.errors import DarknetError, cause
from darknet_py.inference.detections import Detections
from darknet_py.inference.detector import Detector
from darknet_py.inference.pipeline import PHASE, BatchOutputs, Pipeline, Preprocessed, batched, batches_of_a_turn

BATCH = 8               # the most images that run together where that is faster than one after the other
Made = TypeVar("Made")


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

    A network that needs little time on the CPU takes turns with what is done for it in other threads, as in
    ``Pipeline``: its turn begins once the images of the one before are done and enough
    others wait, or nothing else is left to do.

    Args:
        name: of the network.
        pool: of threads, for what is done beside the network.
        most_pixels: of an image.
        most_batch: images that run together; None: ``BATCH`` where the backend is faster with several, else 1.
        wait: seconds for which an incomplete batch waits for others.
        on_batch: called with the size of each batch.

    Attributes:
        running: whether the thread lives.
    """

    def __init__(self, name: str, detector: Detector, pool: Executor, most_pixels: int,
                 most_batch: int | None = None, wait: float = 0., on_batch: Callable[[int], None] = lambda size: None):
        self.name, self.detector, self.pool, self.most_pixels, self.wait, self.on_batch = (
            name, detector, pool, most_pixels, wait, on_batch)
        together = detector.backend.batches and not any(layer.stateful for layer in detector.outline.layers)
        self.most_batch = (BATCH if most_batch is None else most_batch) if together else 1
        self._waiting: deque[Picture] = deque()
        self._taken: list[Picture] = []         # the batch that the network has
        self._next: deque[list[Picture]] = deque()      # the other batches of its turn; each alone, of one that failed
        self._seconds = math.inf                # the least that a batch took
        self._turn, self._asked, self._done = False, 0, 0   # whether the network alone works; tasks of the pool so far
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

    def do(self, act: Callable[..., Made], *arguments: Any) -> Future[Made]:
        """Do something in a thread of the pool, before or after the turn of the network."""
        with self._changed:
            self._asked += 1
        done = self.pool.submit(self._do, act, *arguments)
        done.add_done_callback(self._did)
        return done

    def _do(self, act: Callable[..., Made], *arguments: Any) -> Made:
        with self._changed:
            self._changed.wait_for(lambda: not self._turn)
        return act(*arguments)

    def _did(self, done: Future) -> None:
        with self._changed:
            self._done += 1
            self._changed.notify_all()

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
                self._changed.notify_all()
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
            self._changed.notify_all()
        self._thread.join()

    def _take(self) -> list[list[Picture]]:
        """The batches of the next turn, which may have waited for others; empty at the end."""
        count = batches_of_a_turn(self._seconds, self.most_batch) if self.detector.backend.device.type == "cpu" else 0
        most = max(1, count) * self.most_batch
        with self._changed:
            self._turn = False
            self._changed.notify_all()
            due = self._asked           # tasks from before and during the turn that has ended come before the next one
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if count:
                    self._changed.wait_for(lambda: self._done == self._asked or self._closed or (
                        self._done >= due and len(self._waiting) >= most), PHASE)
                elif self.wait and most > 1:
                    self._changed.wait_for(lambda: len(self._waiting) >= most or self._closed, self.wait)
                taken: list[Picture] = []
                while self._waiting and len(taken) < most:
                    picture = self._waiting.popleft()
                    if picture.done.set_running_or_notify_cancel():
                        taken.append(picture)
                if taken or (self._closed and not self._waiting):
                    self._turn = count > 0 and len(taken) > 0
                    return list(batched(taken, self.most_batch))

    def _batches(self) -> Iterator[list[Picture]]:
        while True:
            if not self._next:
                self._next.extend(self._take())
                if not self._next:
                    return
            self._taken = batch = self._next.popleft()
            now = time.perf_counter()
            for picture in batch:
                picture.queue = now - picture.offered
            yield batch

    def _outputs(self, batch: BatchOutputs) -> list[Outputs]:
        size, self._seconds = len(batch.contexts), min(self._seconds, batch.seconds)
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
                    self._next.extendleft([picture] for picture in reversed(left))
                for picture in left if len(left) == 1 else ():
                    picture.done.set_exception(error if isinstance(error, DarknetError) else DarknetError(
                        f"the network failed: {type(error).__name__}: {cause(error)}"))


def _input(picture: Picture) -> Preprocessed:
    assert picture.x is not None
    return Preprocessed(picture.x, None)
