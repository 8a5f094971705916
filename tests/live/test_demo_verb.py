"""``demo`` and ``detector demo`` on the command line, and the loop that they run."""
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import (
    CFG,
    SIZE,
    WEIGHTS,
    Captures,
    FakeCapture,
    ask,
    frames,
    free_port,
    read,
    result,
    small_network,
    video,
    whole,
)

from darknet_py import Detector
from darknet_py.cli import demo
from darknet_py.cli.demo import lines, state
from darknet_py.inference.detections import Detections
from darknet_py.live import http_forms
from darknet_py.live.averaging import AveragingBackend
from darknet_py.live.http_forms import Mjpeg
from darknet_py.live.http_streams import StreamServer
from darknet_py.live.session import Stopper, detect_frames
from darknet_py.live.sources import Live
from darknet_py.viz import display

BLOCK = re.compile(r"Objects:\n\n(.*?)\nFPS:(\d+\.\d) \t AVG_FPS:(\d+\.\d)\n", re.S)


@pytest.fixture
def small(workdir):
    """The folder, now the working directory: small.cfg, six frames as pics/*.png and as clip.avi without loss."""
    small_network()
    images = frames(6)
    Path("pics").mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(f"pics/{number}.png", image)
    video("clip.avi", images)
    return workdir


@pytest.fixture
def run(cli):
    """Run ``demo`` on a source: its exit code, stdout, stderr."""
    def type_in(source, *words):
        return cli("demo", CFG, WEIGHTS, source, "-device", "cpu", "-dont_show", *words)
    return type_in


def objects(path):
    return [frame["objects"] for frame in json.loads(Path(path).read_text())]


def test_detections_are_those_of_detect(small, run, cli):
    assert cli("detect", CFG, WEIGHTS, "pics", "-thresh", ".25", "-device", "cpu", "-dontdraw_bbox", "-out",
               "detect.json")[0] == 0
    expected = objects("detect.json")
    assert len(expected) == 6 and sum(map(len, expected)) > 10
    for source in ("clip.avi", "pics", "pics/*.png"):
        code, out, err = run(source, "-json_file_output", "demo.json")
        assert (code, err) == (0, "") and objects("demo.json") == expected
        assert len(BLOCK.findall(out)) == 6
    assert cli("detector", "demo", "obj.data", CFG, WEIGHTS, "clip.avi", "-device", "cpu", "-dont_show",
               "-json_file_output", "demo.json")[0] == 0 and objects("demo.json") == expected
    records = json.loads(Path("demo.json").read_text())
    assert [one["frame_id"] for one in records] == [1, 2, 3, 4, 5, 6]
    assert [one["timestamp"] for one in records] == pytest.approx([n / 12.5 for n in range(6)])


def test_printout_is_that_of_c(small, run):
    detector = Detector(CFG, WEIGHTS, thresh=.25, device="cpu", few=True)
    _, out, _ = run("clip.avi", "-ext_output", "-json_port", str(free_port()), "-bind", "127.0.0.1", "-out_filename",
                    "o.avi")
    blocks = BLOCK.findall(out)
    assert out.startswith("video file: clip.avi\nVideo stream: 320 x 240 \nObjects:\n\n JSON-stream sent. \n")
    assert out.endswith("\n cvWriteFrame \ninput video stream closed. \noutput_video_writer closed. \n")
    assert blocks[0][1:] == ("0.0", "0.0") and float(blocks[2][1]) > 0
    for (text, *_), image in zip(blocks, frames(6), strict=True):
        assert text == " JSON-stream sent. \n" + "".join(lines(detector(image), True))


def test_line_of_an_object():
    found = Detections(np.float32([[-8.4, 10, 60.4, 30.6], [-8.4, 10, 60.4, 30.6], [1, 2, 3, 4]]),
                       np.float32([.9, .5, .304]), np.int64([2, 0, 1]), ["a", "b", "c\n"], (100, 50), None,
                       np.int64([5, 4, 0]))
    assert list(lines(found, False)) == ["b: 30% \n", "a: 50% , c\\n: 90% \n"]
    # C cuts off the left and the top, and a width beyond the picture's
    assert list(lines(found, True))[1] == ("a: 50% , c\\n: 90% \t(left_x:    1   top_y:   10   width:   50   "
                                           "height:   21)\n")


