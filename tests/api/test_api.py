"""OpenAI's document, asked of a running proxy by schemathesis: no error of ours, and nothing outside the schema."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.api import document
from tests.api.upstream import WITHHELD, Anything
from tests.e2e.conftest import fitted_policy
from tests.e2e.proxies import Proxy, enforced, route, write_config
from tests.fakes import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.api

HERE: Final = Path(__file__).parent
#: Made by ``make test-api``.
SCHEMATHESIS: Final = HERE.parents[1] / ".venv" / "api" / "bin" / "schemathesis"
#: Of each path, beside those that the document's values and their borders make.
EXAMPLES: Final = 250
RUN_S: Final = 900
ROUTES: Final = (
    route("observe", scorers=["mean_logprob"]),
    enforced("enforce"),
    enforced("tools", gate_tools=True),
    route("policy", mode="enforce", policy="policy.json"),
    route("overridden", mode="enforce", policy="policy.json", allow_override=True),
    enforced("samples", "agreement_exact", 0.9, upstream="mute", samples=2),
    enforced("translated", upstream="chats"),
    route("translated-observe", "chats"),
)
#: Those that let nothing out that is unsure, whatever a request says.
ENFORCING: Final = tuple(
    each["name"] for each in ROUTES if each["name"] in ("enforce", "tools", "policy", "translated")
)
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "stream_conformance",
    "nothing_withheld_gets_out",
    "errors_are_the_vendors",
)


@pytest.fixture(scope="module")
def says() -> Anything:
    return Anything()


@pytest.fixture(scope="module")
def proxy(says: Anything, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("api")
    (folder / "policy.json").write_text(json.dumps(fitted_policy().to_dict()))
    with FakeUpstream(always=says) as upstream:
        fake = {"base_url": upstream.base_url, "max_retries": 0}
        config = {
            "server": {"store": "memory://"},
            "upstreams": {
                "fake": fake,
                "mute": {**fake, "logprobs": "none"},
                "chats": {**fake, "formats": ["chat"]},
            },
            "routes": list(ROUTES),
        }
        with Proxy("--config", write_config(folder, config), cwd=folder) as running:
            yield running


@pytest.mark.parametrize("path", [*document.GATED, *document.OTHERS])
def test_nothing_is_outside_of_the_vendors_document(proxy, tmp_path, path):
    if not document.FILE.exists():
        pytest.skip(f"OpenAI's document is not at {document.FILE}; name it with IDK_OPENAPI")
    names = [each["name"] for each in ROUTES]
    # What is passed on is refused by the upstream, or is not.
    checks = CHECKS if path == "/embeddings" else (*CHECKS, "unsupported_method")
    prepared = tmp_path / "openapi.json"
    prepared.write_text(json.dumps(document.prepared(document.read(), names)))
    events = {path: schemas[2] for path, schemas in document.GATED.items()}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE"))
    } | {
        "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"),
        "IDK_DOCUMENT": str(prepared),
        "IDK_EVENTS": json.dumps(events),
        "IDK_WITHHELD": WITHHELD,
        "IDK_ROUTES": json.dumps(names),
        "IDK_ENFORCING": json.dumps(ENFORCING),
    }
    command = [
        SCHEMATHESIS, f"--config-file={HERE / 'schemathesis.toml'}", "run", prepared,
        f"--url={proxy.base_url}", f"--include-path={path}", f"--checks={','.join(checks)}",
        "--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}", "--generation-deterministic",
        "--continue-on-failure", "--no-color",
    ]  # fmt: skip
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_route_was_asked_for_answers_and_for_streams_and_withheld_some(proxy, says):
    """Check the tests above: a schema that no answer was validated against proves nothing."""
    if not says.asked:
        pytest.skip("nothing was asked")
    for each in ROUTES:
        for decision in ("answer", "abstain"):
            decided = proxy.metric_sum("idk_requests_total", route=each["name"], decision=decision)
            assert decided >= 5, (each["name"], decision)
    for path in document.GATED:
        for stream in (False, True):
            assert says.asked[f"/v1{path}", stream] >= 25, (path, stream)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": "string", "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        (
            {"properties": {"nullable": {"type": "boolean"}}},
            {"properties": {"nullable": {"type": "boolean"}}},
        ),
    ],
)
def test_nullable_is_said_as_json_schema_says_it(given, said):
    assert document.repaired(given) == said
