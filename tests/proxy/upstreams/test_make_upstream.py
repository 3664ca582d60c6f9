"""Upstreams are constructed from the configuration, with their keys from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import Upstream
from proxy.exceptions import ConfigError
from proxy.metrics import Metrics
from proxy.upstreams import accesses, make_upstream, make_upstreams
from proxy.upstreams.group import UpstreamGroup
from proxy.upstreams.http import HttpUpstream

URL = "https://api.example.com:8443/v1"


def make(environ=None, folder=None, **fields):
    fields = fields if "base_url" in fields or "litellm" in fields else {"base_url": URL, **fields}
    config = Upstream(**fields)
    access = accesses({"u": config}, environ or {}, folder or Path())["u"]
    return make_upstream("u", config, access, Metrics().upstream("u"))


def test_an_upstream_with_a_base_url_is_called_over_http():
    made = make()
    assert isinstance(made, HttpUpstream)
    assert made.name == "u"


@pytest.mark.parametrize(("logprobs", "gives"), [("auto", True), ("native", True), ("none", False)])
def test_whether_it_gives_logprobs(logprobs, gives):
    assert make(logprobs=logprobs).gives_logprobs is gives


@pytest.mark.parametrize(("auth", "forwards"), [("key", False), ("forward", True)])
def test_whether_it_gets_the_clients_credentials(auth, forwards):
    assert make(auth=auth).forwards_credentials is forwards


def test_its_key_and_address_are_kept_out_of_messages():
    made = make({"K": " sekret\n"}, api_key_env="K")
    assert (
        made.redact("sekret at api.example.com:8443 or api.example.com")
        == "[redacted] at [redacted] or [redacted]"
    )


@pytest.mark.parametrize("environ", [{}, {"K": ""}, {"K": "  "}])
@pytest.mark.parametrize("kind", [{"base_url": URL}, {"litellm": "anthropic"}])
def test_a_key_that_is_not_there_is_named_and_not_shown(environ, kind):
    with pytest.raises(ConfigError, match=r"upstreams\.u\.api_key_env: K is not in the environment; set it"):
        make(environ, api_key_env="K", **kind)


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://host", "http://", "http://user:sekret@host", "http://host:port"]
)
def test_an_address_that_is_none_is_named_and_not_shown(url):
    with pytest.raises(ConfigError, match=r"^upstreams\.u\.base_url: ") as raised:
        make(base_url=url)
    assert "sekret" not in str(raised.value)


def test_several_are_one_in_order_or_by_weight():
    configs = {
        "both": Upstream(of=("a", "b")),
        "drawn": Upstream(of={"a": 3.0, "b": 1.0}),
        "a": Upstream(base_url=URL),
        "b": Upstream(base_url=URL, auth="forward"),
    }
    made = make_upstreams(configs, accesses(configs, {}, Path()), Metrics())
    assert set(made) == set(configs)
    assert isinstance(made["both"], UpstreamGroup)
    assert [member.client for member in made["both"].members] == [made["a"], made["b"]]
    assert [member.weight for member in made["drawn"].members] == [3.0, 1.0]
    assert made["both"].forwards_credentials
