"""Weights as named tensors: writing and reading of .safetensors and PyTorch's .pt, and matching of foreign names."""
from __future__ import annotations

import io
import json
import os
import pickle
import struct
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from darknet_py.errors import Reason, WeightsError
from darknet_py.model.network import Network
from darknet_py.model.weights import MOST_BYTES, VERSION, Header
from darknet_py.utils.files import check_regular

EXTENSIONS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
NOT_WEIGHTS = "num_batches_tracked"         # PyTorch's counter beside the weights of batch normalisation
NESTED = ("state_dict", "model", "ema", "model_state_dict", "weights")      # where checkpoints keep the tensors

class Tensors(NamedTuple):
    """The tensors of a file.

    named: by name, in the file's order.
    header: of the .weights file that they came from, else as Darknet writes it.
    layers: how many leading layers they belong to, where the file says so.
    """

    named: dict[str, Tensor]
    header: Header = Header(*VERSION, 0, 20)
    layers: int | None = None


def to_tensors(network: Network) -> dict[str, Tensor]:
    """The weights of the layers that have theirs from a file, by PyTorch's names, float32."""
    return {name: tensor.detach().to("cpu", torch.float32).contiguous()
            for name, tensor in network.state_dict().items() if int(name.split(".")[1]) < network.reached}


def safetensors_bytes(network: Network, header: Header) -> bytes:
    """A .safetensors file with cfg and header in its metadata."""
    return save(to_tensors(network), _metadata(network, header))


def checkpoint_bytes(network: Network, header: Header) -> bytes:
    """A .pt file: ``state_dict``, and cfg and header beside it."""
    buffer = io.BytesIO()
    torch.save({"state_dict": to_tensors(network), **_metadata(network, header)}, buffer)
    return buffer.getvalue()


def _metadata(network: Network, header: Header) -> dict[str, str]:
    return {"format": "darknet_py", "cfg": network.cfg.text, "header": json.dumps(header),
            "layers": str(network.reached)}


def holds_tensors(path: str | os.PathLike) -> bool:
    """Whether a file is, by its extension or by how it begins, .safetensors or a PyTorch checkpoint."""
    return Path(path).suffix.lower() in EXTENSIONS or _begins(path) != ""


def _begins(path: str | os.PathLike) -> str:
    """The kind of a file by its first bytes, empty where they tell nothing."""
    try:
        check_regular(path, MOST_BYTES)
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError:
        return ""
    return "checkpoint" if start[:2] in (b"PK", b"\x80\x02") else "safetensors" if start[8:] == b"{" else ""


def read_tensors(path: str | os.PathLike) -> Tensors:
    """The tensors of a .safetensors file, or of a PyTorch checkpoint; nothing in it is executed.

    Raises:
        WeightsError: it cannot be read, or holds something else.
    """
    try:
        check_regular(path, MOST_BYTES)
        open(path, "rb").close()
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the file: {error.strerror}", Reason.reading(error)) from None
    return _read_safetensors(path) if _begins(path) == "safetensors" else _read_checkpoint(path)


def _read_safetensors(path: str | os.PathLike) -> Tensors:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            named = {name: file.get_tensor(name) for name in file.keys()}           # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole .safetensors file: {error}", Reason.CORRUPT) from None
    metadata = {} if metadata is None else metadata
    return _with_header(path, named, metadata)


def _read_checkpoint(path: str | os.PathLike) -> Tensors:
    try:
        with _numpy_allowed():
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(f"{path}: holds Python objects, which would have to be executed to be read; expected "
                           "tensors alone, as of model.state_dict()", Reason.UNSAFE) from None
    except (RuntimeError, EOFError, OSError, ValueError, struct.error) as error:
        raise WeightsError(f"{path}: not a whole PyTorch checkpoint: {str(error).splitlines()[0]}",
                           Reason.CORRUPT) from None
    metadata = found if isinstance(found, Mapping) else {}
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path}: expected a state dict (names and tensors), found {type(found).__name__}",
                           Reason.WRONG_FORMAT)
    return _with_header(path, {str(name): value for name, value in found.items() if isinstance(value, Tensor)},
                        metadata)


