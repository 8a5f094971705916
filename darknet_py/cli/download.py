"""Fetch weights from the web, the official ones or those of a manifest of your own.

A NAME is a file (yolov4.conv.137, yolov4.weights, or just yolov4), or a cfg for all of its files (yolov4.cfg).

An interrupted download resumes. A file takes its name once its size and, as far as it is known, its SHA-256 are right;
an existing file is never overwritten. Mirrors are asked first, those of -mirror before those in the environment's
DARKNET_PY_MIRROR (folders' URLs, separated by spaces), and last the URLs of the manifest.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from darknet_py.cli.output import say
from darknet_py.cli.progress import Progress
from darknet_py.errors import DarknetError, DownloadError
from darknet_py.zoo.manifest import OFFICIAL, Published, find_files, read_manifest
from darknet_py.zoo.models import urls_of

MB = 10 ** 6
MISSING = "download"        # the state of a file that is not here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch")
    parser.add_argument("--list", action="store_true", help="say what there is, and what of it is here")
    parser.add_argument("--out", "--o", metavar="PATH", help="a folder; or a path for a single file, if it has an "
                        "extension and is no folder (default: the current folder)")
    parser.add_argument("--mirror", action="append", default=[], metavar="URL", help="a folder that has the files too; "
                        "may be given several times")
    parser.add_argument("--manifest", metavar="FILE", help="what there is, in the format of weights/manifest.json")


def run(arguments: argparse.Namespace) -> int:
    files = OFFICIAL if arguments.manifest is None else read_manifest(arguments.manifest)
    names = list(dict.fromkeys(name for word in arguments.names for name in find_files(word, files)))
    paths = targets(arguments.out, names if names else list(files))
    if arguments.list:
        for line in table(files, paths):
            say(line)
        return 0
    if not names:
        raise DarknetError("download needs NAME..., such as yolov4; -list says what there is")
    failed = 0
    for name, path in paths.items():
        urls = urls_of(name, files[name], tuple(arguments.mirror))
        try:
            say(fetch(path, files[name]._replace(urls=urls)))
        except DownloadError as error:
            say(f"darknet-py: {error}", error=True)
            failed += 1
        except KeyboardInterrupt:
            say(f"darknet-py: stopped; the same command goes on with what came of {path}", error=True)
            return 130
    return int(failed > 0)


def targets(out: str | None, names: list[str]) -> dict[str, Path]:
    """Where each file goes."""
    path = Path("." if out is None else out)
    if out is None or not path.suffix or path.is_dir() or out.endswith("/"):
        return {name: path / name for name in names}
    if len(names) > 1:
        raise DarknetError(f"-out {out} is the path of one file, found {len(names)} files; a folder's ends with /")
    return {names[0]: path}


def fetch(path: Path, facts: Published) -> str:
    """Download, with a progress bar in megabytes. Returns a line about the file."""
    from darknet_py.zoo.download import download
    with Progress(facts.size // MB, sys.stderr, start=partial_size(path) // MB) as bar:
        url = download(facts.urls[0], path, mirrors=facts.urls[1:], size=facts.size, sha256=facts.sha256,
                       progress=lambda done, _: bar.update(done // MB, f"MB of {path.name}"))
    known = "size and SHA-256 are right" if facts.sha256 else "its size is right, its SHA-256 is not known"
    return f"{path}: {'is here already' if url is None else f'fetched from {url}'}; {known}{facts.terms}"


def partial_size(path: Path) -> int:
    """Bytes of an interrupted download."""
    part = Path(f"{path}.part")
    return part.stat().st_size if part.exists() else 0


def state(path: Path, facts: Published) -> str:
    """Whether a file is here, as far as its size tells."""
    if path.exists():
        return "here" if path.stat().st_size == facts.size else "wrong size"
    return f"{partial_size(path) / facts.size:.0%} here" if partial_size(path) else MISSING


def table(files: dict[str, Published], paths: dict[str, Path]) -> Iterator[str]:
    """A line a file."""
    yield f"{'file':<28}{'bytes':>13}  {'SHA-256':<9}{'cfg':<36}state"
    for name, path in paths.items():
        facts = files[name]
        cfg = "-" if facts.cfg is None else facts.cfg if facts.layers is None else \
            f"{facts.cfg}, {facts.layers} layers"
        yield f"{name:<28}{facts.size:>13,}  {'known' if facts.sha256 else '-':<9}{cfg:<36}{state(path, facts)}"
