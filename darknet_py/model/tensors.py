"""Weights as named tensors: writing and reading of .safetensors and PyTorch's .pt, and matching of foreign names."""
from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from darknet_py.errors import Reason, WeightsError, cause, printable
from darknet_py.model.stored_tensors import StoredTensor
from darknet_py.model.torch_file import read_checkpoint
from darknet_py.model.unpickler import Unread
from darknet_py.model.weights import MOST_BYTES, VERSION, Header, read_header
from darknet_py.utils.files import check_regular

if TYPE_CHECKING:
    from darknet_py.model.network import Network

EXTENSIONS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
NOT_WEIGHTS = "num_batches_tracked"         # PyTorch's counter beside the weights of batch normalisation
NESTED = ("state_dict", "model", "ema", "model_state_dict", "weights")      # where checkpoints keep the tensors
DTYPES = {getattr(torch, name) for name in (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16", "uint32",
    "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz") if hasattr(torch, name)}
MOST_NAME = 1000                # characters
MOST_HEADER = 1 << 23           # bytes of a .safetensors file's list of tensors, 100 a tensor


class Tensors(NamedTuple):
    """The tensors of a file.

    named: by name, in the file's order.
    header: of the .weights file that they came from, else as Darknet writes it.
    layers: how many leading layers they belong to, where the file says so.
    """

    named: dict[str, Tensor | StoredTensor]
    header: Header = Header(*VERSION, 0, 20)
    layers: int | None = None


def to_tensors(network: Network) -> dict[str, Tensor]:
    """The weights of the layers that have theirs from a file, by PyTorch's names, float32."""
    return {name: tensor.detach().to("cpu", torch.float32).contiguous()
            for name, tensor in network.state_dict().items() if int(name.split(".")[1]) < network.reached}


def safetensors_bytes(network: Network, header: Header, metadata: Mapping[str, str]) -> bytes:
    """A .safetensors file with cfg, header and more in its metadata, by key: ``save`` puts those in a random order."""
    texts = {**_metadata(network, header), **metadata}
    data = save(to_tensors(network), texts)
    end = 8 + int.from_bytes(data[:8], "little")
    start = json.dumps({"__metadata__": dict(sorted(texts.items())), **{
        name: value for name, value in json.loads(data[8:end]).items() if name != "__metadata__"}}).encode()
    start += b" " * (-len(start) % 8)
    return len(start).to_bytes(8, "little") + start + data[end:]


def checkpoint_bytes(network: Network, header: Header, metadata: Mapping[str, str]) -> bytes:
    """A .pt file: ``state_dict``, and cfg, header and more beside it."""
    buffer = io.BytesIO()
    torch.save({"state_dict": to_tensors(network), **_metadata(network, header), **metadata}, buffer)
    return buffer.getvalue()


def _metadata(network: Network, header: Header) -> dict[str, str]:
    text = network.cfg.text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return {"format": "darknet_py", "cfg": text, "header": json.dumps(header), "layers": str(network.reached)}


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
        raise WeightsError(f"{path}: cannot read the file: {cause(error)}", Reason.reading(error)) from None
    begins = _begins(path)
    archive = begins == "checkpoint" or (begins == "" and Path(path).suffix.lower() != ".safetensors")
    return _read_checkpoint(path) if archive else _read_safetensors(path)


def _read_safetensors(path: str | os.PathLike) -> Tensors:
    try:
        with open(path, "rb") as file:
            if (size := int.from_bytes(file.read(8), "little")) > MOST_HEADER:
                raise ValueError(f"a header of {size} bytes")
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            named = {name: file.get_tensor(name) for name in file.keys()}           # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:    # of odd types
        raise WeightsError(f"{path}: not a whole .safetensors file: {printable(str(error)[:200])}",
                           Reason.CORRUPT) from None
    return _with_header(path, named, {} if metadata is None else metadata)


def _read_checkpoint(path: str | os.PathLike) -> Tensors:
    found = read_checkpoint(path)
    metadata = found if isinstance(found, dict) else {}
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    named = {str(key): value for key, value in found.items() if isinstance(value, StoredTensor)
             or (isinstance(value, Unread) and value.tensor)} if isinstance(found, dict) else {}
    if not named:
        raise WeightsError(f"{path}: expected a state dict (names and tensors), found {type(found).__name__}",
                           Reason.WRONG_FORMAT)
    return _with_header(path, named, metadata)


