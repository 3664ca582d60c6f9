"""Each client gets the answer where the gate is confident, and "I don't know." where it is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.clients.environments import NODE, PYTHON, node_folder, python_of
from tests.e2e.proxies import Proxy, enforced, write_config
from tests.fakes import FakeUpstream, answer, says

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
RUN_S = 120
UNKNOWN = "I don't know."
#: What the upstream says, and how sure it is of it.
PROMPTS: Final = {
    "the sure question": answer(says("Par", "is", logprob=-0.01)),
    "the unsure question": answer(says("Ly", "on", logprob=-3.0)),
    "the sure question in JSON": answer(says('{"name":', ' "Paris"}', logprob=-0.01)),
    "the unsure question in JSON": answer(says('{"name":', ' "Lyon"}', logprob=-3.0)),
}
TEXT: Final = {"answer": "Paris", "abstain": UNKNOWN}
PARSED: Final = {"answer": {"name": "Paris"}, "abstain": {"refusal": UNKNOWN}}
BOTH: Final = {"whole": TEXT, "streamed": TEXT}


class Client(NamedTuple):
    """One environment's program, and what its user must see."""

    environment: str
    script: str
    sees: dict[str, dict[str, object]]


CLIENTS: Final = (
    Client("openai_3", "openai_sdk.py", {**BOTH, "parsed": PARSED}),
    Client("openai_2", "openai_sdk.py", {**BOTH, "parsed": PARSED}),
    Client("openai_1", "openai_sdk.py", {**BOTH, "parsed": PARSED}),
    Client("anthropic", "anthropic_sdk.py", BOTH),
    Client("instructor", "instructor_client.py", {"parsed": PARSED}),
    Client("langchain", "langchain_client.py", {**BOTH, "parsed": PARSED}),
    Client("litellm", "litellm_client.py", BOTH),
    Client("llama_index", "llama_index_client.py", BOTH),
    Client("llm", "llm_client.py", BOTH),
    Client("openai_agents", "openai_agents_client.py", BOTH),
    Client("pydantic_ai", "pydantic_ai_client.py", {**BOTH, "parsed": PARSED}),
    Client("openai", "openai.mjs", {**BOTH, "parsed": PARSED}),
    Client("ai_sdk", "ai_sdk.mjs", BOTH),
)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("clients")
    with FakeUpstream() as upstream:
        for prompt, reply in PROMPTS.items():
            upstream.serve(prompt, reply)
        config = {
            "upstreams": {"fake": {"base_url": upstream.base_url}},
            "routes": [enforced("gated")],
        }
        with Proxy("--config", write_config(folder, config), cwd=folder) as running:
            yield running


def test_every_environment_has_a_client():
    assert {client.environment for client in CLIENTS} == set(PYTHON) | set(NODE)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.environment)
def test_what_its_user_sees(client, proxy):
    """A missing environment is a failure: ``make test-clients`` makes them."""
    assert run(client, proxy.base_url) == client.sees


def run(client: Client, base_url: str) -> object:
    node = client.script.endswith(".mjs")
    program = shutil.which("node") if node else str(python_of(client.environment))
    assert program is not None
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE"))
    }
    environment["CLIENT_HOME"] = str(node_folder(client.environment))
    ran = subprocess.run(
        [program, client.script, base_url],
        cwd=HERE / ("node" if node else "python"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
