"""The distribution: what wheel and sdist hold, and that the wheel runs where there is nothing of the clone."""
import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import cv2
import pytest
from conftest import ROOT

from darknet_py import __version__

NAME = f"darknet_torch-{__version__}"
DEVELOPERS = {"browser", "docs", "fuzz", "test"}       # extras of those who work on darknet_py
LARGE = {"ray"}             # extras of users that [all] leaves out: it is large, and not made for all systems
# Prints what an installed package knows without a clone beside it.
KNOWS = """
import importlib.metadata, json, darknet_py
from darknet_py.data.datafile import find_names
from darknet_py.live.service.app import PAGE
from darknet_py.zoo.architectures import ARCHITECTURES, cfg_text
from darknet_py.zoo.manifest import manifest
print(json.dumps({"package": darknet_py.__file__, "version": importlib.metadata.version("darknet-torch"),
                  "names": find_names(None, None, 80), "manifest": manifest(),
                  "page": (PAGE / "index.html").read_text("utf-8"),
                  "cfgs": {name: cfg_text(name) for name in ARCHITECTURES}}))
"""


def run(*words, cwd, **variables) -> str:
    """The standard output of a program that knows nothing of the clone; its errors are those of the test."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ended = subprocess.run([*map(str, words)], cwd=cwd, env=environment | variables, capture_output=True, text=True,
                           timeout=200)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist, the wheel that comes of it, and in clone/ the wheel that comes of the clone. Links stand
    in for the clone, in which a build would leave its own files."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if not re.fullmatch(r"build|dist|.*\.egg-info|\.git", path.name):
            (source / path.name).symlink_to(path, path.is_dir())
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    run(*build, folder, source, cwd=folder)
    run(*build, folder / "clone", "--wheel", source, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    """The files of the wheel: name -> bytes."""
    return contents(built / f"{NAME}-py3-none-any.whl")


@pytest.fixture(scope="module")
def sdist(built):
    """The names of the sdist's files."""
    with tarfile.open(built / f"{NAME}.tar.gz") as file:
        return [name.removeprefix(f"{NAME}/") for name in file.getnames()]


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of the commands of an environment into which the wheel alone is installed; its dependencies are
    those of the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    run(sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", "--no-deps", "--no-index",
        "--disable-pip-version-check", built / f"{NAME}-py3-none-any.whl", cwd=folder)
    here = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    there = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(there, "dependencies.pth").write_text("".join(f"{path}\n" for path in here))
    return folder / ("Scripts" if os.name == "nt" else "bin")


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_the_wheel_has_every_file_of_the_package(wheel):
    files = {path.relative_to(ROOT).as_posix(): path for path in ROOT.joinpath("darknet_py").rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    assert files.keys() == {name for name in wheel if not name.startswith(f"{NAME}.dist-info/")}
    assert all(wheel[name] == path.read_bytes() for name, path in files.items())


def test_a_wheel_of_the_sdist_is_the_wheel_of_the_clone(built, wheel):
    assert contents(built / "clone" / f"{NAME}-py3-none-any.whl") == wheel


def test_the_metadata(wheel):
    facts = email.message_from_bytes(wheel[f"{NAME}.dist-info/METADATA"])
    assert facts["Name"] == "darknet-torch" and facts["Version"] == __version__
    assert facts["License-Expression"] == "MIT" and facts.get_all("License-File") == ["LICENSE"]
    assert wheel[f"{NAME}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    oldest = facts["Requires-Python"].removeprefix(">=")
    pythons = re.findall(r"Python :: (3\.\d+)$", "\n".join(facts.get_all("Classifier")), re.M)
    assert pythons[0] == oldest and len(pythons) > 2


def test_all_is_every_extra_that_users_have(wheel):
    facts = email.message_from_bytes(wheel[f"{NAME}.dist-info/METADATA"])
    needs = {extra: set() for extra in facts.get_all("Provides-Extra")}
    for line in facts.get_all("Requires-Dist"):
        requirement, _, marker = line.partition(";")
        for extra in re.findall('extra == "(.*?)"', marker):
            needs[extra].add((requirement, re.sub(r'(?: and )?extra == ".*?"', "", marker).strip(" ()")))
    everything = needs.pop("all")
    assert needs.keys() > DEVELOPERS - {"docs"}
    users = [needs[extra] for extra in needs.keys() - DEVELOPERS - LARGE]
    assert all(users) and everything == set().union(*users)
    unpinned = {requirement for requirement, _ in everything}
    assert not any(name.startswith("opencv") or name.startswith("trackers") for name in unpinned)


@pytest.mark.parametrize("pattern", ["README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "cfg/*.cfg",
                                     "weights/*.weights", "docs/*.md", "tests/conftest.py", "tests/goldens/*.npz",
                                     "scripts/conformance.py", "hubconf.py", "pyproject.toml"])
def test_the_sdist_has_what_the_tests_need(sdist, pattern):
    assert any(fnmatch(name, pattern) for name in sdist)


def test_the_sdist_has_nothing_else(sdist):
    """Not what lies in the clone beside it, such as weights that were downloaded."""
    assert [name for name in sorted(sdist) if name.endswith(".weights")] == [
        "weights/digits.weights", "weights/shapes.weights"]
    assert not any(re.search(r"__pycache__|\.pyc$|^\.git/|^dist/|^docs/site/", name) for name in sdist)


def test_the_long_description_renders(built):
    pytest.importorskip("twine")
    run(sys.executable, "-m", "twine", "check", "--strict", *built.glob("*.whl"), *built.glob("*.gz"), cwd=built)


@pytest.mark.parametrize("command", ["darknet-py", "darknet-torch"])
def test_the_installed_command_tells_its_version(installed, command, tmp_path):
    assert run(installed / command, "--version", cwd=tmp_path) == f"darknet-py {__version__}\n"


def test_the_installed_command_detects(installed, tmp_path):
    """With a cfg and weights from elsewhere."""
    text = run(installed / "darknet-py", "detect", ROOT / "cfg/digits.cfg", ROOT / "weights/digits.weights",
               ROOT / "cfg/digits.jpg", "-device", "cpu", "-names", ROOT / "cfg/digits.names", cwd=tmp_path)
    labels = [line.split()[0] for line in (ROOT / "cfg/digits.txt").read_text().splitlines()]
    assert sorted(re.findall(r"^(\d): \d+%", text, re.M)) == sorted(labels)
    assert cv2.imread(str(tmp_path / "predictions.jpg")).shape == cv2.imread(str(ROOT / "cfg/digits.jpg")).shape


def test_the_installed_package_has_its_data(installed, tmp_path):
    """The files of cfg/, COCO's names, the manifest of weights/ and the service's page, without the clone."""
    pytest.importorskip("fastapi")
    known = json.loads(run(installed / "python", "-c", KNOWS, cwd=tmp_path))
    assert Path(known["package"]).is_relative_to(installed.parent) and known["version"] == __version__
    assert known["names"] == (ROOT / "cfg/coco.names").read_text("utf-8").splitlines()
    assert known["manifest"] == (ROOT / "weights/manifest.json").read_text("utf-8")
    assert "<html" in known["page"] and len(known["cfgs"]) > 30
    for name, text in known["cfgs"].items():
        assert text == (ROOT / f"cfg/{name}.cfg").read_text("utf-8"), name
