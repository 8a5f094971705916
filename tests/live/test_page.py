"""The service's page in a real browser, with a network of the repository behind it."""
import json
import re
import shutil
import threading
from base64 import b64encode
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT

from darknet_py import Detector
from darknet_py.ops.boxes import xyxy_to_cxcywh
from darknet_py.ops.nms import nms

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("fastapi", reason="needs the extra serve")
expect = playwright.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
PICTURE = ROOT / "cfg/digits.jpg"
SHAPES = ROOT / "cfg/shapes.png"
TOKEN = "žluťoučký+kůň/?="          # characters that base64 and URLs treat apart


@contextmanager
def serving(detectors, **settings):
    """The address of a service."""
    from darknet_py.live.service.server import listen, serve
    from darknet_py.live.service.service import Service
    from darknet_py.live.service.settings import Settings
    listener, signals, faults = listen("127.0.0.1", 0), [], []
    server = threading.Thread(target=serve, args=(Service(detectors, Settings(**settings)), listener, signals, 1,
                                                  faults.append))
    server.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        signals.append(2)
        server.join()
    assert faults == []


@pytest.fixture(scope="module")
def detectors():
    return {name: Detector(ROOT / f"cfg/{name}.cfg", ROOT / f"weights/{name}.weights", backend="pytorch", device="cpu")
            for name in ("digits", "shapes")}


@pytest.fixture(scope="module")
def service(detectors):
    with serving(detectors) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser whose camera shows the picture of digits."""
    frames = tmp_path_factory.mktemp("camera") / "frames.mjpeg"
    frames.write_bytes(PICTURE.read_bytes() * 3)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[
            "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={frames}"])
        yield browser
        browser.close()


class Visit:
    """A page that is open. sent: (method, URL) of its requests and the URLs of its websockets; logged: its console's
    errors."""

    def __init__(self, context, url):
        self.sent, self.logged, self.page = [], [], context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("filechooser", lambda chooser: None)       # from the start: it takes a while to act
        self.page.on("request", lambda request: self.sent.append((request.method, request.url)))
        self.page.on("websocket", lambda socket: self.sent.append(("WS", socket.url)))
        self.page.on("pageerror", lambda error: self.logged.append(str(error)))
        self.page.on("console", lambda line: self.logged.append(line.text) if line.type == "error" else None)
        self.page.goto(url)

    def __getitem__(self, selector):
        return self.page.locator(selector)

    def add(self, *files):
        self.page.set_input_files("#files", [str(file) if not isinstance(file, dict) else file for file in files])

    def count(self):
        """The number of boxes that the page says, once it does."""
        expect(self["#count"]).to_have_text(re.compile(r"^\d+ box"))
        return int(self["#count"].inner_text().split()[0])

    def saved(self, button):
        """The bytes that a button saves, and their file's name."""
        with self.page.expect_download() as download:
            self[button].click()
        return open(download.value.path(), "rb").read(), download.value.suggested_filename

    def requests(self, path):
        return [url for _, url in self.sent if f"/{path}" in url]

    def press(self, key, times=1):
        for _ in range(times):
            self.page.keyboard.press(key)

    def tab_to(self, selector):
        """Press Tab until an element has the focus, which every one on the way shows."""
        for _ in range(80):
            self.press("Tab")
            outline = self.page.evaluate("""() => {
                const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
                return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
            }""")
            assert outline or self.page.evaluate("() => document.activeElement === document.body")
            if self[selector].first.evaluate("node => node === document.activeElement"):
                return
        raise AssertionError(f"Tab does not reach {selector}")


@pytest.fixture
def visit(browser, service):
    """Open the page in a fresh profile; at the end its requests are all to the service, and nothing went wrong."""
    visits, contexts = [], []

    def open_page(url=service, faults=(), script=None, **options):
        contexts.append(browser.new_context(accept_downloads=True, **options))
        if script is not None:
            contexts[-1].add_init_script(script)
        visits.append((Visit(contexts[-1], url), url, faults))
        return visits[-1][0]

    yield open_page
    for context in contexts:
        context.close()
    for opened, url, faults in visits:
        own = (url, url.replace("http", "ws"), "blob:" + url, "data:")
        assert [sent for _, sent in opened.sent if not sent.startswith(own)] == []
        assert [line for line in opened.logged if not any(fault in line for fault in faults)] == []


