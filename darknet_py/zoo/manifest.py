"""The official weights: URLs, sizes, hashes, the cfgs that they belong to, and the published AP and FPS."""
from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

from darknet_py.errors import DarknetError, DataError, Reason, cause, suggestion
from darknet_py.utils.files import parse_json, read_regular, show_json

SOURCE = ("AP and AP50 in per cent on COCO test-dev, with an input of size x size; FPS of Darknet on a Tesla V100, one "
          "image at a time. README of AlexeyAB/darknet; for YOLOv7, of WongKinYiu/yolov7 (its PyTorch program)")


class Figures(NamedTuple):
    """Published AP and FPS (see ``SOURCE``) of weights at one size of input; None where nothing is published."""

    size: int
    ap: float | None
    ap50: float | None
    fps: float | None = None


class Published(NamedTuple):
    """A file on the web.

    urls: of the file, the official one first.
    size: bytes.
    sha256: of each version that was released, in hexadecimal; empty where none is known.
    cfg: name of the cfg that it belongs to.
    layers: it holds so many first layers of that cfg, for training to start from; None for all of them.
    figures: one a size of input.
    licence: of the project that publishes it, as it calls it; None where it is not known.
    dataset: that it was trained on.
    """

    urls: tuple[str, ...]
    size: int
    sha256: tuple[str, ...] = ()
    cfg: str | None = None
    layers: int | None = None
    figures: tuple[Figures, ...] = ()
    licence: str | None = None
    dataset: str | None = None

    @property
    def terms(self) -> str:
        """Licence and data set, as the end of a line."""
        known = {"licence": self.licence, "trained on": self.dataset}
        return "".join(f"; {word} {value}" for word, value in known.items() if value is not None)


def _file(name: str, cfg: str, size: int, *folders: str, sha256: tuple[str, ...] = (), layers: int | None = None,
          figures: tuple[Figures, ...] = (), dataset: str | None = None) -> tuple[str, Published]:
    licence = "GPL-3.0" if _V7 in folders else "public domain (YOLO LICENSE)"
    return name, Published(tuple(f"{folder}/{name}" for folder in folders), size, sha256, cfg, layers, figures, licence,
                           "COCO" if layers is None else dataset)


_DARKNET = "https://github.com/AlexeyAB/darknet/releases/download"
_V3, _PRE, _V4 = (f"{_DARKNET}/{tag}" for tag in ("darknet_yolo_v3_optimal", "darknet_yolo_v4_pre", "yolov4"))
_V7, _PJREDDIE = "https://github.com/WongKinYiu/yolov7/releases/download/v0.1", "https://pjreddie.com/media/files"

