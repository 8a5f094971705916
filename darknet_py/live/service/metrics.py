"""Figures of the service for Prometheus."""
from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PATHS = ("/", "/detect", "/docs", "/healthz", "/metrics", "/models", "/openapi.json", "/page", "/readyz", "/stream")
SECONDS = (.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts requests, their seconds, pictures and batches.

    Attributes:
        answered: requests.
    """

    def __init__(self):
        self.answered = 0
        self.registry = CollectorRegistry()
        self.requests = Counter("darknet_requests", "Requests by path and status", ["path", "status"],
                                registry=self.registry)
        self.seconds = Histogram("darknet_request_seconds", "Seconds from a request's headers to the end of its answer",
                                 ["path"], registry=self.registry, buckets=SECONDS)
        self.pictures = Counter("darknet_pictures", "Pictures by network and what became of them", ["model", "result"],
                                registry=self.registry)
        self.batches = Histogram("darknet_batch_size", "Pictures that ran together", ["model"], registry=self.registry,
                                 buckets=SIZES)
        self.queue = Gauge("darknet_queue", "Pictures that wait or are at work", ["model"], registry=self.registry)

    def count(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self.answered += 1
        first = f"/{path.split('/')[1]}" if path.startswith("/") else path
        known = first if first in PATHS else "other"
        self.requests.labels(known, str(status)).inc()
        self.seconds.labels(known).observe(seconds)

    def watch(self, model: str, queue: Callable[[], int]) -> Callable[[int], None]:
        """Tell the length of a network's queue from now on. Returns what takes the size of each batch."""
        self.queue.labels(model).set_function(queue)
        return self.batches.labels(model).observe

    def text(self) -> bytes:
        """All in Prometheus' text format."""
        return generate_latest(self.registry)
