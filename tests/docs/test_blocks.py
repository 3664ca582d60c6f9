"""Pages are run from top to bottom in one folder each, as a reader would, against an upstream of the tests' own."""

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
#: Completes a piece of idk.yaml that shows routes or upstreams alone.
WHOLE: dict[str, Any] = {
    "upstreams": {"openai": {"base_url": OPENAI, "auth": "forward"}},
    "routes": [{"name": "strong", "models": ["strong"], "upstream": "openai"}],
}
RUN_S = 120


@pytest.fixture(scope="module")
def model() -> Iterator[FakeUpstream]:
    """The upstream."""
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(model: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``idk serve`` where the pages say it is."""
    folder = tmp_path_factory.mktemp("served")
    settings = WHOLE | {
        "server": {"store": "sqlite:///idk.db"},
        "routes": [{"name": "support", "models": ["*"], "upstream": "openai", "scorers": ["mean_logprob"]}],
    }
    (folder / "idk.yaml").write_text(yaml.safe_dump(settings).replace(OPENAI, model.base_url))
    with Proxy("--config", "idk.yaml", cwd=folder) as served:
        yield served


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_a_page_does_what_it_says(page: str, model: FakeUpstream, proxy: Proxy, tmp_path: Path) -> None:
    write_questions(tmp_path)
    for block in blocks_of(page):
        if block.reason is None:
            RUNNERS[block.language](block, model, proxy, tmp_path)


def sh(block: Block, model: FakeUpstream, proxy: Proxy, folder: Path) -> None:
    """Every line, in a shell; a server is started, waited for, and stopped."""
    for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
        command = line.partition("#")[0].strip().replace(OPENAI, model.base_url).replace(PROXY, proxy.url)
        if command.startswith("idk serve"):
            with Proxy(*command.split()[2:], cwd=folder):
                continue
        env = {**os.environ, "PATH": f"{IDK.parent}:{os.environ['PATH']}", "OPENAI_API_KEY": "none"}
        done = subprocess.run(
            ["/bin/sh", "-euc", command],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}: {command}\n{done.stdout}{done.stderr}"
        written = folder / "idk.yaml"
        if written.exists():  # the reader's own upstream, and key
            text = written.read_text().replace(OPENAI, model.base_url)
            written.write_text(text.replace("    auth: forward ", "    # auth: forward "))


def python(block: Block, model: FakeUpstream, proxy: Proxy, folder: Path) -> None:
    """The whole block, in an interpreter of its own."""
    text = block.text.replace(PROXY, proxy.url).replace('api_key="…"', 'api_key="none"')
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
    """A piece of idk.yaml: with what it leaves out, the types take it."""
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
    """JSON that can be read."""
    json.loads(block.text.replace("…", ""))


RUNNERS = {"sh": sh, "python": python, "yaml": a_configuration, "json": an_object}


def test_what_is_not_run_says_why() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            assert block.reason or block.language in RUNNERS, (
                f"{block.place}: say why `{block.language}` is not run"
            )


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\((?!https?:|#|reference/)([^)#]+)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