# Licences are those of the repositories AlexeyAB/darknet and pjreddie/darknet (LICENSE: "Darknet is public domain"),
# and WongKinYiu/yolov7 (LICENSE.md), where the files of YOLOv7 come from.
# Sizes follow from the cfgs, with a header of 20 bytes (yolov2.weights: 16). Hashes are those that several projects
# state for these URLs; the second of yolov4-tiny.weights is of another release.
OFFICIAL = dict([
    _file("yolov4.weights", "yolov4.cfg", 257_717_640, _V3, _V4,
          sha256=("e8a4f6c62188738d86dc6898d82724ec0964d0eb9d2ae0f0a9d53d65d108d562",),
          figures=(Figures(608, 43.5, 65.7, 62), Figures(512, 43.0, 64.9, 83), Figures(416, 41.2, 62.8, 96),
                   Figures(320, 38.0, 60.0, 123))),
    _file("yolov4.conv.137", "yolov4.cfg", 170_038_676, _V3, layers=137),
    _file("yolov4-tiny.weights", "yolov4-tiny.cfg", 24_251_276, _PRE, _V4,
          sha256=("cf9fbfd0f6d4869b35762f56100f50ed05268084078805f0e7989efe5bb8ca87",
                  "037676f0d929c24e1bd9a0037fe30dc416fc26e0ca2a4491a44d024873316061"),
          figures=(Figures(416, None, 40.2),)),
    _file("yolov4-tiny.conv.29", "yolov4-tiny.cfg", 19_789_716, _PRE, layers=29),
    _file("yolov4-csp.weights", "yolov4-csp.cfg", 211_944_840, _PRE,
          figures=(Figures(640, 48.7, 67.4, 70), Figures(512, 46.2, 64.8, 93))),
    _file("yolov4-csp.conv.142", "yolov4-csp.cfg", 146_548_116, _PRE, layers=142),
    _file("yolov4-csp-swish.weights", "yolov4-csp-swish.cfg", 211_944_840, _PRE,
          figures=(Figures(640, 50.0, 68.7, 70),)),
    _file("yolov4-csp-swish.conv.164", "yolov4-csp-swish.cfg", 185_312_660, _PRE, layers=164),
    _file("yolov4x-mish.weights", "yolov4x-mish.cfg", 399_388_168, _PRE, figures=(Figures(640, 50.1, 68.5, 50),)),
    _file("yolov4x-mish.conv.166", "yolov4x-mish.cfg", 277_307_668, _PRE, layers=166),
    _file("yolov4-csp-x-swish.weights", "yolov4-csp-x-swish.cfg", 399_388_168, _PRE,
          figures=(Figures(640, 51.5, 69.9, 50),)),
    _file("yolov4-csp-x-swish.conv.192", "yolov4-csp-x-swish.cfg", 358_357_268, _PRE, layers=192),
    _file("yolov4-p5.weights", "yolov4-p5.cfg", 283_669_892, _PRE, figures=(Figures(896, 51.6, 70.0, 43),)),
    _file("yolov4-p5.conv.232", "yolov4-p5.cfg", 256_427_412, _PRE, layers=232),
    _file("yolov4-p6.weights", "yolov4-p6.cfg", 510_868_180, _PRE, figures=(Figures(1280, 54.0, 72.1, 32),)),
    _file("yolov4-p6.conv.289", "yolov4-p6.cfg", 463_340_948, _PRE, layers=289),
    _file("yolov7-tiny.weights", "yolov7-tiny.cfg", 24_967_560, _V4, _V7),
    _file("yolov7.weights", "yolov7.cfg", 147_898_248, _V4, _V7, figures=(Figures(640, 51.4, 69.7),)),
    _file("yolov7x.weights", "yolov7x.cfg", 285_638_760, _V4, _V7, figures=(Figures(640, 53.1, 71.2),)),
    _file("yolov3.weights", "yolov3.cfg", 248_007_048, _PJREDDIE,
          sha256=("523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",),
          figures=(Figures(416, None, 55.3),)),
    _file("yolov3-tiny.weights", "yolov3-tiny.cfg", 35_434_956, _PJREDDIE,
          sha256=("dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",),
          figures=(Figures(416, None, 33.1),)),
    _file("yolov3-spp.weights", "yolov3-spp.cfg", 252_209_544, _PJREDDIE,
          sha256=("87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",),
          figures=(Figures(608, None, 60.6),)),
    _file("darknet53.conv.74", "yolov3.cfg", 162_482_580, _PJREDDIE, layers=74, dataset="ImageNet"),
    _file("yolov2.weights", "yolov2.cfg", 203_934_260, _PJREDDIE,
          sha256=("d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f",)),
    _file("yolov2-tiny.weights", "yolov2-tiny.cfg", 44_948_600, _PJREDDIE),
])


def how_to_get(path: str | os.PathLike) -> str:
    """How to get a weights file that is missing."""
    folder, name = os.path.split(path)
    if name in OFFICIAL:
        where = f" -o {shlex.quote(os.fspath(path))}" if folder else ""
        return f"darknet-py download {name.removesuffix('.weights')}{where} fetches it"
    return "it is none of the official weights, so it has to be copied there, or trained"


def find_files(name: str, files: dict[str, Published]) -> list[str]:
    """The files that a name means: a file's own, with or without .weights, or that of a cfg, for all that belong to it.

    Raises:
        DarknetError: it means none.
    """
    names = {file: (file, file.removesuffix(".weights"), facts.cfg) for file, facts in files.items()}
    found = [file for file in files if name in names[file]]
    if not found:
        known = [one for several in names.values() for one in several if one is not None]
        raise DarknetError(f"expected a file or a cfg that darknet-py download -list shows, found {name}"
                           + suggestion(name, known))
    return found


