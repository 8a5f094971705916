"""Frames over a WebSocket: in order, the newest of those that come too fast, and clients that send anything."""
import base64
import json

import pytest
from clips import until
from serving import PICTURES, Gated, decoded, detector, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from darknet_py.live.service import stream

PARTS = ("boxes", "scores", "labels")


@pytest.fixture(scope="module")
def service():
    with running(detector(), detector(), batch=1, max_body=1 << 20) as one:
        yield one
        assert one.lines == []


def opened(service, query="", **options):
    return connect(f"ws://127.0.0.1:{service.port}/stream{query}", proxy=None, **options)


@pytest.mark.parametrize("query, options", [("", {}), ("?thresh=0.05&nms=0&model=b", {"thresh": .05, "nms": 0})])
def test_frames_are_answered_in_order(service, query, options):
    one = detector(**options)
    expected = [one(decoded(data)) for data in PICTURES]
    with opened(service, query) as client:
        for number, (data, found) in enumerate(zip(PICTURES, expected, strict=True), 1):
            client.send(data)
            answer = json.loads(client.recv(10))
            result, = answer["results"]
            assert answer["frame"] == number and answer["model"] == ("b" if query else "a")
            assert [result[part] for part in PARTS] == [getattr(found, part).tolist() for part in PARTS]


def test_what_is_no_frame_is_answered_too(service):
    with opened(service) as client:
        for number, (message, reason) in enumerate(((b"", "EMPTY"), (b"x", "WRONG_FORMAT"), ("text", "WRONG_FORMAT"),
                                                    (PICTURES[0][:99], "CORRUPT"), (PICTURES[0], None)), 1):
            client.send(message)
            answer = json.loads(client.recv(10))
            assert answer["frame"] == number and ("error" in answer) is (reason is not None)
            assert reason is None or answer["error"]["reason"] == reason


@pytest.mark.parametrize("query, reason", [
    ("?model=none", "UNKNOWN_NAME"), ("?thresh=2", "OUT_OF_RANGE"), ("?thresh=nan", "OUT_OF_RANGE"),
    ("?nms=x%0a", "OUT_OF_RANGE")])
def test_a_bad_query_is_said_and_ends_it(service, query, reason):
    with opened(service, query) as client:
        assert json.loads(client.recv(10))["error"]["reason"] == reason
        with pytest.raises(ConnectionClosed) as end:
            client.recv(10)
    assert end.value.rcvd.code == stream.POLICY


def test_of_frames_that_come_too_fast_the_newest_is_answered():
    one = detector()
    one.backend = backend = Gated(one.backend)
    with running(one) as service, opened(service) as client:
        client.send(PICTURES[0])
        assert backend.entered.acquire(timeout=5)
        for data in PICTURES[1:]:
            client.send(data)
        client.ping().wait(5)               # the server has read all before it
        backend.released.set()
        answers = [json.loads(client.recv(10)) for _ in range(2)]
        assert [answer["frame"] for answer in answers] == [1, 4]
        assert answers[1]["results"][0]["labels"] == detector()(decoded(PICTURES[3])).labels.tolist()
        assert backend.sizes == [1, 1]


def test_garbage_ends_the_connection_alone(service):
    key = b"GET /stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    whole = key + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    for request, garbage in ((whole, b"\xff" * 1000), (whole, b"\x81\x05hello"), (key + b"\r\n", b""),
                             (whole, b"\x82\xff" + b"\x7f" * 8 + b"mask"), (whole, b"\x81\x82mask\xff\xff")):
        with service.raw(request) as client:
            client.settimeout(5)
            client.recv(65536)
            client.sendall(garbage)
            while client.recv(65536):
                pass
    with opened(service) as client:
        client.send(b"x" * (1 << 20) + b"x")
        with pytest.raises(ConnectionClosed):
            client.recv(10)
    with opened(service) as client:
        client.send(PICTURES[0])
        assert "results" in json.loads(client.recv(10))
    until(lambda: service.service.admitted["a"] == 0)


def test_there_are_only_so_many(service, monkeypatch):
    monkeypatch.setattr(stream, "MOST_STREAMS", 1)
    with opened(service) as first:
        first.send(PICTURES[0])
        first.recv(10)
        with opened(service) as second:
            assert json.loads(second.recv(10))["error"]["reason"] == "QUEUE_FULL"
            with pytest.raises(ConnectionClosed):
                second.recv(10)


def test_tokens_by_header_or_as_browsers_can():
    with running(detector(), token="se-cret/?") as service:
        text = base64.urlsafe_b64encode(b"se-cret/?").decode().rstrip("=")
        for options in ({"additional_headers": {"Authorization": "Bearer se-cret/?"}},
                        {"subprotocols": ["darknet-py", f"bearer.{text}"]}):
            with opened(service, **options) as client:
                client.send(PICTURES[0])
                assert "results" in json.loads(client.recv(10))
                assert client.subprotocol == ("darknet-py" if "subprotocols" in options else None)
        for options in ({}, {"subprotocols": ["darknet-py", "bearer.x"]}, {"subprotocols": ["darknet-py"]}):
            with pytest.raises(InvalidStatus) as refused, opened(service, **options):
                pass
            assert refused.value.response.status_code == 403
