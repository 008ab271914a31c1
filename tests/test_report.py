"""The HTML report: one file, complete without any server, whose slider shows every preview."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from pictures import make_picture

from uqdm.cli import main
from uqdm.codec.api import Preview, encode, receiver_of, show
from uqdm.evaluation import report
from uqdm.metrics import bpp, psnr_db
from uqdm.pictures import read_picture, write_picture

NAME = "<b>a & \"b'.png"
VOID = {"meta", "img", "input", "line", "polyline", "circle"}


class Page(HTMLParser):
    """Elements by tag, the text inside scripts, and a proof that tags are nested."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data

    def one(self, tag: str, **attributes) -> dict:
        (found,) = [own for name, own in self.elements if name == tag and attributes.items() <= own.items()]
        return found


@pytest.fixture(scope="module")
def shown():
    """A picture, and previews that come nearer and nearer."""
    picture = make_picture(16, 24)
    rng, previews = np.random.default_rng(0), []
    for step in range(9):
        noise = rng.normal(0, 60 / 2**step, picture.shape) if step < 8 else 0
        decoded = np.clip(picture + noise, 0, 255).astype(np.uint8)
        previews.append(Preview(decoded, step, 8, 19 + 40 * step))
    return picture, previews


@pytest.fixture(scope="module")
def text(shown):
    return report.page(NAME, shown[0], shown[1], "model tiny")


@pytest.fixture(scope="module")
def parsed(text):
    return Page(text)


@pytest.fixture(scope="module")
def content(parsed):
    return json.loads(parsed.scripts[0])


def test_every_step_is_a_frame_with_its_numbers(shown, content):
    picture, expected = shown
    assert len(content["frames"]) == len(expected)
    assert content["steps"] == 8
    for frame, preview in zip(content["frames"], expected, strict=True):
        assert (frame["step"], frame["bytes"]) == (preview.step, preview.file_bytes)
        assert frame["bpp"] == pytest.approx(bpp(preview.file_bytes, picture), abs=1e-6)
        psnr = psnr_db(picture, preview.picture)
        assert frame["psnr"] == (pytest.approx(psnr, abs=1e-4) if np.isfinite(psnr) else None)


def test_frames_are_the_previews(shown, content):
    for frame, preview in zip(content["frames"], shown[1], strict=True):
        kind, data = frame["src"].split(",")
        assert kind == "data:image/webp;base64"
        embedded = read_picture(base64.b64decode(data))
        assert embedded.shape == preview.picture.shape
        assert psnr_db(preview.picture, embedded) > 15, "WebP at quality 85, of noise"
    assert psnr_db(shown[0], embedded) > 27


