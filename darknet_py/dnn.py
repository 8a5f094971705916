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

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py.boxes import nms
from darknet_py.cfg import parse_cfg, read_cfg
from darknet_py.detect import made_fast, not_numbers
from darknet_py.errors import DarknetError
from darknet_py.layers.base import Layer as DarknetLayer
from darknet_py.layers.softmax import Trainer
from darknet_py.layers.yolo import AnchorHead
from darknet_py.network import Network, load_network

DNN_BACKEND_HALIDE = 1          # OpenCV 5 dropped the name
INPUT_NAMES = ("", "data")
# What OpenCV calls a section: the beginning of the name, and the type.
TYPES = {
    "convolutional": ("conv", "Convolution"), "connected": ("fullyConnected", "InnerProduct"),
    "maxpool": ("pool", "Pooling"), "avgpool": ("avgpool", "Pooling"), "softmax": ("softmax", "Softmax"),
    "dropout": ("identity", "Identity"), "cost": ("identity", "Identity"), "reorg": ("reorg", "Reorg"),
    "crop": ("crop", "Slice"), "shortcut": ("shortcut", "Eltwise"), "sam": ("sam", "Eltwise"),
    "scale_channels": ("scale_channels", "Scale"), "upsample": ("upsample", "Resize"),
}
ACTIVATED = ("convolutional", "connected", "shortcut", "sam", "scale_channels")
ACTIVATION_TYPES = {"relu": "ReLU", "leaky": "ReLU", "swish": "Swish", "mish": "Mish", "logistic": "Sigmoid",
                    "tanh": "TanH"}
CUTS = {"region": (.001, .4)}       # thresh= and nms_threshold= where a section has none, as OpenCV chooses them
OTHER_CUTS = (.2, 0.)

Buffer = bytes | bytearray | memoryview | np.ndarray


class Error(DarknetError, cv2.error):       # type: ignore[misc]
    """What went wrong, for those who catch ``cv2.error`` as for those who catch ``DarknetError``."""

    def __init__(self, message: str):
        super().__init__(message)
        self.err = self.msg = message
        self.code = -2                      # StsError


class Layer(NamedTuple):
    """A layer of OpenCV: a section of the cfg is one to three of them, of which the last one has its output."""

    name: str
    type: str
    section: int        # the number of Darknet's layer
    form: str           # "whole"; "permuted": a head's input, channels last; "inner": nothing that is ever there


