"""Which route takes a request, and which callers may use it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clients.authentication import Caller
from proxy.config import Route as RouteConfig
from proxy.exceptions import Forbidden, NotFound
from proxy.metrics import Metrics
from proxy.requests.route import Route, RouteTable

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
