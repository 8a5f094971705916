"""Detect objects with ONNX Runtime: python detect.py model.onnx picture.jpg

model.onnx is what `darknet-py convert CFG WEIGHTS model.onnx -outputs boxes` writes.
"""
import json
import sys

import cv2
import numpy as np
import onnxruntime


def resize(image, width, height):
    """Bilinear, the centres of the corner pixels aligned, as Darknet does. cv2.resize moves scores by up to .04."""
    for axis, size in ((0, height), (1, width)):
        place = np.linspace(0, image.shape[axis] - 1, size, dtype=np.float32)
        low = place.astype(int)
        share = (place - low).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
        high = np.minimum(low + 1, image.shape[axis] - 1)
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


def overlaps(box, others, exponent):
    """Intersection over union of corners (4,) with others (N, 4), less the distance term of DIoU if there is one."""
    def area(b):
        return (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = (high - low).clip(0).prod(1)
    iou = shared / (area(box) + area(others) - shared)
    if exponent is None:
        return iou
    whole = np.maximum(box[2:], others[:, 2:]) - np.minimum(box[:2], others[:, :2])
    apart = (box[:2] + box[2:] - others[:, :2] - others[:, 2:]) / 2
    return iou - ((apart ** 2).sum(1) / (whole ** 2).sum(1)) ** exponent


session = onnxruntime.InferenceSession(sys.argv[1])
texts = session.get_modelmeta().custom_metadata_map
about = {key.removeprefix("darknet_py."): json.loads(text) for key, text in texts.items()}
thresholds, (_, _, height, width) = about["thresholds"], about["input"]["shape"]

picture = cv2.imread(sys.argv[2])
rows, columns = picture.shape[:2]
scale = min(width / columns, height / rows)
letterbox = about["resize"]["kind"] == "letterbox"
inner_w, inner_h = (int(columns * scale), int(rows * scale)) if letterbox else (width, height)
left, top = (width - inner_w) // 2, (height - inner_h) // 2
x = np.full((height, width, 3), .5, np.float32)
x[top:top + inner_h, left:left + inner_w] = resize(picture[:, :, ::-1] / np.float32(255), inner_w, inner_h)

boxes, scores = (output[0] for output in session.run(["boxes", "scores"], {"images": x.transpose(2, 0, 1)[None]}))
boxes = boxes * ([width, height] * 2) - [(width - inner_w) / 2, (height - inner_h) / 2] * 2     # pixels of the input
boxes *= [columns / inner_w, rows / inner_h] * 2                                                # and of the picture
for label, name in enumerate(about["names"]):
    order = (-scores[:, label]).argsort(kind="stable")
    order = order[scores[order, label] > thresholds["score"]]
    while len(order):
        best, rest = order[0], order[1:]
        print(name, f"{scores[best, label]:.4f}", *(f"{value:.1f}" for value in boxes[best]))
        order = rest[overlaps(boxes[best], boxes[rest], thresholds["nms_exponent"]) <= thresholds["nms"]]
