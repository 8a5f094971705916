"""What the service refuses, and how: each status and reason, clients that are slow or hostile, a queue that is full."""
import json
import random
import struct
import threading
import time
import zlib

import pytest
import torch
from clips import until
from serving import PICTURES, PNG, TYPE, Gated, decoded, detector, multipart, running

from darknet_py.live.service import app, gate, server
from darknet_py.live.service.uploads import MOST_IMAGES

MOST = 200_000          # bytes of a body
JSON = {TYPE: "application/json"}
FORM = {TYPE: "multipart/form-data; boundary=limit"}


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PICTURES[0][:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + PICTURES[0][33:]


@pytest.fixture(scope="module")
def service():
    with running(detector(), max_body=MOST, max_pixels=100_000, time_limit=2.) as one:
        yield one
        assert one.lines == []


@pytest.fixture
def gated():
    """A backend that waits, behind a service whose queue holds four pictures."""
    one = detector()
    one.backend = backend = Gated(one.backend)
    with running(one, queue=4, batch=3, time_limit=5.) as service:
        try:
            yield service, backend
        finally:
            backend.released.set()


DEEP = b'{"images":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
REFUSED = [                 # query, body, headers, status, reason
    ("", b"", PNG, 415, "EMPTY"),
    ("", b"text", PNG, 415, "WRONG_FORMAT"),
    ("", b"<svg width='5' height='5'/>", PNG, 415, "WRONG_FORMAT"),
    ("", PICTURES[0][:200], PNG, 415, "CORRUPT"),
    ("", png(60_000, 60_000), PNG, 413, "TOO_LARGE"),
    ("", png(400, 300), PNG, 413, "TOO_LARGE"),
    ("", png(0, 5), PNG, 415, "WRONG_FORMAT"),
    ("", PICTURES[0], {TYPE: "text/plain"}, 415, "UNSUPPORTED"),
    ("", PICTURES[0], {TYPE: "\xff;;=;boundary"}, 415, "UNSUPPORTED"),
    ("", PICTURES[0], {}, 415, "UNSUPPORTED"),
    ("", PICTURES[0], PNG | {"Content-Encoding": "gzip"}, 415, "UNSUPPORTED"),
    ("", b"x" * (MOST + 1), PNG, 413, "TOO_LARGE"),
    ("?thresh=2", PICTURES[0], PNG, 422, "BAD_VALUE"),
    ("?thresh=nan", PICTURES[0], PNG, 422, "BAD_VALUE"),
    ("?nms=-inf", PICTURES[0], PNG, 422, "BAD_VALUE"),
    ("?nms=", PICTURES[0], PNG, 422, "BAD_VALUE"),
    ("?format=xml", PICTURES[0], PNG, 422, "BAD_VALUE"),
    ("?max_boxes=0", PICTURES[0], PNG, 422, "BAD_VALUE"),
    ("?max_boxes=99999999999999999999999", PICTURES[0], PNG, 422, "BAD_VALUE"),
    ("?model=b%0a%1b", PICTURES[0], PNG, 422, "UNKNOWN_NAME"),
    ("?format=image", *multipart(("a", PICTURES[0]), ("b", PICTURES[0])), 422, "WRONG_COUNT"),
    ("", *multipart(), 422, "EMPTY"),
    ("", b"", FORM, 422, "TRUNCATED"),
    ("", multipart(("a", PICTURES[0]))[0][:-9], FORM, 422, "TRUNCATED"),
    ("", b"--limit\r\nno header\r\n\r\n\r\n--limit--\r\n", FORM, 422, "SYNTAX"),
    ("", b"--limit\r\n" + b"A: b\r\n" * 50 + b"\r\n\r\n--limit--\r\n", FORM, 422, "SYNTAX"),
    ("", b"", {TYPE: "multipart/form-data"}, 422, "MISSING_KEY"),
    ("", b"", {TYPE: "multipart/form-data; boundary=" + "b" * 2000}, 422, "SYNTAX"),
    ("", *multipart(*[("a", b"")] * (MOST_IMAGES + 1)), 413, "TOO_LARGE"),
    ("", b"{", JSON, 422, "BAD_VALUE"),
    ("", DEEP, JSON, 422, "BAD_VALUE"),
    ("", b'{"images": []}', JSON, 422, "EMPTY"),
    ("", b'{"images": [{}]}', JSON, 422, "BAD_VALUE"),
    ("", b'{"images": [{"data": "?"}]}', JSON, 422, "BAD_VALUE"),
    ("", '{"images": [{"data": "é"}]}'.encode(), JSON, 422, "BAD_VALUE"),
    ("", b'{"images": [{"data": 5}]}', JSON, 422, "BAD_VALUE"),
    ("", b'{"images": [{"data": "", "more": 1}]}', JSON, 422, "BAD_VALUE"),
    ("", b'{"images": [{"data": ""}]}', JSON, 415, "EMPTY"),
    ("", b'{"images": [{"url": "http://127.0.0.1/"}]}', JSON, 422, "UNSAFE"),
    ("", json.dumps({"images": [{"data": ""}] * (MOST_IMAGES + 1)}).encode(), JSON, 413, "TOO_LARGE"),
    ("", b'\xff\xfe{"images"', JSON, 422, "BAD_VALUE")]


@pytest.mark.parametrize("query, body, headers, status, reason", REFUSED)
def test_refusals(service, query, body, headers, status, reason):
    assert service.post(query, body, headers).refusal == (status, reason)


@pytest.mark.parametrize("method, path, status, reason", [
    ("GET", "/none", 404, "MISSING_FILE"), ("GET", "/stream", 404, "MISSING_FILE"),
    ("GET", "/%00%ff", 404, "MISSING_FILE"), ("GET", "/detect", 405, "BAD_METHOD"),
    ("PUT", "/models", 405, "BAD_METHOD"), ("DELETE", "/", 405, "BAD_METHOD")])
def test_paths_and_methods(service, method, path, status, reason):
    answer = service.ask(method, path)
    assert answer.refusal == (status, reason)
    assert ("allow" in answer.headers) is (status == 405)


def test_every_refusal_is_documented(service):
    answers = set(service.get("/openapi.json").json["paths"]["/detect"]["post"]["responses"])
    assert {str(row[3]) for row in REFUSED} | {"200", "401", "408", "429", "503"} == answers


def test_a_body_that_grows_too_large_is_refused_while_it_comes(service):
    with service.raw(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n") as client:
        sent = 0
        client.settimeout(.02)
        reply = b""
        while b"\r\n\r\n" not in reply:         # the client never ends its body
            client.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            sent += 0x1000
            assert sent < 2 ** 26
            if sent > MOST:
                try:
                    reply += client.recv(65536)
                except TimeoutError:
                    continue
        assert reply.startswith(b"HTTP/1.1 413") and b"connection: close" in reply.lower()


def test_a_slow_body_is_given_up(service, monkeypatch):
    monkeypatch.setattr(gate, "LINGER", .1)
    monkeypatch.setattr(service.service.settings, "time_limit", .1)
    with service.raw(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nxx"
                     ) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("parts", [
    [b""], [b"GET / HT"], [b"GET / HTTP/1.1\r\nHost: x\r\n"],
    [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /"], [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]])
def test_slow_headers_are_given_up(parts, monkeypatch):
    monkeypatch.setattr(server, "PATIENCE", .2)
    monkeypatch.setattr(server, "KEPT", 1)
    with running(detector()) as service, service.raw(parts[0]) as client:
        client.settimeout(3)
        for part in parts[1:]:
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            client.sendall(part)
        try:
            while client.recv(65536):
                pass
        except ConnectionResetError:
            pass


@pytest.mark.parametrize("request_", [
    b"\x00\xff\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 70_000, b"\r\n" * 100_000,
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)),
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\nzz\r\n",
    b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999999\r\n\r\n"])
def test_what_is_no_http_is_refused(service, request_):
    with service.raw() as client:
        try:
            client.sendall(request_)
            assert client.recv(65536)[:10] in (b"HTTP/1.1 4", b"")
        except ConnectionError:             # it was cut off
            pass
    assert service.get("/healthz").status == 200


def test_tokens():
    with running(detector(), token="se-cret") as service:
        for headers, status in (({}, 401), ({"Authorization": "Bearer se-cret"}, 200),
                                ({"Authorization": "bearer  se-cret"}, 200), ({"Authorization": "Bearer se-cre"}, 401),
                                ({"Authorization": "Basic se-cret"}, 401), ({"Authorization": "Bearer \xff"}, 401)):
            assert service.get("/models", headers).status == status
            assert service.post("", PICTURES[0], PNG | headers).status == status
            assert service.get("/metrics", headers).status == status
        answer = service.get("/models")
        assert answer.refusal == (401, "UNAUTHORIZED") and answer.headers["www-authenticate"] == "Bearer"
        assert service.get("/none").status == 401
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert service.get(path).status == 200
        assert service.get("/openapi.json").json["paths"]["/detect"]["post"]["security"] == [{"token": []}]


def in_background(count, act):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(act())) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_a_full_queue_refuses_and_goes_on(gated):
    service, backend = gated
    threads, answers = in_background(4, lambda: service.post("", PICTURES[0]))
    until(lambda: service.service.admitted["a"] == 4)
    assert service.metric('darknet_queue{model="a"}') == 4
    answer = service.post("", PICTURES[0])
    assert answer.refusal == (429, "QUEUE_FULL") and answer.headers["retry-after"] == "1"
    backend.released.set()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 4
    assert service.post("", PICTURES[0]).status == 200


def test_requests_that_arrive_together_run_together(gated):
    service, backend = gated
    first, _ = in_background(1, lambda: service.post("", PICTURES[0]))
    assert backend.entered.acquire(timeout=5)           # the others come while the network has the first
    threads, answers = in_background(3, lambda: service.post("?format=boxes", PICTURES[1]))
    until(lambda: service.service.engines["a"].waiting == 3)
    backend.released.set()
    for thread in (*first, *threads):
        thread.join()
    assert backend.sizes == [1, 3]
    assert service.metric('darknet_batch_size_sum{model="a"}') == 4
    expected = detector()(decoded(PICTURES[1]))
    for answer in answers:
        result, = answer.json["results"]
        assert result["labels"] == expected.labels.tolist()
        assert torch.allclose(torch.tensor(result["boxes"]), torch.from_numpy(expected.boxes), atol=.01)


def test_an_answer_that_takes_too_long(gated, monkeypatch):
    service, backend = gated
    monkeypatch.setattr(service.service.settings, "time_limit", .2)
    assert service.post("", PICTURES[0]).refusal == (503, "TIMEOUT")
    assert service.post("", PICTURES[0]).refusal == (503, "TIMEOUT")
    assert service.service.admitted["a"] == 0
    backend.released.set()
    monkeypatch.setattr(service.service.settings, "time_limit", 5.)
    assert service.post("", PICTURES[0]).status == 200


def test_outputs_that_are_not_finite_fail_that_picture_alone(gated):
    service, backend = gated
    backend.spoiled = detector().preprocess(decoded(PICTURES[2])).x[0]
    first, _ = in_background(1, lambda: service.post("", PICTURES[0]))
    assert backend.entered.acquire(timeout=5)
    threads, answers = in_background(1, lambda: service.post("?format=boxes", *multipart(
        ("good", PICTURES[0]), ("bad", PICTURES[2]), ("fine", PICTURES[1]))))
    until(lambda: service.service.engines["a"].waiting == 3)
    backend.released.set()
    for thread in (*first, *threads):
        thread.join()
    good, broken, fine = answers[0].json["results"]
    assert broken["error"]["reason"] == "NETWORK" and "nan" in broken["error"]["message"]
    assert good["boxes"] and fine["boxes"] and "error" not in good and backend.sizes == [1, 3, 1, 1, 1]
    assert service.post("", PICTURES[2]).refusal == (503, "NETWORK")


def test_a_service_that_stops_says_so(service):
    service.service.stopping = True
    try:
        assert service.get("/readyz").refusal == service.post("", PICTURES[0]).refusal == (503, "SHUTTING_DOWN")
        assert service.get("/healthz").status == 200
    finally:
        service.service.stopping = False


def test_bodies_of_all_requests_together_are_bounded(service):
    held = service.service._held
    service.service.hold(8 * MOST - held - 1000)
    try:
        assert service.post("", PICTURES[0]).refusal == (429, "QUEUE_FULL")
    finally:
        service.service.hold(1000 + held - 8 * MOST)
    assert service.post("", PICTURES[0]).status == 200 and service.service._held == 0


def test_random_bodies_are_answered(service):
    """Bodies that were valid once, changed at random, under every content type."""
    dice = random.Random(0)
    seeds = [(PICTURES[0], PNG), multipart(("a", PICTURES[0])), (b'{"images": [{"data": "iVBORw0KGgo="}]}', JSON)]
    for _ in range(60):
        body, headers = dice.choice(seeds)
        body = bytearray(body)
        for _ in range(dice.choice((0, 1, 5, 100))):
            body[dice.randrange(min(len(body), dice.choice((100, 10 ** 6))))] = dice.randrange(256)
        body = body[:dice.choice((len(body), len(body), dice.randrange(len(body))))]
        answer = service.post(dice.choice(("", "?format=boxes", "?format=image&thresh=0")), bytes(body), headers)
        assert answer.status == 200 or answer.refusal[0] in (413, 415, 422)


def test_a_reader_that_takes_nothing_is_cut_off(service, workdir, monkeypatch):
    size = 1 << 25
    (workdir / "large.png").write_bytes(bytes(size))
    monkeypatch.setattr(app, "PAGE", workdir)
    monkeypatch.setattr(server, "PATIENCE", .2)
    with service.raw(b"GET /page/large.png HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        time.sleep(.5)
        try:
            while part := client.recv(1 << 20):
                size -= len(part)
        except ConnectionResetError:
            pass
    assert size > 1 << 20
    assert service.get("/healthz").status == 200
