"""Reading and writing of binary .weights files: a header, then every layer's tensors as float32.

Darknet: load_weights_upto, save_weights_upto (parser.c). ``Layer.blobs`` gives a layer's tensors in the file's order.
"""
from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import Reason, WeightsError, cause
from darknet_py.layers import Blob, Head, Layer
from darknet_py.utils.files import check_regular, replacing
from darknet_py.zoo.manifest import how_to_get

VERSION = (0, 2, 5)
MOST_BYTES = 1 << 36        # what does not fit the network is refused by its size before it is read


class Header(NamedTuple):
    """The header of a weights file."""

    major: int
    minor: int
    revision: int
    seen: int           # images seen in training
    size: int           # bytes

    @property
    def transposed(self) -> bool:
        """Very old files hold the matrices of connected layers transposed."""
        return self.major > 1000 or self.minor > 1000


def read_header(path: str | os.PathLike) -> Header:
    """The header of a weights file.

    ``seen`` has 64 bits from version 0.2 on, and 32 before.

    Raises:
        WeightsError: no such file, or too short for a header.
    """
    try:
        check_regular(path, MOST_BYTES)
        with open(path, "rb") as file:
            start = file.read(20)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights file; {how_to_get(path)}", Reason.MISSING_FILE) from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the weights file: {cause(error)}", Reason.UNREADABLE) from None
    if len(start) >= 12:
        version: tuple[int, ...] = struct.unpack("<iii", start[:12])
        size = 20 if version[0] * 10 + version[1] >= 2 else 16
        if len(start) >= size:
            seen, = struct.unpack("<Q" if size == 20 else "<I", start[12:size])
            return Header(version[0], version[1], version[2], seen, size)
    raise WeightsError(f"{path}: expected a header of 16 or 20 bytes, found a file of {len(start)} bytes",
                       Reason.TRUNCATED)


def check(path: str | os.PathLike, layers: Sequence[Layer]) -> tuple[Header, int]:
    """Check by sizes alone what ``load`` would fill, without memory for weights.

    Returns:
        The header, and the number of leading layers that the file fills.

    Raises:
        WeightsError: as ``load``.
    """
    header = read_header(path)
    ends = list(accumulate(sum(blob.tensor.numel() for blob in _stored(layer)) for layer in layers))
    return header, _reached(path, os.path.getsize(path) - header.size, layers, ends)


def load(path: str | os.PathLike, layers: Sequence[Layer],
         source: Sequence[Layer] | None = None) -> tuple[Header, int, list[int]]:
    """Fill the layers from a file. It may end between two layers; nothing is changed if it does not fit.

    Args:
        source: the layers that the file was written for, as many; those whose tensors have other shapes are passed
            over. None for these layers themselves.

    Returns:
        The header, the number of leading layers that the file reaches (``len(layers)`` for a whole file), and the
        indices of the layers with weights that got none.

    Raises:
        WeightsError: with both sizes, for a file that ends inside a layer or goes on after the last one.
    """
    source = layers if source is None else source
    header, reached = check(path, source)
    parts: list[list[tuple[Blob | None, int]]] = []     # of each layer the target of a part of the file, and its count
    fresh = []
    for index, (layer, written) in enumerate(zip(layers, source, strict=True)):
        inside = _stored(written) if index < reached else []
        ours = inside if layer is written else _stored(layer)
        fits = [blob.tensor.shape for blob in ours] == [blob.tensor.shape for blob in inside]
        parts.append([(ours[number] if fits else None, blob.tensor.numel()) for number, blob in enumerate(inside)])
        if not (fits and inside) and any(layer.blobs()):
            fresh.append(index)
    counts = [sum(size for _, size in some) for some in parts]
    try:
        with open(path, "rb") as file:
            file.seek(header.size)
            # One array a layer, so that memory is given back layer by layer when the weights are laid out anew.
            arrays = [np.fromfile(file, "<f4", count) for count in counts]
            found = sum(map(len, arrays)) + (os.fstat(file.fileno()).st_size - file.tell()) // 4
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the weights file: {cause(error)}", Reason.UNREADABLE) from None
    if found != sum(counts):
        raise WeightsError(f"{path}: expected {sum(counts)} numbers after the header, could read {found}",
                           Reason.TRUNCATED)
    for some, data in zip(parts, arrays, strict=True):
        for (blob, _), values in zip(some, torch.from_numpy(data).split([size for _, size in some]), strict=True):
            if blob is not None:
                _put(blob, values, header)
    return header, reached, fresh