def test_boxes_are_those_of_the_detector(visit, detectors):
    page = visit()
    page.add(PICTURE)
    expected = detectors["digits"](PICTURE)
    assert page.count() == len(expected)
    expect(page["#boxes li"]).to_have_count(len(expected))
    rows = [row.split("\n")[:2] for row in page["#boxes li"].all_inner_texts()]
    assert rows == [[d.name, f"{d.score:.0%}"] for d in expected]
    assert page["#canvas"].get_attribute("aria-label") == f"digits.jpg: {len(expected)} boxes"
    assert len(page.requests("detect")) == 1
    expect(page["#times dt"]).to_have_text(["Queue", "Decode", "Network", "Post-process", "Service total", "Round trip",
                                            "In this page"])


def test_sliders_act_without_a_request(visit, detectors):
    page = visit()
    page.add(PICTURE)
    before, sent = page.count(), len(page.sent)
    for thresh, overlap in ((.9, .45), (.05, .45), (.05, 1), (.5, 0), (.05, .05)):
        page["#thresh"].fill(str(thresh))
        page["#nms"].fill(str(overlap))
        detector = detectors["digits"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detector, "thresh", thresh)
            patch.setattr(detector, "nms", overlap)
            expect(page["#count"]).to_have_text(re.compile(rf"^{len(detector(PICTURE))} box"))
    assert page.count() != before and len(page.sent) == sent


@pytest.mark.parametrize("name, picture", [("digits", PICTURE), ("shapes", SHAPES)])
def test_selection_equals_that_of_the_service(visit, name, picture):
    """Candidates, and then the boxes, of the service at many settings."""
    differing, compared = visit().page.evaluate("""async ([bytes, model]) => {
        const {candidatesOf, select} = await import("/page/nms.js");
        const ask = async (thresh, nms) => {
            const words = new URLSearchParams({thresh, nms, model, format: "boxes"});
            const body = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
            const headers = {"Content-Type": "application/octet-stream"};
            const answer = await fetch(`/detect?${words}`, {method: "POST", body, headers});
            return (await answer.json()).results[0];
        };
        const {nms_kind, beta_nms} = (await (await fetch("/models")).json()).models.find(({name}) => name === model);
        const candidates = candidatesOf(await ask(0.01, 0));
        const keys = (boxes) => JSON.stringify(boxes.map(({box, score, label}) => [score, label, box]).sort());
        const differing = [];
        let compared = 0;
        for (const thresh of [0.01, 0.25, 0.6]) {
            for (const nms of [0, 0.05, 0.3, 0.45, 0.8, 1]) {
                const own = select(candidates, thresh, nms, nms_kind, beta_nms);
                const theirs = candidatesOf(await ask(thresh, nms));
                compared += theirs.length;
                if (keys(own) !== keys(theirs)) differing.push([thresh, nms, own.length, theirs.length]);
            }
        }
        return [differing, compared];
    }""", [b64encode(picture.read_bytes()).decode(), name])
    assert differing == [] and compared > 100


