"""What an issue report needs: versions, hardware, packages, backends, caches and variables of this installation.

Each backend that is installed computes a small network, and what it gives is compared with PyTorch's; PyTorch's with
what it gives in float64. No secrets and no user's name are printed; the home folder is ~. The exit code is 1 where
PyTorch, OpenCV or a backend that is installed cannot be used.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darknet_py.cli.output import say

GIB = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write all of it as JSON too")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.tools.doctor import examine
    found = examine(told if sys.stderr.isatty() else lambda text: None)
    if sys.stderr.isatty():
        told("")
    for line in lines(found):
        say(line)
    if arguments.json is not None:
        from darknet_py.utils.files import write_file
        write_file(Path(arguments.json), json.dumps(found, indent=1).encode() + b"\n")
    broken = [entry for entry in found["backends"].values() if not entry["usable"] and entry.get("installed", True)]
    return int(bool(broken) or any("error" in found[name] for name in ("torch", "opencv")))


def told(text: str) -> None:
    """What is being looked at, on the terminal, in a line that the next one replaces."""
    print(f"\r{text:<30}\r", end="", file=sys.stderr, flush=True)


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The report."""
    for title, name, text in (("darknet_py", "darknet_py", own), ("Python", "python", python),
                              ("system", "system", system), ("CPU", "cpu", cpu), ("memory", "memory", memory),
                              ("PyTorch", "torch", torch), ("GPU", "gpus", gpus), ("OpenCV", "opencv", opencv),
                              ("window", "window", window)):
        yield f"{title:<12}{shown(found[name], text)}"
    yield "backends"
    for name, entry in found["backends"].items():
        yield f"  {name:<15}{backend(entry)}"
    yield "packages"
    for name, entry in found["packages"].items():
        yield f"  {name:<27}{entry}" if name == "error" else f"  {name:<27}{package(entry)}"
    yield "caches"
    for name, entry in found["caches"].items():
        yield f"  {name:<18}{entry}" if name == "error" else f"  {name:<18}{cache(entry)}"
    yield "environment"
    for name, value in found["environment"].items():
        yield f"  {name}={value}"
    for line in found["warnings"]:
        yield f"warning: {line}"


def shown(facts: Mapping[str, Any], text: Any) -> str:
    return f"cannot be found out: {facts['error']}" if "error" in facts else text(facts) if facts else "not known"


def own(facts: Mapping[str, Any]) -> str:
    installed = "not installed as a package" if facts["distribution"] is None else facts["distribution"]
    return f"{facts['version']} in {facts['folder']} ({installed})"


def python(facts: Mapping[str, Any]) -> str:
    return f"{facts['version']} ({facts['implementation']}), {facts['executable']}"


def system(facts: Mapping[str, Any]) -> str:
    return f"{facts['name']}, {facts['machine']}{', in a container' * facts['container']}"


def cpu(facts: Mapping[str, Any]) -> str:
    return f"{facts['model']}, {facts['cores']} of {facts['of_cores']} cores; {', '.join(facts['instructions']) or '-'}"


def gib(size: int | None) -> str:
    return "?" if size is None else f"{size / GIB:.1f} GiB"


def memory(facts: Mapping[str, Any]) -> str:
    limit = "" if facts["limit"] is None else f"; limited to {gib(facts['limit'])}"
    return f"{gib(facts['total'])}, {gib(facts['free'])} free{limit}"


def torch(facts: Mapping[str, Any]) -> str:
    built = f"built for CUDA {facts['cuda']}" if facts["cuda"] else f"built for ROCm {facts['hip']}" if facts["hip"] \
        else "built for CPUs"
    return (f"{facts['version']}, {built}, {facts['threads']} threads, {facts['capability']}"
            f"{'' if facts['mkldnn'] else ', without oneDNN'}; numpy {facts['numpy']}")


def gpus(facts: Mapping[str, Any]) -> str:
    driver = "no NVIDIA driver found" if facts["driver"] is None else f"driver {facts['driver']}"
    devices = "; ".join(f"{number}: {one['name']}, {gib(one['memory'])}, compute {one['compute']}"
                        for number, one in enumerate(facts["devices"]))
    return f"{devices or 'none that PyTorch can use'}; {driver}"


def opencv(facts: Mapping[str, Any]) -> str:
    brought = ", ".join(f"{name} {version}" for name, version in facts["packages"].items()) or "no package of pip's"
    return f"{facts['version']} ({brought}); windows {facts['gui'] or '?'}, FFmpeg {facts['ffmpeg'] or '?'}, " \
           f"GStreamer {facts['gstreamer'] or '?'}"


def window(facts: Mapping[str, Any]) -> str:
    return "possible" if facts["possible"] else "not possible: OpenCV has none (headless), or there is no display"


def backend(entry: Mapping[str, Any]) -> str:
    if not entry["usable"]:
        return f"{'FAILS' if entry.get('installed', True) else 'missing'}: {entry['reason']}"
    if entry["difference"] is None:
        return f"usable: {entry['reason']}"
    return f"usable: computed a small network in {entry['seconds']:.2f} s, difference {entry['difference']:.1g}"


def package(entry: Mapping[str, Any]) -> str:
    extras = f"  [{', '.join(entry['extras'])}]" if entry["extras"] else ""
    return f"{'missing' if entry['version'] is None else entry['version']:<20}{extras}".rstrip()


def cache(entry: Mapping[str, Any]) -> str:
    return "off" if entry["folder"] is None else \
        f"{entry['folder']}: {entry['files']} files, {entry['bytes'] / 1e6:.1f} MB"
