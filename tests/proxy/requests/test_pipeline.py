"""The gate's word on each choice: what is not known to be confident enough is withheld, and counted."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating import SCORERS, Evidence, Gate, Policy, Unmeasured
from gating.gate import Uncalibrated
from proxy.config import Route as RouteConfig
from proxy.exceptions import BadRequest
from proxy.metrics import Metrics
from proxy.requests.exchange import Exchange
from proxy.requests.pipeline import Pipeline, count
from proxy.requests.route import Route
from proxy.surfaces.chat.surface import Chat
from proxy.surfaces.contract import Choice, Completion
from proxy.upstreams.abilities import Abilities
from tests.proxy.policies import POLICY

CHAT = Chat()
MESSAGES = [{"role": "user", "content": "Why?"}]
MEAN = SCORERS["mean_logprob"]
RAW = Gate(Uncalibrated(MEAN, -1.0))
OBSERVING = Gate(Uncalibrated(MEAN))


class Knows:
    """An upstream as far as these tests need one: whether it gives logprobs."""

    name = "u"
    gives_logprobs = True
    abilities = Abilities("u", Metrics().upstream("u"), probe=None)


class Mute(Knows):
    gives_logprobs = False


def exchange(gate=RAW, *, mode="enforce", upstream=Knows, top_logprobs=0, config=None, **fields):
    metrics = Metrics()
    route = Route(
        config=RouteConfig(name="r", models=("*",), upstream="u", mode=mode, **(config or {})),
        upstream=upstream(),
        gate=gate,
        policy=gate.rule.name if isinstance(gate.rule, Policy) else None,
        metrics=metrics.route("r"),
        upstream_metrics=metrics.upstream("u"),
        top_logprobs=top_logprobs,
    )
    request = CHAT.parse(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())
    return Pipeline(route).matched(Exchange(route, CHAT, request, None)), metrics


def choice(*logprobs, index=0, text="Paris", **fields):
    return Choice(index, Evidence(text, token_logprobs=list(logprobs) or None), **fields)


def judge(*choices, cancelled=False, **given):
    found, metrics = exchange(**given)
    verdict = Pipeline(found.route).judge(found, Completion(choices, None, None), cancelled=cancelled)
    count(found.route, verdict)
    for decision in verdict.decisions:
        labels = {"route": "r", "decision": decision.decision, "reason": decision.reason}
        same = [
            d for d in verdict.decisions if (d.decision, d.reason) == (decision.decision, decision.reason)
        ]
        assert metrics.registry.get_sample_value("idk_requests_total", labels) == len(same)
    return verdict


# Verdicts


def test_what_is_confident_goes_out_and_what_is_not_is_withheld():
    verdict = judge(choice(-0.5, index=1), choice(-1.5, index=0))
    assert [(d.decision, d.reason) for d in verdict.decisions] == [
        ("answer", "confident"), ("abstain", "below_threshold")
    ]  # fmt: skip
    assert verdict.withheld == {0}
    assert [report.index for report in verdict.report.choices] == [1, 0]


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=5))
def test_exactly_what_reaches_the_threshold_is_served(means):
    verdict = judge(*[choice(mean, index=index) for index, mean in enumerate(means)])
    assert verdict.withheld == {index for index, mean in enumerate(means) if mean < -1.0}


@pytest.mark.parametrize("logprobs", [[math.nan], [-0.1, math.nan], [None], [0.5], []], ids=str)
@pytest.mark.parametrize("gate", [RAW, Gate(POLICY)])
def test_what_cannot_be_measured_never_passes(logprobs, gate):
    verdict = judge(choice(*logprobs), gate=gate)
    assert verdict.withheld == {0}
    assert [(d.reason, d.confidence, d.score) for d in verdict.decisions] == [("unmeasured", None, None)]


def test_nor_do_malformed_logprobs():
    verdict = judge(Choice(0, Evidence("Paris", token_logprobs=Unmeasured("malformed logprobs"))))
    assert verdict.withheld == {0}


@pytest.mark.parametrize("gate", [RAW, Gate(POLICY), Gate(POLICY, on_unmeasured="answer")])
@pytest.mark.parametrize("tool_call", [False, True])
def test_a_cancelled_answer_is_never_served(gate, tool_call):
    verdict = judge(choice(-0.001, tool_call=tool_call), gate=gate, cancelled=True)
    assert verdict.withheld == {0}
    assert verdict.decisions[0].decision == "abstain"


def test_a_tool_call_passes():
    verdict = judge(choice(-9.0, tool_call=True))
    assert (verdict.decisions[0].reason, verdict.withheld) == ("tool_call", frozenset())


def test_a_refusal_stays_as_the_model_put_it():
    verdict = judge(choice(-0.1, text="", refusal=True))
    assert (verdict.decisions[0].decision, verdict.decisions[0].reason) == ("abstain", "upstream_abstained")
    assert verdict.withheld == frozenset()


def test_the_models_own_abstention_becomes_the_routes():
    verdict = judge(choice(-0.01, text="I don't know."), config={"abstain_text": "Pass."})
    assert verdict.decisions[0].reason == "upstream_abstained"
    assert (verdict.withheld, verdict.abstain_text) == ({0}, "Pass.")


@pytest.mark.parametrize("gate", [RAW, OBSERVING, Gate(POLICY)])
@pytest.mark.parametrize("mean", [-9.0, -0.001])
def test_observing_withholds_nothing_and_says_what_it_would_have_done(gate, mean):
    verdict = judge(choice(mean), gate=gate, mode="observe")
    assert verdict.withheld == frozenset()
    assert verdict.report.mode == "observe"
    assert verdict.decisions[0].decision == (
        "abstain" if mean == -9.0 and gate is not OBSERVING else "answer"
    )


@pytest.mark.parametrize("unmeasured", ["abstain", "answer"])
def test_a_choice_that_cannot_be_read_is_withheld_whatever_is_done_with_unmeasured_ones(unmeasured):
    read = msgspec.structs.replace(choice(-0.001), unreadable="its text is not text")
    gate = replace(OBSERVING, on_unmeasured=unmeasured)
    verdict = judge(read, gate=gate, mode="enforce")
    assert verdict.withheld == {0}
    assert (verdict.decisions[0].reason, verdict.decisions[0].detail) == (
        "unmeasured",
        "its text is not text",
    )


# Certificates


@pytest.mark.parametrize(("given", "certified"), [
    ({}, True), ({"idk": {"threshold": 0.6}}, True), ({"idk": {"threshold": 0.7}}, False),
    ({"idk": {"threshold": 0}}, False),
])  # fmt: skip
def test_the_certificate_covers_its_own_threshold_alone(given, certified):
    verdict = judge(choice(-0.1), gate=Gate(POLICY), config={"allow_override": True}, **given)
    assert verdict.report.certified is certified
    assert verdict.report.policy == "support"


def test_a_policy_fitted_on_something_else_measures_nothing_and_certifies_nothing():
    verdict = judge(choice(-0.001), gate=Gate(POLICY), config={"model": "other"})
    assert (verdict.report.certified, verdict.decisions[0].reason) == (False, "unmeasured")
    assert verdict.withheld == {0}


@pytest.mark.parametrize("gate", [RAW, Gate(POLICY, threshold=0.9), Gate(POLICY, on_unmeasured="answer")])
def test_nothing_else_is_certified(gate):
    assert judge(choice(-0.1), gate=gate).report.certified is False


def test_a_requests_own_threshold_is_applied():
    given = {"gate": Gate(POLICY), "config": {"allow_override": True}}
    confidence = POLICY.confidence(Evidence("Paris", token_logprobs=[-1.0]))
    for threshold, withheld in ((confidence, set()), (math.nextafter(confidence, 1), {0})):
        verdict = judge(choice(-1.0), **given, idk={"threshold": threshold})
        assert verdict.withheld == withheld
        assert verdict.decisions[0].threshold == threshold


# Requests


@pytest.mark.parametrize(("given", "said"), [
    ({"gate": Gate(POLICY)}, "does not let a request bring its own"),
    ({"gate": RAW, "config": {"allow_override": True}}, "this route has no policy"),
])  # fmt: skip
def test_a_threshold_that_the_route_does_not_take_is_refused(given, said):
    found, _ = exchange(**given, idk={"threshold": 0.5})
    with pytest.raises(BadRequest, match=said) as raised:
        Pipeline(found.route).prepare(found)
    assert raised.value.param == "idk"


def test_one_that_it_takes_is_not():
    given = {"gate": Gate(POLICY), "config": {"allow_override": True}, "idk": {"wrong_cost": 3}}
    for found, _ in (exchange(**given), exchange()):
        prepared = Pipeline(found.route).prepare(found)
        assert prepared.request == found.request


@pytest.mark.parametrize(("given", "logprobs", "top"), [
    ({}, True, 0), ({"top_logprobs": 5}, True, 5), ({"upstream": Mute, "top_logprobs": 5}, False, 0),
])  # fmt: skip
@pytest.mark.parametrize("asked", [None, 2, 9])
def test_the_upstream_is_asked_for_what_the_gate_and_the_client_need(given, logprobs, top, asked):
    found, _ = exchange(**given)
    if asked is not None:
        wish = {
            "model": "m",
            "messages": MESSAGES,
            "logprobs": True,
            "top_logprobs": asked,
        }
        found = msgspec.structs.replace(found, request=CHAT.parse(json.dumps(wish).encode()))
    assert found.ask.logprobs is logprobs
    assert found.ask.top_logprobs == max(top, asked or 0)


def test_a_route_that_is_off_has_no_gate():
    found, _ = exchange()
    route = Route(found.route.config, None, None, None, found.route.metrics, found.route.upstream_metrics, 0)
    with pytest.raises(AssertionError, match="which is off, was gated"):
        _ = Exchange(route, CHAT, found.request, None).gate


# Streams


def settles(*, texts=30, logprob=-5.0, **given):
    """Return after how many tokens of a hopeless answer the stream is settled, or None."""
    found, _ = exchange(**given, stream=True)
    reader = Pipeline(found.route).reader(found, found.ask)
    for number in range(texts):
        token = {"token": "a", "logprob": logprob}
        part = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token]}}
        reader.feed(b"data: " + json.dumps({"choices": [part]}).encode() + b"\n\n")
        if reader.settled:
            return number + 1
    return None


MINIMUM = Gate(Uncalibrated(SCORERS["min_logprob"], -1.0))


def test_a_hopeless_answer_is_settled_early():
    assert settles(gate=MINIMUM) == 2
    assert settles(gate=MINIMUM, logprob=-0.5) is None


@pytest.mark.parametrize("given", [
    {"mode": "observe"}, {"tools": [{"type": "function"}]}, {"upstream": Mute},
    {"gate": Gate(Uncalibrated(SCORERS["min_logprob"], -1.0), on_unmeasured="answer")},
], ids=["observing", "tools on offer", "no logprobs", "unmeasured answers are sent"])  # fmt: skip
def test_but_only_where_its_end_cannot_matter(given):
    assert settles(**{"gate": MINIMUM, **given}) is None


def test_a_mean_is_settled_where_the_answers_length_is_bounded():
    assert settles(gate=RAW) is None
    assert settles(gate=RAW, max_tokens=20) == 6  # five tokens of -5 and fifteen certain ones: below -1
    assert settles(gate=RAW, max_completion_tokens=20) == 6


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_routes_own_bound_stands_over_the_requests(name):
    """What is cut by the client's bound could still have passed by the route's."""
    assert settles(gate=RAW, max_tokens=20, config={"params": {name: 100}}) == 22
    assert settles(gate=RAW, config={"params": {name: 20}}) == 6
