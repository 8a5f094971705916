"""Builder of ONNX graphs, to which each layer adds its nodes."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from darknet_py.layers import Shape

SIMPLE = {"logistic": "Sigmoid", "relu": "Relu", "elu": "Elu", "tanh": "Tanh"}


class Graph:
    """Nodes in order. Values are known by name; a node has the name of its first output.

    Args:
        opset: of ONNX's default domain, from 13 on.
        half: float16 throughout.
        resizable: the sides of images are free, so nothing may depend on them.
    """

    LEAST = "least"             # the smallest number there is, for ``pad``

    def __init__(self, opset: int, *, half: bool = False, resizable: bool = False):
        self.opset, self.half, self.resizable = opset, half, resizable
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.scope = ""         # of the names of new nodes

    def __call__(self, kind: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node.

        Args:
            inputs: names; floats and integers become constants; None where an optional one is left out.
            outputs: how many it has.

        Returns:
            The name of its output, or of all in a list where it has several.
        """
        names = ["" if one is None else one if isinstance(one, str) else self.constant(one) for one in inputs]
        start = f"{self.scope}/{kind}_{len(self.nodes)}"
        made = [start if number == 0 else f"{start}:{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, names, made, name=start, **attributes))
        return made[0] if outputs == 1 else made

    def constant(self, value: Tensor | Sequence[int] | float | int) -> str:
        """A tensor: floats in the graph's precision; lists and whole numbers are int64."""
        if isinstance(value, Tensor):
            array = value.detach().cpu().contiguous().numpy()
        else:
            array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        if array.dtype.kind == "f":
            array = array.astype(np.float16 if self.half else np.float32)
        if array.size <= 4:                         # these come again and again
            name = f"constant {array.dtype} {array.tolist()}"
        else:
            name = f"{self.scope}/constant_{len(self.initializers)}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def reshape(self, x: str, *sides: int) -> str:
        """Other sides behind the batch."""
        return self("Reshape", x, self.constant([0, *sides]))

    def slice(self, x: str, axis: int, start: int, end: int) -> str:
        return self("Slice", x, *(self.constant([number]) for number in (start, end, axis)))

    def split(self, x: str, axis: int, sizes: Sequence[int]) -> list[str]:
        """Parts of given sizes; for a size of 0 the name is empty."""
        some = [size for size in sizes if size]
        parts = iter([x] if len(some) == 1 else
                     self("Split", x, self.constant(some), outputs=len(some), axis=axis))
        return [next(parts) if size else "" for size in sizes]

    def pad(self, x: str, value: float | str, *, before: tuple[int, int] = (0, 0), after: tuple[int, int] = (0, 0),
            after_channels: int = 0) -> str:
        """(N, C, H, W) with more places around; with none x itself."""
        pads = [0, 0, *before, 0, after_channels, *after]
        if not any(pads):
            return x
        if value == self.LEAST:
            value = float(np.finfo(np.float16 if self.half else np.float32).min)
        return self("Pad", x, self.constant(pads), self.constant(torch.tensor(value)))

    def pool(self, kind: str, x: str, layer: Any) -> str:
        """A pooling with Darknet's borders."""
        left, right, top, bottom = layer.border
        if right < 0 or bottom < 0:                 # windows that do not reach the end: what is left over goes
            _, height, width = layer.shapes[0]
            x = self.slice(self.slice(x, 2, 0, height + min(bottom, 0)), 3, 0, width + min(right, 0))
        pads = [top, left, max(bottom, 0), max(right, 0)]
        return self(kind, x, kernel_shape=[layer.size] * 2, strides=layer.inner_stride, pads=pads)

    def reduce(self, kind: str, x: str, axis: int, keepdims: int = 1) -> str:
        """ReduceSum, ReduceMax ... over an axis."""
        if self.opset >= (13 if kind == "Sum" else 18):
            return self(f"Reduce{kind}", x, self.constant([axis]), keepdims=keepdims)
        return self(f"Reduce{kind}", x, axes=[axis], keepdims=keepdims)

    def upsample(self, x: str, factor: int) -> str:
        """Each value repeated over a square."""
        scales = numpy_helper.from_array(np.array([1, 1, factor, factor], np.float32), f"scales {factor}")
        self.initializers[scales.name] = scales     # float32 even where all else is float16
        return self("Resize", x, None, scales.name, mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric")

    def grid(self, x: str, shape: Shape) -> tuple[str, str]:
        """Of the places of x (N, C, H, W): their columns and rows (1, 2, H, W), and W and H (1, 2, 1, 1), as floats."""
        if not self.resizable:
            columns, rows = torch.meshgrid(torch.arange(shape.width), torch.arange(shape.height), indexing="xy")
            return (self.constant(torch.stack([columns, rows])[None].float()),
                    self.constant(torch.tensor([shape.width, shape.height]).view(1, 2, 1, 1).float()))
        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        sides = self("Shape", x)
        height, width = (self.slice(sides, 0, axis, axis + 1) for axis in (2, 3))
        lines = []
        for side, whole in ((width, [1, 1, 1, -1]), (height, [1, 1, -1, 1])):
            line = self("Range", 0, self("Squeeze", side, [0]), 1)
            line = self("Cast", self("Reshape", line, whole), to=kind)
            lines.append(self("Expand", line, self("Concat", self.constant([1, 1]), height, width, axis=0)))
        cells = self("Cast", self("Reshape", self("Concat", width, height, axis=0), [1, 2, 1, 1]), to=kind)
        return self("Concat", *lines, axis=1), cells

    def corners(self, xy: str, wh: str) -> str:
        """Centres and sizes (N, 2, ...) to x1, y1, x2, y2 (N, 4, K)."""
        half = self("Mul", wh, .5)
        return self.reshape(self("Concat", self("Sub", xy, half), self("Add", xy, half), axis=1), 4, -1)

    def piecewise(self, x: str, bounds: tuple[float, float], low: Any, middle: Any, high: Any) -> str:
        """One function below the bounds, one between them and one above, which meet there."""
        upper = self("Where", self("Greater", x, bounds[1]), high, middle)
        return self("Where", self("Less", x, bounds[0]), low, upper)

    def activation(self, name: str, x: str) -> str:
        """One of Darknet's activations (see ``layers.activations``)."""
        if name in SIMPLE:
            return self(SIMPLE[name], x)
        match name:
            case "linear":
                return x
            case "leaky" | "revleaky" | "relie":
                return self("LeakyRelu", x, alpha=.01 if name == "relie" else .1)
            case "relu6":
                return self("Clip", x, 0., 6.)
            case "hardtan":
                return self("Clip", x, -1., 1.)
            case "swish":
                return self("Mul", x, self("Sigmoid", x))
            case "mish":
                return self("Mish", x) if self.opset >= 18 else self("Mul", x, self("Tanh", self("Softplus", x)))
            case "loggy":
                return self("Sub", self("Mul", self("Sigmoid", x), 2.), 1.)
            case "selu":
                return self("Selu", x, alpha=1.6732, gamma=1.0507)
            case "ramp":
                return self("Add", self("Relu", x), self("Mul", x, .1))
            case "gelu":
                cube = self("Mul", self("Mul", x, x), self("Mul", x, .035677))
                gate = self("Add", self("Tanh", self("Add", self("Mul", x, .797885), cube)), 1.)
                return self("Mul", self("Mul", x, .5), gate)
            case "hard_mish":
                bent = self("Add", self("Mul", self("Mul", x, x), .5), x)
                return self.piecewise(x, (-2., 0.), 0., bent, x)
            case "plse":
                low, high = (self("Add", self("Mul", self("Add", x, end), .01), base)
                             for end, base in ((4., 0.), (-4., 1.)))
                return self.piecewise(x, (-4., 4.), low, self("Add", self("Mul", x, .125), .5), high)
            case "lhtan":
                high = self("Add", self("Mul", self("Sub", x, 1.), .001), 1.)
                return self.piecewise(x, (0., 1.), self("Mul", x, .001), x, high)
            case "stair":
                step, half = self("Floor", x), self("Floor", self("Mul", x, .5))
                rising = self("Add", self("Sub", x, step), half)
                even = self("Equal", self("Sub", step, self("Mul", half, 2.)), 0.)
                return self("Where", even, half, rising)
            case "normalize_channels":
                positive = self("Relu", x)
                return self("Div", positive, self("Add", self.reduce("Sum", positive, 1), 1e-4))
            case "normalize_channels_softmax" | "normalize_channels_softmax_maxval":
                if name.endswith("maxval"):
                    x = self("Sub", x, self.reduce("Max", x, 1))
                e = self("Exp", x)
                y = self("Div", e, self("Add", self.reduce("Sum", e, 1), 1e-4))
                return self("Where", self("IsNaN", y), 0., y)
        raise AssertionError(f"no activation {name}")
