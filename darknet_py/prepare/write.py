"""Writing of data sets: Darknet's lists and labels, COCO's JSON, Pascal VOC's folders, ultralytics' data.yaml.

No existing file is overwritten, unless this module wrote it (OUT/dataset.json lists its files) and the user agrees.
"""
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from darknet_py.data.coco import category_ids
from darknet_py.data.datafile import C_SPACE, label_path
from darknet_py.data.voc import annotation_text
from darknet_py.errors import DataError, Reason, cause
from darknet_py.prepare.sources import STATISTICS, Picture
from darknet_py.utils.files import parse_json, read_regular, replacing, sweep, write_file

FORMATS = ("darknet", "coco", "voc", "yolo")
MANIFEST = "dataset.json"
SPLITS = {"train": "train", "valid": "val"}     # ours, and what COCO, VOC and ultralytics call them

Parts = dict[str, list[Picture]]                # of train and of valid
Content = bytes | Path                          # of a file: these bytes, or this picture


class WrittenFiles(NamedTuple):
    """files: how many besides pictures. linked, copied: pictures that were brought into the folder. in_place: pictures
    that are only listed, with the labels that they have."""
    files: int
    linked: int
    copied: int
    in_place: int


def own_files(out: Path, force: bool) -> set[str]:
    """The files in a folder that an earlier run wrote.

    Raises:
        DataError: there are files, and force is False.
    """
    sweep(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return set()
    if not out.is_dir():
        raise DataError(f"{out}: is there already, and is no folder", Reason.ALREADY_EXISTS)
    try:
        found = parse_json(read_regular(out / MANIFEST))["files"]
        own = {str(name) for name in found} | {MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        own = set()
    for folder in {(out / name).parent for name in own}:
        sweep(folder)
    if not force:
        raise DataError(f"{out} is there already: -force replaces what this command wrote there, -o FOLDER writes "
                        "another one" if own else f"{out} has files that are not of this command: -o FOLDER writes "
                        "another one, -force adds to it without replacing any", Reason.ALREADY_EXISTS)
    return {name for name in own if not os.path.isabs(name) and ".." not in Path(name).parts}


def write_set(out: Path, style: str, parts: Parts, names: Sequence[str], *, about: dict, copy: bool = False,
              own: set[str] = frozenset(), progress: Callable[[int, int], None] | None = None  # type: ignore[assignment]
              ) -> WrittenFiles:
    """Write a data set.

    darknet: obj.data, obj.names and a list for each part. Pictures that have the labels where Darknet looks for them
    are listed where they are. The others come into obj/ with labels beside them, where C looks too (it knows no rule
    for images/ and labels/): as hard links, which need no room and no rights on Windows either, on another disk as
    symbolic links, and where there are neither as copies. Paths are absolute, for C looks from where it is started.
    coco: images/ and annotations/instances_train.json and _val.json. voc: JPEGImages/, Annotations/, ImageSets/Main/.
    yolo: images/train/, labels/train/ and so on, and data.yaml.

    Args:
        about: what else to say in dataset.json.
        copy: copy the pictures, all of them, and write paths relative to the folder: it can be moved then.
        own: files that may be replaced; those that are not written again are taken away.

    Raises:
        DataError: a file is there that is not among these, or something cannot be written.
    """
    plan = dict(PLANS[style](out, parts, names, copy))
    for name in plan:
        if name not in own and os.path.lexists(out / name):
            raise DataError(f"{out / name} is there already, and not from this command; -o FOLDER writes another one",
                            Reason.ALREADY_EXISTS)
    manifest = {**about, "format": style, "classes": list(names)}
    files = [*plan, STATISTICS]
    # before anything is taken away or written, so that a run after a kill knows the files as this command's
    write_file(out / MANIFEST, json.dumps({**manifest, "files": sorted({*own, *files} - {MANIFEST})}).encode())
    for name in own - {MANIFEST}:
        with suppress(OSError):
            (out / name).unlink()
    if style == "darknet":
        (out / "backup").mkdir(parents=True, exist_ok=True)         # where C expects a folder
    linked = copied = 0
    for done, (name, content) in enumerate(plan.items(), 1):
        if isinstance(content, bytes):
            write_file(out / name, content)
        elif link_or_copy(content, out / name, copy):
            linked += 1
        else:
            copied += 1
        if progress is not None:
            progress(done, len(plan))
    write_file(out / MANIFEST, json.dumps({**manifest, "files": files}, indent=1).encode())
    pictures = sum(map(len, parts.values()))
    return WrittenFiles(len(plan) + 2 - linked - copied, linked, copied, pictures - linked - copied)


def link_or_copy(image: Path, target: Path, copy: bool) -> bool:
    """Link or copy a picture. Returns whether it is a link.

    Raises:
        DataError: neither can be done.
    """
    source = os.path.realpath(image)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for link in () if copy else (os.link, os.symlink):
            with suppress(OSError, NotImplementedError):
                link(source, target)
                return True
        with open(source, "rb") as picture, replacing(target) as file:
            shutil.copyfileobj(picture, file)
    except OSError as error:
        raise DataError(f"{target}: cannot copy the picture: {cause(error)}", Reason.UNWRITABLE) from None
    return False


def _named(pictures: Sequence[Picture], taken: set[str]) -> Iterator[tuple[str, Picture]]:
    """Each picture with a name of its own, also without the extension and in other case."""
    for picture in pictures:
        stem, suffix = picture.image.stem, picture.image.suffix
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        yield f"{name}{suffix}", picture


def _text(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def label_text(rows: np.ndarray) -> bytes:
    """Rows (K, 5) float32 as a label file, with the digits that give the same numbers again."""
    return _text([f"{int(row[0])} " + " ".join(np.format_float_positional(value, trim="-") for value in row[1:])
                  for row in rows.astype(np.float32)])


def _darknet(out: Path, parts: Parts, names: Sequence[str], copy: bool) -> Iterator[tuple[str, Content]]:
    place = Path(os.path.abspath(out))
    base = Path() if copy or str(place).translate(C_SPACE) != str(place) else place
    lists = [f"{split} = {base / f'{split}.txt'}" for split, part in parts.items() if part]
    entries = [f"classes = {len(names)}", *lists, f"names = {base / 'obj.names'}", f"backup = {base / 'backup'}"]
    yield "obj.data", _text(entries)
    yield "obj.names", _text(names)
    probe = place / "obj" / "x.jpg"
    if label_path(probe) != probe.with_suffix(".txt"):
        raise DataError(f"{out}: Darknet would look for labels in {label_path(probe).parent} because of the folder's "
                        "name; -o FOLDER writes another one", Reason.CONFLICT)
    taken: set[str] = set()
    for split, part in parts.items():
        lines = []
        for name, picture in _named(part, taken):
            if picture.in_place and not copy:
                lines.append(str(picture.image))
                continue
            lines.append(f"obj/{name}" if copy else str(place / "obj" / name))
            yield f"obj/{name}", picture.image
            yield f"obj/{Path(name).stem}.txt", label_text(picture.rows)
        if part:
            yield f"{split}.txt", _text(lines)


def _yolo(out: Path, parts: Parts, names: Sequence[str], copy: bool) -> Iterator[tuple[str, Content]]:
    folders = {SPLITS[split]: f"images/{SPLITS[split]}" for split, part in parts.items() if part}
    yield "data.yaml", yaml.safe_dump({**folders, "nc": len(names), "names": list(names)}, sort_keys=False,
                                      allow_unicode=True).encode()
    taken: set[str] = set()
    for split, part in parts.items():
        for name, picture in _named(part, taken):
            yield f"images/{SPLITS[split]}/{name}", picture.image
            yield f"labels/{SPLITS[split]}/{Path(name).stem}.txt", label_text(picture.rows)


def _coco(out: Path, parts: Parts, names: Sequence[str], copy: bool) -> Iterator[tuple[str, Content]]:
    ids, taken, number = category_ids(names), set[str](), 0
    pictures: list[tuple[str, Content]] = []
    for split, part in parts.items():
        images, annotations = [], []
        for name, picture in _named(part, taken):
            images.append({"id": len(taken), "file_name": name, "width": picture.size[0], "height": picture.size[1]})
            pictures.append((f"images/{name}", picture.image))
            for label, box in zip(picture.rows[:, 0].astype(int).tolist(), _corners(picture).tolist(), strict=True):
                number += 1
                x1, y1, x2, y2 = box
                annotations.append({"id": number, "image_id": len(taken), "category_id": ids[label], "iscrowd": 0,
                                    "bbox": [round(value, 4) for value in (x1, y1, x2 - x1, y2 - y1)],
                                    "area": round((x2 - x1) * (y2 - y1), 4)})
        if part:
            yield f"annotations/instances_{SPLITS[split]}.json", json.dumps({
                "images": images, "annotations": annotations,
                "categories": [{"id": one, "name": name} for one, name in zip(ids, names, strict=True)]}).encode()
    yield from pictures


def _voc(out: Path, parts: Parts, names: Sequence[str], copy: bool) -> Iterator[tuple[str, Content]]:
    taken: set[str] = set()
    listed = {split: list(_named(part, taken)) for split, part in parts.items()}
    for split, part in listed.items():
        if part:
            yield f"ImageSets/Main/{SPLITS[split]}.txt", _text([Path(name).stem for name, _ in part])
    for part in listed.values():
        for name, picture in part:
            yield f"JPEGImages/{name}", picture.image
            yield f"Annotations/{Path(name).stem}.xml", annotation_text(
                name, picture.size, [names[int(label)] for label in picture.rows[:, 0]], _corners(picture),
                folder="JPEGImages").encode("utf-8", "xmlcharrefreplace")


def _corners(picture: Picture) -> np.ndarray:
    """(K, 4) x1, y1, x2, y2 in pixels of the picture, clipped to it."""
    size = np.array(picture.size, np.float64)
    centres, sizes = picture.rows[:, 1:3].astype(np.float64), picture.rows[:, 3:].astype(np.float64)
    return np.concatenate([np.clip((centres + sign * sizes / 2), 0, 1) * size for sign in (-1, 1)], 1)


PLANS: dict[str, Callable[[Path, Parts, Sequence[str], bool], Iterator[tuple[str, Content]]]] = {
    "darknet": _darknet, "coco": _coco, "voc": _voc, "yolo": _yolo}
