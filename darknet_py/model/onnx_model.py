"""Export of a network as an ONNX model."""
from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

from darknet_py.errors import DarknetError, Reason
from darknet_py.layers import DetectionHead
from darknet_py.model.network import Network
from darknet_py.model.onnx_graph import Graph
from darknet_py.utils.version import __version__

OLDEST = 13             # opset


def onnx_model(network: Network, *, outputs: str = "heads", opset: int = 17, half: bool = False,
               resizable: bool = False, batch: int | None = None, threshold: float = .25, nms: float = .45,
               most: int = 10_000) -> onnx.ModelProto:
    """A model of a folded network.

    The input is ``images`` (N, C, H, W), RGB in [0, 1].

    Args:
        outputs: "heads": a tensor a head, as ``Network`` gives them (``head_139`` ...).
            "boxes": ``boxes`` (N, K, 4), x1, y1, x2, y2 relative to the input, and ``scores`` (N, K, classes), of all
            cells and anchors. "nms": the detections after a score threshold and suppression in each class: ``image``
            (M,), ``box`` (M, 4), ``score`` (M,), ``label`` (M,).
        half: float16 inside; input and outputs stay float32.
        batch: how many images it takes at once; None for any number.
        resizable: the sides of images are free, as far as the network's strides divide them.
        threshold, nms, most: of "nms": scores are above the one, overlaps below the other, boxes of an image and class
            no more than the last.

    Raises:
        DarknetError: ONNX cannot express the network, or it has no boxes or no fixed size where they are needed.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST <= opset <= newest:
        raise DarknetError(f"expected an opset from {OLDEST} to {newest}, found {opset}")
    if not network.folded:
        raise DarknetError("an ONNX model is made of a folded network")
    heads = [network.layers[index] for index in network.heads]
    if outputs != "heads" and (wrong := [head for head in heads if not isinstance(head, DetectionHead)]):
        raise wrong[0].place.error("has no boxes; without them only the outputs of the heads can be had",
                                   reason=Reason.WRONG_TASK)
    if resizable and (fixed := [layer for layer in network.layers if not layer.any_size]):
        raise fixed[0].place.error("has the size of its input built in, so the model cannot be resizable",
                                   reason=Reason.UNSUPPORTED)
    graph = Graph(opset, half=half, resizable=resizable)
    names = {-1: "images"}
    if half:
        names[-1] = graph("Cast", "images", to=TensorProto.FLOAT16)
    for index, (layer, sources, _) in enumerate(network.plan):
        graph.scope = f"{index}_{layer.kind}"
        names[index] = layer.onnx(graph, *(names[source] for source in sources))
    graph.scope = "out"
    if outputs == "heads":
        values = {f"head_{index}": names[index] for index in network.heads}
    else:
        values = _boxes(graph, network, names)
        if outputs == "nms":
            values = _suppressed(graph, values["boxes"], values["scores"], threshold, nms, most)
    free: tuple[Any, Any] = ("height", "width") if resizable else network.input_shape[1:]
    count: Any = "batch" if batch is None else batch
    images = helper.make_tensor_value_info(
        "images", TensorProto.FLOAT, [count, network.input_shape.channels, *free])
    if outputs == "heads":
        shapes = {f"head_{index}": [count, *network.layers[index].onnx_shape(resizable)] for index in network.heads}
    else:
        shapes = {"boxes": [count, None, 4], "scores": [count, None, network.detection_heads[0].classes],
                  "image": ["found"], "box": ["found", 4], "score": ["found"], "label": ["found"]}
    infos = []
    for name, value in values.items():
        whole = name in ("image", "label")
        if half and not whole:
            graph.nodes.append(helper.make_node("Cast", [value], [name], name=f"out/{name}", to=TensorProto.FLOAT))
        else:
            graph.nodes.append(helper.make_node("Identity", [value], [name], name=f"out/{name}"))
        infos.append(helper.make_tensor_value_info(
            name, TensorProto.INT64 if whole else TensorProto.FLOAT, shapes[name]))
    model = helper.make_model(
        helper.make_graph(graph.nodes, "darknet", [images], infos, list(graph.initializers.values())),
        opset_imports=[helper.make_opsetid("", opset)], producer_name="darknet_py",
        producer_version=__version__, ir_version=8 if opset < 19 else 10)
    onnx.checker.check_model(model, full_check=False)
    return model


def _boxes(graph: Graph, network: Network, names: dict[int, str]) -> dict[str, str]:
    """All heads' boxes and scores."""
    parts = []
    for index in network.heads:
        graph.scope = f"{index}_boxes"
        head = network.layers[index]
        assert isinstance(head, DetectionHead)
        parts.append(head.onnx_boxes(graph, names[index]))
    graph.scope = "out"
    boxes, scores = (graph("Concat", *some, axis=2) if len(some) > 1 else some[0] for some in zip(*parts, strict=True))
    return {"boxes": graph("Transpose", boxes, perm=[0, 2, 1]), "scores": graph("Transpose", scores, perm=[0, 2, 1])}


def _suppressed(graph: Graph, boxes: str, scores: str, threshold: float, nms: float, most: int) -> dict[str, str]:
    """Non-maximum suppression, a class at a time."""
    if graph.half:
        boxes, scores = (graph("Cast", one, to=TensorProto.FLOAT) for one in (boxes, scores))
        graph.half = False
    by_class = graph("Transpose", scores, perm=[0, 2, 1])
    chosen = graph("NonMaxSuppression", boxes, by_class, graph.constant([most]), *(
        graph("Reshape", value, [1]) for value in (nms, threshold)))
    image, label, place = graph.split(chosen, 1, [1, 1, 1])                     # (M, 1) each
    box = graph("GatherND", boxes, graph("Concat", image, place, axis=1))
    score = graph("GatherND", by_class, chosen)
    return {"image": graph("Squeeze", image, [1]), "box": box, "score": score, "label": graph("Squeeze", label, [1])}