def _with_header(path: str | os.PathLike, found: Mapping[str, Tensor | StoredTensor | Unread], metadata: Mapping
                 ) -> Tensors:
    """Dense tensors of real numbers with the header and number of layers of the metadata, where the file has them."""
    named: dict[str, Tensor | StoredTensor] = {}
    for name, value in found.items():
        if len(name) > MOST_NAME or not name.isprintable():
            raise WeightsError(f"{path}: expected printable names of at most {MOST_NAME} characters, found "
                               f"{printable(name[:40])} ...", Reason.BAD_VALUE)
        if isinstance(value, Unread) or value.dtype not in DTYPES:
            kind = value.tensor if isinstance(value, Unread) else f"a tensor of {value.dtype}"
            raise WeightsError(f"{path}: expected dense tensors of real numbers, found {kind}, {name}",
                               Reason.WRONG_FORMAT)
        if isinstance(value, StoredTensor):
            value.check()
        named[name] = value
    if "header" not in metadata:
        return Tensors(named)
    try:
        return Tensors(named, _header(metadata["header"]), _whole_number(metadata["layers"]))
    except (KeyError, ValueError, TypeError, RecursionError):
        raise WeightsError(f"{path}: expected a header of five whole numbers and a number of layers beside the "
                           "tensors, found something else", Reason.WRONG_FORMAT) from None


def _header(text: str) -> Header:
    """The header of a .weights file, as ``_metadata`` writes it."""
    numbers = json.loads(text[:MOST_NAME])
    header = Header(*(_whole_number(str(number)) for number in numbers))
    if max(header[:3]) >= 1 << 31 or header.seen >= 1 << (64 if header.major * 10 + header.minor >= 2 else 32):
        raise ValueError
    return header


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise ValueError
    return int(text)


def header_of(path: str | os.PathLike) -> Header:
    """The header of a weights file of any format; see ``read_header``, ``read_tensors``."""
    return read_tensors(path).header if holds_tensors(path) else read_header(path)


def check(path: str | os.PathLike, network: Network) -> tuple[Header, int]:
    """Check that a network can be filled from a file of tensors, whose header and number of layers it returns.

    Raises:
        WeightsError: see ``read_tensors``, ``fill``.
    """
    tensors = read_tensors(path)
    _match(network, tensors, path)
    return tensors.header, len(network.layers) if tensors.layers is None else tensors.layers


def fill(network: Network, tensors: Tensors, path: object) -> str:
    """Give a network the weights of a file: ours by name, those of other programs by order and shape.

    Returns:
        How the tensors were matched, in a line.

    Raises:
        WeightsError: they do not fit; the network is as it was.
    """
    pairs, how, rest = _match(network, tensors, path)
    network.load_state_dict({name: tensors.named[other].to(torch.float32) for name, other in pairs}, strict=False)
    network.reached = len(network.layers) if tensors.layers is None else tensors.layers
    return f"{len(pairs)} tensors of {network.reached} layers, {how}" + (
        f"; {rest} of another kind passed over" if rest else "")


def _match(network: Network, tensors: Tensors, path: object) -> tuple[list[tuple[str, str]], str, int]:
    """Pairs of names, the network's and the file's, of tensors of equal shapes; how they were found; and how many of
    the file are in none."""
    ours = network.state_dict()
    count = len(network.layers) if tensors.layers is None else tensors.layers
    if count > len(network.layers):
        raise WeightsError(f"{path}: has {count} layers, the network {len(network.layers)}: these are of another "
                           "network", Reason.INCOMPATIBLE)
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
    return pairs, how, len(named) - len(pairs)


def _matched(network: Network, named: Mapping[str, Tensor | StoredTensor], path: object) -> list[tuple[str, str]]:
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


def _units(named: Mapping[str, Tensor | StoredTensor]) -> list[dict[str, str]]:
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


def _sides(tensor: Tensor | StoredTensor) -> str:
    return " x ".join(map(str, tensor.shape)) if tensor.dim() else "a single number"
