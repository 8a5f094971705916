"""The end of a run: what its parts say of themselves, put together, in manifest.json, errors.jsonl and COCO's files."""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any, BinaryIO

from darknet_py.errors import DataError, Reason, cause
from darknet_py.scale.folder import BatchFolder
from darknet_py.utils.files import replacing, write_file
from darknet_py.utils.version import OPENCV, versions_of

PACKAGES = ("torch", "numpy", *OPENCV, "openvino", "ncnn", "onnxruntime", "pyarrow", "ray")


def finish(folder: BatchFolder, command: dict[str, Any]) -> dict[str, Any]:
    """Write what belongs to the whole run; all parts are done. What is there already stays.

    Args:
        command: further entries of the manifest.

    Returns:
        The manifest.

    Raises:
        DataError: a file cannot be written, or a part's facts are gone.
    """
    path = folder.path / "manifest.json"
    with folder.finishing():
        if path.exists():
            return json.loads(path.read_bytes())
        try:
            with replacing(folder.path / "errors.jsonl") as errors:
                sums = _sums(folder, errors)
            if folder.settings["format"] == "coco":
                _merge_coco(folder)
        except OSError as error:
            raise DataError(f"{folder.path}: cannot write: {cause(error)}", Reason.UNWRITABLE) from None
        manifest = {**sums, **command, **folder.network(), "settings": folder.settings,
                    "versions": versions_of(PACKAGES)}
        write_file(path, json.dumps(manifest, indent=1).encode() + b"\n")
    return manifest


def _sums(folder: BatchFolder, errors: BinaryIO) -> dict[str, Any]:
    """Over all parts; the pictures that cannot be read are written to a file, a line each."""
    sums = dict.fromkeys(("pictures", "errors", "detections"), 0)
    spans, network = [], 0.
    for part in range(folder.snapshot.parts):
        facts = folder.facts(part)
        if facts is None:
            raise DataError(f"{folder.state}: the facts of part {part} are gone", Reason.MISSING_FILE)
        for number, picture, message in facts["errors"]:
            errors.write(json.dumps({"id": number, "path": picture, "error": message}).encode() + b"\n")
        for key in sums:
            sums[key] += len(facts[key]) if key == "errors" else facts[key]
        spans.append((facts["begin"], facts["begin"] + facts["seconds"]))
        network += facts["network_seconds"]
    seconds = covered(spans)
    return {**sums, "parts": len(spans), "seconds": round(seconds, 3), "rate": round(sums["pictures"] / seconds, 3),
            "worker_seconds": round(sum(end - begin for begin, end in spans), 3), "network_seconds": round(network, 3),
            "begin": min(spans)[0], "end": max(end for _, end in spans)}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one process was at work; pauses between runs do not count."""
    total, reached = 0., float("-inf")
    for begin, end in sorted(spans):
        total += max(0., end - max(begin, reached))
        reached = max(reached, end)
    return max(total, 1e-3)


def _merge_coco(folder: BatchFolder) -> None:
    """results.json, which COCO's tools load, and images.json with the images and categories; a part at a time."""
    with replacing(folder.path / "results.json") as results, replacing(folder.path / "images.json") as images:
        results.write(b"[\n")
        images.write(b'{"images": [\n')
        commas = {"images": b"", "annotations": b""}
        for part in range(folder.snapshot.parts):
            content = json.loads(folder.file(part).read_bytes())
            for key, file in (("images", images), ("annotations", results)):
                for entry in content[key]:
                    file.write(commas[key] + json.dumps(entry).encode())
                    commas[key] = b",\n"
        results.write(b"\n]\n")
        images.write(b'\n],\n"categories": ' + json.dumps(content["categories"]).encode() + b"}\n")


def hash_of(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    except OSError as error:
        raise DataError(f"{path}: cannot read it: {cause(error)}", Reason.reading(error)) from None
    return digest.hexdigest()
