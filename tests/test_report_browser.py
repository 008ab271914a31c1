"""The HTML report in a real browser: keys, pixels, colours and sizes of windows, as people meet them."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from browser import FOUND, Browser, browser
from pictures import make_picture
from PIL import Image
from test_report import contrast

from uqdm.codec.api import Preview, decode, encode_with_costs
from uqdm.evaluation import report
from uqdm.metrics import psnr_db

pytestmark = pytest.mark.skipif(FOUND is None, reason="there is no Chromium on the path to show the report in")
WINDOWS = [(360, 740), (412, 915), (1280, 800)]
STEP = 2
"""The one that has a draw."""


@pytest.fixture(scope="module")
def stream(tiny_model):
    picture = make_picture(16, 24)
    data, costs = encode_with_costs(picture, model=tiny_model)
    return picture, data, [cost.file_bytes for cost in costs]


@pytest.fixture(scope="module")
def page(stream, tiny_model, tmp_path_factory) -> Path:
    """A report of a stream with mean and draw at one step, embedded without loss."""
    picture, data, sizes = stream
    shown = [Preview(decode(data[:n], model=tiny_model), step, len(sizes) - 1, n) for step, n in enumerate(sizes)]
    ends = [decode(data[: sizes[STEP]], model=tiny_model, realism=realism) for realism in (0.0, 1.0)]

    def lossless(picture: np.ndarray, quality: int = 0) -> str:
        Image.fromarray(picture).save(buffer := io.BytesIO(), "PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_data_uri", lossless)
        text = report.page("a.png", picture, shown, "model tiny", {STEP: (ends[0], ends[1])})
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def text_of(chromium: Browser, name: str) -> str:
    return chromium.run(f"document.getElementById({name!r}).textContent")


def choose(chromium: Browser, name: str, value: float) -> None:
    """Moves a slider."""
    at = f"document.getElementById({name!r})"
    chromium.run(f"{at}.value = {value}; {at}.dispatchEvent(new Event('input'))")


def picture_in(chromium: Browser) -> np.ndarray:
    """The picture that the window shows, a pixel from the middle of each of its blocks."""
    left, top, wide, high = chromium.run(
        "scrollTo(0, 0), (() => { const box = document.getElementById('picture').getBoundingClientRect();"
        "return [box.x + 1, box.y + 1, box.width - 2, box.height - 2]; })()"
    )
    scale = min(wide / 24, high / 16)
    rows = top + (high - 16 * scale) / 2 + scale * (np.arange(16) + 0.5)
    columns = left + (wide - 24 * scale) / 2 + scale * (np.arange(24) + 0.5)
    return chromium.pixels()[rows.astype(int)[:, None], columns.astype(int)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("realism", [0.0, 0.5, 1.0])
def test_the_browser_mixes_as_decode_does(chromium, page, stream, tiny_model, window, realism):
    picture, data, sizes = stream
    chromium.open(page, *window)
    assert chromium.run("document.getElementById('slider').value") == str(STEP), "it opens where there is a draw"
    choose(chromium, "realism", realism)
    expected = decode(data[: sizes[STEP]], model=tiny_model, realism=realism)
    np.testing.assert_allclose(picture_in(chromium).astype(int), expected.astype(int), rtol=0, atol=2)
    told = float(text_of(chromium, "psnr").removesuffix(" dB"))
    assert told == pytest.approx(psnr_db(picture, expected), abs=0.02)
    other = decode(data[: sizes[STEP]], model=tiny_model, realism=1 - realism if realism != 0.5 else 0.0)
    assert np.abs(picture_in(chromium).astype(int) - other).max() > 10, "mean and draw are not alike"


@pytest.mark.parametrize("window", WINDOWS)
def test_all_is_done_by_keys(chromium, page, window):
    chromium.open(page, *window)
    reached = []
    for _ in range(6):
        chromium.press("Tab")
        reached.append(chromium.run("document.activeElement.id || document.activeElement.tagName"))
        outline = "getComputedStyle(document.activeElement)"
        assert chromium.run(f"{outline}.outlineStyle") == "solid"
        assert chromium.run(f"{outline}.outlineWidth") == "3px"
    assert reached == ["play", "slider", "original", "realism", "DIV", "SUMMARY"], "in the order of the page"
    chromium.run("document.getElementById('realism').focus()")
    spoken = "document.activeElement.getAttribute('aria-valuetext')"
    chromium.press("ArrowRight")
    assert re.fullmatch(r"realism 0\.05 of 1, \d+\.\d\d dB", chromium.run(spoken))
    assert text_of(chromium, "shown") == "mean and draw mixed, realism 0.05"
    chromium.press("End")
    assert text_of(chromium, "shown").startswith("draw (realism 1)")
    assert float(chromium.run("document.getElementById('drawn').style.opacity")) == 1
    chromium.press("Home")
    assert text_of(chromium, "shown") == "mean (realism 0)"
    chromium.run("document.getElementById('slider').focus()")
    chromium.press("Home")
    assert text_of(chromium, "step").startswith("0 of")
    chromium.press("ArrowRight")
    assert re.fullmatch(r"\d+ bytes, \d+\.\d\d dB, step 1 of \d+", chromium.run(spoken))
    assert chromium.run("document.getElementById('realism').disabled"), "this step has no draw"
    assert text_of(chromium, "realism-text") == "no draw"
    chromium.run("document.getElementById('original').focus()")
    chromium.press(" ")
    assert text_of(chromium, "shown") == "original"


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_of_all_sizes_hold_picture_and_sliders(chromium, page, window):
    chromium.open(page, *window)
    assert chromium.run("document.documentElement.scrollWidth") <= window[0]
    controls = chromium.run(
        "['play', 'slider', 'original', 'realism'].map((id) => {"
        "const box = document.getElementById(id).getBoundingClientRect(); return [box.height, box.bottom]; })"
    )
    assert min(height for height, _ in controls) >= 44, "fingers are wide"
    assert max(bottom for _, bottom in controls) <= window[1], "seen together with the picture"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_without_colour(chromium, page, scheme):
    """Contrast of luminance, which is what greyscale leaves, of all text against what lies behind it."""
    chromium.open(page, 360, 740, scheme)
    pairs = chromium.run("""[...document.querySelectorAll(
      "h1, p, label, output, button, dt, dd, summary, svg text")].map((own) => {
        const style = getComputedStyle(own);
        let behind = own;
        while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
        const ink = own instanceof SVGElement ? style.fill : style.color;
        return [own.outerHTML.slice(0, 60), ink, getComputedStyle(behind).backgroundColor];
      })""")
    assert len(pairs) > 20
    for what, *colours in pairs:
        one, other = ("#" + "".join(f"{int(n):02x}" for n in re.findall(r"\d+", colour)[:3]) for colour in colours)
        assert contrast(one, other) >= 4.5, (what, one, other)
    backgrounds = {behind for _, _, behind in pairs}
    assert ("rgb(21, 23, 26)" in backgrounds) == (scheme == "dark")
