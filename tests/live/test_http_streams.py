"""The streams on C's ports: their bytes, slow clients, clients that go."""
import json
import socket
import threading
import time

import cv2
import numpy as np
import pytest
from clips import ask, free_port, result, until, whole
from conftest import raises

from darknet_py.errors import DataError, Reason
from darknet_py.live import http_streams
from darknet_py.live.http_forms import JSON_FORMS, MJPEG_FORMS, JsonArray, Mjpeg
from darknet_py.live.http_post import HttpPost, message
from darknet_py.live.http_streams import StreamServer

HEADERS = (b"HTTP/1.0 200 OK\r\nServer: Mozarella/2.2\r\nAccept-Range: bytes\r\nConnection: close\r\nMax-Age: 0\r\n"
           b"Expires: 0\r\nCache-Control: no-cache, private\r\nPragma: no-cache\r\nContent-Type: ")
OBJECT = (b'{"class_id":1, "name":"b \\"x\\"", "relative_coordinates":{"center_x":0.312500, "center_y":0.375000, '
          b'"width":0.375000, "height":0.500000}, "confidence":0.750000}')


def record(number, time):
    return b'{\n "frame_id":%d, \n "timestamp":%s, \n "objects": [ \n  %s\n ] \n}' % (number, time, OBJECT)


