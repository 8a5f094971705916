"""PyTorch checkpoints read as data: torch.save's zip archive, and the format before it.

Not by ``torch.load``, which calls the functions that a pickle names, out of a list of allowed ones, with any arguments,
and allocates what it says.
"""
from __future__ import annotations

import io
import os
import struct
import zipfile

import numpy as np

from darknet_py.errors import Reason, WeightsError, cause
from darknet_py.model.stored_tensors import Member, RefusedError, Storages, is_size, read_member
from darknet_py.model.unpickler import Unpickler

MOST_PICKLE = 1 << 25       # bytes; a state dict takes some 100 a tensor
MOST_DIRECTORY = 1 << 22    # bytes of an archive's list of members, 70 a tensor
MAGIC, PROTOCOL = 0x1950a86a20f9469cfc6c, 1001      # at the beginning of the older format


def read_checkpoint(path: str | os.PathLike) -> object:
    """Read a checkpoint: dicts, lists, tuples, scalars, ``StoredTensor`` and ``Unread``.

    Args:
        path: of a regular file.

    Raises:
        WeightsError: it is damaged, no checkpoint, beyond the bounds, or holds other objects than PyTorch's own.
    """
    try:
        with _File(io.FileIO(path)) as file:
            if not (start := file.read(4)):
                raise RefusedError("the file is empty")
            storages = Storages(path, np.memmap(file, np.uint8, "r"))
            return _read_archive(file, storages) if start == b"PK\3\4" else _read_older(storages)
    except RefusedError as error:
        raise error.of(path) from None
    except MemoryError:
        raise RefusedError("more than the memory holds", Reason.TOO_LARGE).of(path) from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the file: {cause(error)}", Reason.reading(error)) from None


class _File(io.BufferedReader):
    """A file of which only so much is read at once as the list of an archive's members may have."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(MOST_DIRECTORY + 1 if size is None or size < 0 else min(size, MOST_DIRECTORY + 1))
        if len(data) > MOST_DIRECTORY:
            raise RefusedError(f"a list of members of more than {MOST_DIRECTORY} bytes", Reason.TOO_LARGE)
        return data


def _read_archive(file: _File, storages: Storages) -> object:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except RefusedError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error, IndexError) as error:
        raise RefusedError(str(error)) from None
    folder = next(iter(members), "").split("/")[0]
    if f"{folder}/constants.pkl" in members:
        raise RefusedError("holds a TorchScript program, which would have to be executed to be read; expected tensors "
                           "alone, as of model.state_dict()", Reason.UNSAFE)
    if f"{folder}/data.pkl" not in members:
        raise RefusedError("no data.pkl in the archive")
    order = b"little"
    if f"{folder}/byteorder" in members:
        order = _read_small(storages.data, members[f"{folder}/byteorder"])
        if order not in (b"little", b"big"):
            raise RefusedError("a byte order that is neither little nor big")
    storages.big_endian = order == b"big"
    unpickler = Unpickler(io.BytesIO(_read_small(storages.data, members[f"{folder}/data.pkl"])), storages)
    found = unpickler.load()
    for key in unpickler.storages_seen:
        if (info := members.get(f"{folder}/data/{key}")) is not None:
            storages.members[key] = _locate(storages.data, info)
    return found


def _read_small(data: np.ndarray, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > MOST_PICKLE:
        raise RefusedError(f"expected at most {MOST_PICKLE} bytes beside the tensors, found {info.file_size}",
                           Reason.TOO_LARGE)
    return read_member(data, _locate(data, info))


def _locate(data: np.ndarray, info: zipfile.ZipInfo) -> Member:
    """The position of a zip member's data, after its local header."""
    header = data[info.header_offset:info.header_offset + 30].tobytes() if info.header_offset >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\3\4" or info.flag_bits & 1 \
            or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError("a member of the archive that is missing, encrypted or compressed in another way")
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    member = Member(info.header_offset + 30 + sum(struct.unpack("<HH", header[26:])), info.compress_size,
                    info.file_size, deflated)
    if member.start + member.stored > len(data) or not (deflated or member.stored == member.size):
        raise RefusedError("a member of the archive that reaches beyond its end")
    return member


def _read_older(storages: Storages) -> object:
    """Of the older format: five pickles, then each storage's count of numbers (8 bytes) and its numbers."""
    file = io.BytesIO(storages.data[:MOST_PICKLE].tobytes())
    unpickler = Unpickler(file, storages)
    if unpickler.load() != MAGIC or unpickler.load() != PROTOCOL:
        raise RefusedError("it begins as no file of torch.save")
    unpickler.load()                # of the system that wrote it
    found, keys = unpickler.load(), unpickler.load()
    if type(keys) is not list:
        raise RefusedError("expected the keys of the storages")
    start = file.tell()
    for key in keys:
        if not (type(key) is str or is_size(key)) or key not in unpickler.storages_seen:
            raise RefusedError("a storage that no tensor has")
        dtype, count = unpickler.storages_seen[key]
        found_count, size = storages.data[start:start + 8].tobytes(), count * dtype.itemsize
        start += 8 + size
        if found_count != struct.pack("<q", count) or start > len(storages.data):
            raise RefusedError(f"expected a storage of {count} numbers")
        storages.members[key] = Member(start - size, size, size)
    return found