@pytest.mark.parametrize("kind", ["default", "greedynms", "diounms", "cornersnms"])
def test_selection_by_each_kind_of_overlap(visit, kind):
    """Random boxes in three classes, of which many overlap, some reach beyond the picture, and some have equal scores."""
    draw = np.random.default_rng(len(kind))
    width, height, count = 640, 160, 400
    corner = draw.uniform(-.05, .95, (count // 4, 2)) * [width, height]
    boxes = np.concatenate([corner, corner + draw.uniform(15, 90, corner.shape)], 1).repeat(4, 0)
    boxes = (boxes + draw.normal(0, 2, boxes.shape)).astype(np.float32)
    scores, labels = draw.integers(1, 60, count).astype(np.float32) / 64, draw.integers(0, 3, count)
    relative = xyxy_to_cxcywh(torch.from_numpy(boxes)) / torch.tensor([width, height] * 2)
    table = torch.zeros(count, 3)
    table[torch.arange(count), torch.from_numpy(labels)] = torch.from_numpy(scores)
    result = {"boxes": boxes.tolist(), "scores": scores.tolist(), "labels": labels.tolist(), "width": width,
              "height": height}
    page = visit().page
    for overlap in (.05, .3, .45, .8):
        kept = page.evaluate("""async ([result, nms, kind, beta]) => {
            const {candidatesOf, select} = await import("/page/nms.js");
            return select(candidatesOf(result), 0, nms, kind, beta).map(({box}) => box);
        }""", [result, overlap, kind, .8])
        expected = nms(relative, table, overlap, kind, .8).amax(1) > 0
        assert 50 < expected.sum() < count - 50
        assert sorted(kept) == sorted(boxes[expected.numpy()].tolist())


def test_tracks_keep_their_numbers(visit):
    """Two that cross, one of another class at their place, one that is gone for too long."""
    ids = visit().page.evaluate("""async () => {
        const {Tracker} = await import("/page/tracks.js");
        const tracker = new Tracker();
        const at = (x, label = 0, y = 0.5) => ({x, y, w: 0.2, h: 0.2, label});
        const step = (seconds, ...boxes) => { tracker.update(boxes, seconds); return boxes.map(({id}) => id); };
        const crossing = [];
        for (let n = 0; n <= 20; n += 1) crossing.push(step(n / 10, at(0.3 + n / 50), at(0.7 - n / 50, 0, 0.56), at(0.5, 1)));
        return {crossing, again: step(2, at(0.7)), missed: step(2.9, at(0.8, 1)), late: step(4.5, at(0.8, 1))};
    }""")
    assert {tuple(row) for row in ids["crossing"]} == {(1, 2, 3)}
    assert ids["again"] == [1] and ids["missed"] == [4] and ids["late"] == [5]


def test_keyboard_alone(visit):
    page = visit()
    page.tab_to(".choose")
    with page.page.expect_file_chooser() as chooser:
        page.press("Enter")
    chooser.value.set_files([PICTURE, SHAPES])
    before = page.count()
    expect(page["#canvas"]).to_be_focused()
    fitted = page["#zoom"].inner_text()
    page.press("+", 3)
    assert float(page["#zoom"].inner_text()[:-1]) > 1.9 * float(fitted[:-1])
    page.press("ArrowLeft")
    page.press("0")
    assert page["#zoom"].inner_text() == fitted
    page.tab_to("#zoom-in")
    page.press("Space")
    assert page["#zoom"].inner_text() != fitted
    page.tab_to("#thumbs li:nth-child(2) button")
    page.press("Enter")
    expect(page["#file"]).to_have_text(re.compile("^shapes.png"))
    page.tab_to("#thumbs li:nth-child(2) .remove")
    page.press("Enter")
    expect(page["#file"]).to_have_text(re.compile("^digits.jpg"))
    page.tab_to("#thresh")
    page.press("ArrowRight", 68)
    fewer = page.count()
    assert fewer < before
    page.tab_to("#classes input")
    page.press("Space")
    expect(page["#classes input"].first).not_to_be_checked()
    assert page.count() < fewer
    page.tab_to("#boxes button")
    page.press("Enter")
    assert page["#zoom"].inner_text() != fitted
    page.tab_to("#save-json")
    with page.page.expect_download():
        page.press("Enter")
    names = page.page.evaluate("""() => [...document.querySelectorAll("button, input, select, #canvas")]
        .filter((node) => node.checkVisibility()).map((node) => node.getAttribute("aria-label") || node.labels?.[0]?.innerText
                                                       || node.innerText || node.outerHTML)""")
    assert [name for name in names if name.startswith("<")] == []


def test_hidden_classes(visit, detectors):
    page = visit()
    page.add(PICTURE)
    found = [d.name for d in detectors["digits"](PICTURE)]
    assert page.count() == len(found)
    numbers = dict(row.split("\n") for row in page["#classes li"].all_inner_texts())
    assert numbers == {name: str(found.count(name)) for name in sorted(set(found))}
    page["#classes label"].first.click()
    expect(page["#count"]).to_have_text(f"{len(found) - found.count(min(found))} boxes")
    page["#no-classes"].click()
    expect(page["#count"]).to_have_text("0 boxes")
    page["#all-classes"].click()
    expect(page["#count"]).to_have_text(f"{len(found)} boxes")


def test_json_and_picture_are_saved(visit, detectors):
    page = visit()
    page.add(PICTURE)
    page.count()
    text, name = page.saved("#save-json")
    [record], expected = json.loads(text), json.loads(detectors["digits"](PICTURE).to_json())
    by_place = {"key": lambda found: json.dumps(found, sort_keys=True)}
    assert name == "digits.json" and record["filename"] == "digits.jpg"
    assert sorted(record["objects"], **by_place) == sorted(expected["objects"], **by_place)
    data, name = page.saved("#save-picture")
    drawn, picture = cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.imread(str(PICTURE))
    assert name == "digits_detected.jpg" and drawn.shape == picture.shape
    changed = (np.abs(drawn.astype(int) - picture) > 60).any(2)
    left, top, right, bottom = detectors["digits"](PICTURE).boxes[0].round().astype(int)
    edges = changed[top:bottom, [left, right]].mean(), changed[[top, bottom], left:right].mean()
    assert min(edges) > .5 and changed.mean() < .2
    page.add(SHAPES)
    expect(page["#file"]).to_have_text(re.compile("^shapes.png · 640"))
    text, name = page.saved("#save-json")
    assert name == "detections.json" and [record["frame_id"] for record in json.loads(text)] == [1, 2]


@pytest.mark.parametrize("way", ["websocket", "post"])
def test_camera(visit, way):
    page = visit(script="delete window.WebSocket" if way == "post" else None)
    page["#empty .camera"].click()
    expect(page["#fps"]).to_have_text(re.compile("frames/s"))
    assert page.count() > 15
    first, name = page.saved("#save-json")
    page.page.wait_for_timeout(300)
    second, _ = page.saved("#save-json")
    ids = [{found["track_id"]: found["name"] for found in json.loads(text)[0]["objects"]} for text in (first, second)]
    kept = ids[0].items() & ids[1].items()
    assert name == "Camera.json" and len(ids[0]) > 15 and len(kept) > .8 * len(ids[0])
    assert bool(page.requests("stream")) == (way == "websocket") and bool(page.requests("detect")) == (way == "post")
    page["#play"].click()
    expect(page["#play"]).to_have_attribute("aria-label", "Play")
    page.page.wait_for_timeout(200)
    sent = len(page.sent)
    page["#thresh"].fill("0.99")                                # of the frame that is shown
    assert page.count() < len(ids[0]) and len(page.sent) == sent
    page["#keep"].click()
    expect(page["#thumbs li"]).to_have_count(1)
    page["#stop"].click()
    expect(page["#live-bar"]).to_be_hidden()


def test_video_file(visit, tmp_path):
    path, image = str(tmp_path / "clip.webm"), cv2.imread(str(PICTURE))
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"VP80"), 10, image.shape[1::-1])
    for shift in range(10):
        writer.write(np.roll(image, 2 * shift, 1))
    writer.release()
    page = visit()
    page.add(path, PICTURE)
    expect(page["#fps"]).to_have_text(re.compile("frames/s"))
    assert page.count() > 10 and page["#file"].inner_text() == "clip.webm"
    page["#play"].click()
    page["#seek"].fill("0.5")
    assert page.page.evaluate("() => document.getElementById('video').currentTime") == .5
    page["#thumbs li:nth-child(2) button"].first.click()
    expect(page["#file"]).to_have_text("digits.jpg · 640 × 512")
    assert len(page.requests("detect")) == 1


