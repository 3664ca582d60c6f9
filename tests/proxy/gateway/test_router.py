"""Which route takes a request, who may use it, and whether its policy was made for such requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrators import CALIBRATORS
from gating import SCORERS, Gate, Policy
from gating.combine import Single
from gating.gate import Uncalibrated
from proxy.clients.authentication import Caller
from proxy.config import Embeddings
from proxy.config import Route as RouteConfig
from proxy.exceptions import Forbidden, NotFound
from proxy.metrics import Metrics
from proxy.requests.route import Route, RouteTable, fingerprint
from proxy.surfaces.chat.surface import Chat

ANYONE = Caller(None, None)
METRICS = Metrics()


def route(name, *models, gate=None, **fields):
    config = RouteConfig(name=name, models=models or ("*",), upstream="u", **fields)
    return Route(config, None, gate, None, METRICS.route(name), METRICS.upstream("u"), 0)


TABLE = RouteTable(
    [
        route("exact", "gpt-4o", "o1"),
        route("mini", "gpt-4o-*"),
        route("one", "m[12]", "x?"),
        route("rest", "claude*"),
    ]
)


@pytest.mark.parametrize(("model", "name"), [
    ("gpt-4o", "exact"), ("o1", "exact"), ("gpt-4o-mini", "mini"), ("gpt-4o-", "mini"), ("m1", "one"), ("xy", "one"),
    ("claude-3/opus", "rest"), ("claude\nx", "rest"), ("rest", "rest"), ("mini", "mini"),
])  # fmt: skip
def test_the_first_pattern_that_matches_the_whole_model_wins(model, name):
    assert TABLE.find(model, ANYONE).name == name
    assert TABLE.find(model, ANYONE).name == name  # and is remembered so


@pytest.mark.parametrize("model", ["", "GPT-4O", "gpt-4", "gpt-4ox", "m3", "xyz", "aclaude"])
def test_a_model_that_no_route_takes(model):
    with pytest.raises(NotFound) as raised:
        TABLE.find(model, ANYONE)
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")


def test_a_pattern_stands_over_a_routes_name():
    table = RouteTable([route("a", "x"), route("b", "a")])
    assert table.find("a", ANYONE).name == "b"


@given(st.text(max_size=8))
def test_a_star_takes_any_model(model):
    assert RouteTable([route("all")]).find(model, ANYONE).name == "all"


def test_many_models_are_found_though_few_are_remembered():
    table = RouteTable([route("even", "*[02468]"), route("odd", "*")])
    for number in [*range(3_000), *range(10)]:
        assert table.find(f"m{number}", ANYONE).name == ("odd" if number % 2 else "even")


def test_a_request_may_name_its_route():
    table = RouteTable([route("first", "m*"), route("second", "m2")])
    assert table.find("m2", ANYONE, "second").name == "second"
    assert table.find("second", ANYONE, "second").name == "second"
    assert table.find(None, ANYONE, "second").name == "second"
    with pytest.raises(NotFound) as raised:
        table.find("m3", ANYONE, "second")
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")
    with pytest.raises(NotFound) as raised:
        TABLE.find("gpt-4o", ANYONE, "none")
    assert raised.value.code == "route_not_found"


def test_a_key_uses_its_own_routes_only():
    caller = Caller("app", frozenset(["mini"]))
    assert TABLE.find("gpt-4o-mini", caller).name == "mini"
    assert [found.name for found in TABLE.usable(caller)] == ["mini"]
    assert [found.name for found in TABLE.usable(ANYONE)] == ["exact", "mini", "one", "rest"]
    with pytest.raises(Forbidden) as raised:
        TABLE.find("gpt-4o", caller)
    assert raised.value.param == "model"
    with pytest.raises(NotFound):  # whether it exists is not told
        TABLE.find("gpt-4o-mini", caller, "exact")


@pytest.mark.parametrize(("mode", "holds"), [("enforce", True), ("observe", False), ("off", False)])
def test_only_enforcing_holds(mode, holds):
    assert route("r", mode=mode).holds is holds


# What a policy was fitted on


def request(body):
    return Chat().parse(b'{"messages": [1], "model": "m"' + body + b"}")


def policy(**made_with):
    calibrator = CALIBRATORS["platt"]().fit([-1.0, 0.0, 1.0, 2.0], [False, False, True, True])
    return Policy("p", Single(SCORERS["mean_logprob"]), calibrator, threshold=0.5, fingerprint=made_with)


def test_a_fingerprint_says_what_an_answer_is_made_with():
    assert fingerprint(route("r"), "m", {"temperature": 0.5}) == {
        "upstream": "u", "model": "m", "temperature": 0.5,
        "top_p": None, "presence_penalty": None, "frequency_penalty": None,
    }  # fmt: skip


def test_the_routes_own_model_and_parameters_stand_over_the_requests():
    found = fingerprint(
        route("r", model="other", params={"temperature": 0}), "m", {"temperature": 0.5, "top_p": 0.9}
    )
    assert (found["model"], found["temperature"], found["top_p"]) == ("other", 0, 0.9)


def test_what_makes_vectors_of_the_samples_is_in_a_fingerprint():
    one = {"samples": 2, "embeddings": Embeddings(local="minilm")}
    other = {"samples": 2, "embeddings": Embeddings(upstream="u", model="small")}
    assert fingerprint(route("r", **one), "m", {})["embeddings"] == "minilm"
    assert fingerprint(route("r", **other), "m", {})["embeddings"] == "u/small"
    assert "embeddings" not in fingerprint(route("r", **one | {"samples": 0}), "m", {})


@pytest.mark.parametrize(("body", "applies"), [
    (b"", False), (b', "temperature": 0', True), (b', "temperature": 0.0', True), (b', "temperature": 1', False),
    (b', "temperature": 0, "seed": 3', True),
])  # fmt: skip
def test_a_policy_applies_to_requests_like_those_of_its_labels(body, applies):
    gated = route("r", gate=Gate(policy(model="m", temperature=0)))
    assert gated.applies(request(body)) is applies


def test_a_policy_of_another_model_does_not_apply():
    assert not route("r", gate=Gate(policy(model="other"))).applies(request(b""))
    assert route("r", model="other", gate=Gate(policy(model="other"))).applies(request(b""))


@pytest.mark.parametrize("gate", [None, Gate(policy()), Gate(Uncalibrated(SCORERS["mean_logprob"], -1.0))])
def test_without_a_fingerprint_everything_applies(gate):
    assert route("r", gate=gate).applies(request(b', "temperature": 1'))
