"""A training run that is served while it goes on: the stream of its chart, the dashboard."""
import argparse
import base64
import hashlib
import html.parser
import json
import re
import socket
import threading
import time
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import ask, free_port, until, whole
from conftest import raises

from darknet_py.cfg.language import read_cfg
from darknet_py.cli.train import open_streams
from darknet_py.errors import DataError, Reason
from darknet_py.live import http_streams, run_streams
from darknet_py.live.http_forms import C_HEADERS
from darknet_py.live.run_streams import RunStreams
from darknet_py.training.chart import plot_history
from darknet_py.training.events import Finished, Iteration
from darknet_py.training.history import History
from darknet_py.training.report import read_log
from darknet_py.training.settings import Settings
from darknet_py.training.trainer import Run
from darknet_py.viz.figures import rendered

HEAD = C_HEADERS.format("multipart/x-mixed-replace; boundary=mjpegstream").encode()
PART = re.compile(rb"--mjpegstream\r\nContent-Type: image/jpeg\r\nContent-Length: (\d+)\r\n\r\n")
SETTINGS = {"device": "cpu", "seed": 3, "workers": 0, "charts": None, "report": False}


def tiny_run(**settings):
    return Run("tiny.data", read_cfg("tiny.cfg"), None, Settings(**SETTINGS | settings))


def served(**ports):
    return RunStreams(**ports, host="127.0.0.1")


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(run_streams, "EVERY", .02)


