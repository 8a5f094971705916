"""The service's page, open in a real browser; skips the tests that import it where there is none."""
from __future__ import annotations

import mimetypes
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from darknet_py import Detector

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
pytest.importorskip("fastapi", reason="needs the extra serve")
from serving import running  # noqa: E402

expect = playwright.expect
expect.set_options(timeout=15_000)         # milliseconds, of machines that are busy
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)
PICTURE = ROOT / "cfg/digits.jpg"
SHAPES = ROOT / "cfg/shapes.png"
BROKEN = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}


@pytest.fixture(scope="module")
def detectors():
    return {name: Detector(ROOT / f"cfg/{name}.cfg", ROOT / f"weights/{name}.weights", backend="pytorch", device="cpu")
            for name in ("digits", "shapes")}


@pytest.fixture(scope="module")
def service(detectors):
    """The address of a service whose network a finds digits, and b shapes."""
    with running(*detectors.values()) as server:
        yield f"http://127.0.0.1:{server.port}/"
    assert server.lines == []


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
        self.page.set_default_timeout(15_000)
        self.page.on("filechooser", lambda chooser: None)       # from the start: it takes a while to act
        self.page.on("request", lambda request: self.sent.append((request.method, request.url)))
        self.page.on("websocket", lambda socket: self.sent.append(("WS", socket.url)))
        self.page.on("pageerror", lambda error: self.logged.append(str(error)))
        self.page.on("console", lambda line: self.logged.append(line.text) if line.type == "error" else None)
        self.page.goto(url)

    def __getitem__(self, selector):
        return self.page.locator(selector)

    def add(self, *files):
        """Give files: paths, or dicts of name, mimeType and buffer."""
        self.page.set_input_files("#files", [file if isinstance(file, dict) else {
            "name": Path(file).name, "mimeType": mimetypes.guess_type(file)[0], "buffer": Path(file).read_bytes()}
            for file in files])

    def count(self):
        """The number of boxes that the page says, once it does."""
        expect(self["#count"]).to_have_text(re.compile(r"^\d+ box"))
        return int(self["#count"].inner_text().split()[0])

    def saved(self, button):
        """The bytes that a button saves, and their file's name."""
        with self.page.expect_download() as download:
            self[button].click()
        return open(download.value.path(), "rb").read(), download.value.suggested_filename

    def settled(self):
        """The number of requests, once there are no more."""
        sent = -1
        while sent != len(self.sent):
            sent = len(self.sent)
            self.page.wait_for_timeout(300)
        return sent

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