def _numpy_allowed() -> AbstractContextManager:
    """Allow NumPy's numbers too, which training programs keep beside the tensors; before PyTorch 2.6 they are
    refused."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        return nullcontext()
    scalar = np.float64(0).__reduce__()[0]              # under the name that NumPy 1 had, too
    return torch.serialization.safe_globals([
        scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType,
        np.dtypes.Int64DType])


def _with_header(path: str | os.PathLike, named: dict[str, Tensor], metadata: Mapping) -> Tensors:
    """Tensors with the header and number of layers of the metadata, where the file has them."""
    if "header" not in metadata:
        return Tensors(named)
    try:
        return Tensors(named, Header(*map(int, json.loads(metadata["header"]))), int(metadata["layers"]))
    except (KeyError, ValueError, TypeError):
        raise WeightsError(f"{path}: expected a header of five whole numbers and a number of layers beside the "
                           "tensors, found something else", Reason.WRONG_FORMAT) from None


def fill(network: Network, tensors: Tensors, path: object) -> str:
    """Give a network the weights of a file: ours by name, those of other programs by order and shape.

    Returns:
        How the tensors were matched, in a line.

    Raises:
        WeightsError: they do not fit; the network is as it was.
    """
    ours = network.state_dict()
    count = len(network.layers) if tensors.layers is None else tensors.layers
    needed = {name: tensor for name, tensor in ours.items() if int(name.split(".")[1]) < count}
    named = {name: value for name, value in tensors.named.items() if not name.endswith(NOT_WEIGHTS)}
    if set(named) <= set(ours):
        how = "by name"
        if missing := [name for name in needed if name not in named]:
            raise WeightsError(f"{path}: lacks {missing[0]} of {_place(network, missing[0])}", Reason.INCOMPATIBLE)
        pairs = [(name, name) for name in needed]
    else:
        how = "by order and shape"
        pairs = _matched(network, named, path)
    for name, other in pairs:
        if ours[name].shape != named[other].shape:
            raise WeightsError(f"{path}: {other} is {_sides(named[other])}, {_place(network, name)} needs "
                               f"{_sides(ours[name])}", Reason.SHAPE_MISMATCH)
    network.load_state_dict({name: named[other].to(torch.float32) for name, other in pairs}, strict=False)
    network.reached = count
    rest = len(named) - len(pairs)
    return f"{len(pairs)} tensors of {count} layers, {how}" + (f"; {rest} of another kind passed over" if rest else "")


def _matched(network: Network, named: Mapping[str, Tensor], path: object) -> list[tuple[str, str]]:
    """Pairs of names, ours and the file's: the n-th layer with weights has the n-th weights of the file."""
    units = _units(named)
    ours = network.state_dict()
    owners = [name.removesuffix("weight") for name in ours if name.endswith(".weight") and ".norm." not in name]
    if len(units) != len(owners):
        raise WeightsError(f"{path}: has {len(units)} layers with weights, the network {len(owners)}: these are of "
                           "another network", Reason.INCOMPATIBLE)
    pairs = []
    for prefix, unit in zip(owners, units, strict=True):
        for part, other in unit.items():
            name = prefix + part
            if name not in ours:
                raise WeightsError(f"{path}: has {other}, for which {_place(network, prefix)} has no place",
                                   Reason.INCOMPATIBLE)
            pairs.append((name, other))
        if missing := [name for name in ours if name.startswith(prefix) and name[len(prefix):] not in unit]:
            raise WeightsError(f"{path}: lacks what {_place(network, prefix)} has as {missing[0]}, behind "
                               f"{unit['weight']}", Reason.INCOMPATIBLE)
    return pairs


def _units(named: Mapping[str, Tensor]) -> list[dict[str, str]]:
    """Tensors that belong together: a kernel or a matrix and what follows it, by the names that a layer of ours has.
    What is not of a convolution, a dense layer or batch normalisation is passed over, as anchors are."""
    units: list[dict[str, str]] = []
    for name, tensor in named.items():
        last = name.rsplit(".", 1)[-1]
        if last == "weight" and tensor.dim() > 1:
            units.append({"weight": name})
        elif units and last == "weight":                                # of batch normalisation
            units[-1]["norm.weight"] = name
        elif units and last in ("bias", "running_mean", "running_var"):
            normalized = last != "bias" or "norm.weight" in units[-1]
            units[-1][f"norm.{last}" if normalized else last] = name
    return units


def _place(network: Network, name: str) -> str:
    layer = network.layers[int(name.split(".")[1])]
    return f"layer {layer.place.index} ([{layer.kind}], line {layer.place.section.line} of the cfg)"


def _sides(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) if tensor.dim() else "a single number"