@pytest.fixture
def json_server():
    server = StreamServer(0, JsonArray(), JSON_FORMS, "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def mjpeg_server():
    server = StreamServer(0, Mjpeg(), MJPEG_FORMS, "127.0.0.1")
    yield server
    server.close()


@pytest.mark.parametrize("path", ["/", None, "/any?thing=1"])
def test_json_is_that_of_c(json_server, path):
    client = ask(json_server.port, path)
    until(lambda: json_server.clients)
    for number in (1, 2):
        json_server.write(result(number))
    json_server.close()
    got = whole(client)
    assert got == HEADERS + b"application/json\r\n\r\n[\n" + record(1, b"0.125") + b", \n" + record(2, b"0.25") \
        + b"\n]"
    assert [one["frame_id"] for one in json.loads(got.split(b"\r\n\r\n")[1])] == [1, 2]


def test_lines_and_events(json_server):
    clients = [ask(json_server.port, path) for path in ("/ndjson", "/events?x")]
    until(lambda: json_server.clients == 2)
    for number in (1, 2):
        json_server.write(result(number))
    json_server.close()
    lines, events = (whole(client).decode().split("\r\n\r\n") for client in clients)
    assert "Content-Type: application/x-ndjson" in lines[0] and "Content-Type: text/event-stream" in events[0]
    found = [json.loads(line) for line in lines[1].splitlines()]
    assert [(one["frame_id"], one["timestamp"], one["objects"][0]["name"]) for one in found] == [
        (1, .125, 'b "x"'), (2, .25, 'b "x"')]
    assert events[1] == "".join(f"id: {number}\ndata: {line}\n\n" for number, line in
                                enumerate(lines[1].splitlines(), 1))


def test_mjpeg_is_that_of_c(mjpeg_server):
    client = ask(mjpeg_server.port)
    until(lambda: mjpeg_server.clients)
    expected = HEADERS + b"multipart/x-mixed-replace; boundary=mjpegstream\r\n\r\n"
    got = b""
    for number in (1, 2):
        one = result(number)
        jpeg = cv2.imencode(".jpg", one.picture.image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes()
        expected += b"--mjpegstream\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg
        mjpeg_server.write(one)
        while len(got) < len(expected):
            got += client.recv(65536)
    mjpeg_server.close()
    assert got + whole(client) == expected


def test_snapshot(mjpeg_server):
    early = ask(mjpeg_server.port, "/snapshot.jpg")
    until(lambda: mjpeg_server.clients)
    mjpeg_server.write(result(90))
    for client in (early, ask(mjpeg_server.port, "/snapshot.jpg")):
        head, body = whole(client).split(b"\r\n\r\n", 1)
        assert b"Content-Length: %d" % len(body) in head and b"image/jpeg" in head
        assert abs(int(cv2.imdecode(np.frombuffer(body, np.uint8), 1).mean()) - 90) <= 1


def test_a_stream_without_frames_ends(json_server):
    client = ask(json_server.port)
    until(lambda: json_server.clients)
    json_server.close()
    assert whole(client).startswith(b"HTTP/1.0 503 ")


def test_opencv_reads_the_mjpeg(mjpeg_server):
    def serve():
        number = 0
        while not done.is_set():
            number += 1
            mjpeg_server.write(result(number * 8 % 256, side=64))
            time.sleep(.005)

    done = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        capture = cv2.VideoCapture(f"http://127.0.0.1:{mjpeg_server.port}/", cv2.CAP_FFMPEG)
        images = [capture.read() for _ in range(3)]
        capture.release()
    finally:
        done.set()
        thread.join()
    assert all(there and image.shape == (64, 64, 3) for there, image in images)


def test_slow_and_vanished_clients_hold_up_nothing(mjpeg_server, monkeypatch):
    monkeypatch.setattr(http_streams, "PATIENCE", .3)
    slow, gone, good = (ask(mjpeg_server.port) for _ in range(3))
    until(lambda: mjpeg_server.clients == 3)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")           # close with a reset
    gone.close()
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    longest, got, number = 0., b"", 0
    good.setblocking(False)
    end = time.monotonic() + 5
    while mjpeg_server.clients > 1:
        assert time.monotonic() < end
        number += 1
        one = result(number)
        one.picture.image = noise
        begin = time.perf_counter()
        mjpeg_server.write(one)
        longest = max(longest, time.perf_counter() - begin)
        time.sleep(.01)
        try:
            while part := good.recv(1 << 20):
                got += part
        except BlockingIOError:
            pass
    assert longest < .25 and got.count(b"--mjpegstream") >= 3
    slow.close()
    good.close()


def test_queue_of_a_client_is_bounded(json_server):
    client = ask(json_server.port, None)                # nothing is sent to it before SILENT is over
    until(lambda: json_server.clients)
    for number in range(1, 201):
        json_server.write(result(number))
    json_server.close()
    found = json.loads(whole(client).split(b"\r\n\r\n")[1])
    assert [one["frame_id"] for one in found] == list(range(201 - JsonArray.most, 201))


def test_too_many_clients(json_server, monkeypatch):
    monkeypatch.setattr(http_streams, "MOST_CLIENTS", 1)
    first = ask(json_server.port)
    until(lambda: json_server.clients)
    assert whole(ask(json_server.port, None)).startswith(b"HTTP/1.0 503 ")
    first.close()


def test_port_in_use(json_server):
    with raises(DataError, Reason.IN_USE, f"port {json_server.port}: cannot listen"):
        StreamServer(json_server.port, JsonArray(), {}, "127.0.0.1")


class Receiver:
    """A web server that keeps what is posted to it, and answers with a status."""

    def __init__(self, *statuses):
        self.server, self.requests = socket.create_server(("127.0.0.1", 0)), []
        self.port, self.statuses = self.server.getsockname()[1], list(statuses)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while self.statuses:
            connection, _ = self.server.accept()
            with connection:
                request = connection.recv(65536)
                while b"Content-Length: " in request and len(request.split(b"\r\n\r\n", 1)[1]) < int(
                        request.split(b"Content-Length: ")[1].split(b"\r\n")[0]):
                    request += connection.recv(65536)
                self.requests.append(request.decode())
                connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % self.statuses.pop(0))


def test_posts():
    receiver, said = Receiver(500, 200, 200), []
    post = HttpPost(f"127.0.0.1:{receiver.port}/a/b", "my.mp4", False, said.append)
    for number in (1, 2, 3):
        post.write(result(number))
        until(lambda number=number: len(receiver.requests) == number)
        until(lambda number=number: post.posted == number - 1)
        until(lambda: post._queue.empty())
    post.close()
    assert said == [f"warning: 127.0.0.1:{receiver.port}: cannot post: the server answers 500"]
    head, body = receiver.requests[-1].split("\r\n\r\n")
    assert head.startswith("POST /a/b HTTP/1.1\r\n") and "Content-Type: text/plain" in head
    lines = body.split("\n")
    assert lines[:3] + lines[4:] == ['b "x", id: 1', "", "time:", "videosource:", "my.mp4"]
    time.strptime(lines[3], "%A %Y-%m-%d %H:%M:%S")


def test_posts_once():
    receiver, said = Receiver(200), []
    post = HttpPost(f"http://127.0.0.1:{receiver.port}", "x", True, said.append)
    for number in range(1, 4):
        post.write(result(number))
        until(lambda: post.posted == 1)
    post.close()
    assert len(receiver.requests) == 1 and receiver.requests[0].startswith("POST / ") and not said


def test_post_to_nobody_is_said_once():
    said = []
    post = HttpPost(f"127.0.0.1:{free_port()}/", "x", False, said.append)
    for number in range(1, 4):
        post.write(result(number))
        until(post._queue.empty)
    post.close()
    assert len(said) == 1 and "cannot post" in said[0]


@pytest.mark.parametrize("host", ["", "/path", "ftp://host/", "ho st/", "host:port/"])
def test_no_host(host):
    with raises(DataError, Reason.BAD_VALUE, "http_post_host"):
        HttpPost(host, "x", False, print)


def test_nothing_is_posted_without_objects():
    from darknet_py.inference.detections import Detections
    assert message(Detections(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, int), ["a"], (4, 4)), "x") == ""
