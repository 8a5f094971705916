"""Runtimes that a network runs on, one file each, and the one place where they are chosen, built and cached."""
from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import torch

from darknet_py.cfg.metadata import FORMS, is_model, stored_cfg
from darknet_py.errors import BackendWarning, CfgError, DarknetError, DataError, Reason, cause, suggestion
from darknet_py.inference.backends.base import INT8, PRECISIONS, Backend, suggested_precision
from darknet_py.inference.backends.compile import Compiled
from darknet_py.inference.backends.ncnn import Ncnn
from darknet_py.inference.backends.onnxruntime import OnnxRuntime
from darknet_py.inference.backends.openvino import OpenVino
from darknet_py.inference.backends.parity import ALLOWED, Parity, difference
from darknet_py.inference.backends.pytorch import PyTorch, prepare_for_inference
from darknet_py.inference.backends.tensorrt import TensorRT
from darknet_py.inference.backends.torchscript import Exported, TorchScript
from darknet_py.inference.decoded import heads_of
from darknet_py.model.network import LazyNetwork, Network
from darknet_py.model.weights import MOST_BYTES
from darknet_py.utils.cache import Cache, cache_folder
from darknet_py.utils.device import device_name
from darknet_py.utils.files import check_regular
from darknet_py.utils.machine import cpu_features
from darknet_py.utils.version import __version__

BACKENDS: dict[str, type[Backend]] = {backend.name: backend for backend in (
    PyTorch, Compiled, Ncnn, OpenVino, OnnxRuntime, TensorRT, TorchScript, Exported)}
FEW = 50                # images for which it does not pay to compile a model
ON_CPU = (Ncnn, OpenVino)               # of which "auto" takes one
WINOGRAD = .5           # of a network's FLOPs: where Winograd's algorithm can do so many, ncnn is the faster


def choose(network: Network, device: str | int | torch.device = "auto", precision: str = "float32"
           ) -> tuple[tuple[str, ...], str]:
    """The backend that "auto" stands for, the fastest at float32's accuracy, behind it those that take its place where
    it cannot express the network, and why, in words.

    Args:
        network: need not have its weights.

    Returns:
        Names, of which the last is "pytorch"; and why.
    """
    if torch.cuda.is_available() if device == "auto" else str(device) != "cpu":
        return ("pytorch",), "there is a GPU"
    stateful = next((layer for layer in network.layers if layer.stateful), None)
    if stateful is not None:
        return ("pytorch",), f"layer {stateful.place.index} [{stateful.kind}] remembers earlier images"
    if 0 < network.reached < len(network.layers):
        return ("pytorch",), f"the weights end after {network.reached} of {len(network.layers)} layers"
    able = [kind.name for kind in ON_CPU if precision in kind.precisions]
    names = [name for name in able if all(map(find_spec, BACKENDS[name].packages))]
    if missing := [name for name in able if name not in names]:
        why = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
    elif len(names) == 1:
        why = f"it computes in {precision}"
    else:
        flops = sum(layer.flops for layer in network.layers)
        share = sum(layer.flops for layer in network.layers if layer.winograd) / max(flops, 1)
        why = f"{100 * share:.0f} % of the FLOPs are plain 3 x 3 convolutions"
        if share < WINOGRAD:
            names.reverse()
        if Cache(cache_folder()).has(_refusal_key(network, names[0])):
            names, why = names[1:], f"{names[0]} cannot express the network"
    return (*names, "pytorch"), why


