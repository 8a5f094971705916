"""The network of a cfg: the loop that executes its plan, its weights, and its copies for other uses."""
from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from darknet_py.cfg.language import Cfg
from darknet_py.errors import DarknetError, DataError, Reason, WeightsError
from darknet_py.layers import DetectionHead, Head, Layer, TrainingContext
from darknet_py.layers.base import StraightThrough
from darknet_py.model import tensors as tensors_file
from darknet_py.model import weights as weights_file
from darknet_py.model.plan import HeadPass, Step, make_plan, output_heads, read_net
from darknet_py.model.sharing import share_weights
from darknet_py.utils.device import local_device
from darknet_py.zoo.models import is_name, open_cfg, weights_for

MODELS = (".xml", ".onnx", ".torchscript", ".ts", ".pt2")      # files of whole networks, without Darknet's weights


class Network(nn.Module):
    """A network that a cfg describes, for images of width x height pixels instead of the cfg's, and with a training
    context of its own unless one is given. Build one with ``load_network``.

    Attributes:
        options: the [net] section.
        layers: in cfg order.
        input_shape: of one image.
        heads: indices of the layers whose outputs ``forward`` returns.
        seen: images that the weights were trained on, as their file says.
        reached: leading layers that have their weights from a file.
        fresh: indices of the layers with weights that a loaded file had none for.
        context: the state of training, by which layers act.
    """

    layers: Sequence[Layer]

    def __init__(self, cfg: Cfg, *, width: int | None = None, height: int | None = None,
                 context: TrainingContext | None = None):
        super().__init__()
        self.cfg, self.seen, self.reached, self.folded = cfg, 0, 0, False
        self.fresh: list[int] = []
        self.options, self.input_shape = read_net(cfg, width, height)
        if context is None:
            context = TrainingContext(self.options, self.input_shape.width, self.input_shape.height)
        self.context = context
        self.plan = make_plan(cfg, self.options, self.input_shape, context)
        self.layers = nn.ModuleList([step.layer for step in self.plan])     # type: ignore[assignment]
        self.heads = output_heads(self.layers)

    def __repr__(self) -> str:
        name = "a network" if self.cfg.path is None else self.cfg.path.name
        kinds = ", ".join(f"[{layer.kind}]" for layer in map(self.layers.__getitem__, self.heads))
        return f"{type(self).__name__}({name}: {len(self.layers)} layers, {self.input_shape}, outputs of {kinds})"

    def summary(self) -> str:
        """The table of its layers that Darknet prints, FLOPs, parameters and memory; ``darknet-py info`` prints it."""
        from darknet_py.model.summary import describe  # which needs this module
        return "\n".join(describe(self))

    @property
    def detection_heads(self) -> list[DetectionHead]:
        """The layers whose outputs hold boxes."""
        return [layer for layer in self.layers if isinstance(layer, DetectionHead)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            x: (N, C, H, W) in [0, 1], RGB; for recurrent networks N is time_steps * batch, a step's images together,
                or else the images of one step.

        Returns:
            One tensor a head, in cfg order, as C's ``l.output``: (N, H, W, C) for [region], (N, C, H, W) for others.

        Raises:
            DataError: x has another shape or type than the network's input.
        """
        return tuple(self.outputs_of(x, self.heads))

    def output_of(self, x: Tensor, index: int) -> Tensor:
        """Run the network up to the layer of that index, and return that layer's output; gradients flow back to x."""
        return self.outputs_of(x, [index])[0]

    def outputs_of(self, x: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """``output_of`` x for the layers of several indices; -1 is the input, with the shape of images."""
        outputs = self._execute(x, lambda layer, *xs: layer(*xs), self.plan[:max(indices) + 1], indices)
        return [outputs[index] for index in indices]

    def _execute(self, x: Tensor, run: Callable[..., Tensor], plan: Sequence[Step],
                 kept: Collection[int] = ()) -> list[Any]:
        """Run a plan: ``run`` takes a layer and what it reads, and gives its output.

        Returns:
            The outputs by index, the input last; None for those that no later layer reads and that are not ``kept``.
        """
        outputs: list[Any] = [None] * len(self.plan) + [self._checked(x)]
        for index, (layer, sources, done) in enumerate(plan):
            outputs[index] = run(layer, *[outputs[source] for source in sources])
            for source in done:
                if source not in kept:
                    outputs[source] = None
        return outputs

    def train_heads(self, x: Tensor, frozen: int = 0) -> list[HeadPass]:
        """Run the network for training. Returns each head's input and output.

        Args:
            x: as ``forward`` takes it.
            frozen: leading layers that get no gradient (C's ``stopbackward``).

        A layer that reads a head (as [cost] reads [softmax]) sends its gradient through it unchanged, as in C.
        ``onlyforward=1`` lets no gradient through.
        """
        passes = []

        def run(layer: Layer, *xs: Tensor) -> Tensor:
            with torch.set_grad_enabled(layer.place.index >= frozen):
                output = layer(*xs)
                if isinstance(layer, Head):
                    passes.append(HeadPass(layer, xs[0], output.detach()))
                    output = output if layer.final else StraightThrough.apply(xs[0], output)
            return output.detach() if layer.options.onlyforward else output

        self._execute(x, run, self.plan)
        return passes

    def trace(self, x: Tensor) -> list[Tensor]:
        """Run the network on x and return all outputs: one tensor a layer, each the content of C's ``l.output``."""
        kept = []

        def run(layer: Layer, *xs: Tensor) -> Tensor:
            output = layer(*xs)
            kept.append(layer.darknet_output(output, *xs))
            return output

        self._execute(x, run, self.plan)
        return kept

    def load_weights(self, path: str | os.PathLike, source: Network | None = None) -> int:
        """Load ``path``, a .weights file, or one of tensors (see ``tensors.read_tensors``).

        Args:
            source: the network that it was written for, of as many layers. What has other shapes there is passed over,
                and what the file has seen counts as nothing. None for this network.

        Returns:
            How many leading layers the file reaches; ``len(network.layers)`` unless it ended early.

        Raises:
            WeightsError: the file does not fit; the network is as it was.
        """
        self._not_folded()
        if tensors_file.holds_tensors(path):
            tensors = tensors_file.read_tensors(path)
            tensors_file.fill(self, tensors, path)
            self.seen = tensors.header.seen
            self.fresh = [index for index in range(self.reached, len(self.layers)) if any(self.layers[index].blobs())]
            return self.reached
        written_for = None if source is None else source.layers
        header, self.reached, self.fresh = weights_file.load(path, self.layers, written_for)
        self.seen = header.seen if source is None else 0
        return self.reached

    def check_weights(self, path: str | os.PathLike) -> weights_file.Header:
        """Check that the file ``path`` fits, see ``load_weights``, and take over its ``seen`` and ``reached``."""
        header, self.reached = tensors_file.check(path, self) if tensors_file.holds_tensors(path) else \
            weights_file.check(path, self.layers)
        self.seen = header.seen
        return header

    def save_weights(self, path: str | os.PathLike, layers: int | None = None) -> None:
        """Write a .weights file to ``path``, whole or not at all.

        Args:
            layers: write the first so many only, with ``seen`` 0 (C's ``partial``).
        """
        self._not_folded()
        if layers is None:
            weights_file.save(path, self.layers, self.seen)
        else:
            weights_file.save(path, self.layers[:layers])

    def reset_parameters(self, start: int = 0) -> None:
        """Fill the weights of the layers from ``start`` on as C does before training."""
        _reset(self.layers[start:])

    def reset_state(self) -> None:
        """Reset the state of recurrent layers."""
        for layer in self.layers:
            layer.reset_state()

    def resized(self, width: int, height: int, layers: int | None = None) -> Network:
        """This network for images of width x height pixels: a second plan over the very same weights,
        statistics, mode and training context.

        Args:
            layers: the first so many only; those after them need not fit the size.

        Raises:
            CfgError: the network cannot take that size, or its weights depend on it, as those of [connected] do.
        """
        cfg = self.cfg if layers is None else replace(self.cfg, sections=self.cfg.sections[:layers + 1])
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")         # what the cfg is warned of was said when this one was built
            twin = Network(cfg, width=width, height=height, context=self.context)
            if self.folded:
                twin.fold()
        share_weights(self.layers, twin.layers, f"{width} x {height}")
        twin.reached = min(self.reached, len(twin.layers))
        return twin.train(self.training)

    def set_time_steps(self, time_steps: int) -> None:
        """How many steps (``time_steps``) the images of one call make up in recurrent layers, instead of the cfg's."""
        for layer in self.layers:
            layer.set_time_steps(time_steps)
        self.reset_state()

    def fold(self) -> Network:
        """Fold batch normalisation into the weights: faster, and for inference only. Returns the network itself.

        Its weights can no longer be saved, nor others loaded.
        """
        with torch.no_grad():
            for layer in self.layers:
                layer.fold()
        self.folded = True
        return self

    def check_exportable(self, form: str) -> None:
        """Check that the network can be exported to another runtime.

        Args:
            form: the exported format in words, for the error.

        Raises:
            DarknetError: weights are missing, or a layer carries state from image to image.
        """
        if self.reached < len(self.layers):
            raise DarknetError(f"the weights end after {self.reached} of {len(self.layers)} layers; {form} needs all")
        for layer in self.layers:
            if layer.stateful:
                raise layer.place.error(f"remembers earlier images, which {form} cannot say", reason=Reason.UNSUPPORTED)

    def exportable(self, form: str | None = None) -> Network:
        """A folded copy in inference mode, for another runtime; see ``check_exportable`` for ``form``."""
        if form is not None:
            self.check_exportable(form)
        return copy.deepcopy(self).fold().requires_grad_(False).eval()

    def _not_folded(self) -> None:
        if self.folded:
            raise DarknetError("this network was folded for inference, so its weights are not those of a file; "
                               "load it anew")

    def _checked(self, x: Tensor) -> Tensor:
        """The input, with the shape of images where it came flat."""
        dtype = next((parameter.dtype for parameter in self.parameters()), x.dtype)
        if x.dtype != dtype:
            raise DataError(f"the network takes {dtype}, got {x.dtype}", Reason.WRONG_FORMAT)
        if x.dim() == 2 and x.shape[1] == self.input_shape.size:
            return x.reshape(-1, *self.input_shape)
        if x.dim() != 4 or tuple(x.shape[1:]) != self.input_shape:
            raise DataError(f"the network takes (N, {', '.join(map(str, self.input_shape))}), got {tuple(x.shape)}",
                            Reason.SHAPE_MISMATCH)
        return x


def load_network(cfg: str | os.PathLike | Cfg, weights: str | os.PathLike | None = None, *, width: int | None = None,
                 height: int | None = None, device: str | int | torch.device = "cpu",
                 source: Network | None = None) -> Network:
    """Build a network from a cfg and fill it from a .weights file.

    Args:
        cfg: a path; a name of the zoo, such as "yolov4"; or a ``Cfg`` from ``read_cfg`` or ``parse_cfg``.
        weights: path of a .weights, .safetensors or PyTorch file; layers that it does not reach get C's random start.
            None: of a name the official weights (see ``zoo.models.official_weights``), else all layers get it.
        width, height: in pixels, instead of the cfg's.
        device: see ``utils.device.device_name``.
        source: see ``Network.load_weights``.

    Returns:
        The network, in eval mode, float32.

    Raises:
        CfgError, WeightsError: with file and line, what was expected and what was found.
        DarknetError: no such device.
        DataError, DownloadError: see ``zoo.models.official_weights``.
    """
    device = local_device(device)
    return LazyNetwork(cfg, weights, width=width, height=height, source=source).network.to(device)


class LazyNetwork:
    """A network whose weights are loaded when they are first needed; cfg, weights, width, height and source, and
    errors: see ``load_network``.

    Attributes:
        outline: the network, for what does not depend on weights; until they are loaded they have any values.
        weights: the path; None: the network starts at random.
        model: the path, where it is that of one of ``MODELS`` instead; then there is only the outline.
    """

    def __init__(self, cfg: str | os.PathLike | Cfg, weights: str | os.PathLike | None = None, *,
                 width: int | None = None, height: int | None = None, source: Network | None = None):
        parsed = open_cfg(cfg)
        if (stored := parsed.stored) is not None and weights is not None and Path(weights) != parsed.path:
            parsed = replace(parsed, stored=stored._replace(form="heads", batch=None))      # that of another file
        self.outline = Network(parsed, width=width, height=height).eval()
        if weights is None and (parsed.stored is not None or is_name(cfg)):
            weights = weights_for(parsed)
        self.weights, self.source = weights, source
        self.model = None if weights is None or Path(weights).suffix.lower() not in MODELS else Path(weights)
        if self.model is not None:
            self.outline.reached = len(self.outline.layers)
        elif weights is not None:
            (self.outline if source is None else source).check_weights(weights)
            if source is not None:
                self.outline.reached = source.reached

    @cached_property
    def network(self) -> Network:
        """The network with its weights, in eval mode: the very object ``outline``."""
        network = self.outline
        if self.model is not None:
            raise WeightsError(f"{self.model}: expected a .weights file, found a model for another runtime",
                               Reason.WRONG_FORMAT)
        if self.weights is None:
            network.reset_parameters()
        else:
            _reset(layer for layer in network.layers if layer.options.dontloadscales)   # the file fills the rest
            network.load_weights(self.weights, self.source)
            _reset(network.layers[index] for index in network.fresh)
        return network


def _reset(layers: Iterable[Layer]) -> None:
    with torch.no_grad():
        for layer in layers:
            layer.reset_parameters()