def test_files_have_every_frame(small, run):
    assert run("clip.avi", "-out_filename", "new/o.avi", "-codec", "FFV1", "-prefix", "p")[0] == 0
    found, rate = read("new/o.avi")
    detector = Detector(CFG, WEIGHTS, thresh=.25, device="cpu", few=True)
    assert rate == pytest.approx(12.5) and len(found) == 6 == len(list(small.glob("p_0000000[1-6].jpg")))
    for one, image in zip(found, frames(6), strict=True):
        np.testing.assert_array_equal(one, detector(image).draw(image))
    assert sorted(os.listdir("new")) == ["o.avi"]
    assert run("clip.avi", "-out_filename", "o.avi", "-codec", "FFV1", "-dontdraw_bbox", "-s", "2")[0] == 0
    held = [frames(6)[index] for index in (0, 0, 0, 3, 3, 3)]
    np.testing.assert_array_equal(read("o.avi")[0], held)


def test_streams_while_it_runs(small, run):
    json_port, mjpeg_port = free_port(), free_port()
    got = {}

    def client(port, path):
        got[path, port] = whole(ask(port, path))

    threads = [threading.Thread(target=client, args=(port, path)) for port, path in (
        (json_port, "/"), (json_port, "/ndjson"), (mjpeg_port, "/"), (mjpeg_port, "/snapshot.jpg"))]
    for thread in threads:
        thread.start()
    code, out, _ = run("clip.avi", "-loop", "-time_limit_sec", ".7", "-json_port", json_port, "-mjpeg_port", mjpeg_port,
                       "-bind", "127.0.0.1")
    for thread in threads:
        thread.join()
    assert code == 0 and " MJPEG-stream sent. \n" in out
    array = json.loads(got["/", json_port].split(b"\r\n\r\n")[1])
    numbers = [json.loads(line)["frame_id"] for line in got["/ndjson", json_port].split(b"\r\n\r\n")[1].splitlines()]
    for found in (numbers, [one["frame_id"] for one in array]):
        assert len(found) > 2 and found == list(range(found[0], found[-1] + 1))
    assert got["/", mjpeg_port].count(b"--mjpegstream") >= 1
    picture = cv2.imdecode(np.frombuffer(got["/snapshot.jpg", mjpeg_port].split(b"\r\n\r\n", 1)[1], np.uint8), 1)
    assert picture.shape[1::-1] == SIZE


