"""The page's pictures, where a browser is there."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def taken(url: str, key: str, route: str, folder: Path, name: str) -> list[Path] | str:
    """The files, or why there are none."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if find_spec("playwright") is None or browser is None:
        return "no pictures of the page: they take chromium and the Python package playwright"
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
                page.wait_for_timeout(500)  # the charts are drawn in the frame after
                file = folder / f"admin-{name}-{scheme}.png"
                page.screenshot(path=file)
                files.append(file)
            chromium.close()
    except Error as exc:
        return f"no pictures of the page: {exc.message.splitlines()[0]}"
    return files
