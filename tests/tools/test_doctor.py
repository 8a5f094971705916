"""What an issue report needs, also where packages are broken, crash or hang."""
import getpass
import json
import os
import re
import subprocess
import sys
from functools import partial
from importlib import metadata

import pytest
import torch

from darknet_py import __version__
from darknet_py.cli import doctor as cli_doctor
from darknet_py.inference.backends import BACKENDS
from darknet_py.tools import doctor, doctor_process


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Put a module of that name before the real one."""
    def put(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return put


def skipping_all_but(*names):
    return [f"backends {name}" for name in BACKENDS if name not in names]


def test_the_verb(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "examine", partial(doctor.examine, skip=skipping_all_but("pytorch", "torchscript")))
    monkeypatch.setenv("DARKNET_PY_TOKEN", "very-secret")
    monkeypatch.setenv("DARKNET_PY_MIRROR", "https://me:pw@mirror.test/x?sig=abc http://b.test/")
    code, out, err = cli("doctor", "-json", tmp_path / "d.json")
    found = json.loads((tmp_path / "d.json").read_text())
    assert not err and code == int(any(one["installed"] and not one["usable"] for one in found["backends"].values()))
    assert found["darknet_py"]["version"] == __version__ and found["torch"]["version"] == torch.__version__
    assert found["python"]["version"] == ".".join(map(str, sys.version_info[:3])) and found["cpu"]["cores"] >= 1
    assert found["memory"]["total"] > 1 << 28 and found["opencv"]["version"] and "possible" in found["window"]
    assert list(found["backends"]) == ["pytorch", "torchscript"]
    for name in ("pytorch", "torchscript"):
        assert found["backends"][name]["usable"] and found["backends"][name]["difference"] < 1e-5
    assert all(one["usable"] or one["reason"] for one in found["backends"].values())
    assert found["environment"]["DARKNET_PY_TOKEN"] == "(set)"
    assert found["environment"]["DARKNET_PY_MIRROR"] == "https://mirror.test/x http://b.test/"
    assert "very-secret" not in out and "pw@" not in out and f"PyTorch     {torch.__version__}, built for" in out
    home = os.path.expanduser("~")
    assert len(home) < 2 or f"{home}/" not in out + json.dumps(found)


def test_what_fails_is_a_line(broken):
    """A package that cannot be imported, one that crashes and one that prints; the others are examined all the same."""
    broken("onnxruntime", "raise ImportError('libwrong.so: cannot open\\nmore')")
    broken("openvino", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    broken("ncnn", "print('hello')\nprint('{\"a\": 1}')\nraise RuntimeError('no such CPU')")
    found = doctor.examine(skip=["gpus", "opencv", "window", *skipping_all_but(
        "ncnn", "openvino", "onnxruntime", "pytorch")])
    lines = "\n".join(cli_doctor.lines(found))
    assert "\n  openvino       FAILS: the process was ended by SIGSEGV\n" in lines
    assert re.search(r"\n  onnxruntime    FAILS: backend=onnxruntime needs .*: it is here, and fails: libwron", lines)
    assert "\n  ncnn           FAILS: RuntimeError: no such CPU\n" in lines
    assert "\n  pytorch        usable: computed a small network" in lines
    assert "\nwarning: backend openvino is installed, and cannot be used: the process was ended" in lines


@pytest.mark.parametrize("package, line, skip, backends", [
    ("torch", "PyTorch     cannot be found out: ImportError: it is broken", [], "  none           FAILS: Import"),
    ("cv2", "OpenCV      cannot be found out: ImportError: it is broken", ["gpus", "backends"], "packages")])
def test_without_what_all_needs(cli, broken, monkeypatch, package, line, skip, backends):
    broken(package, "raise ImportError('it is broken')")
    monkeypatch.setattr(doctor, "examine", partial(doctor.examine, skip=skip))
    code, out, err = cli("doctor")
    assert code == 1 and not err and line in out and f"backends\n{backends}" in out


def test_a_step_that_hangs(monkeypatch, broken):
    monkeypatch.setattr(doctor, "LONGEST", 3)
    broken("cv2", "import time\nprint('x', flush=True)\ntime.sleep(600)")
    found = doctor.run_process(["torch", "gpus"])
    assert [next(found), next(found)] == [{"begins": "opencv"}, {"died": "did not end within 3 s"}]
    assert list(found) == []


def test_several_opencvs(monkeypatch):
    monkeypatch.setattr(doctor, "version_of", lambda name: "4.12" if name in doctor.OPENCV[:2] else None)
    found = {"torch": {}, "opencv": {}, "packages": {}, "backends": {}, "gpus": {}}
    assert list(doctor.warnings_of(found)) == [
        "opencv-python and opencv-python-headless are installed; each overwrites the others' cv2. Keep one: pip "
        "uninstall -y opencv-python opencv-python-headless && pip install opencv-python"]
    found["gpus"] = {"driver": "550.1", "devices": []}
    found["packages"] = {"numpy": {"version": None, "extras": []}, "nncf": {"version": None, "extras": ["quantize"]}}
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    assert [line.split(",")[0] for line in doctor.warnings_of(found)] == ["numpy is needed",
                                                                        "there is an NVIDIA driver"]


def test_names_of_users_are_left_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane")
    monkeypatch.setattr(getpass, "getuser", lambda: "jane")
    assert doctor.scrubbed({"a": ["/home/jane/x", 1, None], "b": "/tmp/inductor_jane", "c": "janet /home/janet"}) == {
        "a": ["~/x", 1, None], "b": "/tmp/inductor_USER", "c": "janet /home/janet"}


def test_extras_come_from_the_package(monkeypatch):
    lines = ["torch>=2.4", 'optuna>=4; extra == "tune"', 'onnx; extra == "all"', "onnx; extra == 'convert'"]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    monkeypatch.setattr(doctor, "version_of", {"torch": "2.9", "onnx": "1.1"}.get)
    monkeypatch.setattr(metadata, "version", lambda name: "1")
    assert doctor.packages() == {"onnx": {"version": "1.1", "extras": ["convert"]},
                                 "optuna": {"version": None, "extras": ["tune"]},
                                 "torch": {"version": "2.9", "extras": []}}


def test_wrong_results_are_found(monkeypatch):
    from darknet_py.inference.backends.pytorch import PyTorch
    assert doctor_process.backend_facts("pytorch")["usable"]
    monkeypatch.setattr(PyTorch, "run", lambda self, x: tuple(1.001 * one for one in self.network(x)))
    found = doctor_process.backend_facts("pytorch")
    assert not found["usable"] and found["reason"].startswith("differs by ") and found["difference"] > 1e-4


def test_the_process_stands_alone():
    """It is quick: what imports torch is it alone."""
    code = "import sys; from darknet_py.tools import doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
