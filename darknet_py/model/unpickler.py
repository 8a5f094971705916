"""An interpreter of the pickles in PyTorch's checkpoints, which calls nothing that they name.

Mappings, lists and scalars become Python's, tensors become ``StoredTensor``, and what else PyTorch saves becomes
``Unread``. Nothing recurses, and work and memory are bounded.
"""
from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch

from darknet_py.errors import Reason
from darknet_py.model.stored_tensors import RefusedError, Storage, Storages, StoredTensor, is_size

MOST_OPCODES = 1 << 20      # a state dict takes some 30 a tensor
MOST_ARGUMENTS = 16

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
SCALARS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
OTHERS = {"BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "MARK", "TUPLE", "APPEND", "APPENDS", "SETITEM", "SETITEMS",
          "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID", "PROTO", "STOP"}
CALLS = {"INST", "OBJ", "NEWOBJ_EX", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}        # refused
OPCODES = {opcode.code.encode("latin-1"): (opcode.name, opcode.arg and opcode.arg.reader)
           for opcode in pickletools.opcodes if opcode.name in {*CONSTANTS, *SCALARS, *TUPLES, *OTHERS, *CALLS}}

DTYPES = {name: getattr(torch, dtype) for name, dtype in {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexDouble": "complex128",
    "ComplexFloat": "complex64", "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4", "Untyped": "uint8"}.items()}
STORAGE = re.compile(rf"torch(?:\.cuda|\.storage)? ({'|'.join(DTYPES)})Storage")
TENSOR = re.compile(rf"torch(?:\.cuda)?(\.sparse)? ({'|'.join(DTYPES)}|)Tensor")
NUMBERS = {f"torch {name}": value for name, value in vars(torch).items()
           if isinstance(value, (torch.dtype, torch.qscheme))}
FIRST = {"torch Size", "torch.nn.parameter Parameter", *(f"torch._utils _rebuild_{what}" for what in (
    "parameter", "parameter_with_state", "device_tensor_from_cpu_tensor"))}
