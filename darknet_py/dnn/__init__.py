"""The part of OpenCV's ``cv2.dnn`` that Darknet's users call, for OpenCV 5 no longer reads Darknet's files.

>>> from darknet_py import dnn
>>> net = dnn.readNetFromDarknet("yolov4.cfg", "yolov4.weights")
>>> net.setInput(dnn.blobFromImage(image, 1 / 255, (416, 416), swapRB=True))
>>> heads = net.forward(net.getUnconnectedOutLayersNames())

Names, arguments, and the shapes and order of results are those of OpenCV 4.12; a name that is not here is ``cv2.dnn``'s
own (``blobFromImage``, ``NMSBoxes``, the constants). The numbers are Darknet's, also where OpenCV's importer passes
over an option. Errors are ``DarknetError``, and ``cv2.error`` too.
"""
from __future__ import annotations

from typing import Any

import cv2

from darknet_py.dnn.models import ClassificationModel, DetectionModel, Model
from darknet_py.dnn.naming import Layer
from darknet_py.dnn.net import Error, Net, readNet, readNetFromDarknet

__all__ = ["DNN_BACKEND_HALIDE", "ClassificationModel", "DetectionModel", "Error", "Layer", "Model", "Net", "readNet",
           "readNetFromDarknet"]

DNN_BACKEND_HALIDE = 1          # OpenCV 5 dropped the name


def __getattr__(name: str) -> Any:
    return getattr(cv2.dnn, name)
