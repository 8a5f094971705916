"""Writing of files: whole or not at all, and never over what is no file."""
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from darknet_py import DarknetError, load_network, read_cfg
from darknet_py.cli.detect import write_picture
from darknet_py.convert import convert
from darknet_py.data.coco import read_coco_json
from darknet_py.data.datafile import read_names
from darknet_py.data.dataset import read_rows, read_samples
from darknet_py.data.image import read_image
from darknet_py.data.text import Text
from darknet_py.training.chart import plot_schedule
from darknet_py.utils import files
from darknet_py.utils.files import replacing, sweep, temporary_folder, write_file
from darknet_py.zoo.manifest import read_manifest


def test_a_file_is_replaced_whole(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    with replacing(link) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and link.is_symlink() and path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"new" and sorted(os.listdir(tmp_path)) == ["a", "link"]


def test_pipes_and_devices_are_written_to(tmp_path):
    """They would be files afterwards."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with replacing(pipe) as file:
        file.write(b"through")
    reader.join(10)
    assert read == [b"through"] and pipe.is_fifo()
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    with replacing(null) as file:
        file.write(b"nowhere")
    assert (null.is_char_device() and os.listdir(tmp_path) == ["pipe", "null"]) or sorted(os.listdir(tmp_path)) == [
        "null", "pipe"]


def test_what_a_killed_process_left_is_swept(tmp_path, monkeypatch):
    """At the next write into the folder; what a running process writes stays, and so does what looks alike."""
    code = ("import os, signal, sys\nfrom darknet_py.utils.files import replacing\n"
            "with replacing(sys.argv[1]) as file:\n    file.write(b'half')\n    file.flush()\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False, timeout=120)
    left, = tmp_path.iterdir()
    assert files.TEMPORARY.fullmatch(left.name) and left.read_bytes() == b"half"
    other = tmp_path / ".darknet-py-notes.tmp"
    other.write_bytes(b"the user's")
    running = tmp_path / f".darknet-py-{files.HOST}-{os.getppid()}-0.tmp"
    foreign = tmp_path / ".darknet-py-0-999999-0.tmp"
    for path in (running, foreign):
        path.touch()
    earlier = tmp_path / f".darknet-py-{files.HOST}-{os.getpid()}-999999.tmp"       # had the number that we have now
    earlier.mkdir()
    (earlier / "half").touch()
    with replacing(tmp_path / "a") as file, temporary_folder(tmp_path) as folder:
        file.write(b"whole")
        sweep(tmp_path)
        assert folder.is_dir() and Path(file.name).exists()
    assert sorted(tmp_path.iterdir()) == sorted([other, running, foreign, tmp_path / "a"])
    os.utime(foreign, (0, 0))
    sweep(tmp_path)
    assert not foreign.exists() and running.exists()
    sweep(Path(tmp_path, "missing"))


@pytest.fixture
def endless(workdir):
    """A pipe that nobody writes to, a link to a device without end, and a file that claims three gigabytes."""
    os.mkfifo("pipe")
    Path("zero").symlink_to("/dev/zero")
    with open("huge", "wb") as file:
        file.truncate(3 << 30)
    (workdir / "a.data").write_text("train=pipe\nvalid=zero\nnames=pipe\nclasses=1\n")
    (workdir / "b.data").write_text("train=zero\nvalid=zero\nnames=zero\nclasses=1\n")
    return workdir


READERS = {
    "cfg": read_cfg, "weights": lambda path: load_network(ROOT / "cfg/shapes.cfg", path), "names": read_names,
    "list": read_samples, "image": read_image, "text": lambda path: Text(path, 256), "manifest": read_manifest,
    "COCO": read_coco_json, "checkpoint": lambda path: convert(ROOT / "cfg/shapes.cfg", path, "out.weights"),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("name, found", [("pipe", "a pipe"), ("zero", "a device")])
def test_what_never_ends_is_not_read(kind, name, found, endless):
    if kind == "checkpoint":
        os.rename(name, f"{name}.pt")
        name += ".pt"
    with pytest.raises(DarknetError, match=f"{name}: .*expected a regular file, found {found}$"):
        READERS[kind](name)


@pytest.mark.parametrize("kind", ["names", "list", "image", "text", "manifest", "COCO"])
def test_what_is_too_large_is_not_read(kind, endless):
    with pytest.raises(DarknetError, match=rf"huge: .*expected at most \d+ bytes, found {3 << 30}$"):
        READERS[kind]("huge")


@pytest.mark.parametrize("data", ["a.data", "b.data"])
def test_endless_lists_and_labels(data, endless, cli):
    (endless / "pictures").mkdir()
    shutil.copy(ROOT / "cfg/shapes.png", endless / "pictures/a.png")
    os.symlink(endless / ("pipe" if data == "a.data" else "zero"), endless / "pictures/a.txt")
    (endless / "list.txt").write_text("pictures/a.png\n")
    assert cli("detector", "map", data, ROOT / "cfg/shapes.cfg", ROOT / "weights/shapes.weights")[0] == 1
    sample, = read_samples("list.txt")
    rows, problems = read_rows(sample, 3)
    assert len(rows) == 0 and "expected a regular file" in str(problems[0])


WRITERS = {
    "weights": lambda path: load_network(ROOT / "cfg/shapes.cfg").save_weights(path),
    "cfg": lambda path: read_cfg(ROOT / "cfg/shapes.cfg").write(path), "any": lambda path: write_file(path, b"1"),
    "figure": lambda path: write_picture(path, np.zeros((9, 9, 3), np.uint8)),
    "chart": lambda path: plot_schedule(load_network(ROOT / "cfg/digits.cfg").options, path),
    "convert": lambda path: convert(ROOT / "cfg/shapes.cfg", ROOT / "weights/shapes.weights", path, to="safetensors"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_said(kind, workdir):
    Path("full.png").symlink_to("/dev/full")
    with pytest.raises(DarknetError, match=r"^full\.png: cannot write .*: No space left on device$"):
        WRITERS[kind](Path("full.png"))
    assert os.listdir() == ["full.png"]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(kind, there, workdir):
    """To its target, which is replaced whole; whether that is there yet or not."""
    Path("folder").mkdir()
    Path("out.png").symlink_to("folder/a.png")
    if there:
        Path("folder/a.png").write_bytes(b"old")
        os.link("folder/a.png", "old")
    WRITERS[kind](Path("out.png"))
    assert Path("out.png").is_symlink() and os.listdir("folder") == ["a.png"]
    assert Path("folder/a.png").read_bytes() not in (b"", b"old") and (not there or Path("old").read_bytes() == b"old")
