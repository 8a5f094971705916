"""What is found in a picture as a row, and files of rows: Parquet, JSON lines, COCO's results, YOLO's label files."""
from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from darknet_py.data.coco import category_ids
from darknet_py.inference.detections import Detections

COLUMNS = ("id", "path", "width", "height", "boxes", "scores", "labels", "names", "seconds", "error")


class Row(NamedTuple):
    """A picture's result.

    id: its number in the inputs, from 1. path: see ``Entry.path``. found: None where it cannot be read. seconds: its
    share of the network's time for its batch. error: why it cannot be read.
    """

    id: int
    path: str
    found: Detections | None
    seconds: float | None = None
    error: str | None = None

    def fields(self) -> dict[str, Any]:
        """By ``COLUMNS``: width and height in pixels; boxes as left, top, right, bottom in pixels, scores, class
        numbers and class names by falling score; None where there is no such thing."""
        if self.found is None:
            return dict.fromkeys(COLUMNS) | {"id": self.id, "path": self.path, "error": self.error}
        found, (height, width) = self.found, self.found.image_size
        labels = found.labels.tolist()
        return dict(zip(COLUMNS, (self.id, self.path, width, height, found.boxes.tolist(), found.scores.tolist(),
                                  labels, [found.names[label] for label in labels], self.seconds, self.error),
                        strict=True))


def schema() -> Any:
    """The columns as a ``pyarrow.Schema``."""
    import pyarrow as pa
    number, text = pa.float32(), pa.string()
    return pa.schema(list(zip(COLUMNS, (
        pa.int64(), text, pa.int32(), pa.int32(), pa.list_(pa.list_(number)), pa.list_(number), pa.list_(pa.int32()),
        pa.list_(text), pa.float64(), text), strict=True)))


def as_table(rows: Sequence[Row]) -> Any:
    """Rows as a ``pyarrow.Table``; bytes in paths that are not UTF-8 are escaped (\\xff)."""
    import pyarrow as pa
    fields = [row.fields() for row in rows]
    for one in fields:
        for key in ("path", "error"):
            one[key] = None if one[key] is None else _text(one[key])
    return pa.Table.from_pylist(fields, schema=schema())


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def parquet(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    from pyarrow import parquet as writer
    file = io.BytesIO()
    writer.write_table(as_table(rows), file, compression="zstd")
    return file.getvalue()


def json_lines(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    return "".join(f"{json.dumps(row.fields())}\n" for row in rows).encode()


def coco(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    """COCO's JSON: images, those that cannot be read with their error, annotations with scores, categories. A line an
    entry, which ``merged_coco`` relies on."""
    results = [one for row in rows if row.found is not None for one in row.found.to_coco(row.id)]
    return ("{" + ",\n".join(f'"{key}": {_list(entries)}' for key, entries in (
        ("images", [_image(row) for row in rows]), ("annotations", results), ("categories", categories(names))))
        + "}\n").encode()


def _image(row: Row) -> dict[str, Any]:
    fields = row.fields()
    facts = {"id": row.id, "file_name": row.path, "width": fields["width"], "height": fields["height"]}
    return facts if row.error is None else facts | {"error": row.error}


def categories(names: Sequence[str]) -> list[dict[str, Any]]:
    """Those of COCO's JSON."""
    return [{"id": number, "name": name} for number, name in zip(category_ids(names), names, strict=True)]


def _list(entries: Sequence[Any]) -> str:
    return "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]"


def yolo(rows: Sequence[Row], names: Sequence[str]) -> bytes:
    """A tar with a label file a picture that can be read, see ``Detections.to_labels``, called as the picture with the
    ending .txt; what leads out of the folder where it is unpacked is left out of the name."""
    file, used = io.BytesIO(), set[str]()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            if row.found is None:
                continue
            stem, ending = os.path.splitext(row.path)
            if "#" in ending:               # a row or a frame
                stem = row.path
            name = "/".join(part for part in stem.replace("://", "/").split("/") if part not in ("", ".", ".."))
            if name in used:                # of pictures that differ in their endings alone
                name = f"{name}-{row.id}"
            used.add(name)
            data = row.found.to_labels().encode()
            member = tarfile.TarInfo(f"{name}.txt")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


FORMATS = {             # -> the ending of a part's file, and what makes its bytes of rows and the names of all classes
    "parquet": (".parquet", parquet), "jsonl": (".jsonl", json_lines), "coco": (".json", coco), "yolo": (".tar", yolo)}
