"""Tests of the built site: it works from files, in a real browser, and refers to no other host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

#: Attributes that make a browser load something; `a` and the canonical link do not.
LOADED: Final = {"src", "srcset", "href", "data", "poster", "action"}
FOREIGN: Final = re.compile(r"^\s*(?:https?:)?//", re.IGNORECASE)
CSS_FOREIGN: Final = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", re.IGNORECASE)


class Loads(HTMLParser):
    """A collector of the addresses of other hosts that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the addresses of one element."""
        given = dict(attrs)
        if tag == "a" or given.get("rel") == "canonical":
            return
        self.foreign += [value for name, value in attrs if name in LOADED and value and FOREIGN.match(value)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"{built.stdout}{built.stderr}\nmake docs installs what the site needs"
    return out


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text())
        assert not loads.foreign, f"{page}: {loads.foreign}"


def test_no_style_or_script_names_a_cdn(site: Path) -> None:
    for style in site.rglob("*.css"):
        assert not CSS_FOREIGN.search(style.read_text()), style
    scripts = [path for path in site.rglob("*.js") if "lunr" not in path.parts]
    assert scripts
    for script in scripts:
        if script.name != "search_index.js":  # the texts of the pages, which name hosts
            assert not re.search(r"unpkg\.com|jsdelivr|cdnjs|googleapis", script.read_text()), script


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Open a page in chromium."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("no chromium on the PATH: install it (Debian: apt-get install chromium)", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
def test_the_site_works_from_files(site: Path, page: Page) -> None:
    requested: list[str] = []
    errors: list[Any] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    for name in ("index", "tutorial/index", "architecture", "threat-model", "reference/configuration"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.locator("h1").first.inner_text()
        shown = page.locator("article img")
        for number in range(shown.count()):
            image = shown.nth(number)
            image.scroll_into_view_if_needed()
            assert image.evaluate("image => image.complete && image.naturalWidth > 0"), (name, number)
    page.goto((site / "index.html").as_uri())
    page.locator(".md-search__input").click()
    page.keyboard.type("certificate")
    page.locator(".md-search-result__link").first.wait_for(timeout=20_000)
    assert page.locator(".md-search-result__link").count() > 1
    assert not errors
    assert requested
    assert not [url for url in requested if not url.startswith(("file:", "data:", "blob:"))]
