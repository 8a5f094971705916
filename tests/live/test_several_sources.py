"""Several sources that share one network."""
import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import (
    CFG,
    WEIGHTS,
    Captures,
    FakeCapture,
    ask,
    frames,
    free_port,
    read,
    result,
    small_network,
    until,
    video,
    whole,
)
from processes import ENVIRONMENT

from darknet_py import DataError, Detector, load_network
from darknet_py.cli.demo_outputs import of_source
from darknet_py.inference.detector import Frame
from darknet_py.live.results import Result
from darknet_py.live.session import Ended, Feed, Stopper, detect_in_feeds
from darknet_py.live.sources import Live, Pictures, VideoFile


@pytest.fixture
def two(workdir):
    """The folder, now the working directory: small.cfg, and a.avi of five frames, b.avi of three others."""
    small_network()
    video("a.avi", frames(8)[:5])
    video("b.avi", frames(8)[5:])
    return workdir


@pytest.fixture
def run(cli):
    """Run ``demo``: its exit code, stdout, stderr."""
    return partial(cli, "demo", CFG, WEIGHTS, "-device", "cpu", "-dont_show")


def records(path):
    return json.loads(Path(path).read_text())


def test_each_source_has_what_it_has_alone(two, run):
    for name in "ab":
        assert run(f"{name}.avi", "-json_file_output", f"{name}.json", "-out_filename", f"{name}.mkv", "-codec",
                   "FFV1")[0] == 0
    code, out, err = run("a.avi", "b.avi", "-json_file_output", "out/o.json", "-out_filename", "out/o.mkv", "-codec",
                         "FFV1", "-prefix", "out/p")
    assert (code, err) == (0, "")
    assert sorted(os.listdir("out")) == [
        "o_0.json", "o_0.mkv", "o_1.json", "o_1.mkv", *(f"p_0_{n:08d}.jpg" for n in range(1, 6)),
        *(f"p_1_{n:08d}.jpg" for n in range(1, 4))]
    for number, (name, count) in enumerate((("a", 5), ("b", 3))):
        alone, found = records(f"{name}.json"), records(f"out/o_{number}.json")
        assert [one.pop("source") for one in found] == [f"{name}.avi"] * count and found == alone
        np.testing.assert_array_equal(read(f"out/o_{number}.mkv")[0], read(f"{name}.mkv")[0])
        place = f"Source {number}: {name}.avi \n"
        assert out.count(f"{place}Objects:\n") == count and f"{place}Video stream: 320 x 240 \n" in out
        assert out.count(f"{place}input video stream closed. \noutput_video_writer closed. \n") == 1
    assert out.startswith("video file: a.avi\nvideo file: b.avi\n")
    assert out.index("Source 1: b.avi \ninput video stream closed.") < out.rindex("Source 0: a.avi \nObjects:")


def test_others_go_on_where_one_cannot_be_read(two, run):
    Path("cut.avi").write_bytes(b"no video")
    Path("bad").mkdir()
    Path("bad/1.png").write_bytes(b"no picture")
    code, out, err = run("no.mp4", "a.avi", "cut.avi", "bad", "-json_file_output", "o.json")
    assert code == 1 and len(records("o_1.json")) == 5 == out.count("Objects:")
    assert [line[12:26] for line in err.splitlines()] == ["no.mp4: no suc", "cut.avi: not a", "bad/1.png: not"]
    assert [path.name for path in two.glob("o_*")] == ["o_1.json"]
    code, _, err = run("no.mp4", "cut.avi")
    assert code == 1 and err.splitlines()[-1] == "darknet-py: none of the sources can be opened"
    code, out, _ = run("bad", "b.avi", "-loop", "-time_limit_sec", ".5")
    assert code == 1 and out.count("Source 0: bad \ninput video stream closed. \n") == 1 and out.count("Objects:") > 3


class Shared:
    """A detector that takes some time for each frame, and finds one object."""

    seconds = .01

    def __init__(self):
        self.lengths = []

    def stream(self, images, batch=1, overlapped=True):
        for one in images:
            batched = one if batch is None else [one]
            self.lengths.append(len(batched))
            time.sleep(self.seconds)
            for image in batched:
                yield image, Frame(result(1).detections, image, self.seconds)


class Stalled(FakeCapture):
    """Gives no frame before it is closed, whatever one does."""

    def __init__(self):
        super().__init__([])
        self.ended = threading.Event()

    def read(self):
        self.ended.wait()
        return super().read()


def feed(captures, **options):
    return Feed(Live("camera", Captures(*captures), lambda line: None, **options))


