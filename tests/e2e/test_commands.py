"""``idk init``, ``check`` and ``serve`` as commands; a bad configuration is one line and exit 2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.conftest import fitted_policy
from tests.e2e.proxies import Proxy, asking, idk, one_line, write_config
from tests.fakes import FakeUpstream, answer, says

if TYPE_CHECKING:
    from pathlib import Path


def sound() -> dict[str, Any]:
    return {
        "upstreams": {"u": {"base_url": "http://127.0.0.1:9/v1"}},
        "routes": [{"name": "r", "models": ["*"], "upstream": "u"}],
    }


def changed(**sections: Any) -> str:
    return yaml.safe_dump({**sound(), **sections})


def with_route(**settings: Any) -> str:
    return changed(routes=[{**sound()["routes"][0], **settings}])


def with_upstream(**settings: Any) -> str:
    return changed(upstreams={"u": {**sound()["upstreams"]["u"], **settings}})


#: The text of a file, and what the error line must name: the key and the fix.
BROKEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown section": (changed(severs={}), ("severs", "did you mean `server`")),
    "unknown key of a route": (
        with_route(treshold=0.5),
        ("routes[0]", "treshold", "did you mean `threshold`"),
    ),
    "wrong type": (changed(server={"port": "high"}), ("server.port", "a whole number from 0 to 65,535")),
    "enforce without a threshold": (
        with_route(mode="enforce"),
        ("routes[0]", "score_threshold", "mode: observe"),
    ),
    "unknown scorer": (
        with_route(scorers=["mean_logprobs"]),
        ("routes[0].scorers", "did you mean `mean_logprob`"),
    ),
    "public without keys": (changed(server={"host": "0.0.0.0"}), ("server.host", "keys", "open: true")),
    "key twice": ("server: {port: 1}\nserver: {port: 2}\n" + changed(), ("line 2", "`server`", "twice")),
    "bad YAML": ("routes: [\n", ("line",)),
    "a Python object": ("server: !!python/object/apply:os.getcwd []\n", ("line 1",)),
    "base URL of another kind": (with_upstream(base_url="ftp://x"), ("upstreams.u.base_url", "http")),
    "key not in the environment": (with_upstream(api_key_env="IDK_NOT_SET"), ("upstreams.u", "IDK_NOT_SET")),
    "missing policy": (with_route(policy="none.json"), ("policy", "none.json", "idk tune")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_configuration_is_one_line(tmp_path: Path, case):
    text, words = BROKEN[case]
    (tmp_path / "bad.yaml").write_text(text)
    one_line(idk("check", "--config", "bad.yaml", cwd=tmp_path), "bad.yaml", *words)


def test_not_to_be_served_either(tmp_path: Path):
    (tmp_path / "bad.yaml").write_text(with_route(mode="enforce"))
    one_line(idk("serve", "--config", "bad.yaml", cwd=tmp_path), "bad.yaml", "score_threshold")


def spoilt(path: str, value: Any) -> str:
    """Return the policy's JSON with one value replaced; NaN is written as Python does."""
    saved = fitted_policy().to_dict()
    *parents, last = path.split(".")
    place = saved
    for key in parents:
        place = place[key]
    assert last in place, place
    place[last] = value
    return json.dumps(saved)


BROKEN_POLICIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "not JSON": ("{", ()),
    "unknown version": (spoilt("version", 99), ("version", "99")),
    "calibrator of NaN": (spoilt("calibrator.slope", float("nan")), ("JSON has no NaN",)),
    "calibrator of an unknown version": (spoilt("calibrator.version", 99), ("calibrator", "version")),
    "unknown scorer": (spoilt("scorers", ["vibes"]), ("scorers", "vibes")),
}


@pytest.mark.parametrize("case", BROKEN_POLICIES)
def test_a_broken_policy_is_refused_at_start(tmp_path: Path, case):
    text, words = BROKEN_POLICIES[case]
    (tmp_path / "policy.json").write_text(text)
    (tmp_path / "idk.yaml").write_text(with_route(mode="enforce", policy="policy.json"))
    one_line(idk("serve", "--config", "idk.yaml", cwd=tmp_path), "routes.r.policy", "policy.json", *words)


