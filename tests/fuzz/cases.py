"""Inputs that were once too much for a reader, made by code: a table that grows with every finding."""
from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from fuzzing import seeds, texts


class Case(NamedTuple):
    """reader: the name of a reader. about: what is odd. make: the input, or what puts something at the file's path."""

    reader: str
    about: str
    make: bytes | Callable[[Path], None]


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"


def drawn(height: int, width: int) -> bytes:
    return cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes()


def coco(where: str, key: str, value: str) -> bytes:
    """The COCO JSON with another value, of any text, in the first entry of a list."""
    table = json.loads(json.dumps(texts.COCO))
    table[where][0][key] = "@"
    return json.dumps(table).replace('"@"', value).encode()


def facts(**changes: object) -> bytes:
    """The facts of a state with other values; None takes one out."""
    from fuzzing.readers import facts
    table = json.loads(facts()[0]) | changes
    return json.dumps({key: value for key, value in table.items() if value is not None}).encode()


def boxes(count: int, kind: int, box: tuple[float, ...]) -> bytes:
    """Equal boxes, of one class."""
    return bytes([kind, 0]) + np.tile(np.float32([*box, .5]), (count, 1)).tobytes()


def weights(fill: float) -> bytes:
    data = seeds.weights()[0]
    return data[:20] + np.full(len(data[20:]) // 4, fill, np.float32).tobytes()


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(3 << 30)


LONG = b"x" * 100_000
CASES = [
    Case("boxes", "10,000 equal boxes", boxes(10_000, 0, (.5, .5, .2, .2))),
    Case("boxes", "10,000 equal boxes, DIoU", boxes(10_000, 1, (.5, .5, .2, .2))),
    Case("boxes", "10,000 boxes without an area", boxes(10_000, 0, (.5, .5, 0, 0))),
    Case("boxes", "10,000 boxes that are no numbers", boxes(10_000, 2, (float("nan"),) * 4)),
    Case("image", "20000 x 20000 by its header", png(20_000, 20_000)),
    Case("image", "2^31 - 1 squared by its header", png(0x7fffffff, 0x7fffffff)),
    Case("image", "0 x 0 by its header", png(0, 0)),
    Case("image", "1,000,000 x 1", lambda path: path.write_bytes(drawn(1, 1_000_000)) and None),
    Case("image", "1 x 1,000,000", lambda path: path.write_bytes(drawn(1_000_000, 1)) and None),
    Case("image", "no bytes", b""),
    Case("names", "a name of 200,000 characters", b"x" * 200_000),
    Case("names", "no UTF-8, an escape sequence, a formula", b"\xff\xfe\n\x1b[2J\n$\\frac$\n\xed\xa0\x80\n"),
    Case("names", "100,000 names", b"x\n" * 100_000),
    Case("list", "a path of 100,000 characters", LONG),
    Case("list", "a folder of 100,000 characters in a path", b"a.png\n" + LONG + b"/a.png\n"),
    Case("list", "a NUL, and no UTF-8", b"a\0.png\n\xff.png\n"),
    Case("list", "itself", b"input.txt\n"),
    Case("data", "its list is itself", b"train = input.data\nvalid = input.data\nclasses = 1\nnames = tiny.names\n"),
    Case("data", "a path of 100,000 characters", b"train = " + LONG + b"\nnames = " + LONG + b"\n"),
    Case("data", "a folder with a NUL in its name", b"train = a\0b/\nvalid = a\0b.json\ndifficult = a\0b\n"),
    Case("data", "a difficult set of 100,000 characters", b"train = list.txt\ndifficult = " + LONG + b"\n"),
    Case("data", "a line of 100,000 characters", LONG),
    Case("data", "keys without an encoding", b"\xff = \xfe\ntrain = \xff\nnames = \x1b[2J\nclasses = 1\n"),
    Case("data", "a class count of 5,000 digits", b"train = list.txt\nnames = tiny.names\nclasses = " + b"9" * 5000),
    Case("labels", "numbers beyond all bounds", b"0 1e400 nan inf -inf\n" + b"9" * 5000 +
         b" .5 .5 .1 .1\n1e300 0 0 1 1\n"),
    Case("labels", "a line of 100,000 numbers", b"1 " * 100_000),
    Case("coco", "an image's id is infinite", coco("images", "id", "Infinity")),
    Case("coco", "a category's id is infinite", coco("categories", "id", "Infinity")),
    Case("coco", "an image's id is a list", coco("images", "id", "[]")),
    Case("coco", "an image without an id",
         b'{"images": [{"file_name": "a.png"}], "annotations": [], "categories": []}'),
    Case("coco", "a width of 10^400", coco("images", "width", "1" + "0" * 400)),
    Case("coco", "a box of 10^400", coco("annotations", "bbox", "[1" + "0" * 400 + ", 1, 1, 1]")),
    Case("coco", "a number of 5,000 digits", coco("images", "width", "9" * 5000)),
    Case("coco", "100,000 lists in each other", b"[" * 100_000),
    Case("coco", "annotations in 100,000 lists", coco("annotations", "bbox", "[" * 100_000)),
    Case("coco", "categories of one name", coco("categories", "name", '"dark"')),
    Case("coco", "a file name that is no text", coco("images", "file_name", "null")),
    Case("coco-evaluation", "an area of 10^400", coco("annotations", "area", "1" + "0" * 400)),
    Case("coco-evaluation", "an image's id is infinite", coco("images", "id", "Infinity")),
    Case("coco-evaluation", "an area that is no number", coco("annotations", "area", '"x"')),
    Case("coco-evaluation", "a crowd that is no number", coco("annotations", "iscrowd", "[1]")),
    Case("state-facts", "nothing", b""),
    Case("state-facts", "no fields", b"{}"),
    Case("state-facts", "a list", b"[]"),
    Case("state-facts", "1e400", b'{"iteration": 1e400}'),
    Case("state-facts", "the facts in 100,000 lists", b"[" * 100_000),
    Case("state-facts", "no iteration", lambda path: _wrapped("state-facts", path, facts(iteration=None))),
    Case("state-facts", "an infinite iteration", lambda path: _wrapped("state-facts", path, facts(iteration=1e400))),
    Case("state-facts", "a text for the loss", lambda path: _wrapped("state-facts", path, facts(average_loss="x"))),
    Case("state-facts", "a number for the run", lambda path: _wrapped("state-facts", path, facts(run=1))),
    Case("state-facts", "a run with other fields", lambda path: _wrapped("state-facts", path, facts(run={"x": 1}))),
    Case("state-facts", "layers that are no texts", lambda path: _wrapped("state-facts", path, facts(
        run={"cfg": 1, "layers": [1], "data": [2, []], "entries": [], "first": 3}))),
    Case("state", "no bytes", b""),
    Case("log", "100,000 lists in each other", b'{"iteration": 1, "loss": ' + b"[" * 100_000),
    Case("log", "a time of 400 digits", b'{"iteration": 1, "loss": 1, "seconds": ' + b"9" * 400 + b"}\n"),
    Case("log", "a loss that is a text", b'{"iteration": 1, "loss": "x", "seconds": []}\n{"iteration": true}\n'),
    Case("pickle", "no bytes", b""),
    Case("pickle", "a full stop", b"."),
    Case("pickle", "it builds on nothing", b"\x80\x02b."),
    Case("pickle", "100,000 tuples in each other", b"\x80\x02)" + b"\x85" * 100_000 + b"."),
    Case("safetensors", "a header of -1 bytes", b"\xff" * 8 + b"{"),
    Case("safetensors", "a header of 0 bytes", b"\0" * 8 + b"{"),
    Case("safetensors-header", "a shape of 1e400",
         b'{"x": {"dtype": "F32", "shape": [1e400], "data_offsets": [0, 4]}}'),
    Case("safetensors-header", "a type of 100,000 characters",
         b'{"x": {"dtype": "' + LONG + b'", "shape": [1], "data_offsets": [0, 4]}}'),
    Case("safetensors-header", "100,000 objects in each other", b'{"a":' * 100_000),
    Case("weights", "not a number", weights(float("nan"))),
    Case("weights", "infinite", weights(float("inf"))),
    Case("weights", "3e38", weights(3e38)),
    Case("weights", "a version of -1", b"\xff" * 12 + seeds.weights()[0][12:]),
    Case("cfg", "a section's name of 400 characters without an encoding", b"[net]\n[" + b"\xe9" * 400 + b"] x\n"),
    Case("cfg", "10^9 anchors", b"[net]\nwidth=16\nheight=16\nchannels=3\n[convolutional]\nfilters=14\nsize=1\n[yolo]\n"
         b"mask=0,1\nclasses=2\nnum=1000000000\n"),
    Case("cfg", "100,000 lines", b"[net]\nwidth=8\nheight=8\nchannels=3\n" + b"[route]\nlayers=-1\n" * 20_000),
    Case("cfg", "numbers beyond all bounds", b"[net]\nwidth=" + b"9" * 5000 + b"\nheight=1e400\nchannels=nan\n"),
    Case("voc", "a size of 1e400", texts.VOC.replace(b"<width>24<", b"<width>1e400<")),
    Case("voc", "corners that are no numbers", texts.VOC.replace(b"<xmin>3<", b"<xmin>nan<")),
    Case("voc", "entities of entities", b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
         + b"]><annotation>&j;</annotation>"),
    Case("voc", "100,000 elements in each other", b"<annotation>" * 100_000),
    Case("yaml", "aliases of aliases", b"a0: &a0 [x, x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)) + b"train: *a29\n"),
    Case("yaml", "65,536 classes", b"train: list.txt\nval: list.txt\nnc: 65536\n"),
    Case("yaml", "a path of 100,000 characters", b"train: list.txt\nval: " + LONG + b"\n"),
    Case("yaml", "10,000 lists in each other", b"train: " + b"[" * 10_000),
    Case("tree", "a parent of 5,000 digits", b"a " + b"9" * 5000),
    Case("tree", "a name of 100,000 characters", LONG + b" -1\n" * 5),
    Case("map", "digits that are no ASCII", "\u0663\n".encode()),
    Case("map", "a separator behind a digit", b"0\x1f\n1\n"),
    Case("manifest", "100,000 lists in each other", b"[" * 100_000),
    Case("edit", "a value of 100,000 characters", b"net.width=" + LONG),
    Case("edit", "a target without an encoding", b"\xff.\xfe=\x1b[2J"),
    Case("new", "10^400 classes", b"1" + b"0" * 400),
    Case("new", "memory of 1e400", b"2\n416\n1e400"),
    Case("dataset", "a formula for a name", b".8\nlight=$\\frac$,dark=\xff\x1b[2J"),
    Case("dataset", "a share of nan", b"nan"),
    Case("calc_anchors", "10^9 anchors", b"1000000000"),
    Case("calc_anchors", "a height of 10^400", b"2\n16\n1" + b"0" * 400),
    Case("info", "a width of 10^400", b"1" + b"0" * 400),
    Case("map-options", "10^9 points", b".5\n1000000000"),
    Case("map-options", "10^400 points", b".5\n1" + b"0" * 400),
    Case("visualize", "a layer that is --", b"--"),
    Case("params", "a key without an encoding", b"\xff\x1b[2J"),
]


def _wrapped(reader: str, path: Path, data: bytes) -> None:
    from fuzzing.readers import READERS
    path.write_bytes(READERS[reader].wrap(data))


def put(case: Case, path: Path, wrap: Callable[[bytes], bytes]) -> None:
    """Put the input of a case at a path."""
    path.unlink(missing_ok=True)
    if isinstance(case.make, bytes):
        path.write_bytes(wrap(case.make))
    else:
        case.make(path)


INSTEAD = {"a pipe": os.mkfifo, "a device without end": endless, "a folder": os.mkdir, "nothing": lambda path: None,
           "3 GB": huge, "a link to itself": lambda path: path.symlink_to(path.name)}
