"""Recognition of a data set's format, by the files in its folder."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from darknet_py.data.coco import coco_files, coco_layout
from darknet_py.data.cvat import cvat_layout, is_cvat
from darknet_py.data.datafile import find_label, read_names
from darknet_py.data.layout import PROBES, Annotated, Layout, files_below, find_folder, is_picture
from darknet_py.data.voc import is_annotation, loose_layout, voc_layout
from darknet_py.data.yolo import find_yaml, yolo_layout
from darknet_py.errors import DataError, Reason

PICTURES = "pictures with label files"
NAMES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")   # what labelling programs write


def find_layout(path: Path) -> Layout | None:
    """The layout of a data set on disk; None for a .data file or a list, which Darknet itself knows.

    A file is recognised by its extension: COCO's .json, a data.yaml, CVAT's .xml. In a folder a devkit of Pascal VOC,
    a data.yaml, label files of its pictures, COCO's JSONs, annotations of Pascal VOC and CVAT's XML are looked for, in
    this order; without any of these it is a folder of pictures without labels.

    Raises:
        DataError: such a file that cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return coco_layout(path)
    if suffix in (".yaml", ".yml"):
        return yolo_layout(path)
    if suffix == ".xml":
        return cvat_layout(path)
    if not os.path.isdir(path):
        return None
    if (layout := voc_layout(path)) is not None:
        return layout
    if (found := find_yaml(path)) is not None:
        return yolo_layout(found)
    files = files_below(path)
    images = [file for file in files if is_picture(file)]
    if not any(os.path.exists(find_label(image)) for image in images[:PROBES]):
        if (layout := coco_layout(path, files)) is not None:
            return layout
        if (layout := loose_layout(path, files)) is not None:
            return layout
        exports = [file for file in files if file.suffix.lower() == ".xml" and is_cvat(file)]
        if len(exports) > 1:
            raise DataError(f"{path}: expected one XML of CVAT, found {', '.join(file.name for file in exports[:3])}; "
                            "give them one by one", Reason.WRONG_COUNT)
        if exports:
            return cvat_layout(exports[0])
    return Layout(PICTURES, (), lambda: _names(path, files), lambda *_: [Annotated(str(image), None, str(image))
                                                                         for image in images])


def _names(folder: Path, files: Sequence[Path]) -> list[str] | None:
    """The classes of label files, from the file of names that a labelling program writes nearest to the folder."""
    near = [file for file in files if file.name in NAMES or file.suffix.lower() == ".names"]
    near.sort(key=lambda file: len(file.parts))
    near += [place / name for place in (folder.parent / "labels", folder.parent) for name in NAMES]
    return next((read_names(file) for file in near if os.path.isfile(file)), None)


def find_annotations(images: Sequence[Path]) -> tuple[Path, Path] | None:
    """Annotations in another format that belong to pictures without label files.

    Returns:
        The folder that holds both, and one of the annotations; None where there are none.
    """
    for image in images[:PROBES]:
        beside = image.with_suffix(".xml")
        if is_annotation(beside):
            return image.parent, beside
        for folder in (image.parent, *image.parents[1:3]):
            for place in (folder, find_folder(folder, "annotations", "annotation", "xml", "xmls")):
                if place is None:
                    continue
                if is_annotation(found := place / f"{image.stem}.xml"):
                    return folder, found
                if jsons := coco_files(sorted(place.glob("*.json"))):
                    return folder, jsons[0]
                if is_cvat(found := place / "annotations.xml"):
                    return folder, found
            if (described := find_yaml(folder)) is not None:
                return folder, described
    return None