def test_a_stream_as_source(small, run):
    server, done = StreamServer(0, Mjpeg(), {}, "127.0.0.1"), threading.Event()

    def serve():
        number = 0
        while not done.is_set():
            number += 1
            one = result(number)
            one.picture.image = frames(6)[number % 6]
            server.write(one)
            time.sleep(.01)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        code, _, err = run(f"http://127.0.0.1:{server.port}/", "-time_limit_sec", ".6", "-json_file_output", "o.json",
                           "-out_filename", "o.avi")
    finally:
        done.set()
        thread.join()
        server.close()
    records = json.loads(Path("o.json").read_text())
    assert (code, err) == (0, "") and len(records) > 2 and sum(map(len, objects("o.json"))) > 2
    assert abs(records[-1]["timestamp"] - time.time()) < 60
    spent = records[-1]["timestamp"] - records[0]["timestamp"]
    assert len(read("o.avi")[0]) == pytest.approx(spent * read("o.avi")[1] + 1, abs=1.5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_whole_files(small, run, monkeypatch, number):
    def interrupted(one, *rest):
        if one.number == 4:
            signal.raise_signal(number)
        return state(one, *rest)

    monkeypatch.setattr(demo, "state", interrupted)
    before = signal.getsignal(number)
    code, out, _ = run("clip.avi", "-loop", "-json_file_output", "o.json", "-out_filename", "o.mp4", "-s", "1")
    count = len(objects("o.json"))
    assert code == 130 and count == 4 == len(BLOCK.findall(out)) == len(read("o.mp4")[0])
    assert signal.getsignal(number) is before and not list(small.glob("*part*"))


def test_reader_of_the_output_that_goes(small, run, monkeypatch):
    def gone(one, *rest):
        if one.number == 3:
            raise BrokenPipeError
        return ""

    monkeypatch.setattr(demo, "state", gone)
    assert run("clip.avi", "-json_file_output", "o.json")[0] == 141 and len(objects("o.json")) == 3


def test_broken_pictures(small, run):
    Path("pics/2.png").write_bytes(b"no picture")
    code, out, err = run("pics", "-json_file_output", "o.json")
    assert code == 1 and len(BLOCK.findall(out)) == len(objects("o.json")) == 5
    assert err.startswith("darknet-py: pics/2.png: ") and err.count("\n") == 1
    code, _, err = run("pics/2.png", "-loop")
    assert code == 1 and err.count("\n") == 1


def test_first_frame_over_and_over(small, run):
    for source in ("clip.avi", "pics"):
        code, out, _ = run(source, "-benchmark", "-time_limit_sec", ".3", "-json_file_output", "o.json")
        found = objects("o.json")
        assert code == 0 and len(found) > 1 and all(one == found[0] for one in found) and found[0]
        assert [text for text, *_ in BLOCK.findall(out)] == [""] * len(found)


def test_layer_times(small, run):
    code, out, _ = run("pics/0.png", "-benchmark_layers")
    assert code == 0 and "fw-layer 0 - type: convolutional" in out and "Sorted by time (forward)" in out


def test_outputs_are_averaged(small, run):
    detector, images = Detector(CFG, WEIGHTS, device="cpu", few=True, backend="pytorch"), frames(3)
    single = [[head.clone() for head in detector.backend(x)] for x in map(input_of(detector), images)]
    averaging = AveragingBackend(detector.backend, 2)
    got = [[head.clone() for head in averaging(x)] for x in map(input_of(detector), images)]
    for head, of in enumerate(single[0]):
        np.testing.assert_allclose(got[0][head], of)
        np.testing.assert_allclose(got[2][head], (single[1][head] + single[2][head]) / 2, atol=1e-6)
    run("pics", "-json_file_output", "plain.json")
    run("pics", "-json_file_output", "mean.json", "-avgframes", "3")
    assert objects("plain.json")[0] == objects("mean.json")[0] and objects("plain.json") != objects("mean.json")


def input_of(detector):
    return lambda image: detector.preprocess(image).x


class Slow(AveragingBackend):
    """Takes a tenth of a second more."""

    def run(self, x):
        time.sleep(.1)
        return super().run(x)


def test_latency_of_a_live_source(small):
    detector = Detector(CFG, WEIGHTS, device="cpu", few=True)
    detector.backend = Slow(detector.backend, 1)
    source = Live("camera 0", Captures(FakeCapture(range(250), gap=.005)), print)
    latencies, seconds = [], []
    for one in detect_frames(detector, source, Stopper(1)):
        latencies.append(time.monotonic() - one.taken)
        seconds.append(one.seconds)
    source.close()
    assert len(latencies) >= 4 and max(latencies[1:]) < 2 * max(seconds)
    assert source.dropped > 30
    assert state(one, source, 9.96).startswith("10.0 FPS, latency ") and f"{source.dropped} dropped" in state(
        one, source, 1)


def test_live_line_counts_by_class():
    source = Live("x", Captures(FakeCapture([])), print)
    source.live = False
    assert state(result(1), source, 3.14) == '3.1 FPS, b "x" 1'
    source.close()


def test_window(small, cli, monkeypatch):
    keys, shown, calls = iter([-1, 10, -1, -1, 27]), [], []
    for name in ("namedWindow", "resizeWindow", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *a, name=name: calls.append(name), raising=False)
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append(image), raising=False)
    monkeypatch.setattr(cv2, "waitKey", lambda wait: next(keys, -1), raising=False)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *a: 1., raising=False)
    monkeypatch.setattr(display, "has_window", lambda: True)
    code, out, err = cli("demo", CFG, WEIGHTS, "pics", "-loop", "-dontdraw_bbox", "-device", "cpu")
    assert code == 0 and not err and calls == ["namedWindow", "resizeWindow", "destroyWindow"]
    expected = frames(6)
    for image, index in zip(shown, (0, 1, 2, 2, 2), strict=False):          # Enter holds the next picture for 60 frames
        np.testing.assert_array_equal(image, expected[index])
    assert len(shown) == len(BLOCK.findall(out)) == 5