def open_backend(files: LazyNetwork, backend: str = "auto", precision: str = "float32",
                 device: str | int | torch.device = "auto", layers: Sequence[int] | None = None, few: bool = False
                 ) -> Backend:
    """A network on a runtime. A compiled model is checked against PyTorch, and cached.

    Args:
        files: the network; its weights are loaded if no compiled model is cached, and it is then folded. Or a model
            (``files.model``) as ``convert`` and ``convert.quantize`` write it; then that runs as it is, on the backend
            of its extension or the one named.
        backend: one of ``BACKENDS``, or "auto", see ``choose``.
        precision: one of ``PRECISIONS``; ``INT8`` of a model that is in int8, where "float32" stands for that too.
        device: see ``utils.device.device_name``.
        layers: see ``Backend``.
        few: there will be so few images (up to ``FEW``) that "auto" compiles nothing for them: it takes PyTorch unless
            a compiled model is cached.

    Raises:
        DarknetError: no such backend, precision or device, a package is missing, the backend cannot run this network,
            or it gives something else than PyTorch.
    """
    if backend not in BACKENDS and backend != "auto":
        raise DarknetError(f"expected a backend (auto, {', '.join(BACKENDS)}), found {backend}"
                           + suggestion(backend, BACKENDS))
    if precision not in (*PRECISIONS, INT8):
        raise DarknetError(f"expected a precision ({', '.join((*PRECISIONS, INT8))}), found {precision}"
                           + suggested_precision(precision))
    device = device_name(device) if backend == "auto" else device
    if files.model is not None:
        return load_model(files.outline, files.model, backend, precision, device, layers)
    if precision == INT8:
        raise DarknetError(f"precision={INT8} needs a model in the place of {files.weights}; darknet-py quantize makes "
                           "one from it")
    if backend != "auto":
        built = _open(files, BACKENDS[backend], precision, device, layers)
        assert built is not None
        return built
    names, _ = choose(files.outline, device, precision)
    for name in names[:-1]:
        try:
            if (one := _open(files, BACKENDS[name], precision, device, layers, not few)) is not None:
                return one
        except DarknetError as error:
            if name == names[-2]:
                warnings.warn(f"{error}; PyTorch takes its place", BackendWarning, stacklevel=2)
            elif isinstance(error, CfgError) and error.reason is Reason.UNSUPPORTED:
                with suppress(DataError):       # else it is tried again
                    Cache(cache_folder()).put(_refusal_key(files.outline, name), b"")
    return build_backend(files.network, "pytorch", precision, device, layers)


def build_backend(network: Network, name: str = "pytorch", precision: str = "float32",
                  device: str | int | torch.device = "auto", layers: Sequence[int] | None = None) -> Backend:
    """A network that has its weights on the runtime of that name, checked, not cached; see ``open_backend``."""
    backend = BACKENDS[name]
    precision = backend.supported(precision)
    if backend is PyTorch and precision == "float32":
        return PyTorch.build(network, device, layers)
    x = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(0))
    prepare_for_inference(network)
    reference = PyTorch(network, layers)
    expected = tuple(output.float().cpu() for output in reference(x))
    reference.reset_state()
    try:
        built = backend.build(network, device, layers, precision)
        outputs = [output.float().cpu() for output in built(x)]
    except RuntimeError as error:       # of a layer that the runtime has not in this precision, for one
        raise DarknetError(f"backend={name} cannot run this network in {precision}: {_first_line(error)}") from None
    built.reset_state()
    if not all(output.isfinite().all() for output in expected):
        return built                    # which says so when it runs on an image
    parity = Parity(difference(expected, outputs), ALLOWED[precision], 1)
    if not parity.good:
        raise DarknetError(f"backend={name} gives something else in {precision} than PyTorch in float32: {parity}")
    return built


def build_fastest(network: Network, device: str | int | torch.device = "auto", layers: Sequence[int] | None = None
                  ) -> Backend:
    """A network that has its weights on the first of those that ``choose`` names that can express it, not cached."""
    for name in choose(network, device)[0][:-1]:
        with suppress(DarknetError):
            return build_backend(network, name, "float32", device, layers)
    return build_backend(network, "pytorch", "float32", device, layers)


