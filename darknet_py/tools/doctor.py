"""Facts of this installation for an issue report: versions, hardware, packages, backends, caches, environment.

What needs PyTorch, OpenCV or a runtime is done in a process of its own (``doctor_process``), so that a package that
fails, hangs or crashes while it is imported is a line of the report.
"""
from __future__ import annotations

import getpass
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from darknet_py.utils.machine import cores, cpu_features, cpu_name
from darknet_py.utils.version import OPENCV, __version__, version_of

PACKAGE = Path(__file__).parents[1]
DISTRIBUTIONS = "darknet-torch", "darknet_py"
# instructions that matter to the runtimes: in /proc/cpuinfo -> as they are known
INSTRUCTIONS = {"sse4_2": "SSE4.2", "avx": "AVX", "avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "avx512f": "AVX-512",
                "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "avx512_bf16": "AVX-512 BF16",
                "avx512_fp16": "AVX-512 FP16", "amx_bf16": "AMX BF16", "amx_int8": "AMX INT8", "asimd": "NEON",
                "asimddp": "dot products", "i8mm": "I8MM", "bf16": "BF16", "sve": "SVE"}
VARIABLES = re.compile("DARKNET_PY_.*|OMP_.*|KMP_.*|GOMP_.*|MKL_.*|OPENBLAS_.*|CUDA_.*|NVIDIA_VISIBLE_DEVICES|TORCH.*|"
                       "PYTORCH_.*|OPENCV_.*|ORT_.*|OV_.*|DISPLAY|WAYLAND_DISPLAY|QT_QPA_PLATFORM|CXX|LD_PRELOAD|"
                       "LD_LIBRARY_PATH|PYTHONPATH|VIRTUAL_ENV|CONDA_PREFIX|XDG_CACHE_HOME")
SECRET = re.compile("TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY$")
SKIPPED = {"all", "test", "docs", "fuzz", "browser"}       # extras for developers, and that which has all others
LONGEST = 60            # seconds without a word from the process


def examine(progress: Callable[[str], object] = lambda text: None, skip: Sequence[str] = ()) -> dict[str, Any]:
    """All facts, ready for JSON; what cannot be found out is {"error": why}. No secrets and no user's name are in it:
    the home folder is ``~``.

    Args:
        progress: called with the name of each step of the process that begins: "torch", "backends ncnn" ...
        skip: names of steps to leave out; "backends" for all of them.

    Returns:
        By section: darknet_py, python, system, cpu, memory, torch, gpus, opencv, window, backends, packages, caches,
        environment; and ``warnings``, a list of lines. A backend is {"usable": bool, "reason": str | None,
        "difference": float | None, "seconds": float}: the largest difference of a small network's outputs from
        PyTorch's in parts of the largest value, of "pytorch" itself from those in float64.
    """
    found: dict[str, Any] = {}
    for name, section in (("darknet_py", own), ("python", python), ("system", system), ("cpu", cpu),
                          ("memory", memory)):
        found[name] = attempt(section)
    found |= probe(progress, skip)
    for name, section in (("packages", packages), ("caches", caches), ("environment", environment)):
        found[name] = attempt(section)
    found = scrubbed(found)
    found["warnings"] = list(warnings_of(found))
    return found


def attempt(section: Callable[[], Any]) -> Any:
    """What a section gives, or {"error": why}."""
    try:
        return section()
    except Exception as error:          # whatever is wrong is what is asked
        return {"error": said(error)}


