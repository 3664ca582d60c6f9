"""The report as a browser shows it. Set IDK_SCREENSHOTS to a folder to keep the pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.offline.report import Source, figures_of, render
from proxy.offline.report.page import UNSHOWABLE
from tests.proxy.offline.report.made import CERTIFICATE, HOSTILE, hostile, policy, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PAGES = {
    "certified": (records(1500), {"certificate": CERTIFICATE, "fingerprint": {"model": "small", "k": 4}}),
    "hostile": (hostile(), {"name": HOSTILE[0], "fingerprint": {HOSTILE[1]: HOSTILE[3]}}),
    "empty": ([], {}),
}
#: WCAG 2.1, AA, for text of ordinary size.
LEAST_CONTRAST = 4.5

TEXT_COLOURS = """() => {
  const shown = [...document.querySelectorAll('h1,h2,h3,p,th,td,dt,dd,caption,figcaption,strong,.small,.badge')];
  const back = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.endsWith(', 0)')) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return shown.filter((one) => one.textContent.trim() && one.offsetParent)
    .map((one) => [getComputedStyle(one).color, back(one), one.textContent.trim().slice(0, 40)]);
}"""


class Opened:
    """A page with its console messages, errors, dialogs and requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture(params=PAGES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    rows, changes = PAGES[request.param]
    path = tmp_path / f"{request.param}.html"
    path.write_text(render(figures_of(rows, policy(**changes), Source("records.jsonl"))), encoding="utf-8")
    return path


@pytest.fixture(params=[(1180, "light"), (1180, "dark"), (360, "light"), (360, "dark")], ids=str)
def opened(request: pytest.FixtureRequest, browser: Browser, file: Path) -> Iterator[Opened]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = Opened(context.new_page())
    opened.page.goto(file.as_uri())
    yield opened
    if folder := os.environ.get("IDK_SCREENSHOTS"):
        name = f"{file.stem}-{width}-{scheme}.png"
        opened.page.screenshot(path=Path(folder) / name, full_page=True)
    context.close()


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.1) of ``rgb(r, g, b)``."""
    shares = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_it_is_quiet_fits_and_can_be_read(opened: Opened, file: Path) -> None:
    page = opened.page
    assert opened.said == []
    assert opened.requests == [file.as_uri()]
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every((one) => one.scrollWidth <= one.clientWidth)"
    )
    faint = [
        (text, fore, back)
        for fore, back, text in page.evaluate(TEXT_COLOURS)
        if contrast(fore, back) < LEAST_CONTRAST
    ]
    assert faint == []


def test_the_style_is_applied_in_both_schemes(browser: Browser, file: Path) -> None:
    found = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(file.as_uri())
        found[scheme] = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert found["dark"] < 0.02
    assert found["light"] > 0.9


@pytest.mark.parametrize("width", [360, 1180])
def test_no_text_of_a_picture_leaves_it(browser: Browser, file: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(file.as_uri())
    outside = page.evaluate("""() => [...document.querySelectorAll('svg.drawing')].flatMap((svg) => {
      const room = svg.getBoundingClientRect();
      return [...svg.querySelectorAll('text')].filter((text) => {
        const box = text.getBoundingClientRect();
        return box.left < room.left - 1 || box.right > room.right + 1 || box.bottom > room.bottom + 1
          || box.top < room.top - 1;
      }).map((text) => text.textContent);
    })""")
    page.close()
    assert outside == []


def test_hostile_texts_are_shown_as_they_are(browser: Browser, tmp_path: Path) -> None:
    rows, changes = PAGES["hostile"]
    figures = figures_of(rows, policy(**changes), Source("x"))
    path = tmp_path / "hostile.html"
    path.write_text(render(figures), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    shown = page.evaluate("[...document.querySelectorAll('article p.answer')].map((one) => one.textContent)")
    page.close()
    meant = {one.answer for some in figures.examples.values() for one in some}
    assert {"</script><script>window.hacked=1</script>", HOSTILE[5], HOSTILE[6]} <= meant
    assert {*shown} == {UNSHOWABLE.sub("\ufffd", text) for text in meant}


def test_print_is_dark_on_white_without_what_must_be_unfolded(browser: Browser, file: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    body = page.evaluate(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    folded = page.evaluate("getComputedStyle(document.querySelector('details')).display")
    printed = page.pdf(format="A4")
    context.close()
    assert body == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert folded == "none"
    assert printed.startswith(b"%PDF")
