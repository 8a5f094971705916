"""Valid inputs that are binary, made by code, and the folder that inputs belong in."""
from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import torch
from safetensors.torch import save

from darknet_py.cfg.language import parse_cfg
from darknet_py.convert import PLAIN
from darknet_py.convert.describe import describe
from darknet_py.model.network import Network, load_network
from fuzzing.texts import DATA, LABELS, TINY, TREE


@cache
def picture() -> np.ndarray:
    """A picture (20, 24, 3)."""
    return np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def images() -> list[bytes]:
    """Image files: a picture in every format that is common, in colour, grey and with alpha."""
    colour, grey = picture(), picture()[:, :, 0]
    alpha, deep = np.dstack([colour, grey]), grey.astype(np.uint16) * 257
    made = [(extension, colour) for extension in (".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".gif")]
    made += [(".png", grey), (".png", alpha), (".png", deep), (".pgm", grey), (".jpg", grey), (".tif", deep)]
    return [cv2.imencode(extension, image)[1].tobytes() for extension, image in made
            if cv2.haveImageWriter(f"a{extension}")]


def pngs() -> list[bytes]:
    return [data for data in images() if data.startswith(b"\x89PNG")]


def with_sums(data: bytes) -> bytes:
    """A PNG with the checksums of its chunks, so that what is in them is looked at."""
    made, at = [data[:8]], 8
    while at + 12 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        body = data[at + 4:at + 8 + min(size, len(data))]
        made.append(data[at:at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + size
    return b"".join(made) + data[at:]


@cache
def tiny() -> Network:
    """The network of ``TINY``, whose weights are the same every time."""
    torch.manual_seed(0)
    network = load_network(parse_cfg(TINY, "tiny.cfg"))
    network.reached = len(network.layers)
    return network


def weights() -> list[bytes]:
    """Weights files for it: of all layers and of the first, with headers of both sizes, and not a number."""
    numbers = torch.cat([blob.tensor.detach().flatten() for layer in tiny().layers for blob in layer.blobs()]).numpy()
    header = struct.pack("<iiiQ", 0, 2, 5, 64)
    first = sum(blob.tensor.numel() for blob in tiny().layers[0].blobs())
    odd = np.where(np.arange(len(numbers)) % 7, numbers, np.float32("nan"))
    return [header + numbers.tobytes(), header + numbers[:first].tobytes(), struct.pack("<iiiI", 0, 1, 0, 64) +
            numbers.tobytes(), struct.pack("<iiiQ", 1001, 0, 0, 1 << 63) + numbers.tobytes(), header + odd.tobytes()]


def _metadata() -> dict[str, str]:
    return {"format": "darknet_py", "cfg": TINY, "header": json.dumps([0, 2, 5, 64, 20]), "layers": "3"}


@cache
def tensor_file() -> bytes:
    """A .safetensors file, as ``convert`` writes it."""
    return save({name: tensor.detach() for name, tensor in tiny().state_dict().items()}, _metadata())


@cache
def model_metadata() -> dict[str, str]:
    """The metadata of a model of it."""
    return describe(tiny(), PLAIN, ("light", "dark"), False)


def onnx_models() -> list[bytes]:
    """ONNX models without a graph: fields 8 (a version), 14 (metadata: key, value)."""
    def field(number: int, data: bytes) -> bytes:
        size = bytes([len(data) & 127 | 128, len(data) >> 7 & 127 | 128, len(data) >> 14])
        return bytes([number << 3 | 2]) + size + data
    entries = [field(14, field(1, key.encode()) + field(2, text.encode())) for key, text in model_metadata().items()]
    return [b"\x08\x08" + b"".join(entries)]


def openvino_models() -> list[bytes]:
    """OpenVINO models without layers."""
    entries = "".join(f"<{key.split('.')[1]} value={quoteattr(text)}/>" for key, text in model_metadata().items())
    return [f"<net><layers/><rt_info><darknet_py>{entries}</darknet_py></rt_info></net>".encode()]


def torch_models() -> list[bytes]:
    """Archives with metadata and nothing else."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, text in model_metadata().items():
            archive.writestr(f"archive/extra/{key}", text)
    return [buffer.getvalue()]


def safetensors() -> list[bytes]:
    foreign = {f"model.{number}.conv.weight": torch.ones(2, 2) for number in range(2)}
    return [tensor_file(), save(foreign), save({"x": torch.tensor(1, dtype=torch.int64)}), save({})]


def header_of(data: bytes) -> bytes:
    """The JSON at the beginning of a .safetensors file."""
    return data[8:8 + struct.unpack("<Q", data[:8])[0]]


def with_header(header: bytes) -> bytes:
    """``tensor_file`` with another JSON at its beginning, whose size fits."""
    return struct.pack("<Q", len(header)) + header + tensor_file()[8 + len(header_of(tensor_file())):]


@cache
def checkpoint(legacy: bool = False) -> bytes:
    """A PyTorch checkpoint, as ``convert`` writes it, or in the format without a ZIP."""
    buffer = io.BytesIO()
    torch.save({"state_dict": tiny().state_dict(), **_metadata()}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def checkpoints() -> list[bytes]:
    return [checkpoint(), checkpoint(legacy=True)]


def pickles() -> list[bytes]:
    """The pickle within ``checkpoint``, and small ones: a number, a list, a name to be called, one that never ends."""
    with zipfile.ZipFile(io.BytesIO(checkpoint())) as archive:
        return [archive.read("archive/data.pkl"), b"\x80\x02K\x01.", b"\x80\x02]q\x00(K\x01e.",
                b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00lsq\x01\x85q\x02Rq\x03.",
                b"\x80\x02}q\x00(X\x01\x00\x00\x00a"]


def with_pickle(data: bytes) -> bytes:
    """``checkpoint`` with another pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint())) as archive, zipfile.ZipFile(buffer, "w") as made:
        for name in archive.namelist():
            made.writestr(name, data if name.endswith("data.pkl") else archive.read(name))
    return buffer.getvalue()


def boxes() -> list[bytes]:
    """Boxes and scores for suppression: the kind and the number of classes, then float32 x, y, w, h, scores of each."""
    draw = np.random.default_rng(0)
    return [bytes([kind, classes]) + draw.random(8 * (4 + classes), np.float32).tobytes()
            for kind in range(4) for classes in (1, 3)]


def furnish(folder: Path) -> None:
    """Put the files into a folder that inputs name: pictures, labels, lists, a network and its weights."""
    for place in (folder, folder / "pictures", folder / "voc/JPEGImages", folder / "voc/Annotations"):
        place.mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png", "pictures/light.png", "voc/JPEGImages/input.png"):
        cv2.imwrite(str(folder / name), picture())
        (folder / name).with_suffix(".txt").write_bytes(LABELS[0])
    (folder / "voc/JPEGImages/input.txt").unlink()
    for name, data in {"tiny.cfg": TINY.encode(), "tiny.weights": weights()[0], "tiny.names": b"light\ndark\n",
                       "list.txt": b"a.png\nb.png\n", "tiny.data": DATA, "input.tree": TREE}.items():
        (folder / name).write_bytes(data)
