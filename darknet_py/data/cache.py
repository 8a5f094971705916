"""Decoded pictures in memory that processes share."""
from __future__ import annotations

import contextlib
import mmap
import multiprocessing

import numpy as np


class Cache:
    """Decoded pictures in memory that forked processes share. A spawned process gets one without room."""

    def __init__(self, count: int, channels: int, size: int):
        self.count, self.channels, self.size = count, channels, 0
        with contextlib.suppress(OSError, ValueError, OverflowError):       # no memory, no cache
            self.memory = np.frombuffer(mmap.mmap(-1, size), np.uint8)
            self.table = np.frombuffer(mmap.mmap(-1, (count + 1) * 24), np.int64).reshape(-1, 3)
            self.lock = multiprocessing.Lock()
            self.size = size

    def __reduce__(self) -> tuple:
        return Cache, (self.count, self.channels, 0)

    def get(self, index: int) -> np.ndarray | None:
        """A picture (H, W, C) that is not to be written to."""
        if self.size == 0:
            return None
        with self.lock:
            start, height, width = self.table[index].tolist()
        if width == 0:
            return None
        return self.memory[start:start + height * width * self.channels].reshape(height, width, self.channels)

    def put(self, index: int, image: np.ndarray) -> None:
        """Keep a picture if there is room. The last row of the table counts the bytes in use."""
        if self.size == 0:
            return
        with self.lock:
            start = int(self.table[-1, 0])
            if start + image.size <= self.size and self.table[index, 2] == 0:
                self.memory[start:start + image.size] = image.ravel()
                self.table[index] = start, image.shape[0], image.shape[1]
                self.table[-1, 0] += image.size
