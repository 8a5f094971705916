"""From the pictures of a request to their detections: admission, decoding, the network, post-processing."""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from darknet_py.errors import DarknetError, DataError, suggestion
from darknet_py.inference.detector import Detector
from darknet_py.inference.pipeline import MOST_LOADED
from darknet_py.live.service.answers import MOST_BOXES, Form, ModelFacts, Models, Result, cut
from darknet_py.live.service.engine import Engine
from darknet_py.live.service.metrics import Metrics
from darknet_py.live.service.settings import Settings
from darknet_py.live.service.uploads import Refused, Upload, refused_picture
from darknet_py.live.service.urls import fetch
from darknet_py.utils.prefetch import thread_count

MOST_FETCHED = 8        # pictures that are fetched from URLs at once, and that wait then
MOST_HELD = 8           # times the largest body, that the bodies of all requests may have together
MOST_CANDIDATES = 1000  # boxes of a class and picture that suppression looks at
Made = TypeVar("Made")


class Query(NamedTuple):
    """What a request asks for. most: boxes of a picture."""

    engine: Engine
    thresh: float
    nms: float
    form: Form = "boxes"
    most: int = MOST_BOXES


class Service:
    """Networks, and the threads around them.

    Args:
        detectors: by name; the first is the default.
    """

    def __init__(self, detectors: Mapping[str, Detector], settings: Settings):
        self.settings, self.metrics, self.stopping, self._held = settings, Metrics(), False, 0
        self.admitted = dict.fromkeys(detectors, 0)
        self.default = next(iter(detectors))
        workers = thread_count(None)            # that decode and post-process
        self._pool, self._fetchers = ThreadPoolExecutor(workers, "service"), ThreadPoolExecutor(MOST_FETCHED, "fetch")
        self._fetching = asyncio.Semaphore(MOST_FETCHED)
        self.engines = {name: Engine(name, detector, self._pool, settings.max_pixels, settings.batch, settings.wait,
                                     self.metrics.watch(name, partial(self.admitted.__getitem__, name)))
                        for name, detector in detectors.items()}
        # decoded pictures take memory, so few are; more of those of which only the network's input is kept
        self._room = {(name, kept): asyncio.Semaphore(2 * most + workers + 2) for name, engine in self.engines.items()
                      for kept, most in ((True, engine.most_batch), (False, max(engine.most_batch, MOST_LOADED)))}

    @property
    def ready(self) -> bool:
        return not self.stopping and all(engine.running for engine in self.engines.values())

    def models(self) -> Models:
        return Models(default=self.default, models=[_facts(engine, self.settings) for engine in self.engines.values()])

    def engine(self, name: str) -> Engine:
        """That of a network.

        Raises:
            Refused: 422 for an unknown name.
        """
        if name not in self.engines:
            raise Refused(422, "UNKNOWN_NAME", f"model: expected one of {', '.join(self.engines)}, found {name[:60]!r}"
                          + suggestion(name[:60], self.engines))
        return self.engines[name]

    async def call(self, act: Callable[..., Made], *arguments: Any) -> Made:
        """Do something in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, act, *arguments)

    def close(self) -> None:
        """Run what is queued, and end the threads."""
        for engine in self.engines.values():
            engine.close()
        self._pool.shutdown()
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def hold(self, count: int) -> None:
        """Count bytes of bodies that are in memory from now on; negative: no more.

        Raises:
            Refused: 429 where there are too many.
        """
        if count > 0 and self._held + count > MOST_HELD * self.settings.max_body:
            raise Refused(429, "QUEUE_FULL", "there are too many large requests at once", {"Retry-After": "1"})
        self._held += count

    async def detect(self, uploads: Sequence[Upload], query: Query) -> list[Result]:
        """Detect in the pictures of a request, which run together as far as the network takes them.

        Raises:
            Refused: 429 where the queue is full, 503 where the time is over or the service shuts down; of a picture
                alone also what is wrong with it.
        """
        name, count = query.engine.name, len(uploads)
        if self.stopping:
            raise Refused(503, "SHUTTING_DOWN", "the service shuts down")
        if self.admitted[name] + count > self.settings.queue:
            raise Refused(429, "QUEUE_FULL", f"{self.admitted[name]} pictures are at work or wait, of at most "
                          f"{self.settings.queue}", {"Retry-After": "1"})
        self.admitted[name] += count
        try:
            done = asyncio.gather(*(self._picture(upload, query) for upload in uploads))
            results = await asyncio.wait_for(done, self.settings.time_limit)
        except (asyncio.TimeoutError, TimeoutError):
            self.metrics.pictures.labels(name, "late").inc(count)
            raise Refused(503, "TIMEOUT", f"no answer within {self.settings.time_limit:g} seconds") from None
        finally:
            self.admitted[name] -= count
        for result in results:
            self.metrics.pictures.labels(name, "answered" if result.error is None else "refused").inc()
        if count == 1 and results[0].error is not None:
            raise results[0].error
        return results

    async def _picture(self, upload: Upload, query: Query) -> Result:
        try:
            if upload.url is None:
                return await self._detect(upload.filename, upload.data, query)
            async with self._fetching:
                settings = self.settings
                data = await asyncio.get_running_loop().run_in_executor(
                    self._fetchers, fetch, upload.url, settings.max_body, settings.time_limit,
                    settings.allow_private_urls)
                return await self._detect(upload.filename, data, query)
        except DataError as error:
            return Result(upload.filename, error=refused_picture(error, upload.url is not None))
        except DarknetError as error:
            return Result(upload.filename, error=Refused(503, "NETWORK", str(error)))
        except MemoryError:
            return Result(upload.filename, error=Refused(503, "MEMORY", "there is not enough memory for the picture"))

    async def _detect(self, name: str | None, data: bytes | bytearray, query: Query) -> Result:
        engine, kept = query.engine, query.form == "image"
        async with self._room[engine.name, kept]:
            picture = await asyncio.wrap_future(engine.do(engine.decode, data, name or "the picture", kept))
            outputs = await asyncio.wrap_future(engine.offer(picture))
            found = await asyncio.wrap_future(engine.do(engine.find, picture, outputs, query.thresh, query.nms, name))
        detections, truncated = cut(found, query.most)
        return Result(name, picture, detections, truncated=truncated)


def _facts(engine: Engine, settings: Settings) -> ModelFacts:
    detector = engine.detector
    channels, height, width = detector.backend.shape
    kind, beta = detector.postprocess.suppression
    return ModelFacts(name=engine.name, width=width, height=height, channels=channels, classes=len(detector.names),
                      names=list(detector.names), thresh=settings.thresh, nms=settings.nms, nms_kind=kind,
                      beta_nms=beta, backend=detector.backend.name, precision=detector.backend.precision)

