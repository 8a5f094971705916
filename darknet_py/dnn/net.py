"""``cv2.dnn.Net`` on darknet_py: reading of Darknet's files, layers by OpenCV's names, forward in OpenCV's format."""
from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from darknet_py.cfg.language import parse_cfg, read_cfg
from darknet_py.dnn.naming import Layer, layers_of, output_layers
from darknet_py.errors import DarknetError
from darknet_py.inference.backends import build_fastest
from darknet_py.inference.backends.base import Backend, not_finite
from darknet_py.inference.backends.openvino import OpenVino
from darknet_py.inference.backends.pytorch import PyTorch, prepare_for_inference
from darknet_py.layers import DetectionHead
from darknet_py.layers.base import Layer as DarknetLayer
from darknet_py.layers.yolo import AnchorHead
from darknet_py.model.network import Network, load_network
from darknet_py.ops.nms import nms
from darknet_py.utils.files import temporary_folder

INPUT_NAMES = ("", "data")
THRESHOLDS = {"region": (.001, .4)}     # OpenCV's defaults of thresh= and nms_threshold=
OTHER_THRESHOLDS = (.2, 0.)

Buffer = bytes | bytearray | memoryview | np.ndarray


class Error(DarknetError, cv2.error):       # type: ignore[misc]
    """An error that is both a ``cv2.error`` and a ``DarknetError``."""

    def __init__(self, message: str):
        super().__init__(message)
        self.err = self.msg = message
        self.code = -2                      # StsError


class Net:
    """A network, made by ``readNetFromDarknet``. Arguments and results: see OpenCV's ``cv2.dnn.Net``."""

    def __init__(self, network: Network, ready: bool):
        self._network, self._ready = network, ready     # ready: there are weights
        self._layers, self._outputs = list(layers_of(network)), output_layers(network)
        self._ids = {layer.name: number for number, layer in enumerate(self._layers, 1)}
        self._thresholds = {head.place.index: _thresholds(head) for head in network.detection_heads}
        self._sizes: dict[tuple[int, int], Network] = {}
        self._openvino = False
        self._compiled: dict[tuple, Backend | None] = {}        # by size and layers; None before the second use
        self._blob: Tensor | None = None
        self._ticks = 0

    def empty(self) -> bool:
        return False

    def getLayerNames(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self._layers)

    def getLayerId(self, layer: str) -> int:
        """The layer's number from 1 on (the input is layer 0); -1 for an unknown name."""
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
        return tuple(layer.name for layer in self._layers if layer.form == "whole" and layer.section in self._outputs)

    def getPerfProfile(self) -> tuple[int, np.ndarray]:
        """Ticks (``cv2.getTickFrequency()`` a second) of the last ``forward``, and those of its layers (L, 1), which
        are not measured separately: the last one has them all."""
        timings = np.zeros((len(self._layers), 1))
        timings[-1:] = self._ticks
        return self._ticks, timings

    def setPreferableBackend(self, backendId: int) -> None:
        """DNN_BACKEND_INFERENCE_ENGINE is OpenVINO, on the CPU. All others are PyTorch, on the target's device; on the
        CPU the fastest runtime takes its place (see ``backends.choose``) from the second ``forward`` of a size on, as
        it pays to compile a model only for several images."""
        self._openvino = backendId == cv2.dnn.DNN_BACKEND_INFERENCE_ENGINE
        self._compiled.clear()
        if self._openvino:
            with _errors():
                OpenVino.require()

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
        """Does nothing: the runtimes choose."""

    def setInput(self, blob: np.ndarray, name: str = "", scalefactor: float = 1.0,
                 mean: float | Sequence[float] = ()) -> None:
        """Set the input of ``forward``: (blob - mean) * scalefactor.

        Args:
            blob: (N, C, H, W) float or uint8. Its size may differ from the cfg's.
            mean: of each channel; a single number is that of the first, as in OpenCV.
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
        """Run the network on the input of ``setInput``.

        Returns:
            float32: one array for a name, or for none, which means the last layer; a tuple for a sequence of names.
            Of a head a row for each cell and anchor: center x, center y, width, height in parts of the input,
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
            network = self._network_for(*self._blob.shape[1:])
            outputs = self._outputs_of(network, [_source(network, layer) for layer in layers], self._blob)
            results = tuple(self._result(network, layer, output.float()).cpu().numpy()
                            for layer, output in zip(layers, outputs, strict=True))
        self._ticks = cv2.getTickCount() - start
        return results

    def _network_for(self, channels: int, height: int, width: int) -> Network:
        """The network for a blob of that size."""
        if (channels, height, width) == self._network.input_shape or channels != self._network.input_shape.channels:
            return self._network                # which refuses another number of channels
        if (height, width) not in self._sizes:
            twin = self._network.resized(width, height)
            twin.set_time_steps(1)
            self._sizes[height, width] = twin
        return self._sizes[height, width]

    def _outputs_of(self, network: Network, sections: Sequence[int], blob: Tensor) -> list[Tensor]:
        """The outputs of these sections."""
        weight = next(network.parameters(), blob)
        if weight.dtype != torch.float32 or weight.device.type != "cpu" or min(sections) < 0:
            return list(PyTorch(network, sections)(blob))
        unique = tuple(dict.fromkeys(sections))
        key = (network.input_shape, unique)
        if self._openvino and key not in self._compiled:
            self._compiled[key] = OpenVino.build(network, "cpu", unique)
        elif key in self._compiled and self._compiled[key] is None:
            self._compiled[key] = build_fastest(network, "cpu", unique)
        backend = self._compiled.setdefault(key, None) or PyTorch(network, unique)
        outputs = dict(zip(unique, backend(blob), strict=True))
        return [outputs[section] for section in sections]

    def _result(self, network: Network, named: Layer, output: Tensor) -> Tensor:
        """The output of one of OpenCV's layers in OpenCV's format."""
        layer = network.layers[named.section]
        if named.form == "permuted":
            return output.permute(0, 2, 3, 1).contiguous()
        if not isinstance(layer, DetectionHead):
            return output.flatten(1) if _is_flat(network, named.section) else output.contiguous()
        if not output.isfinite().all():
            raise Error(not_finite(layer, output))
        rows = _rows(layer, output, network.input_shape.width, network.input_shape.height,
                     *self._thresholds[named.section])
        return rows[0] if len(rows) == 1 else rows


