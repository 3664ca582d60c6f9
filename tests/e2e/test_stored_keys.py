"""`idk key`: keys made and revoked while a proxy runs."""

from __future__ import annotations

import json

import pytest

from tests.e2e.proxies import Proxy, asking, idk, one_line, route, write_config
from tests.fakes import answer, says
from tests.faults.process import Process

STORE = "sqlite:///idk.db"


@pytest.fixture
def config(upstream, tmp_path):
    return write_config(
        tmp_path,
        {
            "server": {"store": STORE, "stored_keys": True},
            "upstreams": {"fake": {"base_url": upstream.base_url}},
            "routes": [route("a"), route("b")],
        },
    )


def test_a_key_opens_until_it_is_revoked(upstream, tmp_path, config):
    prompt = upstream.script(answer(says("x")))

    def status(proxy, key=None, model="a"):
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return proxy.post(asking(model, prompt), headers=headers).status_code

    with Proxy("--config", config, cwd=tmp_path) as proxy:
        assert status(proxy) == 401
        made = idk("key", "create", "app", "--route", "a", "--json", cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        key = json.loads(made.stdout)["key"]
        assert Process.settles(lambda: status(proxy, key) == 200)
        assert status(proxy, key, "b") == 403
        assert status(proxy, key + "x") == 401
        assert idk("key", "revoke", "app", cwd=tmp_path).returncode == 0
        assert Process.settles(lambda: status(proxy, key) == 401)
        # Without any key, every request is still rejected.
        assert status(proxy) == 401
    # What it has let in was told to the store before the process ended.
    (listed,) = json.loads(idk("key", "list", "--json", cwd=tmp_path).stdout)
    assert (listed["name"], listed["routes"]) == ("app", ["a"])
    assert listed["at"] <= listed["last_used_at"]
    assert listed["revoked_at"] is not None
    assert f" used {listed['last_used_at'][:10]} " in idk("key", "list", cwd=tmp_path).stdout
    assert key not in (tmp_path / "idk.db").read_bytes().decode("latin-1")


def test_a_name_is_taken_once(tmp_path, config):
    assert idk("key", "create", "app", cwd=tmp_path).returncode == 0
    again = idk("key", "create", "app", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (1, "")
    assert "taken" in again.stderr
    unknown = idk("key", "revoke", "nobody", cwd=tmp_path)
    assert unknown.returncode == 1
    assert "no key `nobody`" in unknown.stderr


def test_a_name_of_the_files_keys_is_taken_too(tmp_path, upstream):
    write_config(
        tmp_path,
        {
            "server": {"store": STORE},
            "keys": [{"name": "app", "sha256": "0" * 64}],
            "upstreams": {"fake": {"base_url": upstream.base_url}},
            "routes": [route("a")],
        },
    )
    for given in ((), ("--store", STORE)):
        refused = idk("key", "create", "app", *given, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert (
            refused.stderr == "idk: key: the name `app` is taken by a key of idk.yaml; choose another one\n"
        )
    assert idk("key", "create", "other", cwd=tmp_path).returncode == 0
    # The names of an unreadable file are not known, and --store needs no file.
    (tmp_path / "idk.yaml").write_text("keys: [")
    assert idk("key", "create", "app", "--store", STORE, cwd=tmp_path).returncode == 0
    one_line(idk("key", "create", "app", cwd=tmp_path), "idk.yaml")


def test_a_key_that_was_never_used_says_so(tmp_path, config):
    made = idk("key", "create", "app", "--json", cwd=tmp_path)
    assert json.loads(made.stdout)["last_used_at"] is None
    assert " never used " in idk("key", "list", cwd=tmp_path).stdout
    (listed,) = json.loads(idk("key", "list", "--json", cwd=tmp_path).stdout)
    assert listed["last_used_at"] is None


def test_a_store_is_wanted(tmp_path):
    one_line(idk("key", "list", cwd=tmp_path), "idk.yaml: no such file; give --store")