def save(path: str | os.PathLike, layers: Sequence[Layer], seen: int = 0, version: Sequence[int] = VERSION) -> None:
    """Write the layers' weights. The file appears whole or not at all.

    Args:
        version: major, minor and revision of the header, which decide its size and whether matrices are transposed.

    Raises:
        WeightsError: the disk is full, or the folder is missing or not writable.
    """
    try:
        with replacing(path) as file:
            write(file, layers, seen, version)
    except OSError as error:
        raise WeightsError(f"{path}: cannot write the weights file: {cause(error)}", Reason.UNWRITABLE) from None


def write(file: BinaryIO, layers: Sequence[Layer], seen: int = 0, version: Sequence[int] = VERSION) -> None:
    """``save`` into an open file. Raises OSError."""
    major, minor, revision = version
    header = Header(major, minor, revision, seen, 20 if major * 10 + minor >= 2 else 16)
    file.write(struct.pack("<iiiQ" if header.size == 20 else "<iiiI", *header[:4]))
    for layer in layers:
        for blob in layer.blobs():
            tensor = blob.tensor.detach()
            if blob.stored == "flipped" or (blob.stored == "matrix" and header.transposed):
                tensor = tensor.reshape(len(tensor), -1).t()
            file.write(tensor.to("cpu", torch.float32).contiguous().numpy().data)   # tofile hides errors
    file.flush()
    os.fsync(file.fileno())     # so that the file survives a crash of the machine


def size_in_bytes(layers: Sequence[Layer]) -> int:
    """The size of the file that ``save`` would write."""
    return 20 + 4 * sum(blob.tensor.numel() for layer in layers for blob in layer.blobs())


def _stored(layer: Layer) -> list[Blob]:
    """The tensors that a file to be loaded has of a layer."""
    if layer.options.dontload:
        return []
    return [blob for blob in layer.blobs() if not (blob.norm and layer.options.dontloadscales)]


def _put(blob: Blob, data: Tensor, header: Header) -> None:
    """Set a blob's values: as a view of the data read where that is possible, else as a copy."""
    tensor = blob.tensor
    if blob.stored == "flipped" or (blob.stored == "matrix" and header.transposed):
        data = data.view(-1, len(tensor)).t().contiguous()
    data = data.view(tensor.shape)
    if tensor.device == data.device and tensor.dtype == data.dtype:
        tensor.data = data
    else:
        tensor.data.copy_(data)


def _reached(path: str | os.PathLike, size: int, layers: Sequence[Layer], ends: Sequence[int]) -> int:
    """The number of leading layers that a file of ``size`` bytes fills; ``ends`` are cumulative counts of numbers."""
    count, total = size // 4, ends[-1]
    if size % 4 == 0:
        for index, (before, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if before == count and end > count:
                return index
        if count == total:
            return len(layers)
    counts = f"{path}: holds {size / 4:.12g} numbers after its header, the network needs {total}"
    if count >= total:
        detail, reason = f"{size / 4 - total:.12g} are left over", Reason.INCOMPATIBLE
    else:
        index = next(i for i, end in enumerate(ends) if end > count)
        place = layers[index].place
        detail = f"it ends inside layer {index} ([{layers[index].kind}], line {place.section.line} of the cfg)"
        reason = Reason.TRUNCATED
    here = next((layer.classes for layer in layers if isinstance(layer, Head) and layer.channels_per_class), 0)
    there = classes_for(size, layers)
    hint = "" if there is None else f"; this looks like the same network with classes={there} instead of {here}"
    raise WeightsError(f"{counts}; {detail}{hint}", reason if there is None else Reason.INCOMPATIBLE)


def classes_for(size: int, layers: Sequence[Layer]) -> int | None:
    """The number of classes with which a network's weights take ``size`` bytes, all else as it is; None for none."""
    slope, classes, total = 0, set(), 0
    producer = None
    for layer in layers:
        if isinstance(layer, Head) and layer.channels_per_class and producer is not None:
            weights = sum(blob.tensor.numel() for blob in producer.blobs())
            slope += weights // producer.shape.channels * layer.channels_per_class
            classes.add(layer.classes)
        total += sum(blob.tensor.numel() for blob in _stored(layer))
        producer = layer if any(layer.blobs()) else producer
    if len(classes) != 1 or not slope or size % 4 or (size // 4 - total) % slope:
        return None
    found = classes.pop() + (size // 4 - total) // slope
    return found if found > 0 else None
