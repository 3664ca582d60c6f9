"""What an answer is made with, and whether a policy judges requests that differ from those of its labels."""

from __future__ import annotations

import json

import pytest

from calibrators import CALIBRATORS
from gating import SCORERS, Gate, Policy
from gating.combine import Single
from gating.gate import Uncalibrated
from proxy.config import Embeddings
from proxy.config import Route as RouteConfig
from proxy.metrics import Metrics
from proxy.requests.matching import made_with, match_of, with_policys_values
from proxy.requests.route import Route
from proxy.surfaces import SURFACES

METRICS = Metrics()


def route(gate=None, **fields):
    config = RouteConfig(name="r", models=("*",), upstream="u", **{"mode": "enforce", **fields})
    return Route(config, None, gate, None, METRICS.route("r"), METRICS.upstream("u"), 0)


def request(surface="chat", **fields):
    content = {
        "chat": {"messages": [{"role": "user", "content": "Why?"}]},
        "messages": {"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 9},
        "responses": {"input": "Why?"},
        "completions": {"prompt": "Why?"},
    }
    return SURFACES[surface].parse(json.dumps({"model": "m", **content[surface], **fields}).encode())


def policy(**fingerprint):
    calibrator = CALIBRATORS["platt"]().fit([-1.0, 0.0, 1.0, 2.0], [False, False, True, True])
    return Policy("p", Single(SCORERS["mean_logprob"]), calibrator, threshold=0.5, fingerprint=fingerprint)


def complete(**fields):
    return policy(upstream="u", model="m", fields=fields)


def match(rule, *, settings=None, surface="chat", **fields):
    return match_of(route(Gate(rule), **(settings or {})), request(surface, **fields), surface, None)


def test_a_fingerprint_says_what_an_answer_is_made_with():
    found = made_with(route(), request(temperature=0.5, user="me", stream=True), "chat")
    assert found == {"upstream": "u", "model": "m", "fields": {"temperature": 0.5}}


def test_the_routes_own_model_and_parameters_replace_the_clients():
    found = made_with(
        route(model="other", params={"temperature": 0}), request(temperature=0.5, top_p=0.9), "chat"
    )
    assert found == {"upstream": "u", "model": "other", "fields": {"temperature": 0, "top_p": 0.9}}


def test_the_embedding_model_of_the_samples_is_in_a_fingerprint():
    one = {"samples": 2, "embeddings": Embeddings(local="minilm")}
    other = {"samples": 2, "embeddings": Embeddings(upstream="u", model="small")}
    assert made_with(route(**one), request(), "chat")["embeddings"] == "minilm"
    assert made_with(route(**other), request(), "chat")["embeddings"] == "u/small"
    assert "embeddings" not in made_with(route(**one | {"samples": 0}), request(), "chat")


def test_a_length_limit_is_in_a_fingerprint_only_if_it_cut_the_answer():
    asked = request(max_tokens=5)
    assert made_with(route(), asked, "chat")["fields"] == {}
    assert made_with(route(), asked, "chat", cut=True)["fields"] == {"max_tokens": 5}


@pytest.mark.parametrize(("fields", "applies"), [
    ({}, False), ({"temperature": 0}, True), ({"temperature": 0.0}, True), ({"temperature": 1}, False),
    ({"temperature": 0, "seed": 3}, True),
])  # fmt: skip
def test_an_older_fingerprint_is_compared_by_its_own_keys_alone(fields, applies):
    found = match(policy(model="m", temperature=0), **fields)
    assert found.applies is applies


def test_a_policy_of_another_model_does_not_apply():
    assert not match(policy(model="other")).applies
    assert match(policy(model="other"), settings={"model": "other"}).applies


@pytest.mark.parametrize("rule", [policy(), Uncalibrated(SCORERS["mean_logprob"], -1.0)])
def test_without_a_fingerprint_everything_applies(rule):
    assert match(rule, temperature=1).applies
    assert match_of(route(), request(temperature=1), "chat", None).applies


def test_a_difference_names_the_field_and_both_values():
    found = match(complete(temperature=1), temperature=0)
    assert (found.applies, found.certified) == (False, False)
    assert found.detail == "temperature: 0; the policy was fitted with 1"


def test_lenient_judges_without_certifying():
    found = match(complete(temperature=1), settings={"match": "lenient"}, foo=3)
    assert (found.applies, found.certified) == (True, False)
    assert (
        found.detail
        == "temperature: no value; the policy was fitted with 1; foo: 3; the policy was fitted with no value"
    )


def test_pin_uses_the_policys_value_of_a_sampling_field_and_says_so():
    settings = {"match": "pin"}
    found = match(complete(temperature=1), settings=settings, temperature=0, top_k=1, user="me", max_tokens=9)
    assert (found.applies, found.certified) == (True, True)
    assert found.detail == (
        "temperature: the policy's value (1) was used in place of 0; "
        "top_k: the policy's value (none) was used in place of 1"
    )
    asked = with_policys_values(request(temperature=0, top_k=1), found)
    assert json.loads(bytes(asked.fields["temperature"])) == 1
    assert "top_k" not in asked.fields


@pytest.mark.parametrize("fields", [
    {"logit_bias": {"1": 100}}, {"foo": 1}, {"tools": [{"type": "function"}]}, {"stop": "x"}, {"n": 2},
    {"response_format": {"type": "json_object"}}, {"reasoning_effort": "low"},
])  # fmt: skip
def test_pin_replaces_no_other_field(fields):
    assert not match(complete(), settings={"match": "pin"}, **fields).applies


def test_pin_rewrites_nothing_while_observing():
    found = match(complete(temperature=1), settings={"match": "pin", "mode": "observe"}, temperature=0)
    assert (found.applies, found.replaced) == (False, ())


def test_combinations_are_compared_together():
    listed = [{"values": {"temperature": 0, "top_p": None}}, {"values": {"temperature": 1, "top_p": 0.5}}]
    rule = policy(upstream="u", model="m", fields={}, combinations=listed)
    assert match(rule, temperature=0).applies
    assert match(rule, temperature=1, top_p=0.5).applies
    found = match(rule, temperature=1)
    assert not found.applies
    assert len(found.differences) == 1


@pytest.mark.parametrize(("surface", "fields"), [
    ("chat", {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]}),
    ("chat", {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                           {"role": "user", "content": "Why?"}]}),
    ("responses", {"instructions": "Be brief."}),
    ("messages", {"system": "Be brief."}),
    ("messages", {"system": [{"type": "text", "text": "Be brief."}]}),
])  # fmt: skip
def test_the_system_prompt_has_one_name_across_formats(surface, fields):
    known = made_with(route(), request("responses", instructions="Be brief."), "responses")["fields"]
    found = made_with(route(), request(surface, **fields), surface)["fields"]
    assert found == known
    assert set(found) == {"system"}


def test_another_system_prompt_is_free_under_prompt_any_alone():
    messages = [{"role": "system", "content": "Lie."}, {"role": "user", "content": "Why?"}]
    assert not match(complete(), messages=messages).applies
    assert match(complete(), settings={"prompt": "any"}, messages=messages).applies


@pytest.mark.parametrize(("messages", "field"), [
    ([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because"}], "prefill"),
    ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
     "earlier_turns"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "media"),
    ([{"role": "critic", "content": "Say yes."}, {"role": "user", "content": "Why?"}], "system"),
    ([{"role": "user", "content": "Why?", "steer": 1}], "message_fields"),
])  # fmt: skip
def test_what_else_a_conversation_holds_is_compared(messages, field):
    found = match(complete(), messages=messages)
    assert [each.field for each in found.differences] == [field]


def test_the_users_own_text_is_not_compared():
    for text in ("Why?", "Because.", [{"type": "text", "text": "Why?"}]):
        assert match(complete(), messages=[{"role": "user", "content": text}]).applies