def test_the_file_is_complete_in_itself(parsed, text):
    policy = parsed.one("meta", **{"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text
    assert all(own.get("src", "data:").startswith("data:") for _, own in parsed.elements)
    assert not any(tag in ("link", "iframe", "object") for tag, _ in parsed.elements)


def test_names_cannot_become_markup(parsed, text):
    assert "<b>" not in text
    assert NAME in parsed.text
    assert not any(tag == "b" for tag, _ in parsed.elements)


def test_the_report_says_in_words_what_it_shows(parsed, content):
    assert parsed.one("html")["lang"] == "en"
    assert parsed.one("input", type="range")["aria-label"] == "Bytes received"
    assert parsed.one("input", type="range")["max"] == str(len(content["frames"]) - 1)
    assert parsed.one("img", id="picture")["alt"].startswith(NAME)
    assert parsed.one("img", id="drawn")["alt"] == "", "a layer of the same picture"
    assert "marker" in parsed.one("svg")["aria-label"]
    assert [own["id"] for tag, own in parsed.elements if tag == "button"] == ["play", "original"]
    assert sum(tag == "tr" for tag, _ in parsed.elements) == len(content["frames"]) + 1


def test_markers_lie_on_the_curve_of_this_codec(parsed, content):
    drawn = parsed.one("polyline", **{"class": "ours"})["points"].split()
    finite = [frame for frame in content["frames"] if frame["psnr"] is not None]
    assert [f"{frame['x']},{frame['y']}" for frame in finite] == drawn
    assert all(48 <= frame["x"] <= 540 and 16 <= frame["y"] <= 262 for frame in content["frames"])


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_text_and_curves_stand_out_from_their_background(text, parsed):
    schemes = [dict(re.findall(r"--(\w+): (#[0-9a-f]+);", rule)) for rule in re.findall(r":root {([^}]*)}", text)]
    assert len(schemes) == 2, "light and dark"
    drawn = {own["style"].split(";")[0].split()[1] for tag, own in parsed.elements if tag == "polyline"} - {
        "var(--ink)"
    }
    assert len(drawn) > 2
    for scheme in schemes:
        for background in ("paper", "card"):
            assert contrast(scheme["ink"], scheme[background]) >= 4.5
            assert contrast(scheme["quiet"], scheme[background]) >= 4.5
            assert contrast(scheme["accent"], scheme[background]) >= 3
        assert contrast(scheme["accent"], scheme["card"]) >= 4.5, "a pressed button"
        for colour in drawn:
            assert contrast(colour, scheme["card"]) >= 3, colour


def test_curves_are_told_apart_without_colour(parsed):
    lines = [own for tag, own in parsed.elements if tag == "polyline"]
    curves, keys = ([own for own in lines if ("key" in own["class"]) == key] for key in (False, True))
    dashes = [own["style"].split("stroke-dasharray: ")[1] for own in curves]
    assert len(set(dashes)) == len(dashes) == len(keys) > 3
    assert dashes == [own["style"].split("stroke-dasharray: ")[1] for own in keys], "a key beside every name"
    names = [own for tag, own in parsed.elements if tag == "text" and own.get("class") == "name"]
    assert [own["y"] for own in names] == [str(float(own["points"].split(",")[1].split()[0]) + 4) for own in keys]
    assert not any("fill" in own.get("style", "") for own in names), "names have the colour of text"


def test_all_can_be_reached_by_the_keyboard_alone(parsed, text):
    acting = {tag for tag, own in parsed.elements if own.get("tabindex") or tag in ("button", "input", "summary")}
    assert acting == {"button", "input", "summary", "div"}
    scrolled = [own for _, own in parsed.elements if own.get("class") == "scroll"]
    assert [own["aria-label"] for own in scrolled] == ["Curve", "All numbers"]
    assert all((own["tabindex"], own["role"]) == ("0", "region") for own in scrolled)
    assert not any(int(own["tabindex"]) > 0 for _, own in parsed.elements if "tabindex" in own), (
        "in the order of the page"
    )
    assert ":focus-visible" in text
    assert "outline: none" not in text


def test_a_phone_gets_a_page_of_its_width(parsed, text):
    """What is wider than a phone, the curve and the table, scrolls inside of its own region."""
    assert parsed.one("meta", name="viewport")["content"] == "width=device-width, initial-scale=1"
    assert "@media (max-width: 30rem)" in text
    assert "overflow-x: auto" in re.search(r"\.scroll {([^}]*)}", text)[1]
    fixed = re.findall(r"(\w[\w ]*) {[^}]*min-width: ([\d.]+)rem", text)
    assert {name: float(width) for name, width in fixed if float(width) * 16 > 320} == {"svg": 36.0}


def test_draws_are_embedded_beside_their_means_and_their_numbers_tell_the_psnr_of_every_mixture(shown):
    picture, previews = shown
    ends = previews[2].picture, previews[1].picture
    drawn = Page(report.page("a.png", shown[0], shown[1], "model tiny", {3: ends}))
    content = json.loads(drawn.scripts[0])
    assert [("drawn" in frame) for frame in content["frames"]] == [step == 3 for step in range(9)]
    frame = content["frames"][3]
    for source, end in zip((frame["src"], frame["drawn"]), ends, strict=True):
        assert psnr_db(end, read_picture(base64.b64decode(source.split(",")[1]))) > 15
    for realism in (0.0, 0.3, 1.0):
        mixture = np.rint((1 - realism) * ends[0].astype(float) + realism * ends[1].astype(float)).astype(np.uint8)
        mean, both, draw = frame["errors"]
        error = (1 - realism) ** 2 * mean + 2 * realism * (1 - realism) * both + realism**2 * draw
        assert 10 * np.log10(255**2 / error) == pytest.approx(psnr_db(picture, mixture), abs=0.01)
    assert drawn.one("input", id="slider")["value"] == "3", "it opens there"
    assert drawn.one("input", id="realism")["aria-describedby"] == drawn.one("p", id="drawn-note")["id"]
    assert "Steps 3 to 3 have draws" in " ".join(drawn.text.split())


def test_draws_are_those_of_decode_at_steps_where_they_tell_something(tiny_model, monkeypatch):
    picture, pages = make_picture(16, 24), []
    monkeypatch.setattr(report, "page", lambda *arguments: pages.append(arguments) or "")
    monkeypatch.setattr(report, "_DRAWN_BPP", (0.5, 4.0))
    report.report("a.png", picture, tiny_model, draws=True)
    ((_, _, shown, _, found),) = pages
    inside = [preview for preview in shown if 0.5 <= bpp(preview.file_bytes, picture) <= 4]
    assert [*found] == [p.step for p in inside if psnr_db(picture, p.picture) < 36]
    assert found
    receiver = receiver_of(encode(picture, model=tiny_model), model=tiny_model)
    while receiver.step < min(found):
        receiver.receive()
    for end, realism in zip(found[receiver.step], (0.0, 1.0), strict=True):
        np.testing.assert_array_equal(end, show(receiver, realism=realism))


def test_a_model_that_cannot_draw_is_named_at_once(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(write_picture(make_picture(16, 24), ".png"))
    assert main(["report", str(tmp_path / "a.png"), "-o", str(tmp_path / "a.html"), "--model", "drawn", "--draws"]) == 2
    assert "the model 'drawn' cannot draw: leave --draws out, or choose another --model" in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()


def test_large_pictures_are_embedded_small(shown, monkeypatch):
    monkeypatch.setattr(report, "_LONGEST_SIDE", 12)
    small = Page(report.page("a.png", shown[0], shown[1][-2:], "model tiny"))
    frame = json.loads(small.scripts[0])["frames"][0]
    assert read_picture(base64.b64decode(frame["src"].split(",")[1])).shape == (8, 12, 3)
    assert frame["psnr"] == pytest.approx(psnr_db(shown[0], shown[1][-2].picture), abs=1e-4)
    assert "shown at 50% of its size, measured at full size" in small.text


# Just enough of a browser's document to run the programme of the page.
STUB = """
const elements = {};
const make = (id) => elements[id] ??= {
  id, value: "", textContent: "", src: "", attributes: {}, handlers: {}, style: {},
  getAttribute(name) { return this.attributes[name] ?? null; },
  setAttribute(name, value) { this.attributes[name] = String(value); },
  addEventListener(name, handler) { this.handlers[name] = handler; },
  getBoundingClientRect() { return { left: 0, width: 640 }; },
  viewBox: { baseVal: { width: 640 } },
};
globalThis.document = { getElementById: (id) => id === "realism" ? null : make(id) };
let ticking = null;
let pace = 0, calm = false;
globalThis.setInterval = (handler, time) => { ticking = handler; pace = time; return 1; };
globalThis.matchMedia = () => ({ matches: calm });
globalThis.clearInterval = () => { ticking = null; };
const [content, programme, last] = JSON.parse(require("fs").readFileSync(0, "utf8"));
make("frames").textContent = content;
make("slider").value = last;
make("original").setAttribute("aria-pressed", "false");
"""
ACTIONS = """
new Function(programme)();
const seen = [];
const note = () => seen.push([
  make("slider").value, make("picture").src, make("bytes").textContent, make("psnr").textContent,
  make("step").textContent, make("slider").getAttribute("aria-valuetext"), make("marker").getAttribute("cx"),
  make("play").textContent, ticking !== null]);
note();
make("slider").value = "3"; make("slider").handlers.input(); note();
make("original").handlers.click(); note(); make("original").handlers.click(); note();
make("play").handlers.click(); ticking(); note();
make("slider").value = last; ticking(); note();
make("curve").handlers.click({ clientX: JSON.parse(content).frames[5].x }); note();
const paces = [pace];
calm = true; new Function(programme)(); make("play").handlers.click(); paces.push(pace);
seen.push(paces);
process.stdout.write(JSON.stringify(seen));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run JavaScript")
def test_the_slider_shows_what_arrived(parsed, content):
    frames, last = content["frames"], len(content["frames"]) - 1
    given = json.dumps([parsed.scripts[0], parsed.scripts[1], str(last)])
    ran = subprocess.run(["node", "-e", STUB + ACTIONS], input=given.encode(), capture_output=True, check=True)
    end, third, original, back, playing, stopped, clicked, paces = json.loads(ran.stdout)
    assert end[:2] == [str(last), frames[-1]["src"]]
    assert end[3:5] == ["exact", "8 of 8"]
    assert third[1:3] == back[1:3] == [frames[3]["src"], f"{frames[3]['bytes']:,}"]
    assert third[3] == f"{frames[3]['psnr']:.2f} dB"
    assert third[5] == f"{third[2]} bytes, {third[3]}, step {third[4]}"
    assert float(third[6]) == frames[3]["x"]
    assert original[1] == content["original"], "the numbers stay, the picture is the original"
    assert original[2] == third[2]
    assert (playing[0], playing[7], playing[8]) == ("4", "Pause", True)
    assert (stopped[7], stopped[8]) == ("Play", False)
    assert paces == [250, 1000], "slower for those who ask for less motion"
    assert clicked[0] == str(int(np.argmin([abs(frame["x"] - frames[5]["x"]) for frame in frames])))


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
USE = """
<script>
  const seen = [], at = (id) => document.getElementById(id);
  const note = async () => {
    // Asking again and again keeps the browser's virtual time from running out before the picture is there.
    do await new Promise((done) => setTimeout(done, 10)); while (!at("picture").complete);
    const { naturalWidth, naturalHeight, src } = at("picture");
    const texts = ["bytes", "psnr", "step"].map((id) => at(id).textContent);
    seen.push([naturalWidth, naturalHeight, src, ...texts, at("marker").getBoundingClientRect().x]);
  };
  (async () => {
    await note();
    at("slider").value = 3;
    at("slider").dispatchEvent(new Event("input"));
    await note();
    at("original").click();
    await note();
    try { eval("1"); seen.push("ran"); } catch { seen.push("refused"); }
    const { scrollWidth, clientWidth } = document.documentElement;
    seen.push([clientWidth, scrollWidth, ...["play", "slider", "original"].map((id) => at(id).offsetHeight)]);
    document.documentElement.textContent = JSON.stringify(seen);
  })();
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
@pytest.mark.parametrize("window", ["360,740", "1280,800"])
def test_a_browser_shows_what_arrived(text, content, shown, tmp_path, window):
    """The page in headless Chromium, under its own security policy, used by a script behind its end."""
    page, height, width = tmp_path / "page.html", *shown[0].shape[:2]
    page.write_text(text.replace("</body>", USE + "</body>"), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={window}",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command = [BROWSER, *options, "--virtual-time-budget=1000000", "--dump-dom", page.as_uri()]
    dumped = subprocess.run(command, capture_output=True, check=True, timeout=120, text=True).stdout
    end, third, original, policy, (inside, wide, *heights) = json.loads(Page(dumped).text)
    frames = content["frames"]
    assert end[:3] == [width, height, frames[-1]["src"]]
    assert end[4:6] == ["exact", "8 of 8"]
    assert third[2:4] == [frames[3]["src"], f"{frames[3]['bytes']:,}"]
    assert third[4] == f"{frames[3]['psnr']:.2f} dB"
    assert third[6] < end[6], "the marker went to the left"
    assert original[2:4] == [content["original"], third[3]]
    assert policy == "refused"
    assert wide <= inside, "nothing is wider than the window"
    assert min(heights) >= 44, "fingers are wide"
