"""Metadata of exported models: how input is prepared and output decoded, class names, thresholds, the cfg.

``cfg.metadata`` reads it, and so do programs in other languages; docs/deploy.md lists the keys.
"""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

from darknet_py.cfg.metadata import FORMAT, PREFIX
from darknet_py.convert.formats import ExportOptions
from darknet_py.data.datafile import find_names
from darknet_py.inference.info import check_thresholds
from darknet_py.inference.postprocess import PostProcessor
from darknet_py.layers import DetectionHead, Layer
from darknet_py.layers.class_tree import named_files
from darknet_py.model.network import Network
from darknet_py.ops.nms import distance_exponent
from darknet_py.utils.version import __version__

OUTPUTS = {"boxes": ["boxes", "scores"], "nms": ["image", "box", "score", "label"]}


def task_of(network: Network) -> str | None:
    """"detect", "classify", or None for another."""
    if network.detection_heads:
        return "detect"
    return "classify" if any(getattr(network.layers[index], "classifies", False) for index in network.heads) else None


def class_names(network: Network, weights: str | os.PathLike, names: str | os.PathLike | Sequence[str] | None = None,
                data: str | os.PathLike | None = None) -> list[str] | None:
    """The names of a network's classes, see ``find_names``; None where it has no classes.

    Raises:
        DataError: see ``find_names``.
    """
    if (task := task_of(network)) is None:
        return None
    classes = (PostProcessor.of(network).classes if task == "detect" else
               max(network.layers[index].shape.size for index in network.heads))
    return find_names(network.cfg.path, weights, classes, names, data)


def describe(network: Network, options: ExportOptions, names: Sequence[str] | None, letterbox: bool,
             precision: str | None = None) -> dict[str, str]:
    """The metadata of a model that is made of a network.

    Args:
        names: of the classes; None: it has none.
        letterbox: pictures keep their proportions.
        precision: what it computes in; None: as ``options`` say.

    Returns:
        JSON by key, ASCII alone, sorted by key.

    Raises:
        DarknetError: a threshold outside of [0, 1].
    """
    check_thresholds(thresh=options.threshold, nms=options.nms)
    text = network.cfg.text.encode("utf-8", "surrogateescape")
    task = task_of(network)
    channels, height, width = network.input_shape
    facts: dict[str, Any] = {
        "format": FORMAT, "version": __version__, "task": task, "cfg": network.cfg.text,
        "cfg_sha256": hashlib.sha256(text).hexdigest(),
        "precision": ("float16" if options.half else "float32") if precision is None else precision,
        "input": {"name": "images", "layout": "NCHW", "shape": [options.batch, channels, height, width],
                  "channels": {1: "grey", 3: "RGB"}.get(channels), "range": [0, 1], "type": "float32",
                  "resizable": options.resizable},
        "resize": {"kind": "crop" if task == "classify" else "letterbox" if letterbox else "stretch",
                   "filter": "bilinear", "align_corners": True, "fill": .5 if letterbox else None},
        "outputs": {"form": options.outputs, "names": OUTPUTS.get(options.outputs,
                                                                  [f"head_{index}" for index in network.heads])},
        "heads": [_head(index, network.layers[index]) for index in network.heads]}
    if names is not None:
        facts["names"] = list(names)
    if files := named_files(network.layers):
        facts["files"] = files
    if task == "detect":
        kind, beta = PostProcessor.of(network).suppression
        facts["thresholds"] = {
            "score": options.score, "nms": options.overlap, "hier": .5, "nms_kind": kind, "beta_nms": beta,
            "nms_exponent": distance_exponent(kind, beta),
            "chosen": [name for name, value in (("score", options.threshold), ("nms", options.nms))
                       if value is not None]}
    return {PREFIX + key: json.dumps(facts[key]) for key in sorted(facts)}


def _head(index: int, layer: Layer) -> dict[str, Any]:
    facts = {"layer": index, "kind": layer.kind, "output": f"head_{index}", "shape": list(layer.onnx_shape(False))}
    return facts | {"classes": layer.classes, **layer.facts()} if isinstance(layer, DetectionHead) else facts
