"""Metadata of exported models, read from their files without the runtimes: cfg, class names, sizes, thresholds.

``convert.describe`` makes it. Its place: ``metadata_props`` in ONNX, ``rt_info`` in OpenVINO's IR, ``extra/`` in the
archives of TorchScript and torch.export, ``__metadata__`` in safetensors.
"""
from __future__ import annotations

import os
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from darknet_py.cfg.language import MAX_BYTES, Cfg, parse_cfg
from darknet_py.errors import DataError, Reason, cause, printable
from darknet_py.utils.files import check_regular, parse_json, show_json

PREFIX = "darknet_py."
FORMAT = 1                      # of the metadata; a later one says more, or in another way
FORMS = {"heads": "what the heads give", "boxes": "all boxes and scores", "nms": "boxes after suppression"}

MOST_BYTES = 1 << 36            # of a model
MOST_TEXT = 1 << 25             # bytes of one value, or of what holds them all
MOST_FIELDS = 100_000           # of an ONNX model beside its graph


class Stored(NamedTuple):
    """What an exported model says beside its cfg.

    files: the text of those that the cfg names (tree=, map=), by these names.
    width, height, letter_box: as in [net], whose values they replace; None: they do not.
    names: of the classes; None: it has none.
    thresh, nms: thresholds that its maker chose; None: the usual ones.
    form: of its outputs, one of ``FORMS``.
    batch: images that it takes at once; None: any number.
    """

    files: Mapping[str, str]
    width: int | None
    height: int | None
    letter_box: int | None
    names: list[str] | None
    thresh: float | None
    nms: float | None
    form: str
    batch: int | None

    def without(self, keys: Collection[str]) -> Stored:
        """The same, but for these keys of [net]."""
        return self._replace(width=None if "width" in keys else self.width,
                             height=None if "height" in keys else self.height,
                             letter_box=None if "letter_box" in keys else self.letter_box)


def stored_cfg(path: str | os.PathLike, *, strict: bool = False) -> Cfg:
    """The cfg in an exported model, a file of one of the formats in ``READERS``, with all else that it says.

    Raises:
        DataError: it cannot be read, has none, or what it has is damaged.
        CfgError: the cfg in it is none.
    """
    texts = read_texts(path)
    if "cfg" not in texts:
        raise DataError(f"{path}: lacks {PREFIX}cfg in its metadata, so it does not run alone: make it with darknet-py "
                        f"convert CFG WEIGHTS {Path(path).name}, or give its CFG before it", Reason.MISSING_KEY)
    facts = Facts(path, texts)
    version = facts.take("format", int, lambda value: value > 0)
    if version > FORMAT:
        raise DataError(f"{path}: its metadata is of format {version}, expected {FORMAT}; a newer darknet_py made it",
                        Reason.UNSUPPORTED)
    text = facts.take("cfg", str, lambda value: len(value) <= MAX_BYTES)
    files = facts.take("files", dict, lambda value: all(type(one) is str for one in value.values()), {})
    batch, _, height, width = facts.take("input", dict, _is_input)["shape"]
    thresholds = facts.take("thresholds", dict, _are_thresholds, {"chosen": []})
    chosen = {name: float(thresholds[name]) for name in thresholds["chosen"]}
    stored = Stored(
        files, width, height,
        int(facts.take("resize", dict, lambda value: type(value.get("kind")) is str)["kind"] == "letterbox"),
        facts.take("names", list, lambda value: all(type(one) is str for one in value), None),
        chosen.get("score"), chosen.get("nms"),
        facts.take("outputs", dict, lambda value: value.get("form") in FORMS)["form"], batch)
    return parse_cfg(text, path, strict=strict, stored=stored)


class Facts(NamedTuple):
    """Values of a file's metadata, JSON by key."""

    path: str | os.PathLike
    texts: Mapping[str, str]

    def take(self, key: str, kind: type, good: Callable[[Any], bool], *default: Any) -> Any:
        """The value of a key, of a type and good.

        Raises:
            DataError: it is missing, and there is no default; or it is another.
        """
        if key not in self.texts and default:
            return default[0]
        try:
            value = parse_json(self.texts.get(key, ""))
        except ValueError:
            self.refuse(key, repr(self.texts.get(key, "")[:40]))
        if type(value) is not kind or not good(value):
            self.refuse(key, show_json(value))
        return value

    def refuse(self, key: str, found: str) -> NoReturn:
        """Raises: DataError."""
        raise DataError(f"{self.path}: its metadata is damaged: {PREFIX}{key} says {printable(found)}", Reason.CORRUPT)