UNREAD = {"collections Counter", "torch device", "torch.serialization _get_layout", "_codecs encode",
          *(f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("bytearray", "set", "complex")),
          "numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
UNREAD_TENSORS = {f"torch._utils _rebuild_{name}": f"a {words} tensor" for name, words in {
    "qtensor": "quantised", "sparse_tensor": "sparse", "meta_tensor_no_storage": "meta", "nested_tensor": "nested",
    "wrapper_subclass": "wrapped", "device_tensor_from_numpy": "foreign"}.items()}


class Unread(NamedTuple):
    """An object that PyTorch saves and that is not read, as a NumPy number or a quantised tensor.

    tensor: what kind of tensor it is, in words; empty for what is none.
    """

    tensor: str = ""


class Function(NamedTuple):
    """The replacement of a function or class that a pickle names."""

    call: Callable[..., object]


class Unpickler:
    """An interpreter of the opcodes that torch.save writes.

    storages_seen: types and counts of numbers of the storages that tensors have, by key.
    """

    def __init__(self, file: io.BytesIO, storages: Storages):
        self.file, self.storages, self.left = file, storages, MOST_OPCODES
        self.storages_seen: dict[str | int, tuple[torch.dtype, int]] = {}

    def load(self) -> object:
        """The next object.

        Raises:
            RefusedError: it is damaged, too large, or would have to be executed.
        """
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        name = "PROTO"
        try:
            while name != "STOP":
                name, reader = OPCODES[self.file.read(1)]
                if name in CALLS:
                    raise _unsafe()
                self._spend(1)
                self._execute(name, self._two_lines() if name == "GLOBAL" else reader and reader(self.file))
            return self.stack.pop()
        except RefusedError:
            raise
        except (IndexError, KeyError, TypeError, ValueError, OverflowError):
            raise RefusedError(f"its pickle ends, or is damaged, at byte {self.file.tell()}") from None

    def _two_lines(self) -> str:
        module, name = (self.file.readline().decode("ascii").strip("\n") for _ in range(2))
        return f"{module} {name}"

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise RefusedError(f"a pickle of more than {MOST_OPCODES} opcodes", Reason.TOO_LARGE)

    def _execute(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in SCALARS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in TUPLES:
            items = tuple(stack.pop() for _ in range(TUPLES[name]))
            stack.append(items[::-1])
        else:
            match name:
                case "BINPUT" | "LONG_BINPUT":
                    self.memo[argument] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(self.memo[argument])
                case "MARK":
                    self.marks.append(stack)
                    self.stack = []
                case "TUPLE" | "APPENDS" | "SETITEMS":
                    self.stack = self.marks.pop()
                    if name == "TUPLE":
                        self.stack.append(tuple(stack))
                    elif name == "APPENDS":
                        _of_type(list, self.stack[-1]).extend(stack)
                    else:
                        _set_items(self.stack[-1], zip(stack[::2], stack[1::2], strict=True))
                case "APPEND":
                    item = stack.pop()
                    _of_type(list, stack[-1]).append(item)
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _set_items(stack[-1], [(key, value)])
                case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_SET":
                    stack.append({} if name == "EMPTY_DICT" else [] if name == "EMPTY_LIST" else Unread())
                case "GLOBAL":
                    stack.append(self._named(argument))
                case "REDUCE" | "NEWOBJ":
                    arguments = _of_type(tuple, stack.pop())
                    stack[-1] = self._call(stack[-1], arguments)
                case "BUILD":
                    state = stack.pop()
                    self._set_state(stack[-1], state)
                case "BINPERSID":
                    stack[-1] = self._storage(*_of_type(tuple, stack[-1])[:MOST_ARGUMENTS])
                case "PROTO" if argument > 3:
                    raise RefusedError("expected a pickle of protocol 2, as torch.save writes unless told otherwise, "
                                       f"found protocol {argument}", Reason.WRONG_FORMAT)

    def _named(self, name: str) -> object:
        """The replacement of a global that a pickle names: a dtype, or a ``Function``."""
        if (storage := STORAGE.fullmatch(name)) is not None:
            return DTYPES[storage[1]]
        if (tensor := TENSOR.fullmatch(name)) is not None:
            dtype = DTYPES[tensor[2] or "Float"]
            sparse = Unread("a sparse tensor")
            return Function(lambda *_: sparse if tensor[1] else StoredTensor(self.storages, dtype))
        if name in NUMBERS:
            return NUMBERS[name]
        functions: dict[str, Callable[..., object]] = {
            "collections OrderedDict": self._mapping, "torch._utils _rebuild_tensor": self._tensor,
                     "torch._utils _rebuild_tensor_v2": self._tensor, "torch._utils _rebuild_tensor_v3": self._typed,
                     "torch._tensor _rebuild_from_type_v2": self._subclass}
        if name in functions:
            return Function(functions[name])
        if name in FIRST:
            return Function(lambda first, *_: first)
        if name in UNREAD or name in UNREAD_TENSORS:
            return Function(lambda *_: Unread(UNREAD_TENSORS.get(name, "")))
        raise _unsafe()

    def _call(self, function: object, arguments: tuple) -> object:
        if type(function) is not Function or len(arguments) > MOST_ARGUMENTS:
            raise TypeError
        return function.call(*arguments)

    def _mapping(self, pairs: Any = None) -> dict:
        found: dict = {}
        if pairs is not None:
            self._spend(len(_of_type(list, pairs)))
            _set_items(found, pairs)
        return found

    def _tensor(self, storage: Any, offset: int, shape: tuple, stride: tuple, gradient: object = None,
                hooks: object = None, flags: object = None) -> StoredTensor | Unread:
        return self._typed(storage, offset, shape, stride, gradient, hooks, _of_type(Storage, storage).dtype, flags)

    def _typed(self, storage: Any, offset: int, shape: tuple, stride: tuple, gradient: object, hooks: object,
               dtype: Any, flags: object = None) -> StoredTensor | Unread:
        if flags:               # what lies in the storage is not what the tensor has
            return Unread("a conjugated or negated tensor")
        self._spend(len(_of_type(tuple, shape)))
        return StoredTensor(self.storages, _of_type(torch.dtype, dtype), _of_type(Storage, storage), offset, shape,
                            stride)

    def _subclass(self, function: object, kind: object, arguments: object, *_: object) -> object:
        """A tensor with attributes, or of a subclass of PyTorch's."""
        if type(function) is not Function or function.call == self._subclass:
            raise TypeError
        return self._call(function, _of_type(tuple, arguments))

    def _set_state(self, target: object, state: Any) -> None:
        """BUILD: the state of a mapping or parameter is dropped; that of a tensor of PyTorch 0.1 is the tensor."""
        if type(target) is StoredTensor and type(state) is tuple and len(state) == 4:
            target.__dict__.update(vars(self._tensor(*state)))
        elif type(target) not in (StoredTensor, dict, Unread):
            raise TypeError

    def _storage(self, word: object, dtype: object, key: Any, device: object, count: Any, part: Any = None) -> Storage:
        if word != "storage" or not (type(key) is str or is_size(key)) or not is_size(count):
            raise TypeError
        dtype, count = self.storages_seen.setdefault(key, (_of_type(torch.dtype, dtype), count))
        if part is None:
            return Storage(key, dtype, 0, count)
        _, start, size = _of_type(tuple, part)
        if not (is_size(start) and is_size(size) and start + size <= count):
            raise ValueError
        return Storage(key, dtype, start, size)


def _unsafe() -> RefusedError:
    return RefusedError("holds Python objects, which would have to be executed to be read; expected tensors alone, as "
                        "of model.state_dict()", Reason.UNSAFE)


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _set_items(target: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    """Set items of a mapping. Keys that would take time to hash or compare, as nested ones and long numbers, are not
    needed: each is replaced by one that equals no other."""
    mapping = _of_type(dict, target)
    for key, value in pairs:
        mapping[key if isinstance(key, (str, float, bool, type(None))) or is_size(key) else object()] = value
