"""Screenshots of the page at /admin, where a browser is installed."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def take_screenshots(url: str, key: str, route: str, folder: Path, name: str) -> list[Path] | str:
    """Take a screenshot in each colour scheme; return the files, or the reason why there are none."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if find_spec("playwright") is None or browser is None:
        return "no screenshots of the page: they need chromium and the Python package playwright"
    from playwright.sync_api import Error, sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            for scheme in SCHEMES:
                page = chromium.new_page(viewport={"width": 1180, "height": 860}, color_scheme=scheme)
                page.goto(f"{url}/admin#{route}")
                page.fill("#key", key)
                page.click("#login .main")
                page.wait_for_selector("#above > *")
                page.wait_for_timeout(500)  # the charts are drawn one frame later
                file = folder / f"admin-{name}-{scheme}.png"
                page.screenshot(path=file)
                files.append(file)
            chromium.close()
    except Error as exc:
        return f"no screenshots of the page: {exc.message.splitlines()[0]}"
    return files
