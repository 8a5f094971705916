"""Files that grow frame by frame: whole under their names, parts otherwise."""
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import SIZE, frames, read, result
from conftest import raises

from darknet_py.errors import DataError, Reason
from darknet_py.live import video as video_module
from darknet_py.live.files import JsonFile, PictureFiles
from darknet_py.live.results import Picture
from darknet_py.live.video import CODECS, VideoWriter

CONTAINERS = [(ending, codec) for ending, codecs in CODECS.items() for codec in codecs if codec]


def results(images, times=None):
    for number, image in enumerate(images, 1):
        one = result(number)
        one.picture = Picture(image, None)
        one.timestamp = (number - 1) / 12.5 if times is None else times[number - 1]
        yield one


def written(path, images, times=None, **options):
    writer = VideoWriter(path, 12.5, **options)
    for one in results(images, times):
        writer.write(one)
    writer.close()
    return writer


@pytest.mark.parametrize("ending, codec", CONTAINERS)
def test_every_container_and_codec(workdir, monkeypatch, capfd, ending, codec):
    monkeypatch.setattr(video_module, "find_spec", lambda name: None)
    try:
        written(f"a{ending}", frames(5), codec=codec)
    except DataError as error:                      # OpenCV's wheels write H.264 on few systems
        assert codec in ("avc1", "H264") and error.reason is Reason.UNSUPPORTED and not os.listdir()
        assert capfd.readouterr() == ("", "")
        return
    found, rate = read(f"a{ending}")
    assert len(found) == 5 and rate == pytest.approx(12.5) and found[0].shape[1::-1] == SIZE
    lossless = codec in ("FFV1", "HFYU")
    difference = max(np.abs(a.astype(int) - b).mean() for a, b in zip(found, frames(5), strict=True))
    assert difference == 0 if codec == "FFV1" else difference < (1 if lossless else 4)
    assert os.listdir() == [f"a{ending}"] and capfd.readouterr() == ("", "")


def test_h264_where_there_is_pyav(workdir):
    pytest.importorskip("av")
    odd = [image[:-1, :-1] for image in frames(5)]
    written("a.mp4", odd)
    found, rate = read("a.mp4")
    assert len(found) == 5 and rate == pytest.approx(12.5) and found[0].shape == (238, 318, 3)
    assert b"avc1" in Path("a.mp4").read_bytes() and b"moof" in Path("a.mp4").read_bytes()
    assert np.abs(found[0].astype(int) - odd[0][:238, :318]).mean() < 4


def test_frames_of_other_sizes_and_grey_ones(workdir):
    images = frames(3)
    written("a.avi", [images[0], images[1][:100], images[2][:, :, :1]], codec="FFV1")
    found, _ = read("a.avi")
    assert [image.shape for image in found] == [images[0].shape] * 3
    assert (np.ptp(found[2], axis=2) == 0).all()


def test_live_video_takes_as_long_as_what_it_shows(workdir, monkeypatch):
    monkeypatch.setattr(video_module, "LONGEST_GAP", 2.)
    # at 12.5 frames a second: one, the next after .42 s, one within the same frame's time, one later, a long gap
    images = frames(5)
    writer = written("a.avi", images, [100., 100.42, 100.43, 100.85, 200.], live=True, codec="FFV1")
    found, gap = read("a.avi")[0], 25
    assert writer.count == len(found) == 1 + 5 + 5 + gap
    shown = [next(n for n, image in enumerate(images) if (image == one).all()) for one in found]
    assert shown == [0] * 5 + [1] + [2] * 4 + [3] * gap + [4]


def test_without_frames_what_was_there_stays(workdir):
    for path, sink in (("a.mp4", VideoWriter), ("a.json", lambda path: JsonFile(path))):
        Path(path).write_text("mine")
        (sink(path, 25.) if sink is VideoWriter else sink(path)).close()
        assert Path(path).read_text() == "mine"
    assert sorted(os.listdir()) == ["a.json", "a.mp4"]


def test_a_part_that_is_left_stays(workdir):
    Path("a.part.json").write_text("of a run that was killed")
    sink = JsonFile("a.json")
    sink.write(result(1))
    assert json.loads(Path("a.part2.json").read_text() + "]")[0]["frame_id"] == 1
    assert not Path("a.json").exists()
    sink.write(result(2))
    sink.close()
    assert sorted(os.listdir()) == ["a.json", "a.part.json"]
    assert [one["frame_id"] for one in json.loads(Path("a.json").read_text())] == [1, 2]
    assert Path("a.json").read_text() == f"[\n{result(1).record}, \n{result(2).record}\n]"


def test_what_a_kill_leaves(workdir):
    script = ("import os, sys; sys.path.insert(0, 'TESTS'); sys.path.insert(0, 'ABOVE')\n"
              "from clips import frames; from test_growing_files import results\n"
              "from darknet_py.live.files import JsonFile; from darknet_py.live.video import VideoWriter\n"
              "sinks = [VideoWriter('a.mkv', 12.5, codec='MJPG'), JsonFile('a.json')]\n"
              "for one in results(frames(60)):\n    [sink.write(one) for sink in sinks]\n"
              "os.kill(os.getpid(), 9)\n").replace("TESTS", str(Path(__file__).parent)).replace(
                  "ABOVE", str(Path(__file__).parents[1]))
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert sorted(os.listdir()) == ["a.part.json", "a.part.mkv"]
    assert len(json.loads(Path("a.part.json").read_text() + "]")) == 60
    assert len(read("a.part.mkv")[0]) > 30


def test_numbered_pictures(workdir):
    sink = PictureFiles("new/p")
    for one in results(frames(2)):
        sink.write(one)
    sink.close()
    assert sorted(os.listdir("new")) == ["p_00000001.jpg", "p_00000002.jpg"]
    assert np.abs(cv2.imread("new/p_00000002.jpg").astype(int) - frames(2)[1]).mean() < 2


@pytest.mark.parametrize("path, codec, reason, says", [
    ("a.xyz", None, Reason.UNKNOWN_NAME, r"a.xyz: expected the name of a video that ends with \.mp4"),
    ("a", None, Reason.UNKNOWN_NAME, "expected the name of a video"),
    ("a.mp4", "ABCD", Reason.UNKNOWN_NAME, "a.mp4: expected one of the codecs avc1, mp4v, found ABCD"),
    ("folder/a.mp4", None, Reason.UNWRITABLE, "folder/a.mp4: cannot write the file"),
    ("folder.mp4", None, Reason.UNWRITABLE, "folder.mp4: cannot write the file: it is a folder"),
    ("a\0.mp4", None, Reason.UNWRITABLE, "cannot write the file"),
])
def test_no_video(workdir, path, codec, reason, says):
    Path("folder").write_text("a file where a folder is expected")
    Path("folder.mp4").mkdir()
    with raises(DataError, reason, says):
        VideoWriter(path, 25., codec=codec)
    assert sorted(os.listdir()) == ["folder", "folder.mp4"]


@pytest.mark.parametrize("path", ["folder/a.json", "."])
def test_no_json(workdir, path):
    Path("folder").write_text("")
    with raises(DataError, Reason.UNWRITABLE, "cannot write the file"):
        JsonFile(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk():
    sink = JsonFile("/dev/full")
    with raises(DataError, Reason.UNWRITABLE, "/dev/full: cannot write the file"):
        sink.write(result(1))