def test_models(visit, service, detectors):
    page = visit()
    page.add(SHAPES)
    page.count()
    page["#model"].select_option("shapes")
    expect(page["#classes li"].first).to_contain_text(detectors["shapes"].names[0])
    assert page.count() == len(detectors["shapes"](SHAPES)) and len(page.requests("detect")) == 2


def test_paste_and_drop(visit, detectors):
    page = visit()
    give = """([bytes, type, name, event]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name, {type}));
        const make = {paste: () => new ClipboardEvent("paste", {clipboardData: data, bubbles: true}),
                      drop: () => new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}),
                      dragenter: () => new DragEvent("dragenter", {dataTransfer: data, bubbles: true})};
        document.body.dispatchEvent(make[event]());
    }"""
    bytes_ = b64encode(PICTURE.read_bytes()).decode()
    page.page.evaluate(give, [bytes_, "image/jpeg", "pasted.jpg", "paste"])
    assert page.count() == len(detectors["digits"](PICTURE))
    page.page.evaluate(give, [bytes_, "image/jpeg", "dropped.jpg", "dragenter"])
    expect(page["#drop"]).to_be_visible()
    page.page.evaluate(give, [bytes_, "image/jpeg", "dropped.jpg", "drop"])
    expect(page["#drop"]).to_be_hidden()
    expect(page["#thumbs li"]).to_have_count(2)
    page.page.evaluate(give, [bytes_, "application/pdf", "report.pdf", "drop"])
    expect(page["#message"]).to_contain_text("Neither picture nor video: report.pdf")


