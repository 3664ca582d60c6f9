"""The page at /admin as a browser shows it. Set IDK_SCREENSHOTS to a folder to keep the pictures."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.admin_store import ROUTE, config, fill, watch
from tests.e2e.proxies import Proxy, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

KEY = "the key of the admins"
#: What a change may take: the version is taken up within a second.
WAIT_MS = 20_000
VIEWS = [(1180, "light"), (1180, "dark"), (360, "light"), (360, "dark")]


def serve(folder: Path, **counts: int) -> Proxy:
    fill(folder, **counts)
    write_config(folder, config("http://127.0.0.1:9/v1"))
    return Proxy(cwd=folder, env={**os.environ, "IDK_ADMIN_KEY": KEY})


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with serve(tmp_path_factory.mktemp("admin")) as running:
        yield running


def opened(browser: Browser, url: str, *, width: int = 1180, scheme: str = "light") -> tuple[Page, list[str]]:
    """Return the page after the login, with its console messages, errors and requests to other hosts."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith(url) or said.append(request.url))
    page.goto(f"{url}/admin#{ROUTE}")
    page.fill("#key", KEY)
    page.click("#login .main")
    page.wait_for_selector("#above article")
    page.wait_for_selector("#card article")
    return page, said


@pytest.mark.parametrize(("width", "scheme"), VIEWS, ids=str)
def test_it_is_quiet_fits_and_axe_finds_nothing_serious(browser, proxy, width, scheme):
    page, said = opened(browser, proxy.url, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("window.hacked") is None
    assert _serious(page) == []
    if folder := os.environ.get("IDK_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"admin-{width}-{scheme}.png", full_page=True)
    assert said == []
    page.context.close()


def test_the_way_in(browser, proxy):
    page = browser.new_page()
    page.goto(f"{proxy.url}/admin")
    page.wait_for_selector("#key:focus")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.keyboard.type("a guess")
    page.keyboard.press("Enter")
    page.wait_for_selector("#refused:has-text('not the admin key')")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#headline:not(:empty)")
    assert page.evaluate("document.cookie") == ""
    page.reload()
    page.wait_for_selector("#headline:not(:empty)")
    page.click("#leave")
    page.wait_for_selector("#key:focus")
    page.close()


def test_a_threshold_by_keyboard_alone(browser, tmp_path):
    with serve(tmp_path) as running:
        page, said = opened(browser, running.url)
        before = page.text_content("#words")
        page.focus("#threshold")
        for _ in range(5):
            page.keyboard.press("ArrowLeft")
        assert page.text_content("#value") == "0.75"
        words = page.text_content("#words")
        assert words != before
        assert "not certified" in words
        assert page.text_content("#badge") == "Not certified at this threshold"
        assert page.get_attribute("#badge", "class") == "badge none"
        assert words in page.get_attribute("#threshold", "aria-valuetext")
        assert "certified ≤ 10 %" in page.text_content("#headline")  # nothing is changed yet
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("#sure[open]")
        assert "certificate" in page.text_content("#sure-text")
        page.keyboard.press("Escape")
        assert page.text_content("#kicker").endswith("support@2")
        page.focus("#apply")
        page.keyboard.press("Enter")
        page.keyboard.type("Ada")
        page.keyboard.press("Enter")
        page.wait_for_selector("#kicker:has-text('support@3')")
        assert page.text_content("#headline") == words
        assert page.text_content("#badge") == "Not certified"
        row = page.text_content("#history tr")
        assert "@3" in row
        assert "Ada" in row
        page.click("text=Roll back to @2")
        page.click("#sure-yes")
        page.wait_for_selector("#kicker:has-text('support@2')")
        page.wait_for_selector("#badge:has-text('Certified')")
        assert said == []
        page.context.close()


@pytest.mark.parametrize(
    ("found", "route", "headline", "alarm", "by"),
    [
        (
            {"alarm": True, "cause": "audit"}, {"on_alarm": "tighten"},
            "not certified", ("labels of the audit sample show that the risk is above its target. The certificate is "
            "revoked, and the threshold is tightened to 0.83."), "raised by audit labels",
        ),
        (
            {"alarm": True, "cause": "feedback"}, {"on_alarm": "abstain"},
            "not certified", "users’ reports show that the risk is above its target. The certificate is revoked.",
            "raised by users’ reports",
        ),
        (
            {"drifted": True, "drift": 0.6}, {"on_drift": "abstain"},
            "Every answer is withheld.", ("the confidences have drifted, so the requests differ from those that were "
            "certified. The certificate is revoked, and every answer is withheld until another version is in force."),
            "raised by drift",
        ),
        ({"drifted": True, "drift": 0.6}, {}, "certified ≤ 10 %", None, "none"),
    ],
)  # fmt: skip
def test_an_alarm_says_why_and_what_follows(browser, tmp_path, found, route, headline, alarm, by):
    fill(tmp_path)
    watch(tmp_path, **found)
    write_config(tmp_path, config("http://127.0.0.1:9/v1", **route))
    with Proxy(cwd=tmp_path, env={**os.environ, "IDK_ADMIN_KEY": KEY}) as running:
        page, said = opened(browser, running.url)
        assert headline in page.text_content("#headline")
        assert page.is_visible("#alarm") == (alarm is not None)
        assert page.text_content("#alarm-text") == (alarm or "")
        if alarm is not None:
            first = page.evaluate(
                "document.querySelector('main:not([hidden]) > header').firstElementChild.id"
            )
            assert first == "alarm"
            assert page.text_content("#alarm-title").startswith("Alarm")
            assert page.text_content("#alarm-next").startswith("Next: ")
            assert page.text_content("#badge") == "Revoked"
            assert page.get_attribute("#badge", "class") == "badge alarm"
            assert "At most" not in page.inner_text("body")
        assert by in page.text_content("#watch")
        assert ("alarm" in page.text_content("nav")) == (alarm is not None)
        assert _serious(page) == []
        assert said == []
        page.context.close()


def test_the_curve_can_be_dragged(browser, proxy):
    page, _ = opened(browser, proxy.url)
    box = page.locator("#curve .u-over").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=4)
    page.mouse.up()
    coverage = page.text_content("#words")
    assert coverage.startswith(("Answers 4", "Answers 5"))
    assert page.is_enabled("#apply")
    page.wait_for_selector("#below:not(:has-text('0.775'))")
    page.click("#reset")
    assert page.is_disabled("#apply")
    page.context.close()


def test_the_request_log_and_a_link_to_one_request(browser, proxy):
    from playwright.sync_api import expect

    page, said = opened(browser, proxy.url)
    page.wait_for_selector("#log tr")
    assert page.locator("#log th").count() == 10
    page.click("#log-more")
    expect(page.locator("#log th")).to_have_count(20, timeout=WAIT_MS)
    page.select_option("#log-decision", "abstain")
    others = page.locator("#log td:nth-child(2)").filter(has_not_text="abstain")
    expect(others).to_have_count(0, timeout=WAIT_MS)
    link = page.locator("#log a").first
    request = link.get_attribute("title")
    link.click()
    expect(page.locator("#log th")).to_have_count(1, timeout=WAIT_MS)
    assert page.input_value("#log-id") == request
    assert "<img src=x" in page.text_content(
        "#log .question"
    )  # the newest text is hostile, and shown as text
    assert page.evaluate("window.hacked") is None
    page.reload()
    expect(page.locator("#log th")).to_have_count(1, timeout=WAIT_MS)
    page.fill("#log-id", "unknown")
    page.click("#log-search")
    page.wait_for_selector("#log-none:has-text('no request with this id')")
    assert _serious(page) == []
    assert said == []
    page.context.close()


def test_labels_by_key_and_undo(browser, tmp_path):
    with serve(tmp_path, decisions=60, drawn=40, labelled=38) as running:
        page, _ = opened(browser, running.url)
        page.keyboard.press("c")
        page.wait_for_selector("#said:has-text('name')")
        page.keyboard.type("Ada")
        page.keyboard.press("Tab")
        first = page.text_content("#card .question")
        assert "confidence" not in page.text_content("#card")
        assert page.get_attribute("#card article", "class") == "blind"
        page.check("#reveal")
        assert "confidence" in page.text_content("#card")
        page.uncheck("#reveal")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("i")
        page.wait_for_selector("#said:has-text('Labelled as incorrect')")
        page.wait_for_selector(f"#card .question:not(:text-is('{first}'))")
        page.keyboard.press("u")
        page.wait_for_selector("#said:has-text('label was removed')")
        assert page.text_content("#card .question") == first
        page.keyboard.press("c")
        page.wait_for_selector("#said:has-text('Labelled as correct')")
        page.keyboard.press("a")
        page.wait_for_selector("#card:has-text('No answer is waiting')")
        page.context.close()


def test_a_key_is_made_shown_once_and_revoked_by_keyboard_alone(browser, tmp_path):
    with serve(tmp_path, decisions=60, drawn=40, labelled=38) as running:
        page, said = opened(browser, running.url)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=running.url)
        assert "may use it" in page.text_content("#keys-said")
        page.focus("#new-key")
        page.keyboard.press("Enter")
        page.wait_for_selector("#new-name:focus")
        page.keyboard.type("support-app")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert page.is_checked(f"#new-routes input[value={ROUTE}]")
        page.fill("#new-requests", "60")
        page.fill("#new-who", "Ada")
        assert _serious(page) == []
        _picture(page, "key-made-of.png")
        page.keyboard.press("Enter")
        page.wait_for_selector("#secret:focus")
        secret = page.input_value("#secret")
        assert secret.startswith("idk-")
        assert _serious(page) == []
        _picture(page, "key-secret.png")
        page.click("#copy")
        page.wait_for_selector("#copied:has-text('Copied')")
        assert page.evaluate("navigator.clipboard.readText()") == secret
        page.keyboard.press("Escape")
        page.wait_for_selector("#keys tr:has-text('support-app')")
        assert secret not in page.content()
        assert page.input_value("#secret") == ""
        row = page.text_content("#keys tr")
        assert ROUTE in row
        assert "60" in row
        assert "Ada" in row
        # A first key does not close an open proxy: that is a setting.
        assert "stored_keys: true" in page.text_content("#keys-said")
        assert "never" in row
        page.focus("#keys button")
        with closing(sqlite3.connect(tmp_path / "idk.db")) as store:
            store.execute("INSERT INTO key_uses VALUES ('support-app', 1700000000.0)")
            store.commit()
        # The page updates by itself, and the focused button keeps the focus.
        page.wait_for_selector("#keys tr:has-text('2023')")
        assert "never" not in page.text_content("#keys tr")
        page.keyboard.press("Enter")
        page.wait_for_selector("#sure[open]")
        assert "cannot be undone" in page.text_content("#sure-text")
        assert page.is_hidden("#sure-who")
        _picture(page, "key-revoking.png")
        page.focus("#sure-yes")
        page.keyboard.press("Enter")
        page.wait_for_selector("#keys tr.gone")
        page.wait_for_selector("#said:has-text('support-app is revoked')")
        assert page.locator("#keys button").count() == 0
        # The same name again is refused, in the dialog and in the server's words.
        page.click("#new-key")
        page.fill("#new-name", "support-app")
        page.click("#make")
        page.wait_for_selector("#not-made:has-text('taken')")
        said = [each for each in said if "409" not in each]  # what the browser itself says of a refusal
        assert said == []
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_key_is_made_on_a_phone(browser, tmp_path, scheme):
    with serve(tmp_path, decisions=60, drawn=40, labelled=38) as running:
        page, said = opened(browser, running.url, width=390, scheme=scheme)
        page.click("#new-key")
        page.fill("#new-name", "a-client-with-quite-a-long-name-indeed")
        page.fill("#new-who", "Ada")
        assert _serious(page) == []
        _picture(page, f"key-phone-{scheme}.png")
        page.click("#make")
        page.wait_for_selector("#secret:focus")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        _picture(page, f"key-phone-secret-{scheme}.png")
        page.click("#have-it")
        page.wait_for_selector("#keys tr")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert _serious(page) == []
        page.locator("#keys-title").scroll_into_view_if_needed()
        _picture(page, f"key-phone-list-{scheme}.png")
        assert said == []
        page.context.close()


def _serious(page: Page) -> list[tuple[str, str]]:
    """Return the accessibility problems that axe finds, as rules with an example."""
    found = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def _picture(page: Page, name: str) -> None:
    if folder := os.environ.get("IDK_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / name)


def test_a_hundred_thousand_decisions(browser, tmp_path):
    with serve(tmp_path, decisions=100_000, drawn=2_000, labelled=1_500) as running:
        page, said = opened(browser, running.url)
        page.reload()
        page.wait_for_selector("#above article")
        painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert painted < 1_000
        assert said == []
        page.context.close()
