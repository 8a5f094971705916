"""Tensors that lie in a PyTorch checkpoint, read when their numbers are asked for."""
from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from darknet_py.errors import Reason, WeightsError

MOST_RATIO = 8              # decompressed bytes to those of the file; float32 weights hardly shrink
MOST_NUMBER = 1 << 60       # of sizes, strides and offsets
MOST_SIDES = 32             # of a tensor; NumPy 1 has no more


class RefusedError(ValueError):
    """What is wrong with a checkpoint, and in which way."""

    def __init__(self, message: str, reason: Reason = Reason.CORRUPT):
        super().__init__(message)
        self.reason = reason

    def of(self, path: object) -> WeightsError:
        """The error for a file."""
        whole = "" if self.reason is Reason.UNSAFE else "not a whole PyTorch checkpoint: "
        return WeightsError(f"{path}: {whole}{self}", self.reason)


class Member(NamedTuple):
    """Where some data lie in a file.

    start, stored: in bytes.
    size: bytes, when decompressed.
    """

    start: int
    stored: int
    size: int
    deflated: bool = False


@dataclass
class Storages:
    """The storages of a checkpoint, which hold its tensors' numbers.

    data: the whole file, (bytes,).
    members: by key.
    """

    path: object
    data: np.ndarray
    big_endian: bool = False
    members: dict[str | int, Member] = field(default_factory=dict)
    decompressed: dict[str | int, np.ndarray] = field(default_factory=dict)

    def bytes_of(self, key: str | int) -> np.ndarray:
        """A storage, (bytes,).

        Raises:
            RefusedError: it cannot be decompressed, or is too large.
        """
        member = self.members[key]
        if not member.deflated:
            return self.data[member.start:member.start + member.size]
        if key not in self.decompressed:
            if sum(map(len, self.decompressed.values())) + member.size > MOST_RATIO * len(self.data):
                raise RefusedError(f"its tensors have more than {MOST_RATIO} times the bytes of the file",
                                   Reason.TOO_LARGE)
            self.decompressed[key] = np.frombuffer(read_member(self.data, member), np.uint8)
        return self.decompressed[key]


def read_member(data: np.ndarray, member: Member) -> bytes:
    """Some data of a file, decompressed.

    Raises:
        RefusedError: they cannot be decompressed, or not to the size that is declared.
    """
    stored = data[member.start:member.start + member.stored]
    try:
        found = (zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored.data, member.size + 1) if member.deflated
                 else stored.tobytes())
    except zlib.error as error:
        raise RefusedError(str(error)) from None
    if len(found) != member.size:
        raise RefusedError(f"expected {member.size} bytes of a member of the archive, found others")
    return found


class Storage(NamedTuple):
    """A storage, or a part of it.

    start, length: in numbers of its type.
    """

    key: str | int
    dtype: torch.dtype
    start: int
    length: int


@dataclass
class StoredTensor:
    """A dense tensor in a checkpoint. Offset and strides are in numbers, within the storage.

    Raises:
        RefusedError: it has negative or overlong sizes, or reaches beyond its storage.
    """

    storages: Storages
    dtype: torch.dtype
    storage: Storage | None = None
    offset: int = 0
    shape: tuple[int, ...] = (0,)
    stride: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        sides = type(self.shape) is type(self.stride) is tuple and len(self.shape) == len(self.stride) <= MOST_SIDES
        if not (sides and all(map(is_size, (self.offset, *self.shape, *self.stride)))
                and math.prod(self.shape) < MOST_NUMBER):
            raise RefusedError("a tensor of negative or overlong sizes")
        room = 0 if self.storage is None else self.storage.length * self.storage.dtype.itemsize
        if self._end() > room:
            raise RefusedError(f"a tensor that reaches beyond its storage of {room} bytes")

    def dim(self) -> int:
        """The number of sides."""
        return len(self.shape)

    def check(self) -> None:
        """See whether the file holds its numbers.

        Raises:
            WeightsError: it does not.
        """
        if self.storage is not None and self._end():
            member, needed = self.storages.members.get(self.storage.key), self._start() + self._end()
            if member is None or member.size < needed:
                raise RefusedError(f"expected {needed} bytes of storage {ascii(self.storage.key)[:40]}, found "
                                   f"{'none' if member is None else member.size}").of(self.storages.path)

    def to(self, dtype: torch.dtype) -> Tensor:
        """Read it from the file.

        Raises:
            WeightsError: it cannot be decompressed, or is too large.
        """
        if self.storage is None or not self._end():
            return torch.empty(self.shape, dtype=dtype)
        size = self.dtype.itemsize
        order = ">" if self.storages.big_endian else "<"
        try:
            numbers = np.ndarray(
                self.shape, f"{order}i{size}", self.storages.bytes_of(self.storage.key),        # type: ignore[arg-type]
                self._start() + self.offset * size, tuple(step * size for step in self.stride))
        except RefusedError as error:
            raise error.of(self.storages.path) from None
        return torch.from_numpy(numbers.astype(f"=i{size}")).view(self.dtype).to(dtype)

    def _start(self) -> int:
        """Where its part of the storage begins, in bytes."""
        return 0 if self.storage is None else self.storage.start * self.storage.dtype.itemsize

    def _end(self) -> int:
        """Where its last number ends within that part, in bytes."""
        if 0 in self.shape:
            return 0
        last = sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))
        return (self.offset + last + 1) * self.dtype.itemsize


def is_size(value: object) -> bool:
    """Whether a value is a whole number that a size, a stride or an offset may be."""
    return type(value) is int and 0 <= value < MOST_NUMBER
