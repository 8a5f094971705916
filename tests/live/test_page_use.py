"""Use of the service's page: keyboard, errors, token, widths and colours."""
import re
from base64 import b64encode

import chromium
import numpy as np
import pytest
from chromium import BROKEN, PICTURE, SHAPES, expect
from serving import running

browser, detectors, service, visit = chromium.browser, chromium.detectors, chromium.service, chromium.visit
TOKEN = "žluťoučký+kůň/?="          # characters that base64, headers and URLs treat apart


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
        .filter((node) => node.checkVisibility()).map((node) => node.getAttribute("aria-label")
            || node.labels?.[0]?.innerText || node.innerText || node.outerHTML)""")
    assert [name for name in names if name.startswith("<")] == []


def test_models(visit, service, detectors):
    page = visit()
    page.add(SHAPES)
    page.count()
    page["#model"].select_option("b")
    expect(page["#classes li"].first).to_contain_text(detectors["shapes"].names[0])
    assert page.count() == len(detectors["shapes"](SHAPES)) and len(page.requests("detect")) == 2


def test_pictures_come_and_go(visit):
    """Thumbnails that are pressed faster than pictures are decoded; the last that is removed leaves the drop area."""
    page = visit()
    page.add(PICTURE, SHAPES, PICTURE)
    expect(page["#thumbs li"]).to_have_count(3)
    page.page.evaluate("""() => {
        const thumbs = document.querySelectorAll("#thumbs li > button:first-child");
        for (const place of [1, 0, 2, 0, 1, 2, 1]) thumbs[place].click();
    }""")
    expect(page["#file"]).to_have_text("shapes.png · 640 × 480")
    expect(page["#thumbs .waiting"]).to_have_count(0)
    page.page.set_viewport_size({"width": 700, "height": 600})
    for left in (2, 1, 0):
        page["#thumbs .remove"].first.click()
        expect(page["#thumbs li"]).to_have_count(left)
    expect(page["#empty .choose"]).to_be_focused()
    page.page.set_viewport_size({"width": 900, "height": 600})
    page.add(SHAPES)
    expect(page["#file"]).to_have_text("shapes.png · 640 × 480")


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
    page.add(PICTURE, BROKEN)
    expect(page["#message"]).to_contain_text("broken.png: ")
    assert page["#message"].get_attribute("aria-live") == "polite"
    expect(page["#thumbs .failed"]).to_have_count(1)
    assert page.count() > 20
    tried = len(page.requests("detect"))
    page["#message button"].first.click()
    expect(page["#message"]).to_contain_text("broken.png: ")
    assert len(page.requests("detect")) == tried + 1
    page["#message button"].last.click()
    expect(page["#message"]).to_be_empty()
    expect(page["#canvas"]).to_be_focused()


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
    with running(detectors["digits"], token=TOKEN) as server:
        page = visit(f"http://127.0.0.1:{server.port}/", faults=("401",))
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
        expect(page["#token"]).to_be_visible()
        page.press("Escape")
        expect(page["#message"]).to_contain_text("The service needs a token.")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_overflows(visit, width):
    """No state of the page is wider than its window."""
    page = visit(viewport={"width": width, "height": 700}, faults=("422", "415"))

    def overflowing():
        return page.page.evaluate("""() => {
            const nodes = [...document.querySelectorAll("body *")].filter((node) => {
                const {left, right} = node.getBoundingClientRect();
                const beyond = right > innerWidth + 0.5 || left < -0.5;
                return beyond && node.checkVisibility() && !node.closest("#thumbs, svg");
            }).map((node) => node.outerHTML);
            return [...nodes, document.documentElement.scrollWidth - innerWidth].filter(Boolean);
        }""")

    expect(page["#about"]).to_contain_text("10 classes")
    assert overflowing() == []
    long = {**BROKEN, "name": f"{'long' * 40}.png"}
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
        const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgba(colour).map((v) => linear(v / 255));
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
        if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
        if (node.closest("noscript, option, :disabled")) continue;
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
    page.add(BROKEN, PICTURE)
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
    moving = page.page.evaluate("""() => [...document.querySelectorAll("*")].filter((node) => {
        const {animationName, transitionDuration} = getComputedStyle(node);
        return animationName !== "none" || parseFloat(transitionDuration) > 0;
    }).length""")
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
    page.page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page["#zoom"]).to_have_text(before)