class TestCheck:
    """``idk check``."""

    def test_says_what_each_route_does(self, tmp_path):
        (tmp_path / "policy.json").write_text(json.dumps(fitted_policy().to_dict()))
        (tmp_path / "idk.yaml").write_text(with_route(mode="enforce", policy="policy.json"))
        result = idk("check", cwd=tmp_path)
        assert result.returncode == 0
        assert "enforce by policy support at confidence 0.8, not certified" in result.stdout
        shown = json.loads(idk("check", "--json", cwd=tmp_path).stdout)
        assert shown["routes"][0]["threshold"] == 0.8

    def test_a_missing_file_is_named_with_the_mend(self, tmp_path):
        one_line(idk("check", "--config", "none.yaml", cwd=tmp_path), "none.yaml", "idk init")

    def test_what_init_writes_is_sound(self, tmp_path):
        assert idk("init", cwd=tmp_path).returncode == 0
        result = idk("check", "--config", "idk.yaml", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        one_line(idk("init", cwd=tmp_path), "idk.yaml", "--force")
        assert idk("init", "--force", cwd=tmp_path).returncode == 0


class TestUsage:
    """Help and bad usage of the commands."""

    @pytest.mark.parametrize("command", [[], ["init"], ["check"], ["serve"]])
    def test_help(self, tmp_path, command):
        result = idk(*command, "--help", cwd=tmp_path)
        assert result.returncode == 0
        assert "Usage: idk" in result.stdout

    @pytest.mark.parametrize("arguments", [["srve"], ["serve", "--prot", "1"], ["serve", "--port", "x"]])
    def test_bad_usage_is_exit_2(self, tmp_path, arguments):
        result = idk(*arguments, cwd=tmp_path)
        assert result.returncode == 2
        assert result.stdout == ""
        assert arguments[-1] in result.stderr or arguments[-2] in result.stderr

    def test_serve_wants_a_file_or_an_upstream(self, tmp_path):
        one_line(idk("serve", cwd=tmp_path), "--config", "--upstream", "idk init")

    @pytest.mark.parametrize("url", ["nonsense", "http://u:p@x/v1"])
    def test_an_upstream_that_is_no_url(self, tmp_path, url):
        one_line(idk("serve", "--upstream", url, cwd=tmp_path), "--upstream", "base_url")

    def test_a_public_host_without_keys(self, tmp_path):
        (tmp_path / "idk.yaml").write_text(changed())
        one_line(idk("serve", "--host", "0.0.0.0", cwd=tmp_path), "server.host", "keys")

    def test_a_taken_port_is_one_line(self, tmp_path, upstream: FakeUpstream):
        (tmp_path / "idk.yaml").write_text(changed())
        result = idk("serve", "--port", upstream.port, cwd=tmp_path)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert (
            f"cannot listen on 127.0.0.1:{upstream.port} (Address already in use); give another --port"
            in result.stderr
        )


def test_serving_an_upstream_without_a_file(tmp_path: Path, upstream: FakeUpstream):
    """One route for every model, observing, the client's credentials sent on."""
    prompt = upstream.script(answer(says("Ly", "on", logprob=-3.0)))
    with Proxy("--upstream", upstream.base_url, cwd=tmp_path) as proxy:
        got = proxy.post(asking("any-model", prompt), headers={"authorization": "Bearer mine"})
    assert got.json()["choices"][0]["message"]["content"] == "Lyon"
    report = got.json()["idk"]
    assert (report["route"], report["mode"]) == ("default", "observe")
    assert report["choices"][0]["score"] == pytest.approx(-3.0)
    assert upstream.call(prompt).headers["authorization"] == "Bearer mine"


def test_a_stopping_server_finishes_what_it_began(tmp_path: Path, upstream: FakeUpstream):
    prompt = upstream.script(answer(says("Par", "is"), stop_at=2))
    config = {**sound(), "upstreams": {"u": {"base_url": upstream.base_url}}}
    with (
        Proxy("--config", write_config(tmp_path, config), cwd=tmp_path) as proxy,
        proxy.open(asking("m", prompt, stream=True)) as connection,
    ):
        call = upstream.call(prompt)
        proxy.stop()
        proxy.says("Shutting down")
        call.released.set()
        seen = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert b"data: [DONE]" in seen