def get(port, path, host="127.0.0.1"):
    """Status, header lines and body of an answer."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head, _, body = whole(connection).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def state(port):
    status, _, body = get(port, "/state.json")
    assert status == 200
    return json.loads(body, parse_constant=pytest.fail)


def parts(data):
    """The JPEGs of a stream, which must consist of them."""
    found, at = [], 0
    while at < len(data):
        match = PART.match(data, at)
        assert match, data[at:at + 80]
        at = match.end() + int(match[1])
        found.append(data[match.end():at])
    return found


def test_the_stream_of_the_chart_is_that_of_c(tiny, often):
    with served(mjpeg_port=0) as streams:
        client = ask(streams.charts.port)
        until(lambda: streams.charts.clients)
        run = tiny_run(evaluate=True, score_epochs=0)
        for _ in streams.follow(run):
            pass
        assert "Content-Length" in get(streams.charts.port, "/snapshot.jpg")[1]
    got = whole(client)
    assert got.startswith(HEAD)
    pictures = parts(got[len(HEAD):])
    expected = rendered(plot_history(run.history, 20))
    assert expected.shape == (700, 1000, 3) and run.history.iteration == 12
    assert pictures[-1] == cv2.imencode(".jpg", expected, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()


def test_opencv_reads_the_chart_while_it_trains(tiny, often):
    Path("tiny.cfg").write_text(Path("tiny.cfg").read_text().replace("max_batches=12", "max_batches=100000"))

    def watch():
        capture = cv2.VideoCapture(f"http://127.0.0.1:{streams.charts.port}/", cv2.CAP_FFMPEG)
        images.extend(capture.read()[1] for _ in range(3))
        capture.release()

    images: list[np.ndarray] = []
    with served(mjpeg_port=0) as streams:
        thread = threading.Thread(target=watch)
        thread.start()
        run, end = tiny_run(), time.monotonic() + 60
        for _ in streams.follow(run):
            if not thread.is_alive():
                break
            assert time.monotonic() < end
        thread.join()
    run.close()
    assert run.iteration < 100000 and all(image.shape == (700, 1000, 3) for image in images) and len(images) == 3


def test_the_dashboard_says_what_the_log_says(tiny, often):
    with served(dashboard_port=0) as streams:
        port = streams.dashboard.port
        assert state(port)["phase"] == "starting" and get(port, "/batch.jpg")[0] == get(port, "/chart.png")[0] == 404
        events = ask(port, "/events")
        until(lambda: streams.dashboard.clients)
        run = tiny_run(evaluate=True, score_epochs=0)
        for event in streams.follow(run):
            if isinstance(event, Iteration):
                now = state(port)
                assert now["iteration"] == event.iteration and now["phase"] == "training"
                time.sleep(.03)
        log, told = read_log("backup/tiny_log.jsonl"), state(port)
        for path in ("/batch.jpg", "/chart.png"):
            status, headers, body = get(port, path)
            assert status == 200 and headers["Cache-Control"] == "no-store"
            picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == {"/batch.jpg": (320, 644, 3), "/chart.png": (700, 1000, 3)}[path]
    points = [[entry[name] for name in told["columns"]] for entry in log if "loss" in entry]
    scores = [entry for entry in log if "score" in entry]
    assert told["points"] == points and told["latest"] == points[-1] and len(points) == told["last"] == 12
    assert told["scores"] == scores and told["measure"] == "mAP@0.50" and scores
    seconds, waited = (sum(entry[name] for entry in log if "loss" in entry) for name in ("seconds", "data_seconds"))
    assert told["images_per_second"] == pytest.approx(12 * 4 / seconds) and told["seconds"] == pytest.approx(seconds)
    assert told["waits"] == pytest.approx(waited / seconds)
    assert told["facts"]["network"] == "tiny, 32 x 32" and told["size"] == [32, 32] and told["left"] == 0
    assert told["memory"]["process"] > 1 << 20 and told["batch"] == {"iteration": 12, "pictures": 2}
    head, _, body = whole(events).partition(b"\r\n\r\n")
    assert b"Content-Type: text/event-stream" in head
    updates = [json.loads(one.split("data: ")[1]) for one in body.decode().split("\n\n")[:-1]]
    assert re.findall(rb"^id: (\d+)$", body, re.M) == [b"%d" % one["number"] for one in updates]
    assert [one["number"] for one in updates] == list(range(1, len(updates) + 1)) and len(updates) > 3
    assert [*chain.from_iterable(one["points"] for one in updates)] == points
    assert [*chain.from_iterable(one["scores"] for one in updates)] == scores
    assert updates[-2]["phase"] == "training" and updates[-1]["phase"] == "ended"


def test_a_run_that_goes_on_shows_what_was_before(tiny, often):
    for event in tiny_run():
        if isinstance(event, Iteration) and event.iteration == 8:
            break
    with served(dashboard_port=0) as streams:
        run = tiny_run()
        assert run.iteration in (4, 8)
        for event in streams.follow(run):
            if isinstance(event, Iteration):
                told = state(streams.dashboard.port)
                assert [point[0] for point in told["points"]] == list(range(1, event.iteration + 1))
        assert isinstance(event, Finished)


def test_pictures_take_little_of_the_time(monkeypatch):
    now = [0.]
    monkeypatch.setattr(run_streams.time, "monotonic", lambda: now[0])
    picture = run_streams.ChartPicture(History(10), 20, None)
    monkeypatch.setattr(picture, "image", lambda: now.__setitem__(0, now[0] + .25) or np.zeros((8, 8, 3), np.uint8))
    assert not picture.is_old(1) and picture.jpeg == picture.jpeg and now[0] == .25      # drawn once
    now[0] = 24.9
    assert not picture.is_old(1)
    now[0] = 25.
    assert picture.is_old(1) and not picture.is_old(30)


class Page(html.parser.HTMLParser):
    """What a page loads, and the text of its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.used, self.inside, self.texts = [], None, {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.used += [value for name, value in attributes if name in ("src", "href", "action", "srcset", "data")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attributes)      # the policy forbids it
        self.inside = tag if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside is not None:
            self.texts.setdefault(self.inside, []).append(data)


def test_the_page_needs_nothing_from_elsewhere(tiny):
    with served(dashboard_port=0) as streams:
        status, headers, body = get(streams.dashboard.port, "/")
        page = Page(body.decode())
        assert status == 200 and set(page.used) == {"data:,", "/batch.jpg", "/chart.png", "/state.json"}
        assert set(re.findall(r"\w+://[^\"\s]*", body.decode())) == {"http://www.w3.org/2000/svg",
                                                                     "http://www.w3.org/1999/xhtml"}
        assert "@import" not in body.decode() and "url(" not in body.decode()
        policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == "'none'" and policy["connect-src"] == "'self'"
        for tag in ("script", "style"):
            digest = base64.b64encode(hashlib.sha256("".join(page.texts[tag]).encode()).digest()).decode()
            assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
        assert get(streams.dashboard.port, "/nothing")[0] == 404


@pytest.mark.parametrize("host, expected", [("localhost", 200), ("127.0.0.1", 200), ("[::1]", 200), ("", 404),
                                            ("evil.example", 404), ("127.0.0.1.evil.example", 404)])
def test_names_that_lead_here_are_not_answered(tiny, host, expected):
    with served(dashboard_port=0) as streams:
        assert get(streams.dashboard.port, "/state.json", host)[0] == expected


def test_slow_and_vanished_clients_hold_up_nothing(tiny, often, monkeypatch):
    monkeypatch.setattr(http_streams, "ENDING", .2)
    longest = 0.
    with served(mjpeg_port=0, dashboard_port=0) as streams:
        slow = [ask(port, path) for port, path in (
            (streams.charts.port, "/"), (streams.dashboard.port, "/events"), (streams.dashboard.port, "/state.json"))]
        gone = ask(streams.charts.port)
        until(lambda: streams.charts.clients == 2)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()
        events, begin = streams.follow(tiny_run()), time.monotonic()
        monkeypatch.setattr(streams.charts, "write", lambda picture, write=streams.charts.write: write(Big()))
        for _ in events:
            time.sleep(.03)
        longest = time.monotonic() - begin
        until(lambda: streams.charts.clients <= 1)
    assert longest < 10 and time.monotonic() - begin < longest + 5
    for client in slow:
        client.close()


class Big:
    jpeg = bytes(1 << 24)


def test_a_port_in_use(tiny, cli):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for flag in ("-dashboard", "-mjpeg_port"):
            code, out, err = cli("train", "tiny.data", "tiny.cfg", "-device", "cpu", flag, port, "-bind", "127.0.0.1")
            assert code == 1 and out == "" and not Path("backup").exists()
            assert re.fullmatch(rf"darknet-py: port {port}: cannot listen on it at 127\.0\.0\.1: .*\n", err)
        with raises(DataError, Reason.IN_USE):
            served(mjpeg_port=(free := free_port()), dashboard_port=port)
        socket.create_server(("127.0.0.1", free)).close()           # the first one is closed again


@pytest.mark.parametrize("verb", [["train"], ["detector", "train"]])
def test_the_flags(tiny, cli, verb):
    code, out, err = cli(*verb, "tiny.data", "tiny.cfg", "-device", "cpu", "-workers", 0, "-no_report", "-dashboard", 0,
                         "-mjpeg_port", free_port(), "-bind", "127.0.0.1")
    assert code == 0, err
    assert re.search(r"^dashboard   http://127\.0\.0\.1:\d+/$", out, re.M) and re.search(
        r"^chart       http://127\.0\.0\.1:\d+/$", out, re.M)


@pytest.mark.parametrize("rank, port, expected", [("0", 0, True), ("1", 0, False), ("0", None, False)])
def test_the_first_process_serves(monkeypatch, rank, port, expected):
    monkeypatch.setenv("RANK", rank)
    streams = open_streams(argparse.Namespace(mjpeg_port=-1, dashboard=port, bind=None))
    assert (streams is not None) == expected
    if streams is not None:
        assert streams.dashboard.host == "127.0.0.1" and streams.charts is None
        streams.close()


@pytest.mark.parametrize("flag, says", [("-show_imgs", "darknet-py preview"), ("-letter_box", "letter_box=1 in"),
                                        ("-benchmark_layers", "darknet-py profile")])
@pytest.mark.parametrize("verb", [["train"], ["detector", "train"], ["classifier", "train"]])
def test_flags_that_would_do_nothing_are_refused(tiny, cli, verb, flag, says):
    code, _, err = cli(*verb, "tiny.data", "tiny.cfg", flag)
    assert code == 1 and err.startswith(f"darknet-py: training takes no {flag}; ") and says in err