def manifest(files: dict[str, Published] = OFFICIAL) -> str:
    """Files as JSON, which ``read_manifest`` reads."""
    return json.dumps({"about": SOURCE, "files": {name: {
        "urls": facts.urls, "bytes": facts.size, "sha256": facts.sha256, "cfg": facts.cfg, "layers": facts.layers,
        "figures": [dict(zip(_FIGURES, figures, strict=True)) for figures in facts.figures],
        "licence": facts.licence, "dataset": facts.dataset,
    } for name, facts in files.items()}}, indent=1) + "\n"


def read_manifest(path: str | os.PathLike) -> dict[str, Published]:
    """The files of a manifest in the format of weights/manifest.json: other mirrors, other models. All but urls and
    bytes may be missing.

    Raises:
        DataError: it cannot be read, or has something else than expected in it.
    """
    try:
        data = parse_json(read_regular(path))
    except OSError as error:
        raise DataError(f"{path}: cannot read the manifest: {cause(error)}", Reason.reading(error)) from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}", Reason.SYNTAX) from None
    if not isinstance(data, dict) or not isinstance(data.get("files"), dict):
        raise DataError(f'{path}: expected a manifest: {{"files": {{"a.weights": {{"urls": ..., "bytes": ...}}}}}}',
                        Reason.WRONG_FORMAT)
    for name, entry in data["files"].items():
        where = f"{path}: {name}"
        if not re.fullmatch(r"\w[\w.+-]*", name):                   # nothing that leads to another folder
            raise DataError(f"{path}: expected the plain name of a file, found {name}", Reason.BAD_VALUE)
        if not isinstance(entry, dict):
            raise DataError(f"{where}: expected an object, found {show_json(entry)}", Reason.BAD_VALUE)
        if wrong := sorted((set(entry) - set(_KEYS)) | ({"urls", "bytes"} - set(entry))):
            raise DataError(f"{where}: expected urls, bytes and perhaps {', '.join(list(_KEYS)[2:])}; "
                            f"{wrong[0]} is {'none of them' if wrong[0] in entry else 'missing'}", Reason.WRONG_FORMAT)
        for key, value in entry.items():
            expected, fits = _KEYS[key]
            if not fits(value):
                raise DataError(f"{where}: {key}: expected {expected}, found {show_json(value)}", Reason.BAD_VALUE)
    return {name: Published(
        tuple(entry["urls"]), entry["bytes"], tuple(map(str.lower, entry.get("sha256", []))), entry.get("cfg"),
        entry.get("layers"), tuple(Figures(*(figures.get(key) for key in _FIGURES))
                                   for figures in entry.get("figures", [])), entry.get("licence"), entry.get("dataset"))
        for name, entry in data["files"].items()}


def _all(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _count(value: Any) -> bool:
    return type(value) is int and value > 0


def _figures(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= set(_FIGURES) and _count(value.get("size")) and all(
        one is None or (type(one) in (int, float) and 0 <= one < 1e6) for one in value.values())


_FIGURES = ("size", "AP", "AP50", "FPS")
_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {             # of a file -> what is expected there
    "urls": ("URLs that begin with https:// or http://",
             lambda value: value != [] and _all(_text(r"https?://.+"))(value)),
    "bytes": ("a number of bytes", _count),
    "sha256": ("hashes of 64 hexadecimal digits", _all(_text("[0-9A-Fa-f]{64}"))),
    "cfg": ("the name of a .cfg file or null", lambda value: value is None or _text(r".+\.cfg")(value)),
    "layers": ("a number of layers or null", lambda value: value is None or _count(value)),
    **dict.fromkeys(("licence", "dataset"),
                    ("a text or null", lambda value: value is None or _text(".{1,200}")(value))),
    "figures": ("objects with size, and AP, AP50 or FPS", _all(_figures)),
}