def _source(network: Network, named: Layer) -> int:
    """The section whose output is that of a layer of OpenCV, or becomes it by a permutation."""
    index = named.section
    if named.form == "permuted":
        return network.plan[index].sources[0]
    while network.layers[index].passes_on:
        index = network.plan[index].sources[0]
    return index


def _thresholds(layer: DarknetLayer) -> tuple[float, float]:
    """A head's score threshold, and its overlap threshold of non-maximum suppression; 0 suppresses none."""
    first, (thresh, overlap) = layer.place.section.first, THRESHOLDS.get(layer.kind, OTHER_THRESHOLDS)
    try:
        thresh = float(first["thresh"].value) if "thresh" in first else thresh
        if layer.kind != "region" and "nms_threshold" in first:
            overlap = float(first["nms_threshold"].value)
    except ValueError:
        raise layer.place.error("needs numbers in thresh= and nms_threshold=") from None
    return thresh, overlap


def _is_flat(network: Network, index: int) -> bool:
    """Whether OpenCV gives a layer's output as (N, C): from a [connected] on."""
    while index >= 0 and network.layers[index].shape[1:] == (1, 1):
        if network.layers[index].kind == "connected":
            return True
        index = network.plan[index].sources[0]
    return False


def _rows(layer: DetectionHead, output: Tensor, width: int, height: int, thresh: float, overlap: float) -> Tensor:
    """(N, R, 5 + C) decoded output of a head, cell by cell, and within a cell anchor by anchor."""
    decoded = layer.decode(output, width, height, -torch.inf, .5)
    objectness = output.unflatten(3, (layer.count, -1))[..., 4].flatten() if layer.kind == "region" \
        else decoded.objectness
    scores = torch.where(decoded.scores > thresh, decoded.scores, 0)
    rows = torch.cat([decoded.boxes, objectness[:, None], scores], 1).unflatten(0, (len(output), -1))
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
    """A network from a .cfg and a .weights file, or their contents. Without weights it has names and no outputs.

    Raises:
        Error: with file and line.
    """
    with _errors(), temporary_folder(tempfile.gettempdir()) as folder:
        cfg = read_cfg(cfgFile) if isinstance(cfgFile, (str, os.PathLike)) else \
            parse_cfg(bytes(cfgFile).decode("utf-8", "surrogateescape"))
        if isinstance(darknetModel, (str, os.PathLike)):
            path = darknetModel if str(darknetModel) != "" else None
        else:
            path = os.path.join(folder, "buffer.weights")
            with open(path, "wb") as file:
                file.write(bytes(darknetModel))
        return Net(prepare_for_inference(load_network(cfg, path)), path is not None)


def readNet(model: Any, config: Any = "", framework: Any = "") -> Any:
    """``readNet(weights, cfg)``, in either order, or ``readNet("darknet", weights, cfg)`` with buffers. Other formats
    are passed on to ``cv2.dnn.readNet``."""
    if isinstance(model, str) and model == "darknet":
        return readNetFromDarknet(framework, config)
    paths = [os.fspath(path) for path in (model, config) if isinstance(path, (str, os.PathLike))]
    cfg = next((path for path in paths if path.endswith(".cfg")), "")
    weights = next((path for path in paths if path.endswith(".weights")), "")
    if cfg or weights:
        return readNetFromDarknet(cfg, weights)
    return cv2.dnn.readNet(model, config, framework)