def _is_input(value: dict) -> bool:
    shape = value.get("shape")
    return (type(shape) is list and len(shape) == 4 and (shape[0] is None or _is_count(shape[0]))
            and all(map(_is_count, shape[1:])))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 20


def _are_thresholds(value: dict) -> bool:
    chosen = value.get("chosen")
    return type(chosen) is list and all(
        name in ("score", "nms") and type(value.get(name)) in (int, float) and 0 <= value[name] <= 1 for name in chosen)


def is_model(path: str | os.PathLike) -> bool:
    """Whether a path is, by its extension, that of a model which may hold its cfg."""
    return Path(path).suffix.lower() in READERS


def read_texts(path: str | os.PathLike) -> dict[str, str]:
    """What a model's file holds under keys that begin with ``PREFIX``, by the rest of the key.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    try:
        check_regular(path, MOST_BYTES)
        with open(path, "rb") as file:
            pairs = dict(READERS[Path(path).suffix.lower()](file, os.path.getsize(path)))
    except OSError as error:
        raise DataError(f"{path}: cannot read the model: {cause(error)}", Reason.reading(error)) from None
    except (ValueError, ET.ParseError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        what = printable(str(error)[:100])
        raise DataError(f"{path}: not a whole {Path(path).suffix} file: {what}", Reason.CORRUPT) from None
    return {key.removeprefix(PREFIX): value for key, value in pairs.items() if key.startswith(PREFIX)}


def _of_onnx(file: BinaryIO, size: int) -> Iterator[tuple[str, str]]:
    """The ``metadata_props``, the 14th field of a ModelProto, each with key (1) and value (2)."""
    for number, length in _fields(file, size):
        if number != 14:
            file.seek(length, os.SEEK_CUR)
            continue
        end, entry = file.tell() + _small(length), {}
        for part, length in _fields(file, end):
            entry[part] = file.read(length).decode()
        yield entry.get(1, ""), entry.get(2, "")


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Numbers and lengths of the fields of a protobuf message up to ``end``, whose content the caller reads."""
    for _ in range(MOST_FIELDS):
        if file.tell() >= end:
            return
        key = _varint(file)
        match key & 7:
            case 0:
                _varint(file)
                length = 0
            case 2:
                length = _varint(file)
            case 1 | 5 as kind:
                length = 8 if kind == 1 else 4
            case kind:
                raise ValueError(f"a field of kind {kind} at byte {file.tell()}")
        if file.tell() + length > end:
            raise ValueError(f"it ends inside a field at byte {file.tell()}")
        yield key >> 3, length
    raise ValueError(f"more than {MOST_FIELDS} fields")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends inside a number")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError(f"a number of more than 64 bits at byte {file.tell()}")


def _of_openvino(file: BinaryIO, size: int) -> Iterator[tuple[str, str]]:
    """The ``rt_info`` of the whole model, the last one in the file: an element a key, with its value as attribute."""
    file.seek(max(0, size - MOST_TEXT))
    data = file.read()
    start, end = data.rfind(b"<rt_info>"), data.rfind(b"</rt_info>")
    if b"</net>" not in data:
        raise ValueError("it does not end as a <net>")
    if 0 <= start < end:
        for group in ET.fromstring(data[start:end + len(b"</rt_info>")]):
            for entry in group:
                yield f"{group.tag}.{entry.tag}", entry.get("value", "")


def _of_archive(file: BinaryIO, size: int) -> Iterator[tuple[str, str]]:
    """The members in the folder ``extra`` of an archive of PyTorch's."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            _, _, name = member.filename.partition("/extra/")
            if name.startswith(PREFIX):
                _small(member.file_size)
                yield name, archive.read(member).decode()


def _of_safetensors(file: BinaryIO, size: int) -> Iterator[tuple[str, str]]:
    """The ``__metadata__`` of the header, JSON behind its length in 8 bytes."""
    header = parse_json(file.read(_small(int.from_bytes(file.read(8), "little"))))
    texts = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(texts, dict):
        raise ValueError("its header is no list of tensors")
    yield from ((key, value) for key, value in texts.items() if isinstance(value, str))


def _small(length: int) -> int:
    if length > MOST_TEXT:
        raise ValueError(f"a text of {length} bytes")
    return length


READERS: dict[str, Callable[[BinaryIO, int], Iterator[tuple[str, str]]]] = {
    ".onnx": _of_onnx, ".xml": _of_openvino, ".torchscript": _of_archive, ".ts": _of_archive, ".pt2": _of_archive,
    ".safetensors": _of_safetensors}