def said(error: BaseException) -> str:
    """An error in a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def own() -> dict[str, Any]:
    """The version, where it is, and as which distribution it is installed; None for a folder that is only found."""
    return {"version": __version__, "folder": str(PACKAGE), "distribution": distribution()}


def distribution() -> str | None:
    for name in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            return f"{name} {metadata.version(name)}"
    return None


def python() -> dict[str, Any]:
    return {"version": platform.python_version(), "implementation": platform.python_implementation(),
            "executable": sys.executable}


def system() -> dict[str, Any]:
    name = platform.platform()
    with suppress(OSError, AttributeError):
        name = f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {name}"
    return {"name": name, "machine": platform.machine(), "container": Path("/.dockerenv").exists()}


def cpu() -> dict[str, Any]:
    words = set(re.findall(r"[\w.]+", cpu_features()))
    return {"model": cpu_name(), "cores": cores(), "of_cores": os.cpu_count(),
            "instructions": [text for word, text in INSTRUCTIONS.items() if word in words]}


def memory() -> dict[str, Any]:
    """Bytes of this machine, and of these free; the limit of a container (cgroup), None without one."""
    values = dict(re.findall(r"^(\w+): +(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)) \
        if Path("/proc/meminfo").exists() else {}
    total = 1024 * int(values["MemTotal"]) if "MemTotal" in values else \
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    limit = None
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limit = int(Path(path).read_text())
            break
    return {"total": total, "free": 1024 * int(values["MemAvailable"]) if "MemAvailable" in values else None,
            "limit": limit if limit is not None and (total is None or limit < total) else None}


def packages() -> dict[str, Any]:
    """What darknet_py needs and can use: version, None where it is missing, and the extras that bring it."""
    found: dict[str, dict[str, Any]] = {}
    for name in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            lines = metadata.requires(name) or []
            break
    else:
        raise LookupError("darknet_py is not installed as a package, so what it needs is not known")
    for line in lines:
        match = re.match(r"([\w.-]+)", line)
        extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
        if match is None or (extra is not None and extra[1] in SKIPPED):
            continue
        entry = found.setdefault(match[1], {"version": version_of(match[1]), "extras": []})
        entry["extras"] += [None if extra is None else extra[1]]
    return {name: {"version": entry["version"], "extras": [] if None in entry["extras"] else entry["extras"]}
            for name, entry in sorted(found.items(), key=lambda item: item[0].lower())}


def caches() -> dict[str, Any]:
    """Folders of cached files, with the number and bytes of their files."""
    from darknet_py.utils.cache import cache_folder
    torch = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or Path(
        tempfile.gettempdir(), f"torchinductor_{re.sub(r'[^A-Za-z0-9_]', '_', getpass.getuser())}")
    return {name: {"folder": None if folder is None else str(folder), **sizes(folder)}
            for name, folder in (("models, weights", cache_folder()), ("torch.compile", Path(torch)))}


def sizes(folder: Path | None) -> dict[str, int]:
    files = [] if folder is None else [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.lstat().st_size
    return {"files": len(files), "bytes": total}


def environment() -> dict[str, str]:
    """The variables that matter, without tokens, and without users, passwords and queries of URLs."""
    return {name: "(set)" if SECRET.search(name) else re.sub(r"(?<=://)[^/@\s]*@|\?\S*", "", value)
            for name, value in sorted(os.environ.items()) if VARIABLES.fullmatch(name)}


def probe(progress: Callable[[str], object], skip: Sequence[str] = ()) -> dict[str, Any]:
    """What ``doctor_process`` finds; a step in which it dies or hangs is an error, and another one goes on."""
    found: dict[str, Any] = {"torch": {}, "gpus": {}, "opencv": {}, "window": {}, "backends": {}}
    done = list(skip)
    while True:
        step = None
        for words in run_process(done):
            if "begins" in words:
                step = words["begins"]
                progress(step)
            elif "end" in words:
                return found
            elif "died" in words:
                if step is None:
                    found["torch"] = {"error": words["died"]}
                    return found
                _put(found, step, {"usable": False, "installed": True, "reason": words["died"]}
                     if step.startswith("backends ") else {"error": words["died"]})
                done.append(step)
            else:
                assert step is not None
                _put(found, step, words["fact"])
                done.append(step)
                step = None


def _put(found: dict[str, Any], step: str, fact: Any) -> None:
    section, _, name = step.partition(" ")
    if name:
        found[section][name] = fact
    else:
        found[section] = fact


def run_process(done: list[str]) -> Iterator[Mapping[str, Any]]:
    """The lines of a ``doctor_process`` that passes over what is done; {"died": why} where it ends before its end."""
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(PACKAGE.parent)])
    command = [sys.executable, "-m", "darknet_py.tools.doctor_process", *done]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "PYTHONSAFEPATH": "1"}) as process:
        watch = _Watch(process)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                watch.heard()
                if (words := _object(line)) is not None:
                    yield words
                    if "end" in words:
                        return
            process.wait()
        finally:
            watch.stop()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no message"])[-1]
        code = process.returncode
        yield {"died": f"did not end within {LONGEST} s" if watch.late else last if code >= 0 else
               f"the process was ended by {signal.Signals(-code).name}"}


def _object(line: str) -> dict[str, Any] | None:
    """A line of JSON; None for what a library printed."""
    try:
        words = json.loads(line)
    except ValueError:
        return None
    return words if isinstance(words, dict) and words.keys() & {"begins", "fact", "end"} else None


class _Watch:
    """Ends a process that says nothing for ``LONGEST`` seconds."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.late = process, False
        self.timer = self._started()

    def _started(self) -> threading.Timer:
        timer = threading.Timer(LONGEST, self._end)
        timer.daemon = True
        timer.start()
        return timer

    def heard(self) -> None:
        self.stop()
        self.timer = self._started()

    def stop(self) -> None:
        self.timer.cancel()

    def _end(self) -> None:
        self.late = True
        self.process.kill()


def scrubbed(value: Any) -> Any:
    """Facts with the home folder as ~ and the user's name as USER."""
    if isinstance(value, dict):
        return {key: scrubbed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [scrubbed(one) for one in value]
    if not isinstance(value, str):
        return value
    home = os.path.expanduser("~")
    if len(home) > 1:
        value = re.sub(re.escape(home) + r"(?![\w.-])", "~", value)
    with suppress(Exception):           # getuser's own, which differ
        if len(name := getpass.getuser()) > 1:
            value = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", "USER", value)
    return value


def warnings_of(found: Mapping[str, Any]) -> Iterator[str]:
    """What is probably wrong."""
    several = {name: version for name in OPENCV if (version := version_of(name)) is not None}
    if len(several) > 1:
        kept = next((name for name in several if "headless" not in name), next(iter(several)))
        yield (f"{' and '.join(several)} are installed; each overwrites the others' cv2. Keep one: pip uninstall -y "
               f"{' '.join(several)} && pip install {kept}")
    for section in ("torch", "opencv"):
        if "error" in found[section]:
            yield f"{section} cannot be used: {found[section]['error']}"
    for name, entry in found["packages"].items():
        if isinstance(entry, dict) and entry["version"] is None and not entry["extras"]:
            yield f"{name} is needed, and is not installed: pip install {name}"
    for name, entry in found["backends"].items():
        if not entry["usable"] and entry.get("installed"):
            yield f"backend {name} is installed, and cannot be used: {entry['reason']}"
    gpus = found["gpus"]
    if gpus.get("driver") and not gpus.get("devices"):
        yield "there is an NVIDIA driver, and PyTorch finds no GPU: it may be built without CUDA, or for a newer driver"