def test_pictures_that_fail(visit, tmp_path):
    """A line of the service's words, and another try; the other pictures are as before."""
    page = visit(faults=("422", "415"))
    page.add(PICTURE, {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page["#message"]).to_contain_text("broken.png: ")
    assert page["#message"].get_attribute("aria-live") == "polite"
    expect(page["#thumbs .failed"]).to_have_count(1)
    assert page.count() > 20
    tried = len(page.requests("detect"))
    page["#message button"].first.click()
    expect(page["#message"]).to_contain_text("broken.png: ")
    assert len(page.requests("detect")) == tried + 1


def test_service_that_cannot_be_reached(visit):
    page = visit(faults=("ERR_",))
    page.page.route("**/detect*", lambda route: route.abort())
    page.add(PICTURE)
    expect(page["#message"]).to_contain_text("digits.jpg: The service cannot be reached.")
    page.page.unroute("**/detect*")
    page["#message button"].first.click()
    assert page.count() > 20


def test_busy_service_is_asked_again(visit):
    page = visit(faults=("429",))
    answers = iter([429, 429])

    def route(request):
        status = next(answers, None)
        if status is None:
            return request.continue_()
        return request.fulfill(status=status, json={"error": {"reason": "QUEUE_FULL", "message": "full"}},
                               headers={"Retry-After": "0.05"})

    page.page.route("**/detect*", route)
    page.add(PICTURE)
    assert page.count() > 20 and len(page.requests("detect")) == 3


def test_token(visit, detectors):
    with serving({"digits": detectors["digits"]}, token=TOKEN) as url:
        page = visit(url, faults=("401",))
        expect(page["#token"]).to_be_visible()
        page.page.keyboard.type("wrong")
        page.press("Enter")
        expect(page["#token-error"]).to_be_visible()
        page["#token-value"].fill(TOKEN)
        page.press("Enter")
        expect(page["#token"]).to_be_hidden()
        page.add(PICTURE)
        assert page.count() > 20
        page[".tile.camera"].click()
        expect(page["#fps"]).to_have_text(re.compile("frames/s"))
        assert len(page.requests("detect")) == 1 and len(page.requests("stream")) == 1
        page.page.reload()
        expect(page["#about"]).to_contain_text("10 classes")
        page.page.evaluate("() => sessionStorage.clear()")
        page.page.reload()
        page.press("Escape")
        expect(page["#message"]).to_contain_text("The service needs a token.")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows(visit, width):
    """No state of the page is wider than its window."""
    page = visit(viewport={"width": width, "height": 700}, faults=("422", "415"))

    def overflowing():
        return page.page.evaluate("""() => [document.documentElement.scrollWidth - innerWidth,
            ...[...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() && !node.closest("#thumbs, svg")
            && (node.getBoundingClientRect().right > innerWidth + 0.5 || node.getBoundingClientRect().left < -0.5))
            .map((node) => node.outerHTML)].filter(Boolean)""")

    expect(page["#about"]).to_contain_text("10 classes")
    assert overflowing() == []
    long = {"name": f"{'long' * 40}.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.add(*[PICTURE] * 12, long)
    expect(page["#message"]).to_contain_text("long")
    assert page.count() > 20 and overflowing() == []
    page["#thumbs button"].nth(24).click()
    assert overflowing() == []
    page[".tile.camera"].click()
    expect(page["#fps"]).to_have_text(re.compile("frames/s"))
    assert overflowing() == []


CONTRASTS = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (colour) => {
        const [r, g, b] = rgba(colour).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (node) => {
        for (; node !== null; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (rgba(colour)[3] === 255) return colour;
        }
        return "white";
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("noscript, option, :disabled")) continue;
        const [a, b] = [luminance(getComputedStyle(node).color), luminance(ground(node))].sort((x, y) => y - x);
        found.push([(a + 0.05) / (b + 0.05), node.outerHTML.slice(0, 120)]);
    }
    return found.sort(([a], [b]) => a - b);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours(visit, scheme):
    """The system's scheme, a switch that is kept, and a contrast of 4.5 (WCAG AA) of all text."""
    page = visit(color_scheme=scheme, faults=("422", "415"))

    def is_dark():
        return page.page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 128")

    assert is_dark() == (scheme == "dark")
    expect(page["#about"]).to_contain_text("10 classes")
    empty = page.page.evaluate(CONTRASTS)
    page.add({"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}, PICTURE)
    expect(page["#message"]).to_contain_text("broken.png")
    page["#thumbs button"].nth(2).click()
    assert page.count() > 20
    filled = page.page.evaluate(CONTRASTS)
    assert len(empty) > 5 and len(filled) > 60
    assert min(empty)[0] >= 4.5 and min(filled)[0] >= 4.5, (min(empty), min(filled))
    labels = page.page.evaluate("""async () => {
        const {colourOf} = await import("/page/draw.js");
        return [...Array(90).keys()].map(colourOf);
    }""")
    for label in labels:
        shades = [[int(v) / 255 for v in re.findall(r"\d+", text)] if " " in text else [int(text[1:3], 16) / 255] * 3
                  for text in (label["fill"], label["text"])]
        low, high = sorted(np.dot([.2126, .7152, .0722], [v / 12.92 if v <= .04045 else ((v + .055) / 1.055) ** 2.4
                                                         for v in shade]) for shade in shades)
        assert (high + .05) / (low + .05) >= 4.5, label
    page["#theme"].click()
    assert not is_dark() and page["#theme"].get_attribute("aria-label") == "Colours: light"
    page["#theme"].click()
    assert is_dark()
    page.page.reload()
    assert is_dark()


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_motion(visit, motion):
    page = visit(reduced_motion=motion)
    moving = page.page.evaluate("""() => [...document.querySelectorAll("*")].map((node) => getComputedStyle(node)).filter(
        ({animationName, transitionDuration}) => animationName !== "none" || parseFloat(transitionDuration) > 0).length""")
    assert (moving == 0) == (motion == "reduce")


def test_zoom_stays_at_the_pointer(visit):
    page = visit()
    page.add(PICTURE)
    page.count()
    box = page["#canvas"].bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = page["#zoom"].inner_text()
    page.page.mouse.wheel(0, -400)
    expect(page["#zoom"]).not_to_have_text(before)
    assert page.page.evaluate("() => document.getElementById('canvas').width >= document.getElementById('canvas').clientWidth")
    page.page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page["#zoom"]).to_have_text(before)
