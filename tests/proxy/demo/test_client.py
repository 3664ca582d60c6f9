"""The demonstration through a real proxy in front of a fake upstream, with the official client."""

from __future__ import annotations

import importlib.util
import socket
from typing import TYPE_CHECKING

import pytest

from proxy.cli.main import run
from proxy.demo import DemoSetup, GradedAnswer, ask_gated, ask_observed, fit, running_proxy
from proxy.demo.client import client_of
from proxy.demo.questions import questions
from proxy.exceptions import RunError
from tests.fakes import FakeUpstream, answer, error, says

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.demo.questions import Question

#: One question of each fact, so that nothing but the halves is shared.
QUESTIONS = list({question.group: question for question in questions()}.values())[:80]
FIRST, SECOND = QUESTIONS[:60], QUESTIONS[60:]


def is_known(question: Question) -> bool:
    """Return whether the upstream answers correctly and with confidence; it does so for every other question."""
    return QUESTIONS.index(question) % 2 == 0


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        for place, question in enumerate(QUESTIONS):
            right, near = is_known(question), 0.02 * (place % 10)
            said = says(question.answers[0], logprob=-near) if right else says("Atlantis", logprob=-2 - near)
            server.serve(question.question, answer(said))
        yield server


@pytest.fixture
def setup(upstream: FakeUpstream, tmp_path: Path) -> DemoSetup:
    return DemoSetup(tmp_path, upstream.base_url, "m")


def ignore(_: str) -> None:
    """Ignore the progress."""


def test_what_the_first_half_taught_gates_the_second(
    setup: DemoSetup, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "HTTP_PROXY", "http://127.0.0.1:9"
    )  # no proxy listens there, and the loopback needs none
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    labels: list[str] = []
    tuned = fit(setup, FIRST, concurrency=4, seed=0, on_answer=labels.append)
    assert sorted(labels) == ["correct"] * 30 + ["incorrect"] * 30
    assert tuned.policy.threshold == 0.75
    with running_proxy(setup) as base_url, client_of(base_url) as client:
        openly = ask_observed(client, SECOND, concurrency=4, on_answer=labels.append)
        gated = ask_gated(client, SECOND)
    assert len(labels) == len(QUESTIONS)
    for question, alone, behind in zip(SECOND, openly, gated, strict=True):
        known = is_known(question)
        assert isinstance(alone.confidence, float)
        right = question.answers[0] if known else "Atlantis"
        label, decision = ("correct", "answer") if known else ("incorrect", "abstain")
        assert alone == GradedAnswer(question, right, label, alone.confidence, decision)
        assert (alone.confidence >= 0.75) == known == alone.served(0.75)
        assert behind.answer == (right if known else "I don't know.")
        assert (behind.decision, behind.confidence) == (decision, alone.confidence)
    for sent in (upstream.call(FIRST[0].question), upstream.call(SECOND[0].question)):
        assert (sent.json["temperature"], sent.json["max_tokens"], sent.json["model"]) == (0, 32, "m")


def test_answers_that_teach_nothing_are_one_line(setup: DemoSetup) -> None:
    wrong = [question for question in FIRST if not is_known(question)]
    with pytest.raises(RunError, match=r"demo: all 30 labels are incorrect.*--questions, or another --model"):
        fit(setup, wrong, concurrency=4, seed=0, on_answer=ignore)


def test_an_upstream_that_fails_in_the_second_half_is_one_line(
    setup: DemoSetup, upstream: FakeUpstream
) -> None:
    fit(setup, FIRST, concurrency=4, seed=0, on_answer=ignore)
    extra = questions()[-1]
    upstream.serve(extra.question, error(400, "the model is gone"))
    with (
        running_proxy(setup) as base_url,
        client_of(base_url) as client,
        pytest.raises(RunError, match=r"was not answered: .*the model is gone"),
    ):
        ask_observed(client, [extra], concurrency=1, on_answer=ignore)


def test_a_taken_port_is_one_line(setup: DemoSetup) -> None:
    fit(setup, FIRST, concurrency=4, seed=0, on_answer=ignore)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(RunError, match=rf"cannot listen on 127\.0\.0\.1:{port}; give another --port"),
            running_proxy(setup, port),
        ):
            pass


def test_without_the_extra_nothing_is_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("proxy.cli.demo.find_spec", lambda name: None if name == "xllamacpp" else found(name))
    monkeypatch.setattr("proxy.demo.embedded.fetch.fetch", lambda _: pytest.fail("fetched"))
    assert run(["demo"]) == 1
    assert capsys.readouterr().err == "idk: demo: xllamacpp not installed: pip install 'idk-proxy[demo]'\n"