@pytest.mark.parametrize("most", [1, 2])
def test_a_stalled_source_holds_up_no_other(most):
    stalled = Stalled()
    first, second = feed([FakeCapture(range(250), gap=.005)]), feed([FakeCapture(range(250), gap=.04)])
    feeds = [first, feed([stalled]), second]
    found = list(detect_in_feeds(Shared(), feeds, Stopper(.6), most=most))
    stalled.ended.set()
    taken = {each: [one.taken for of, one in found if of is each] for each in feeds}
    assert len(taken[feeds[1]]) == 0 and not feeds[1].over
    assert len(taken[first]) > 15 and len(taken[second]) > 5
    assert max(np.diff(taken[first])) < .2 and max(np.diff(taken[second])) < .25
    for each in feeds:
        each.source.close()


def test_what_a_kill_leaves(two):
    words = ["-loop", "-dont_show", "-device", "cpu", "-json_file_output", "o.json", "-out_filename", "o.mkv", "-codec",
             "MJPG"]
    with subprocess.Popen([sys.executable, "-m", "darknet_py", "demo", CFG, WEIGHTS, "a.avi", "b.avi", *words],
                          env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        shown = 0
        for line in process.stdout:
            shown += line == "Objects:\n"
            if shown == 200:          # FFmpeg writes five seconds of video at a time
                process.kill()
                break
    for number, name in enumerate(("a.avi", "b.avi")):
        found = json.loads(Path(f"o_{number}.part.json").read_text().rstrip(", \n") + "]")
        assert len(found) > 60 and {one["source"] for one in found} == {name}
        assert read(f"o_{number}.part.mkv")[0]


def test_a_camera_that_fails_for_good_ends_after_its_last_frame():
    ends = feed([FakeCapture(range(3), gap=.01)], delays=())
    file = Feed(VideoFile("file", lambda: FakeCapture(range(40)), lambda line: None))
    found = list(detect_in_feeds(Shared(), [ends, file], Stopper(5)))
    of_camera = [one for each, one in found if each is ends]
    assert [type(one) for one in of_camera[:-1]] == [Result] * (len(of_camera) - 1) and len(of_camera) > 1
    assert isinstance(of_camera[-1], Ended) and "tries to connect again failed" in str(of_camera[-1].error)
    assert [one.number for each, one in found if each is file and isinstance(one, Result)] == list(range(1, 41))
    assert found[-1] == (file, Ended(None)) and found.index((ends, of_camera[-1])) < 30
    ends.source.close()


def test_nothing_is_taken_before_the_network_is_free():
    camera = feed([FakeCapture(range(400), gap=.002)])
    feeds = [camera, Feed(VideoFile("file", lambda: FakeCapture(range(20)), lambda line: None))]
    ages = [time.monotonic() - one.taken for each, one in detect_in_feeds(Shared(), feeds, Stopper(.5))
            if each is camera and isinstance(one, Result)]
    camera.source.close()
    assert len(ages) > 10 and sorted(ages)[len(ages) // 2] < 2.5 * Shared.seconds and camera.source.dropped > 20


def test_frames_that_are_there_run_together(two):
    images = frames(8)
    for number, image in enumerate(images):
        cv2.imwrite(f"{number}.png", image)
    detector = Detector(CFG, WEIGHTS, device="cpu", backend="pytorch")
    lengths, ran = [], detector.backend.run
    detector.backend.run = lambda x: (lengths.append(len(x)), ran(x))[1]
    feeds = [Feed(Pictures("a", [f"{n}.png" for n in range(5)])), Feed(Pictures("b", ["5.png", "no.png", "6.png"])),
             Feed(Pictures("c", ["7.png"]))]
    found = list(detect_in_feeds(detector, feeds, Stopper(), most=3))
    assert lengths == [3, 1, 2, 1, 1]
    order = {each: [one for of, one in found if of is each] for each in feeds}
    assert [type(one) for one in order[feeds[1]]] == [Result, DataError, Result, Ended]
    got = [one for each in feeds for one in order[each] if isinstance(one, Result)]
    for one, image in zip(got, images, strict=True):
        expected = detector(image)
        assert one.detections.labels.tolist() == expected.labels.tolist() and len(expected)
        np.testing.assert_allclose(one.detections.boxes, expected.boxes, rtol=1e-4, atol=1e-2)


def free_pair(besides=()):
    """A free port whose next one is free too, and neither is one of these."""
    while True:
        port = free_port()
        with suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            if not {port, port + 1} & set(besides):
                return port


def test_ports_one_after_another(two, run):
    mjpeg = free_pair()
    ndjson = free_pair((mjpeg, mjpeg + 1))
    got = {}
    ports = {("json", 0): ndjson, ("json", 1): ndjson + 1, ("mjpeg", 0): mjpeg, ("mjpeg", 1): mjpeg + 1}

    def client(key):
        got[key] = whole(ask(ports[key], "/ndjson" if key[0] == "json" else "/snapshot.jpg"))

    threads = [threading.Thread(target=client, args=(key,)) for key in ports]
    for thread in threads:
        thread.start()
    code, out, _ = run("a.avi", "b.avi", "-loop", "-time_limit_sec", "1", "-json_port", ndjson, "-mjpeg_port", mjpeg,
                       "-bind", "127.0.0.1")
    for thread in threads:
        thread.join()
    assert code == 0 and " MJPEG-stream sent. \n" in out
    for number, name in enumerate(("a.avi", "b.avi")):
        lines = got["json", number].split(b"\r\n\r\n")[1].splitlines()
        assert lines and {json.loads(line)["source"] for line in lines} == {name}
        assert cv2.imdecode(np.frombuffer(got["mjpeg", number].split(b"\r\n\r\n", 1)[1], np.uint8), 1).size


def test_hint_names_all_pages(two, run, monkeypatch):
    monkeypatch.setattr("darknet_py.viz.display.has_window", lambda: False)
    port = free_pair()
    command = partial(run.func, *run.args[:-1])
    assert command("a.avi", "b.avi", "-mjpeg_port", port, "-bind", "127.0.0.1")[2] == (
        f"no window can be opened here; see http://127.0.0.1:{port}/, http://127.0.0.1:{port + 1}/\n")


def test_a_window_each(two, run, monkeypatch):
    titles, shown = [], []
    monkeypatch.setattr("darknet_py.viz.display.has_window", lambda: True)
    for name, act in (("namedWindow", lambda title, *_: titles.append(title)), ("resizeWindow", lambda *_: None),
                      ("destroyWindow", lambda title: titles.remove(title)), ("waitKey", lambda wait: -1),
                      ("imshow", lambda title, image: shown.append(title)), ("getWindowProperty", lambda *_: 1.)):
        monkeypatch.setattr(cv2, name, act, raising=False)
    assert run.func(*run.args[:-1], "a.avi", "b.avi")[0] == 0
    assert shown.count("Demo 0") == 5 and shown.count("Demo 1") == 3 and not titles


def test_a_terminal_shows_the_latest_of_each(two, run, monkeypatch):
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: self is sys.stdout)
    code, out, _ = run("a.avi", "b.avi")
    screens = out.split("\033[H\033[J")[1:]
    assert code == 0 and len(screens) == 8
    assert all("Source 0: a.avi \nObjects:" in one and "Source 1: b.avi \nObjects:" in one for one in screens[3:])


def test_recurrent_networks_need_one_source(two, cli):
    text = Path(CFG).read_text().replace("[yolo]", "[crnn]\noutput=96\nhidden=8\npad=1\nactivation=linear\n\n[yolo]", 1)
    Path("recurrent.cfg").write_text(text)
    load_network("recurrent.cfg").save_weights("recurrent.weights")
    code, _, err = cli("demo", "recurrent.cfg", "recurrent.weights", "a.avi", "b.avi", "-device", "cpu", "-dont_show",
                       "-out_filename", "o.avi")
    assert code == 1 and err.endswith("remembers the frames before, so it needs one SOURCE, found 2\n")
    assert err.count("\n") == 1 and not list(two.glob("o*avi"))


def test_names_of_outputs():
    given = argparse.Namespace(out_filename="out.d/boxes.mp4", json_file_output=None, counts="counts.csv",
                               prefix="x/frame", json_port=8070, mjpeg_port=-1)
    own = of_source(given, 2)
    assert vars(own) == {"out_filename": "out.d/boxes_2.mp4", "json_file_output": None, "counts": "counts_2.csv",
                         "prefix": "x/frame_2", "json_port": 8072, "mjpeg_port": -1}
    assert given.out_filename == "out.d/boxes.mp4"


def test_outputs_are_no_sources(two, run):
    video("a_1.avi", frames(2))
    before = Path("a_1.avi").read_bytes()
    code, _, err = run("a.avi", "a_1.avi", "-out_filename", "a.avi")
    assert code == 1 and err == "darknet-py: -out_filename a_1.avi is the source itself\n"
    assert Path("a_1.avi").read_bytes() == before


def test_signals_of_the_stop_are_looked_at_between_sources():
    stop, feeds = Stopper(), [feed([FakeCapture(range(9))]) for _ in range(2)]
    for _, one in detect_in_feeds(Shared(), feeds, stop):
        assert one.number == 1
        stop.stop()
    for each in feeds:
        each.source.close()
    until(lambda: all(each.source.capture.closed for each in feeds))