def load_model(network: Network, path: Path, backend: str = "auto", precision: str = "float32",
               device: str | int | torch.device = "auto", layers: Sequence[int] | None = None) -> Backend:
    """A model in a file on a runtime that reads it, see ``open_backend``.

    Args:
        network: that it was made of; the weights are not needed.

    Raises:
        DarknetError: the runtime does not read or accept it, or it is another network's.
    """
    able = backends_of(path)
    if backend not in ("auto", *able):
        raise DarknetError(f"{path}: expected backend={' or '.join(able)}, found {backend}")
    kind = BACKENDS[able[0] if backend == "auto" else backend]
    kind.require()
    if backend != "auto":
        kind.check_device(device)
    try:
        check_regular(path, MOST_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot read the model: {cause(error)}", Reason.reading(error)) from None
    stored = network.cfg.stored
    if stored is not None and stored.form == "nms":
        raise DarknetError(f"{path}: gives {FORMS['nms']} (-outputs nms), for other programs; expected a model that "
                           "darknet-py convert makes without that, or with -outputs boxes")
    heads = heads_of(network)
    shapes = [(2, *head.onnx_shape(False)) for head in heads]
    try:
        model = kind.load(network, path, device)
        if stored is not None:
            model.count, model.joins, model.heads = stored.batch, stored.form == "boxes", heads
        found = [tuple(output.shape) for output in model(torch.zeros(2, *network.input_shape))]
    except Exception as error:          # the runtimes have no common kind of error
        made, here = _input_of(path), (network.input_shape.width, network.input_shape.height)
        if made not in (None, here):
            raise DarknetError(f"{path}: was made for an input of {_sides([made])}, found {_sides([here])}; darknet-py "
                               f"convert -size {here[0]}x{here[1]} makes another one") from None
        raise DarknetError(f"{path}: {kind.name} does not accept this model for the network: "
                           f"{_first_line(error)}; its input here is {network.input_shape}") from None
    if found != shapes or tuple(model.indices if layers is None else layers) != tuple(network.heads):
        raise DarknetError(f"{path}: expected a model that gives {_sides(shapes)} for 2 images, the outputs of the "
                           f"network's heads, found {_sides(found)}")
    if precision not in (PRECISIONS[0], model.precision):
        raise DarknetError(f"{path}: computes in {model.precision}, found precision={precision}")
    return model


def backends_of(model: Path) -> list[str]:
    """The names of the backends that read a file of one of ``MODELS``, first the one that it is made for."""
    suffix = model.suffix.lower()
    able = [kind for kind in BACKENDS.values() if suffix in kind.reads]
    return [kind.name for kind in sorted(able, key=lambda kind: kind.reads.index(suffix))]


def _input_of(path: Path) -> tuple[int | None, int | None] | None:
    """Width and height of the input that a model was made for; None where it does not say so."""
    with suppress(DarknetError):
        stored = stored_cfg(path).stored if is_model(path) else None
        return None if stored is None else (stored.width, stored.height)
    return None


def _sides(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes)


def _first_line(error: Exception) -> str:
    """That of an error's message, behind the places in its own code that OpenVINO begins with."""
    lines = str(error).strip().splitlines()
    return next((line for line in lines if not line.startswith(("Exception from ", "Check '"))),
                lines[-1] if lines else type(error).__name__)


def _open(files: LazyNetwork, backend: type[Backend], precision: str, device: str | int | torch.device,
          layers: Sequence[int] | None, build: bool = True) -> Backend | None:
    """The backend from the cache, or built unless ``build`` is False."""
    models = Cache(cache_folder())
    keep = backend.cached and models.folder is not None and files.weights is not None

    def look_up(precision: str) -> tuple[str, memoryview | DataError | None]:
        assert files.weights is not None
        key = _key(files.outline, models.hash_of(files.weights), backend, precision, layers)
        try:
            return key, models.get(key)
        except DataError as error:
            return key, error

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(look_up, precision) if keep else None
        backend.require()               # imports it meanwhile
        backend.check_device(device)
        device = device_name(device)
        if (supported := backend.supported(precision)) != precision:
            precision, found = supported, pool.submit(look_up, supported) if keep else None
        if backend.exports is not None and files.weights is not None:
            files.outline.check_exportable(backend.exports)
        key, content = ("", None) if found is None else found.result()
    try:
        if isinstance(content, DataError):
            raise content
        if content is not None:
            return _restore(files.outline, backend, content, layers, precision, models.path(key))
    except DataError as error:
        warnings.warn(f"{error}; the model is compiled again", BackendWarning, stacklevel=3)
    if not build:
        return None
    built = build_backend(files.network, backend.name, precision, device, layers)
    if keep:
        try:
            models.put(key, built.stored())
        except DataError as error:
            warnings.warn(f"{error}; the model is compiled anew at each start", BackendWarning, stacklevel=3)
    return built


def _restore(network: Network, backend: type[Backend], content: memoryview, layers: Sequence[int] | None,
             precision: str, path: object) -> Backend:
    """Raises:
        DataError: the runtime does not accept the model.
    """
    try:
        return backend.restore(network, content, layers, precision)
    except Exception as error:          # the runtimes have no common kind of error
        raise DataError(f"{path}: {backend.name} does not accept the cached model: {_first_line(error)}",
                        Reason.CORRUPT) from None


def _key(network: Network, weights: str, backend: type[Backend], precision: str, layers: Sequence[int] | None) -> str:
    """The cache key of a compiled model: a hash of all that it depends on."""
    trees = [tree.parent.tolist() for tree in (getattr(layer, "tree", None) for layer in network.layers)
             if tree is not None]
    return _hash(network.cfg.text, weights, tuple(network.input_shape), trees, backend.name, precision, layers,
                 __version__, backend.versions(), cpu_features())


def _refusal_key(network: Network, backend: str) -> str:
    """The cache key of that a backend cannot express a network."""
    return _hash(network.cfg.text, backend, __version__)


def _hash(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()