def test_hint_where_there_is_no_window(small, cli, monkeypatch):
    monkeypatch.setattr(display, "has_window", lambda: False)
    words = ["demo", CFG, WEIGHTS, "pics/0.png", "-device", "cpu"]
    _, _, err = cli(*words)
    assert err.startswith("no window can be opened here: -mjpeg_port 8090") and err.count("\n") == 1
    port = free_port()
    assert cli(*words, "-mjpeg_port", port, "-bind", "127.0.0.1")[2] == (
        f"no window can be opened here; see http://127.0.0.1:{port}/\n")
    assert cli(*words, "-dont_show")[2] == cli(*words, "-prefix", "x")[2] == ""


@pytest.mark.parametrize("words, says", [
    (["no.mp4"], "no.mp4: no such file"),
    (["junk", "-out_filename", "o.mp4"], "junk: not a video"),
    (["obj.data"], "found a .data file in the place of SOURCE"),
    ([], "camera 0: there is no such camera"),
    (["-c", "9"], "camera 9: there is no such camera"),
    (["9"], "camera 9: there is no such camera"),
    (["-c", "-1"], "-c needs a number from 0 to 9999, found -1"),
    (["9" * 30], "expected a number up to 9999"),
    (["pics", "-s", "-1"], "-s needs a number from 0 on"),
    (["pics", "-time_limit_sec", "nan"], "-time_limit_sec needs a number"),
    (["pics", "-avgframes", "0"], "-avgframes needs a number from 1 to 1000"),
    (["pics", "-mjpeg_port", "{taken}", "-bind", "127.0.0.1"], "port {taken}: cannot listen on it"),
    (["pics", "-json_port", "{free}", "-mjpeg_port", "{free}", "-bind", "127.0.0.1"], "port {free}: cannot listen"),
    (["pics", "-json_port", "99999"], "port 99999: cannot listen"),
    (["pics", "-json_port", "{free}", "-bind", "no address"], "cannot listen on it at no address"),
    (["pics", "-out_filename", "obj.data/o.mp4"], "obj.data/o.mp4: cannot write the file"),
    (["pics", "-out_filename", "o.gif"], "o.gif: expected the name of a video"),
    (["pics", "-out_filename", "o.mp4", "-codec", "XXXX"], "expected one of the codecs avc1, mp4v, found XXXX"),
    (["clip.avi", "-out_filename", "pics/../clip.avi"], "clip.avi is the source itself"),
    (["pics", "-out_filename", "o.avi", "-json_file_output", "o.avi"], "are the same file, o.avi"),
    (["pics", "-save_labels"], "demo -save_labels needs -prefix PATH"),
    (["pics", "-codec", "FFV1"], "-codec needs -out_filename"),
    (["pics", "-json_file_output", "."], ".: cannot write the file: it is a folder"),
    (["pics", "-prefix", "obj.data/x"], "obj.data: cannot write pictures into this folder"),
    (["pics", "-http_post_host", "/x"], "-http_post_host needs HOST/PATH"),
    (["pics/0.png", "pics/1.png"], "found 2 pictures, expected one SOURCE"),
    (["pics", "clip.avi", "-avgframes", "2"], "-avgframes needs one SOURCE, found 2"),
    (["pics", "clip.avi", "-benchmark"], "-benchmark needs one SOURCE, found 2"),
    (["clip.avi"] * 65, "demo takes up to 64 sources, found 65"),
])
def test_bad_input_is_one_line(small, cli, words, says):
    Path("o.json").write_text("mine")
    Path("junk").write_text("no video")
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = {"taken": server.getsockname()[1], "free": free_port()}
        code, _, err = cli("demo", CFG, WEIGHTS, *(word.format(**ports) for word in words), "-dont_show", "-device",
                           "cpu", "-json_file_output", "o.json", *words[-2:] * ("-json_file_output" in words))
    assert code == 1 and err.count("\n") == 1 and err.startswith("darknet-py: ") and says.format(**ports) in err
    assert not list(small.glob("*part*")) and Path("o.json").read_text() == "mine"


def test_posts_from_the_command_line(small, run, monkeypatch):
    posted = []
    monkeypatch.setattr("darknet_py.live.http_post.HttpPost._post", lambda self, text: posted.append(text))
    run("clip.avi", "-http_post_host", "127.0.0.1/x", "-time_limit_sec", "60")
    assert len(posted) == 1 and posted[0].endswith("\nvideosource:\nclip.avi") and ", id: " in posted[0]


def test_paths_that_servers_know():
    assert set(http_forms.JSON_FORMS) == {"/ndjson", "/events"} and set(http_forms.MJPEG_FORMS) == {"/snapshot.jpg"}
