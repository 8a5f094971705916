"""Sources of frames: files whole and in order, the newest frame of a camera, connections that drop."""
import time

import cv2
import numpy as np
import pytest
from clips import Captures, FakeCapture, frames, until, video
from conftest import raises

from darknet_py.errors import DataError, Reason
from darknet_py.live.results import Rates
from darknet_py.live.session import Stopper
from darknet_py.live.sources import Live, Pictures, VideoFile, open_source


def never():
    return False


def values(shots):
    return [int(shot.image[0, 0, 0]) for shot in shots]


def silent(line):
    raise AssertionError(line)


def test_file_gives_every_frame_with_its_time(workdir):
    images = frames(7)
    source = open_source(video("a.avi", images), report=silent)
    assert isinstance(source, VideoFile) and (source.rate, source.total, source.live) == (12.5, 7, False)
    shots = list(source.frames(never))
    source.close()
    assert len(shots) == 7
    for number, (shot, image) in enumerate(zip(shots, images, strict=True)):
        np.testing.assert_array_equal(shot.image, image)
        assert shot.timestamp == pytest.approx(number / 12.5, abs=1e-6)


def test_file_that_waits_is_not_read_ahead_of_a_bound():
    capture = FakeCapture(range(100))
    source = VideoFile("x", lambda: capture, report=silent)
    shots = source.frames(never)
    next(shots)
    time.sleep(.05)
    assert next(capture.numbers) < 10
    source.close()
    assert capture.closed


def test_file_in_a_loop_has_times_that_go_on():
    source = VideoFile("x", lambda: FakeCapture(range(3)), loop=True, report=silent)
    shots = source.frames(never)
    some = [next(shots) for _ in range(7)]
    source.close()
    assert values(some) == [0, 1, 2, 0, 1, 2, 0] and source.total == 0
    assert [shot.timestamp for shot in some] == pytest.approx([number / 25 for number in range(7)])


def test_file_that_ends_early_is_called_cut():
    capture, said = FakeCapture(range(3)), []
    capture.total = 10
    source = VideoFile("cut.mp4", lambda: capture, report=said.append)
    assert len(list(source.frames(never))) == 3
    assert said == ["warning: cut.mp4: ends after 3 of 10 frames"]


def test_stop_ends_all_sources(workdir):
    cv2.imwrite("a.png", frames(1)[0])
    for source in (VideoFile("x", lambda: FakeCapture(range(9)), silent), Pictures("a", ["a.png"], loop=True),
                   Live("x", lambda: FakeCapture(range(9), gap=.01), silent)):
        stop = Stopper()
        for shot in source.frames(stop):
            assert shot is not None
            stop.stop()
        source.close()


def test_newest_frame_of_a_camera():
    source = Live("camera 0", Captures(FakeCapture(range(200), gap=.002)), silent)
    seen = []
    for shot in source.frames(never):
        seen += values([shot])
        time.sleep(.05)                                         # a slow network
        if len(seen) == 5:
            break
    source.close()
    assert seen == sorted(set(seen)) and source.dropped >= seen[-1] - seen[0] - 5 > 20


def test_drop_and_back():
    said = []
    captures = Captures(FakeCapture(range(2), .01), None, None, FakeCapture([7, 8], .01), FakeCapture([9], .01))
    source = Live("rtsp://x", captures, said.append, delays=(.01, .02, .03))
    seen = []
    with raises(DataError, Reason.UNREADABLE, "3 tries to connect again failed"):
        for shot in source.frames(never):
            seen += values([shot])
    source.close()
    assert seen == [0, 1, 7, 8, 9]
    lines = [f"warning: rtsp://x: no more frames; connecting again in {delay} s" for delay in (.01, .02, .03)]
    assert said == lines + lines[:1] + lines                    # a frame begins the row of delays anew
    assert captures.calls == 8


def test_waiting_for_a_connection_can_be_stopped():
    source = Live("x", Captures(FakeCapture([])), lambda line: None, delays=(60.,))
    begin = time.monotonic()
    assert list(source.frames(Stopper(.1))) == []
    source.close()
    until(lambda: not source._thread.is_alive())
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("kind", ["folder", "pattern", "list", "one"])
def test_pictures(workdir, kind):
    paths = []
    for number, image in enumerate(frames(3)):
        (workdir / "p").mkdir(exist_ok=True)
        cv2.imwrite(f"p/{number}.png", image)
        paths.append(f"p/{number}.png")
    (workdir / "some.txt").write_text("p/2.png\n\np/0.png\n")
    given, expected = {"folder": ("p", paths), "pattern": ("p/*.png", paths), "one": ("p/1.png", ["p/1.png"]),
                       "list": ("some.txt", ["p/2.png", "p/0.png"])}[kind]
    source = open_source(given, report=silent)
    assert [shot.image for shot in source.frames(never)] == expected and source.total == len(expected)
    again = open_source(given, loop=True, report=silent).frames(never)
    assert [next(again).image for _ in range(2 * len(expected))] == expected * 2


@pytest.mark.parametrize("name, content, reason, says", [
    ("no.mp4", None, Reason.MISSING_FILE, "no.mp4: no such file"),
    ("text.mp4", b"hello" * 99, Reason.WRONG_FORMAT, "text.mp4: not a video"),
    ("empty.avi", b"", Reason.WRONG_FORMAT, "empty.avi: not a video"),
    ("no/*.png", None, Reason.EMPTY, "no file matches"),
    ("folder", "folder", Reason.EMPTY, "found no pictures"),
    ("list.txt", b"\n", Reason.EMPTY, "list.txt: found no paths"),
    ("77", None, Reason.MISSING_FILE, "camera 77: there is no such camera"),
    ("http://127.0.0.1:9/x", None, Reason.UNREADABLE, "http://127.0.0.1:9/x: cannot connect"),
])
def test_no_source(workdir, capfd, name, content, reason, says):
    if content == "folder":
        (workdir / name).mkdir()
    elif content is not None:
        (workdir / name).write_bytes(content)
    with raises(DataError, reason, says.replace("*", r"\*")):
        open_source(name, report=silent)
    assert capfd.readouterr() == ("", "")


def test_rates_are_those_of_c():
    now = [0.]
    rates = Rates(lambda: now[0])
    shown = []
    for _ in range(40):
        shown.append((rates.fps, rates.average))
        now[0] += .1
        rates.tick()
    assert shown[0] == (0, 0) and shown[1][0] == pytest.approx(1) and shown[2][0] == pytest.approx(1.9)
    assert shown[29][1] == 0 and shown[35][1] == pytest.approx(10, rel=.05)
    assert rates.fps == pytest.approx(9.85, abs=.02)