class Net:
    """A network, as ``readNetFromDarknet`` gives it. Arguments and results: see OpenCV's ``cv2.dnn.Net``."""

    def __init__(self, network: Network, ready: bool):
        self._network, self._ready = network, ready     # ready: there are weights
        self._layers, self._ends = list(_layers(network)), _ends(network)
        self._ids = {layer.name: number for number, layer in enumerate(self._layers, 1)}
        self._cuts = {index: _cuts(layer) for index, layer in enumerate(network.layers) if layer.detects}
        self._sizes: dict[tuple[int, int], Network] = {}
        self._blob: Tensor | None = None
        self._ticks = 0

    def empty(self) -> bool:
        return False

    def getLayerNames(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self._layers)

    def getLayerId(self, layer: str) -> int:
        """Counted from 1, for the input is layer 0; -1 where there is none."""
        return 0 if layer == "_input" else self._ids.get(layer, -1)

    def getLayer(self, layerId: int | str) -> Layer:
        number = self.getLayerId(layerId) if isinstance(layerId, str) else int(layerId)
        if not 0 <= number <= len(self._layers):
            raise Error(f"expected a layer's name (getLayerNames), or its number from 0 to {len(self._layers)}, found "
                        f"{layerId}")
        return self._layers[number - 1] if number else Layer("_input", "", -1, "whole")

    def getUnconnectedOutLayers(self) -> np.ndarray:
        return np.array([self._ids[name] for name in self.getUnconnectedOutLayersNames()], np.int32)

    def getUnconnectedOutLayersNames(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self._layers if layer.form == "whole" and layer.section in self._ends)

    def getPerfProfile(self) -> tuple[int, np.ndarray]:
        """Ticks (``cv2.getTickFrequency()`` a second) of the last ``forward``, and those of its layers (L, 1), which
        are not told apart: the last one has them all."""
        timings = np.zeros((len(self._layers), 1))
        timings[-1:] = self._ticks
        return self._ticks, timings

    def setPreferableBackend(self, backendId: int) -> None:
        """Does nothing: what computes follows from the target."""

    def setPreferableTarget(self, targetId: int) -> None:
        """DNN_TARGET_CUDA is the GPU, DNN_TARGET_CUDA_FP16 the GPU in half precision, all others are the CPU."""
        gpu = targetId in (cv2.dnn.DNN_TARGET_CUDA, cv2.dnn.DNN_TARGET_CUDA_FP16)
        if gpu and not torch.cuda.is_available():
            warnings.warn("PyTorch finds no CUDA device; the CPU computes", RuntimeWarning, stacklevel=2)
        elif not gpu and targetId != cv2.dnn.DNN_TARGET_CPU:
            warnings.warn(f"the target {targetId} is neither DNN_TARGET_CPU nor one of CUDA; the CPU computes",
                          RuntimeWarning, stacklevel=2)
        gpu = gpu and torch.cuda.is_available()
        half = gpu and targetId == cv2.dnn.DNN_TARGET_CUDA_FP16
        self._network.to("cuda" if gpu else "cpu", torch.float16 if half else torch.float32)

    def enableFusion(self, fusion: bool) -> None:
        """Does nothing: batch normalisation is always merged into the weights."""

    def enableWinograd(self, useWinograd: bool) -> None:
        """Does nothing: PyTorch chooses."""

    def setInput(self, blob: np.ndarray, name: str = "", scalefactor: float = 1.0,
                 mean: float | Sequence[float] = ()) -> None:
        """What ``forward`` computes with: (blob - mean) * scalefactor.

        Args:
            blob: (N, C, H, W) float or uint8. A size other than the cfg's is the network's from then on.
            mean: of each channel; a number alone is that of the first, as it is to OpenCV.
        """
        if name not in INPUT_NAMES:
            raise Error(f'expected the input "data", found "{name}"')
        if not isinstance(blob, np.ndarray) or blob.ndim != 4 or not blob.size:
            raise Error(f"expected a blob (N, C, H, W), found {getattr(blob, 'shape', type(blob).__name__)}")
        x = torch.from_numpy(np.array(blob, np.float32))
        means = np.atleast_1d(np.asarray(mean, np.float32))[:x.shape[1]]
        if means.any():
            x[:, :len(means)] -= torch.from_numpy(means)[:, None, None]
        self._blob = x if scalefactor == 1 else x * scalefactor

    def forward(self, outputName: str | Sequence[str] = "", *, outBlobNames: Sequence[str] | None = None
                ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Run the network on what ``setInput`` got.

        Returns:
            float32: one array for a name, or for none, which means the last layer; a tuple for a sequence of names.
            Of a head a row for each place and anchor: center x, center y, width, height in parts of the input,
            objectness, and the classes' scores, 0 up to ``thresh=`` ([yolo]: .2, [region]: .001), in [region]
            also after non-maximum suppression. (R, 5 + C), of several images (N, R, 5 + C). Of other layers
            (N, C, H, W), and (N, C) from a [connected] on.
        """
        names = outputName if outBlobNames is None else outBlobNames
        if not isinstance(names, str):
            return self._forward(list(names))
        return self._forward([names] if names != "" else [self.getLayerNames()[-1]])[0]

    def _forward(self, names: Sequence[str]) -> tuple[np.ndarray, ...]:
        layers = [self.getLayer(name) for name in names]
        for layer in layers:
            if layer.section < 0:
                raise Error(f'"{layer.name}" is the input; forward gives the outputs of the layers after it')
            if layer.form == "inner":
                whole = next(one.name for one in self._layers if one.section == layer.section and one.form == "whole")
                raise Error(f'"{layer.name}" has no output of its own, for it is computed in one with "{whole}"')
        if not self._ready:
            raise Error("the network was read without weights, so it cannot run")
        if self._blob is None:
            raise Error("forward needs an input; call setInput first")
        start = cv2.getTickCount()
        with _errors(), torch.inference_mode():
            network = self._sized(*self._blob.shape[1:])
            weight = next(network.parameters(), self._blob)
            x = self._blob.to(weight.device, weight.dtype, memory_format=torch.channels_last)
            outputs = network.outputs_of(x, [_computed(network, layer) for layer in layers])
            results = tuple(self._result(network, layer, output.float()).cpu().numpy()
                            for layer, output in zip(layers, outputs, strict=True))
        self._ticks = cv2.getTickCount() - start
        return results

    def _sized(self, channels: int, height: int, width: int) -> Network:
        """The network for a blob of that size."""
        if (channels, height, width) == self._network.input_shape or channels != self._network.input_shape.channels:
            return self._network                # which complains of another number of channels
        if (height, width) not in self._sizes:
            twin = self._network.resized(width, height)
            twin.set_time_steps(1)
            self._sizes[height, width] = twin
        return self._sizes[height, width]

    def _result(self, network: Network, wanted: Layer, output: Tensor) -> Tensor:
        """One layer's output in OpenCV's form."""
        layer = network.layers[wanted.section]
        if wanted.form == "permuted":
            return output.permute(0, 2, 3, 1).contiguous()
        if not layer.detects:
            return output.flatten(1) if _is_flat(network, wanted.section) else output.contiguous()
        if not output.isfinite().all():
            raise Error(not_numbers(layer, output))
        rows = _rows(layer, output, network.input_shape.width, network.input_shape.height, *self._cuts[wanted.section])
        return rows[0] if len(rows) == 1 else rows


def _computed(network: Network, wanted: Layer) -> int:
    """The section whose output a layer of OpenCV has, or is made from."""
    index = wanted.section
    if wanted.form == "permuted":
        return network.plan[index].sources[0]
    while network.layers[index].kind == "cost":         # it only trains, and passes on what it reads
        index = network.plan[index].sources[0]
    return index


def _layers(network: Network) -> Iterator[Layer]:
    """The layers that OpenCV makes of the sections, in its order."""
    number = 0                                          # in names; it goes on faster than that of sections
    for index, layer in enumerate(network.layers):
        parts = _parts(layer)
        for part in parts:
            name = part.name if part.name == "detection_out" else f"{part.name}_{number}"
            form = "whole" if part is parts[-1] else "permuted" if part.name == "permute" else "inner"
            yield Layer(name, part.type, index, form)
            number += part.advance


class _Part(NamedTuple):
    """``name``: its beginning. ``advance``: of the number in the next name."""

    name: str
    type: str
    advance: int = 1


def _parts(layer: DarknetLayer) -> list[_Part]:
    """The layers that OpenCV makes of one section."""
    kind, o = layer.kind, layer.options
    if layer.detects:
        return [_Part("permute", "Permute", 0), _Part("detection_out" if kind == "region" else kind, "Region")]
    if kind == "route":
        slices = [_Part("slice", "Slice")] * (len(o.layers) if o.groups > 1 else 0)
        if len(o.layers) > 1:
            return [*slices, _Part("concat", "Concat")]
        return slices if slices else [_Part("identity", "Identity")]
    if kind == "crop" and not o.noadjust:
        return [_Part("crop", "Slice"), _Part("adjust_crop", "Scale")]
    parts = [_Part(*TYPES.get(kind, (kind, kind)))]
    if kind in ("convolutional", "connected") and (o.batch_normalize or getattr(o, "cbn", 0)):
        parts = [parts[0]._replace(advance=0), _Part("bn", "BatchNorm")]
    if kind in ACTIVATED and o.activation != "linear":
        parts.append(_Part(o.activation, ACTIVATION_TYPES.get(o.activation, o.activation), 0))
    return parts


def _ends(network: Network) -> list[int]:
    """The layers whose output nobody reads, but for those that only train."""
    read = {source for step in network.plan for source in step.sources}
    return [index for index, layer in enumerate(network.layers)
            if index not in read and not (isinstance(layer, Trainer) and layer.kind != "cost")]


def _cuts(layer: DarknetLayer) -> tuple[float, float]:
    """Up to which score a head's is 0, and the overlap above which the less sure box's is; 0: none is."""
    first, (thresh, overlap) = layer.place.section.first, CUTS.get(layer.kind, OTHER_CUTS)
    try:
        thresh = float(first["thresh"].value) if "thresh" in first else thresh
        if layer.kind != "region" and "nms_threshold" in first:
            overlap = float(first["nms_threshold"].value)
    except ValueError:
        raise layer.place.error("needs a number") from None
    return thresh, overlap


def _is_flat(network: Network, index: int) -> bool:
    """Whether OpenCV gives a layer's output as (N, C): from a [connected] on."""
    while index >= 0 and network.layers[index].shape[1:] == (1, 1):
        if network.layers[index].kind == "connected":
            return True
        index = network.plan[index].sources[0]
    return False


def _rows(layer: DarknetLayer, output: Tensor, width: int, height: int, thresh: float, overlap: float) -> Tensor:
    """(N, R, 5 + C) of what a head gave, place by place, and of a place anchor by anchor."""
    found = layer.decode(output, width, height, -torch.inf, .5)
    certain = output.unflatten(3, (layer.count, -1))[..., 4].flatten() if layer.kind == "region" else found.objectness
    scores = torch.where(found.scores > thresh, found.scores, 0)
    rows = torch.cat([found.boxes, certain[:, None], scores], 1).unflatten(0, (len(output), -1))
    if isinstance(layer, AnchorHead):                                       # C has anchor by anchor
        rows = rows.unflatten(1, (layer.count, -1)).transpose(1, 2).flatten(1, 2)
    if overlap:
        for image in rows:
            image[:, 5:] = nms(image[:, :4], image[:, 5:], overlap)
    return rows


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except Error:
        raise
    except DarknetError as error:
        raise Error(str(error)) from error


def readNetFromDarknet(cfgFile: str | os.PathLike | Buffer, darknetModel: str | os.PathLike | Buffer = "") -> Net:
    """A network from a .cfg and a .weights file, or from what is in them. Without weights it has names and no outputs.

    Raises:
        Error: with file and line.
    """
    with _errors(), tempfile.TemporaryDirectory() as folder:
        cfg = read_cfg(cfgFile) if isinstance(cfgFile, (str, os.PathLike)) else \
            parse_cfg(bytes(cfgFile).decode("utf-8", "surrogateescape"))
        if isinstance(darknetModel, (str, os.PathLike)):
            path = darknetModel if str(darknetModel) != "" else None
        else:
            path = os.path.join(folder, "buffer.weights")
            with open(path, "wb") as file:
                file.write(bytes(darknetModel))
        return Net(made_fast(load_network(cfg, path)), path is not None)


def readNet(model: Any, config: Any = "", framework: Any = "") -> Any:
    """``readNet(weights, cfg)``, in either order, or ``readNet("darknet", weights, cfg)`` with buffers. What is not
    Darknet's goes to ``cv2.dnn.readNet``."""
    if isinstance(model, str) and model == "darknet":
        return readNetFromDarknet(framework, config)
    paths = [os.fspath(path) for path in (model, config) if isinstance(path, (str, os.PathLike))]
    cfg = next((path for path in paths if path.endswith(".cfg")), "")
    weights = next((path for path in paths if path.endswith(".weights")), "")
    if cfg or weights:
        return readNetFromDarknet(cfg, weights)
    return cv2.dnn.readNet(model, config, framework)


class Model:
    """A network and how a picture becomes its input. Arguments and results: see OpenCV's ``cv2.dnn.Model``."""

    def __init__(self, network: Net | str, config: str = ""):
        self._net = network if isinstance(network, Net) else readNet(network, config)
        self._names = self._net.getUnconnectedOutLayersNames()
        self._scale: Sequence[float] = (1., 1., 1., 1.)
        self._mean: Sequence[float] = (0.,) * 4
        self._size: Sequence[int] = (0, 0)
        self._swap = self._crop = False

    def setInputParams(self, scale: float = 1.0, size: Sequence[int] = (0, 0), mean: float | Sequence[float] = (),
                       swapRB: bool = False, crop: bool = False) -> None:
        self.setInputScale(scale).setInputSize(size).setInputMean(mean).setInputSwapRB(swapRB).setInputCrop(crop)

    def setInputSize(self, size: Sequence[int] | int, height: int | None = None) -> Model:
        """(width, height), or the two."""
        self._size = tuple(map(int, (size, height) if height is not None else size))     # type: ignore
        return self

    def setInputMean(self, mean: float | Sequence[float]) -> Model:
        self._mean = _scalar(mean)
        return self

    def setInputScale(self, scale: float | Sequence[float]) -> Model:
        values = _scalar(scale)
        self._scale = values if any(values[1:]) else values[:1] * 4
        return self

    def setInputCrop(self, crop: bool) -> Model:
        self._crop = crop
        return self

    def setInputSwapRB(self, swapRB: bool) -> Model:
        self._swap = swapRB
        return self

    def setOutputNames(self, outNames: Sequence[str]) -> Model:
        self._names = tuple(outNames)
        return self

    def setPreferableBackend(self, backendId: int) -> Model:
        self._net.setPreferableBackend(backendId)
        return self

    def setPreferableTarget(self, targetId: int) -> Model:
        self._net.setPreferableTarget(targetId)
        return self

    def enableWinograd(self, useWinograd: bool) -> Model:
        return self

    def predict(self, frame: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the network's ends give for a picture."""
        if 0 in self._size:
            raise Error("the size of the network's input is not known; call setInputSize or setInputParams")
        how = cv2.dnn.Image2BlobParams()
        how.scalefactor, how.size, how.mean, how.swapRB = self._scale, self._size, self._mean, self._swap
        if self._crop:
            how.paddingmode = cv2.dnn.DNN_PMODE_CROP_CENTER
        self._net.setInput(cv2.dnn.blobFromImageWithParams(frame, how))
        return self._net._forward(self._names)


class DetectionModel(Model):
    """A network that finds boxes. Its heads then suppress none themselves."""

    def __init__(self, network: Net | str, config: str = ""):
        super().__init__(network, config)
        self._across = False
        self._net._cuts = {head: (thresh, 0.) for head, (thresh, _) in self._net._cuts.items()}

    def setNmsAcrossClasses(self, value: bool) -> DetectionModel:
        self._across = value
        return self

    def getNmsAcrossClasses(self) -> bool:
        return self._across

    def detect(self, frame: np.ndarray, confThreshold: float = .5, nmsThreshold: float = 0.
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | tuple[tuple, tuple, tuple]:
        """Find objects.

        Args:
            confThreshold: the least score.
            nmsThreshold: the overlap above which the less sure box of a class goes; 0 keeps all.

        Returns:
            (K,) int32 classes, (K,) float32 scores, (K, 4) int32 left, top, width, height in pixels inside the picture,
            class by class with the surest first; three empty tuples where nothing is found.
        """
        if not self._net._cuts:
            raise Error("expected a network that ends in [yolo] or [region]; this one finds no boxes")
        rows = np.concatenate(self.predict(frame))
        scores = rows[:, 5:]
        best = scores.max(1)
        kept = best >= np.float32(confThreshold)
        labels, best = scores.argmax(1)[kept].astype(np.int32), best[kept]
        boxes = _pixels(rows[kept, :4], frame.shape[1], frame.shape[0])
        if nmsThreshold:
            groups = [np.arange(len(labels))] if self._across else [np.flatnonzero(labels == label)
                                                                    for label in np.unique(labels)]
            chosen = [group[cv2.dnn.NMSBoxes(boxes[group].tolist(), best[group].tolist(), confThreshold, nmsThreshold)]
                      for group in groups if len(group)]
            order = np.concatenate([np.zeros(0, int), *chosen]).astype(int)
            labels, best, boxes = labels[order], best[order], boxes[order]
        return (labels, best, boxes) if len(labels) else ((), (), ())


class ClassificationModel(Model):
    """A network that names whole pictures."""

    def __init__(self, network: Net | str, config: str = ""):
        super().__init__(network, config)
        self._softmax = False

    def setEnableSoftmaxPostProcessing(self, enable: bool) -> ClassificationModel:
        self._softmax = enable
        return self

    def getEnableSoftmaxPostProcessing(self) -> bool:
        return self._softmax

    def classify(self, frame: np.ndarray) -> tuple[int, float]:
        """The likeliest class, and how likely it is."""
        if len(self._names) != 1:
            raise Error(f"expected a network with one end, found {len(self._names)}: {', '.join(self._names)}")
        scores = self.predict(frame)[0].reshape(-1)
        if self._softmax:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        return int(scores.argmax()), float(scores.max())


def _scalar(value: float | Sequence[float]) -> tuple[float, ...]:
    """cv2's Scalar: four numbers."""
    values = tuple(np.atleast_1d(np.asarray(value, float)).tolist())
    return (values + (0.,) * 4)[:4]


def _pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(K, 4) center and size in parts of a picture -> (K, 4) int32 left, top, width, height, cut to it. What is less
    than a pixel goes, as in OpenCV."""
    x, y, w, h = (boxes * np.array([width, height] * 2, np.float32)).astype(np.int32).T
    left = np.clip(x - np.fix(w / 2).astype(np.int32), 0, width - 1)
    top = np.clip(y - np.fix(h / 2).astype(np.int32), 0, height - 1)
    return np.stack([left, top, np.clip(w, 1, width - left), np.clip(h, 1, height - top)], 1).astype(np.int32)


def __getattr__(name: str) -> Any:
    return getattr(cv2.dnn, name)
