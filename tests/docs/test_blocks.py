"""Tests that run each page from top to bottom in one folder, as a reader would, against a fake upstream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy import config
from tests.docs.answering import upstream, write_questions
from tests.docs.blocks import PAGES, ROOT, Block, blocks_of
from tests.e2e.proxies import IDK, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes import FakeUpstream

OPENAI = "https://api.openai.com/v1"
PROXY = "http://127.0.0.1:8080"
#: The sections that complete a fragment of idk.yaml.
WHOLE: dict[str, Any] = {
    "upstreams": {"openai": {"base_url": OPENAI, "auth": "forward"}},
    "routes": [{"name": "strong", "models": ["strong"], "upstream": "openai"}],
}
RUN_S = 120
#: `idk init`, after which the upstream of the file is the fake one.
INIT = re.compile(r"^(idk init\b.*)$", re.MULTILINE)
#: Pages that test_readme.py and test_tutorial.py run with nothing replaced.
WALKED = ("README.md", "docs/tutorial/index.md")


@pytest.fixture(scope="module")
def model() -> Iterator[FakeUpstream]:
    """Start the fake upstream."""
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(model: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Start `idk serve` for the pages that use a running proxy."""
    folder = tmp_path_factory.mktemp("served")
    settings = WHOLE | {
        "server": {"store": "sqlite:///idk.db"},
        "routes": [{"name": "support", "models": ["*"], "upstream": "openai", "scorers": ["mean_logprob"]}],
    }
    (folder / "idk.yaml").write_text(yaml.safe_dump(settings).replace(OPENAI, model.base_url))
    with Proxy("--config", "idk.yaml", cwd=folder) as served:
        yield served


@pytest.mark.parametrize("page", [page for page in PAGES if page not in WALKED and blocks_of(page)])
def test_a_page_does_what_it_says(page: str, model: FakeUpstream, proxy: Proxy, tmp_path: Path) -> None:
    write_questions(tmp_path)
    for block in blocks_of(page):
        if block.reason is None:
            RUNNERS[block.language](block, model, proxy, tmp_path)


def sh(block: Block, model: FakeUpstream, proxy: Proxy, folder: Path) -> None:
    """Run a block in a shell; `idk serve`, on a separate line, is started, waited for and stopped."""
    env = {**os.environ, "PATH": f"{IDK.parent}:{os.environ['PATH']}", "OPENAI_API_KEY": "none"}
    for command in re.split(r"^(idk serve\b.*)\n", block.text, flags=re.MULTILINE):
        given = command.replace(OPENAI, model.base_url).replace(PROXY, proxy.url)
        if given.startswith("idk serve"):
            with Proxy(*given.partition("#")[0].split()[2:], cwd=folder):
                continue
        done = subprocess.run(
            ["/bin/sh", "-euc", INIT.sub(rf"\1\nsed -i 's#{OPENAI}#{model.base_url}#' idk.yaml", given)],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        assert done.returncode == block.status, f"{block.place}: {command}\n{done.stdout}{done.stderr}"


def python(block: Block, model: FakeUpstream, proxy: Proxy, folder: Path) -> None:
    """Run a block in a new interpreter."""
    text = block.text.replace(PROXY, proxy.url)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=folder,
        env={**os.environ, "OPENAI_API_KEY": "none", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}:\n{done.stderr}"


def a_configuration(block: Block, model: FakeUpstream, proxy: Proxy, folder: Path) -> None:
    """Check a fragment of idk.yaml, completed by the sections that it leaves out."""
    indented = block.text.startswith(" ")
    piece = yaml.safe_load(block.text if not indented else f"route:\n{block.text}")
    if indented:  # keys of a route, or routes
        given = piece["route"]
        routes = given if isinstance(given, list) else [{"name": "default", "models": ["*"], **given}]
        piece = {"routes": [{"models": ["*"], "upstream": "openai", **each} for each in routes]}
        piece["routes"] += WHOLE["routes"]
    whole = WHOLE | piece
    whole["upstreams"] = WHOLE["upstreams"] | piece.get("upstreams", {})
    config.parse(yaml.safe_dump(whole), block.place)


def an_object(block: Block, model: FakeUpstream, proxy: Proxy, folder: Path) -> None:
    """Read a block of JSON."""
    json.loads(block.text)


#: Pages that are made when the site is built.
GENERATED = [ROOT / "docs/reference" / f"{name}.md" for name in ("configuration", "commands", "metrics")]
RUNNERS = {"sh": sh, "python": python, "yaml": a_configuration, "json": an_object}


def test_a_block_that_is_not_run_says_why() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            assert block.reason or block.language in RUNNERS, (
                f"{block.place}: say why `{block.language}` is not run"
            )


def test_every_link_to_a_file_has_a_target() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            path = (ROOT / page).parent / target
            assert path.exists() or path.resolve() in GENERATED, f"{page}: {target}"
