"""Decoding of video files, cameras and network streams through OpenCV."""
from __future__ import annotations

import math
import os
import stat

import cv2
import numpy as np

from darknet_py.data.image import MAX_PIXELS, quiet_opencv
from darknet_py.errors import DataError, Reason

RATE = 25.                          # frames a second where a source does not say; C's too
MOST_RATE = 1000.                   # above it a rate is a container's clock
PATIENCE = 10_000                   # milliseconds for a connection, and for a frame of it
MOST_FRAMES = 1 << 31               # above it a number of frames is none


class Capture:
    """An opened video.

    Args:
        source: a path, an URL, or the number of a camera.

    Attributes:
        rate: frames a second.
        total: frames that the file says it has; 0 where it is not known.

    Raises:
        DataError: there is no such camera or connection, or it is no video that OpenCV decodes.
    """

    def __init__(self, source: str | int):
        quiet_ffmpeg()
        self.source, self._count = source, 0
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, PATIENCE, cv2.CAP_PROP_READ_TIMEOUT_MSEC, PATIENCE]
        network = isinstance(source, str) and "://" in source
        with quiet_opencv:
            try:
                self._capture = (cv2.VideoCapture(source, cv2.CAP_FFMPEG, options) if network
                                 else cv2.VideoCapture(source))
                opened = self._capture.isOpened()
            except cv2.error:
                opened = False
        if not opened:
            raise self._error(network)
        rate, total = (self._capture.get(what) for what in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.rate = rate if math.isfinite(rate) and 0 < rate <= MOST_RATE else RATE
        self.total = int(total) if math.isfinite(total) and 0 < total < MOST_FRAMES else 0
        width, height = (self._capture.get(what) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            self.close()
            raise DataError(f"{source}: expected frames of at most {MAX_PIXELS} pixels, found {width:.0f} x "
                            f"{height:.0f}; DARKNET_PY_MAX_IMAGE_PIXELS in the environment raises the limit",
                            Reason.TOO_LARGE)

    def read(self) -> tuple[np.ndarray, float] | None:
        """The next frame (H, W, 3) BGR uint8, and its time from the beginning in seconds; None at the end, or where
        the connection is lost.

        Raises:
            DataError: the file has no frame that can be decoded.
        """
        try:
            there, image = self._capture.read()
        except cv2.error as error:
            raise DataError(f"{self.source}: cannot decode a frame: {error.err}", Reason.CORRUPT) from None
        if not there or image is None or image.size == 0:
            if self._count == 0 and self.total:
                raise self._error(network=False)
            return None
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not math.isfinite(position) or position < 0 or (position == 0 and self._count):
            position = self._count / self.rate          # a container without timestamps
        self._count += 1
        return image, position

    def skip(self) -> bool:
        """Pass over the next frame, in less time than ``read`` needs. Returns whether there was one."""
        try:
            there = self._capture.grab()
        except cv2.error:
            return False
        self._count += there
        return there

    def close(self) -> None:
        self._capture.release()

    def _error(self, network: bool) -> DataError:
        if isinstance(self.source, int):
            return DataError(f"camera {self.source}: there is no such camera, or another program has it",
                             Reason.MISSING_FILE)
        if network:
            return DataError(f"{self.source}: cannot connect, or there is no video", Reason.UNREADABLE)
        if stat.S_ISCHR(os.stat(self.source).st_mode):
            return DataError(f"{self.source}: no camera, or another program has it", Reason.UNREADABLE)
        return DataError(f"{self.source}: not a video, or one whose codec OpenCV does not decode", Reason.WRONG_FORMAT)


def quiet_ffmpeg() -> None:
    """Keep FFmpeg's log off stderr; it is read once, when OpenCV first uses FFmpeg."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
