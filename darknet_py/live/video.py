"""Writing of video files, through PyAV where it is installed, else through OpenCV.

OpenCV's wheels have no encoder for H.264 on most systems. PyAV's have one, and write .mp4 in fragments, which can be
opened however the process ends: ``pip install av``, or ``darknet-torch[video]``.
"""
from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from darknet_py.data.image import quiet_opencv
from darknet_py.errors import DataError, Reason, cause, suggestion
from darknet_py.live.capture import quiet_ffmpeg
from darknet_py.live.files import Unfinished
from darknet_py.live.results import Result

# Of each container the codecs that OpenCV writes into it without remarks; those before None are tried in this order.
CODECS = {".mp4": ("avc1", "mp4v"), ".m4v": ("avc1", "mp4v"), ".mov": ("avc1", "mp4v"),
          ".mkv": ("avc1", "mp4v", None, "FFV1", "MJPG"),
          ".avi": ("H264", "DIVX", None, "XVID", "MJPG", "FFV1", "HFYU")}
H264 = ("avc1", "H264")
LONGEST_GAP = 10.       # seconds of a live source without frames that the file shows; of longer ones it leaves out more


class Encoder(Protocol):
    """An opened video file."""

    def write(self, image: np.ndarray) -> None:
        """Encode a frame (H, W, 3) BGR uint8 of the video's size."""

    def close(self) -> None:
        """Write what is left."""


class VideoWriter:
    """A video of the pictures with boxes, in the rate of the source and the size of its first frame.

    Of a live source, from which frames are dropped, each is repeated until the next, so that the video takes as long as
    what it shows; frames of another size are resized.

    Args:
        path: its ending says the container, see ``CODECS``.
        rate: frames a second.
        live: the source is.
        codec: four letters, such as FFV1; None: H.264 where it can be written, else MPEG-4.

    Attributes:
        count: frames written.

    Raises:
        DataError: an unknown container or codec, or a file that cannot be written.

    Darknet: create_video_writer, with DivX.
    """

    def __init__(self, path: str, rate: float, live: bool = False, codec: str | None = None):
        known = CODECS.get(Path(path).suffix.lower())
        if known is None:
            raise DataError(f"{path}: expected the name of a video that ends with {', '.join(CODECS)}",
                            Reason.UNKNOWN_NAME)
        if codec is not None and codec not in known:
            raise DataError(f"{path}: expected one of the codecs {', '.join(filter(None, known))}, found {codec}"
                            + suggestion(codec, filter(None, known)), Reason.UNKNOWN_NAME)
        self.path, self.rate, self.live, self.count = path, rate, live, 0
        self.codecs = [name for name in known[:known.index(None) if None in known else None] if name] if codec is None \
            else [codec]
        self._unfinished = Unfinished(path)
        self._encoder: Encoder | None = None
        self._size, self._start = (0, 0), 0.
        self._last: np.ndarray

    def write(self, result: Result) -> None:
        image = result.picture.drawn
        if self._encoder is None:
            height, width = image.shape[:2]
            self._size, self._start, self._last = (width, height), result.timestamp, image
            self._encoder = self._open()
        if image.shape[1::-1] != self._size:
            image = cv2.resize(image, self._size)
        times = self._times(result.timestamp)
        for _ in range(times - 1):
            self._encoder.write(self._last)
        if times:
            self._encoder.write(image)
        self.count, self._last = self.count + times, image

    def close(self) -> None:
        if self._encoder is None:                           # there was no frame
            return self._unfinished.discard()
        self._encoder.close()
        with quiet_opencv:
            capture = cv2.VideoCapture(str(self._unfinished.path))
            whole = capture.isOpened()
            capture.release()
        if not whole:                                       # OpenCV does not say when the disk is full
            raise DataError(f"{self.path}: cannot write the video: {self._unfinished.path} cannot be opened; is "
                            "the disk full?", Reason.UNWRITABLE)
        self._unfinished.finish()

    def _times(self, timestamp: float) -> int:
        """How often a frame is written."""
        if not self.live:
            return 1
        due = int((timestamp - self._start) * self.rate) + 1
        if due - self.count > LONGEST_GAP * self.rate:
            self._start += (due - self.count - LONGEST_GAP * self.rate) / self.rate
            due = self.count + int(LONGEST_GAP * self.rate)
        return max(0, due - self.count)

    def _open(self) -> Encoder:
        path = str(self._unfinished.path)
        for codec in self.codecs:
            encoder = open_pyav(path, self.rate, self._size) if codec in H264 else None
            encoder = open_opencv(path, codec, self.rate, self._size) if encoder is None else encoder
            if encoder is not None:
                return encoder
        self._unfinished.discard()
        width, height = self._size
        raise DataError(f"{self.path}: a video of {width} x {height} pixels cannot be written here with "
                        f"{' or '.join(self.codecs)}", Reason.UNSUPPORTED)


class _OpenCVEncoder:
    def __init__(self, writer: cv2.VideoWriter):
        self._writer = writer

    def write(self, image: np.ndarray) -> None:
        self._writer.write(image)

    def close(self) -> None:
        self._writer.release()


def open_opencv(path: str, codec: str, rate: float, size: tuple[int, int]) -> Encoder | None:
    """An encoder of OpenCV for frames of that width and height; None where it has none."""
    quiet_ffmpeg()
    with quiet_opencv:
        writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, size)
        return _OpenCVEncoder(writer) if writer.isOpened() else None


class _PyAVEncoder:
    """H.264 with an even width and height, as players want it: an odd line at the end is cut off."""

    def __init__(self, container: Any, stream: Any, path: str):
        self._container, self._stream, self._path = container, stream, path

    def write(self, image: np.ndarray) -> None:
        import av
        planes = cv2.cvtColor(image[:self._stream.height, :self._stream.width], cv2.COLOR_BGR2YUV_I420)
        try:
            frame = av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), "yuv420p")
            self._container.mux(self._stream.encode(frame))
        except (OSError, av.FFmpegError) as error:
            raise DataError(f"{self._path}: cannot write the video: {cause(error)}", Reason.UNWRITABLE) from None

    def close(self) -> None:
        import av
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
        except (OSError, av.FFmpegError) as error:
            raise DataError(f"{self._path}: cannot write the video: {cause(error)}", Reason.UNWRITABLE) from None


def open_pyav(path: str, rate: float, size: tuple[int, int]) -> Encoder | None:
    """An encoder of PyAV for H.264; None without the package av, or where it has no such encoder."""
    width, height = (side - side % 2 for side in size)
    if find_spec("av") is None or not width or not height:
        return None
    import av
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if path.endswith((".mp4", ".m4v", ".mov")) \
        else {}
    try:
        container = av.open(path, "w", options=options)
        stream: Any = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # the network needs the cores: a third of the time of veryfast, for files that are half as large again
        stream.options, stream.codec_context.thread_count = {"preset": "ultrafast"}, 1
    except (OSError, ValueError, av.FFmpegError):
        return None
    return _PyAVEncoder(container, stream, path)
