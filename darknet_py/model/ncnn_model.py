"""Translation of an ONNX model to ncnn's format."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from darknet_py.errors import Reason
from darknet_py.layers import Layer

MAGIC = 7767517
ARRAY = -23300          # less the number of a parameter whose value is an array
ARITHMETIC = {"Add": 0, "Sub": 1, "Mul": 2, "Div": 3}
SIMPLE = {"Mish": "Mish", "Sigmoid": "Sigmoid", "Tanh": "TanH", "Relu": "ReLU"}     # without parameters
FUSED = {"Relu": 1, "LeakyRelu": 2, "Clip": 3, "Sigmoid": 4, "Mish": 5}             # numbers of activations


class NcnnModel:
    """A network in ncnn's format, which has no batch: an image at a time, so axis 1 of ONNX is axis 0.

    Args:
        model: of one image, of opset 18 or newer, as ``onnx_model`` makes it.
        layers: of the network that it was made of.

    Attributes:
        outputs: names of the outputs, in the model's order.
        weights: the content of a .bin file, as arrays in its order.

    Raises:
        CfgError: a layer has an operation that is not translated.
    """

    def __init__(self, model: onnx.ModelProto, layers: Sequence[Layer]):
        graph, self.layers = model.graph, layers
        self.constants = {one.name: one for one in graph.initializer}
        self.outputs = [one.name for one in graph.output]
        self.weights: list[np.ndarray] = []
        self.lines: list[str] = []
        self.readers = Counter(name for node in graph.node for name in node.input if name not in self.constants)
        self.copies: dict[str, list[str]] = {}          # of values that have several readers
        self.followers = {node.input[0]: node for node in graph.node if self.readers[node.input[0]] == 1}
        self.fused: set[str] = set()                    # activations that a convolution does besides
        self.blobs = 0
        self._add("Input", "images", [], ["images"])
        for node in graph.node:
            if node.output[0] not in self.fused:
                self._translate(node)

    @property
    def text(self) -> str:
        """The content of a .param file."""
        return "\n".join([str(MAGIC), f"{len(self.lines)} {self.blobs}", *self.lines]) + "\n"

    def _add(self, kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], **parameters: Any) -> None:
        """A layer, and behind it one that copies what several read. Parameters are named p and their number."""
        sources = [self.copies[one].pop() if one in self.copies else one for one in inputs]
        words = [kind, name, len(sources), len(outputs), *sources, *outputs]
        for key, value in parameters.items():
            number = int(key[1:])
            words.append(f"{ARRAY - number}={len(value)},{','.join(map(str, value))}" if isinstance(value, list)
                         else f"{number}={value}")
        self.lines.append(" ".join(map(str, words)))
        self.blobs += len(outputs)
        for one in outputs:
            if (count := self.readers[one]) > 1:
                self.copies[one] = [f"{one}*{number}" for number in range(count)]
                self.lines.append(" ".join(["Split", f"{one}*", "1", str(count), one, *self.copies[one]]))
                self.blobs += count

    def _value(self, name: str) -> np.ndarray | None:
        """A constant, or None for what is computed."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def _translate(self, node: onnx.NodeProto) -> None:
        kind, inputs, outputs = node.op_type, list(node.input), list(node.output)
        a = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        values = [self._value(name) for name in inputs]
        name, fixed = outputs[0], [value for value in values[1:] if value is not None]
        computed = all(value is None for value in values)
        if kind == "Conv" and values[1] is not None:
            self._convolution(node, a, values[1], values[2] if len(values) > 2 else None)
        elif kind in SIMPLE:
            self._add(SIMPLE[kind], name, inputs, outputs)
        elif kind == "LeakyRelu":
            self._add("ReLU", name, inputs, outputs, p0=a["alpha"])
        elif kind == "Clip" and len(fixed) == 2:
            self._add("Clip", name, inputs[:1], outputs, p0=float(fixed[0]), p1=float(fixed[1]))
        elif kind in ARITHMETIC and computed:
            self._add("BinaryOp", name, inputs, outputs, p0=ARITHMETIC[kind])
        elif kind in ARITHMETIC and values[0] is None and fixed[0].size == 1:
            self._add("BinaryOp", name, inputs[:1], outputs, p0=ARITHMETIC[kind], p1=1, p2=float(fixed[0].item()))
        elif kind == "Concat" and a["axis"] == 1 and computed:
            self._add("Concat", name, inputs, outputs, p0=0)
        elif kind == "Split" and a["axis"] == 1:
            self._add("Slice", name, inputs[:1], outputs, p0=fixed[0].tolist(), p1=0)
        elif kind == "Slice" and len(fixed) == 3 and fixed[2].tolist() != [0]:
            starts, ends, axes = (value.tolist() for value in fixed)
            self._add("Crop", name, inputs[:1], outputs, p9=starts, p10=ends, p11=[axis - 1 for axis in axes])
        elif kind in ("MaxPool", "AveragePool"):
            (h, w), (down, right), (top, left, bottom, end) = a["kernel_shape"], a["strides"], a.get("pads", [0] * 4)
            self._add("Pooling", name, inputs, outputs, p0=int(kind == "AveragePool"), p1=w, p11=h, p2=right, p12=down,
                      p3=left, p13=top, p14=end, p15=bottom, p5=1)
        elif kind == "Resize" and a["mode"] == b"nearest":
            _, _, high, wide = fixed[-1].tolist()
            self._add("Interp", name, inputs[:1], outputs, p0=1, p1=high, p2=wide)
        elif kind == "GlobalAveragePool":
            self._add("Reduction", name, inputs, outputs, p0=3, p1=0, p3=[1, 2], p4=1, p5=1)
        elif kind == "Reshape" and len(sides := fixed[0].tolist()) in (2, 3, 4) and sides[0] in (0, 1):
            self._add("Reshape", name, inputs[:1], outputs, **{f"p{at}": side for at, side in enumerate(sides[:0:-1])})
        elif kind == "Softmax":
            self._add("Softmax", name, inputs, outputs, p0=a["axis"] - 1, p1=1)
        elif kind == "Identity":
            self._add("Noop", name, inputs, outputs)
        else:
            place = self.layers[int(name.partition("_")[0])].place         # values are named "3_shortcut/Pad_7"
            raise place.error("cannot be said in ncnn", reason=Reason.UNSUPPORTED)

    def _convolution(self, node: onnx.NodeProto, a: dict[str, Any], weight: np.ndarray, bias: np.ndarray | None
                     ) -> None:
        """A convolution, with the activation that alone reads its output."""
        (down, right), (top, left, bottom, end) = a.get("strides", [1, 1]), a.get("pads", [0] * 4)
        (high, wide), (h, w), groups = a.get("dilations", [1, 1]), weight.shape[2:], a.get("group", 1)
        parameters: dict[str, Any] = {
            "p0": len(weight), "p1": w, "p11": h, "p2": wide, "p12": high, "p3": right, "p13": down,
            "p4": left, "p14": top, "p15": end, "p16": bottom, "p5": int(bias is not None),
            "p6": weight.size} | ({"p7": groups} if groups > 1 else {})
        output, follower = node.output[0], self.followers.get(node.output[0])
        if follower is not None and follower.op_type in FUSED:
            kind = follower.op_type
            slopes = ([helper.get_attribute_value(follower.attribute[0])] if kind == "LeakyRelu" else
                      [float(numpy_helper.to_array(self.constants[one])) for one in follower.input[1:]])
            parameters |= {"p9": FUSED[kind]} | ({"p10": slopes} if slopes else {})
            output = follower.output[0]
            self.fused.add(output)
        self._add("ConvolutionDepthWise" if groups > 1 else "Convolution", node.output[0], node.input[:1], [output],
                  **parameters)
        self.weights += [np.zeros(1, np.uint32), weight]        # a flag: float32
        self.weights += [] if bias is None else [bias]

