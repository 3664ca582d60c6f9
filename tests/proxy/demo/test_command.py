"""``idk demo`` from its first line to its last, with a fake upstream in the model's place."""

from __future__ import annotations

import contextlib
import json
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from proxy.cli.main import run
from proxy.demo.questions import questions
from tests.fakes import FakeUpstream, answer, says

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An upstream that knows every other question, and is surer of those."""
    before = signal.getsignal(signal.SIGTERM)
    with FakeUpstream() as upstream:
        for place, question in enumerate(questions()):
            near = -0.02 * (place % 10)
            known = says(question.answers[0], logprob=near)
            upstream.serve(question.question, answer(known if place % 2 else says("?", logprob=near - 2)))
        running = SimpleNamespace(base_url=upstream.base_url, model="m")
        monkeypatch.setattr("proxy.demo.embedded.fetch.fetch", lambda model: model)
        monkeypatch.setattr(
            "proxy.demo.embedded.server.EmbeddedServer", lambda *_, **__: contextlib.nullcontext(running)
        )
        yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("no_model")
def test_it_tells_what_gating_changes_and_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["demo", "--questions", "120"]) == 0
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    for words in (
        "120 questions from the project's question set",
        "calibrated by",
        "the app gets",
        "I don't know.",
        "gated at 0.75",
        "score, wrong costs 9",
        "95 % interval",
        "AUROC 1.00",
    ):
        assert words in told


@pytest.mark.usefixtures("no_model")
def test_json_stands_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--questions", "120", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for target, gated in told["gated"].items():
        assert gated["gain_interval"][0] > 0, target
        assert gated["score"] > told["always"]["score"][target]
    assert {shown["decision"] for shown in told["examples"]} == {"answer", "abstain"}
