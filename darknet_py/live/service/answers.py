"""Answers of the service: the forms in which detections are given, and their schemas."""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, Field

from darknet_py.inference.detections import Detections
from darknet_py.live.service.engine import Picture
from darknet_py.live.service.uploads import Refused

QUALITY = 90            # of the JPEG of format=image
LARGEST_JPEG = 65500    # pixels of a side; of larger ones a PNG is made
MOST_BOXES = 10_000     # boxes of an answer for a picture
MOST_DRAWN = 500        # boxes that are drawn, the most confident ones

Form = Literal["darknet", "coco", "boxes", "image"]


class Fault(BaseModel):
    """What is wrong, in a word and in a line."""

    reason: str
    message: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: Fault


class Boxes(BaseModel):
    """What was found in a picture, the most confident first."""

    filename: str | None
    width: int
    height: int
    names: list[str] = Field(description="of all classes of the network")
    boxes: list[list[float]] = Field(description="left, top, right, bottom in pixels; they may reach beyond the edges")
    scores: list[float]
    labels: list[int]
    truncated: bool | None = Field(None, description="true where there are more boxes than may be given")
    error: Fault | None = Field(None, description="why the picture could not be read; the request's others were")


class Times(BaseModel):
    """Seconds of a request: the longest that one of its pictures took for each step, and the whole."""

    queue: float
    decode: float
    network: float
    postprocess: float
    total: float


class BoxesAnswer(BaseModel):
    """The answer to format=boxes."""

    results: list[Boxes]
    model: str
    times: Times


class StreamAnswer(BoxesAnswer):
    """The answer to a frame of /stream."""

    frame: int = Field(description="the number of the message that held the frame, from 1 on")


class Place(BaseModel):
    """Of a box, in parts of the picture."""

    center_x: float
    center_y: float
    width: float
    height: float


class DarknetObject(BaseModel):
    """An object in Darknet's JSON."""

    class_id: int
    name: str
    relative_coordinates: Place
    confidence: float


class DarknetFrame(BaseModel):
    """A picture in Darknet's JSON."""

    frame_id: int
    filename: str | None = None
    objects: list[DarknetObject]
    error: Fault | None = None


class CocoResult(BaseModel):
    """An object in the format of COCO's results. image_id: the number of the picture in the request, from 1 on."""

    image_id: int
    category_id: int
    bbox: list[float] = Field(description="left, top, width, height in pixels")
    score: float


class ModelFacts(BaseModel):
    """A network of the service."""

    name: str
    width: int
    height: int
    channels: int
    classes: int
    names: list[str]
    thresh: float
    nms: float
    nms_kind: str
    beta_nms: float
    backend: str
    precision: str


class Models(BaseModel):
    """All networks of the service."""

    default: str
    models: list[ModelFacts]


@dataclass
class Result:
    """Of a picture of a request: detections, or why there are none.

    truncated: whether boxes were left out.
    """

    filename: str | None
    picture: Picture | None = None
    detections: Detections | None = None
    error: Refused | None = None
    truncated: bool = False


def cut(detections: Detections, most: int) -> tuple[Detections, bool]:
    """The most confident detections, at most so many; and whether that leaves out some."""
    if len(detections) <= most:
        return detections, False
    places = None if detections.places is None else detections.places[:most]
    return Detections(detections.boxes[:most], detections.scores[:most], detections.labels[:most], detections.names,
                      detections.image_size, detections.path, places), True


def fault(error: Refused) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message}


def error_body(error: Refused) -> dict[str, Any]:
    """An ``ErrorAnswer``."""
    return {"error": fault(error)}


def boxes_body(results: Sequence[Result], model: str, names: Sequence[str], total: float) -> dict[str, Any]:
    """A ``BoxesAnswer``. total: seconds."""
    pictures = [result.picture for result in results if result.picture is not None]
    times = {step: max((getattr(picture, step) for picture in pictures), default=0.)
             for step in ("queue", "decode", "network", "postprocess")}
    return {"results": [_boxes(result, names) for result in results], "model": model,
            "times": {name: round(seconds, 6) for name, seconds in (*times.items(), ("total", total))}}


def _boxes(result: Result, names: Sequence[str]) -> dict[str, Any]:
    found = result.detections
    height, width = (0, 0) if found is None else found.image_size
    body = {"filename": result.filename, "width": width, "height": height, "names": list(names),
            "boxes": [] if found is None else _numbers(found.boxes.reshape(-1, 4)),
            "scores": [] if found is None else _numbers(found.scores),
            "labels": [] if found is None else found.labels.tolist()}
    if result.truncated:
        body["truncated"] = True
    if result.error is not None:
        body["error"] = fault(result.error)
    return body


def _numbers(array: np.ndarray) -> list[Any]:
    """float32 as numbers of JSON, which has none for infinity."""
    return np.nan_to_num(array, nan=0.).tolist()


def darknet_body(results: Sequence[Result]) -> str:
    """Darknet's JSON: the record of a frame; of several pictures an array of them, as ``detector test -out`` writes."""
    records = []
    for number, result in enumerate(results, 1):
        if result.detections is not None:
            records.append(result.detections.to_json(number))
        else:
            assert result.error is not None
            records.append(json.dumps({"frame_id": number, "filename": result.filename, "objects": [],
                                       "error": fault(result.error)}))
    return records[0] if len(records) == 1 else "[\n" + ", \n".join(records) + "\n]"


def coco_body(results: Sequence[Result]) -> list[dict[str, Any]]:
    """COCO's results."""
    return [{**found, "bbox": [float(side) for side in np.nan_to_num(found["bbox"])]}
            for number, result in enumerate(results, 1) if result.detections is not None
            for found in result.detections.to_coco(number)]


def picture_body(result: Result) -> tuple[bytes, str]:
    """The picture with its boxes, and the content type."""
    assert result.picture is not None and result.picture.image is not None and result.detections is not None
    drawn = cut(result.detections, MOST_DRAWN)[0].draw(result.picture.image)
    jpeg = max(drawn.shape[:2]) <= LARGEST_JPEG
    data = cv2.imencode(".jpg" if jpeg else ".png", drawn, [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if jpeg else [])[1]
    return data.tobytes(), "image/jpeg" if jpeg else "image/png"
