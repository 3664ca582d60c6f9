"""`idk check` says what every route would do, or what is wrong, without asking anyone."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run
from proxy.config import load
from tests.proxy.policies import POLICY


@pytest.fixture(autouse=True)
def _admin_key(monkeypatch):
    monkeypatch.setenv("IDK_ADMIN_KEY", "a secret of more than sixteen characters")


UPSTREAM = "upstreams: {u: {base_url: http://127.0.0.1:9/v1}}\n"


def write(folder, *routes, head=UPSTREAM):
    lines = "".join(
        f"  - {{name: r{n}, models: [m, 'x*'], upstream: u, {r}}}\n" for n, r in enumerate(routes)
    )
    (folder / "idk.yaml").write_text(f"{head}routes:\n{lines}")
    (folder / "p.json").write_text(json.dumps(POLICY.to_dict()))
    return str(folder / "idk.yaml")


ROUTES = [
    ("mode: off", "off"), ("mode: observe", "observe, no threshold"),
    ("mode: enforce, scorers: [min_logprob], score_threshold: -1.5", "enforce by min_logprob >= -1.5, uncalibrated"),
    ("mode: enforce, policy: p.json", "enforce by policy support at confidence 0.6, certified"),
    ("policy: p.json, threshold: 0.9", "observe by policy support at confidence 0.9, not certified"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "words"), ROUTES)
def test_a_route_in_words(tmp_path, capsys, route, words):
    path = write(tmp_path, route)
    assert run(["check", "--config", path]) == 0
    assert capsys.readouterr().out == f"{path}: sound\n  r0: m, x* -> u, {words}\n"


def test_routes_as_json(tmp_path, capsys):
    path = write(tmp_path, *[route for route, _ in ROUTES])
    assert run(["check", "--config", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == path
    assert [(route["mode"], route["policy"], route["threshold"], route["certified"]) for route in found["routes"]] == [
        ("off", None, None, False), ("observe", None, None, False), ("enforce", None, None, False),
        ("enforce", "support", 0.6, True), ("observe", "support", 0.9, False),
    ]  # fmt: skip
    assert found["routes"][0]["models"] == ["m", "x*"]


@pytest.mark.parametrize(("route", "head", "said"), [
    ("mode: enforce", UPSTREAM, "routes[0]: enforce needs a policy"),
    ("policy: none.json", UPSTREAM, "routes.r0.policy: "),
    ("mode: observe", "upstreams: {u: {base_url: http://h, api_key_env: IDK_NO_KEY}}\n", "upstreams.u.api_key_env"),
    ("mode: observe", "upstreams: {u: {base_url: nonsense}}\n", "upstreams.u.base_url"),
])  # fmt: skip
def test_what_is_wrong_is_one_line_with_its_file(tmp_path, capsys, route, head, said):
    path = write(tmp_path, route, head=head)
    assert run(["check", "--config", path]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"idk: {path}: ")
    assert said in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("store: nonsense://x", "store: nonsense://x: give one of"),
        (
            "store: sqlite:////nowhere/at/all/idk.db",
            "server.store: /nowhere/at/all/idk.db: cannot be written",
        ),
        ("store: 'sqlite:///folder'", "folder: cannot be written: Is a directory"),
        ("store_env: IDK_TEST_STORE", "server.store_env: IDK_TEST_STORE is not in the environment"),
        ("audit_key_env: IDK_TEST_SHORT", "server.audit_key_env: IDK_TEST_SHORT holds fewer than 16"),
        ("admin_key_file: none.txt", "server.admin_key_file: "),
        ("store: 'memory://', store_env: X", "server: has both store and store_env; keep one"),
    ],
)
def test_what_a_start_would_refuse_is_refused(tmp_path, monkeypatch, capsys, server, said):
    monkeypatch.setenv("IDK_TEST_SHORT", "short")
    (tmp_path / "folder").mkdir()
    write(tmp_path, "mode: observe", head=f"server: {{{server}}}\n{UPSTREAM}")
    assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    if "cannot be written" not in said:  # a proxy starts without such a store and reports it
        assert run(["serve", "--config", str(tmp_path / "idk.yaml"), "--port", "0"]) == 2
        assert said in capsys.readouterr().err


def test_telemetry_needs_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("proxy.app.validation._OTEL", ("no_such_package.sdk",))
    write(tmp_path, "mode: observe", head=f"server: {{opentelemetry: true}}\n{UPSTREAM}")
    assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 2
    assert "server.opentelemetry: opentelemetry is not installed" in capsys.readouterr().err


def test_a_store_is_not_made_by_a_check(tmp_path, capsys):
    write(tmp_path, "mode: observe", head=f"server: {{store: 'sqlite:///idk.db'}}\n{UPSTREAM}")
    assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["idk.yaml", "p.json"]


def test_a_shadowed_route_and_a_missing_admin_key_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("IDK_ADMIN_KEY")
    write(
        tmp_path, "mode: observe", "mode: off", head=f"server: {{admin_key_env: IDK_TEST_ADMIN}}\n{UPSTREAM}"
    )
    assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 0
    said = capsys.readouterr().out
    assert "sound" not in said
    assert "warning: routes[1].models: every model of `r1` is taken by an earlier route (r0)" in said
    assert "warning: server.admin_key_env: IDK_TEST_ADMIN is not set in the environment" in said


def test_values_come_from_the_environment_and_from_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IDK_TEST_STORE", "memory://")
    monkeypatch.setenv("IDK_TEST_URL", "http://127.0.0.1:9/v1")
    (tmp_path / "key.txt").write_text("sk-secret\n")
    (tmp_path / "admin.txt").write_text("a secret of more than sixteen characters\n")
    head = (
        "server: {store_env: IDK_TEST_STORE, admin_key_file: admin.txt}\n"
        "upstreams: {u: {base_url_env: IDK_TEST_URL, api_key_file: key.txt}}\n"
    )
    write(tmp_path, "mode: observe", head=head)
    assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 0
    assert "sound" in capsys.readouterr().out
    for content, said in (("", "must hold the secret alone"), ("a\nb", "must hold the secret alone")):
        (tmp_path / "key.txt").write_text(content)
        assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 2
        assert f"upstreams.u.api_key_file: {tmp_path / 'key.txt'}: {said}" in capsys.readouterr().err


def test_a_directory_is_read_in_order(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "10-upstreams.yaml").write_text(UPSTREAM + "server: {port: 1, host: localhost}\n")
    (folder / "20-a.yaml").write_text("routes: [{name: a, models: [a], upstream: u}]\n")
    (folder / "30-b.yml").write_text("server: {port: 2}\nroutes: [{name: b, models: [b], upstream: u}]\n")
    (folder / "..data").mkdir()
    (folder / ".hidden.yaml").write_text("nonsense: 1")
    monkeypatch.setenv("IDK_CONFIG", str(folder))
    assert run(["check", "--json"]) == 0
    assert [route["name"] for route in json.loads(capsys.readouterr().out)["routes"]] == ["a", "b"]
    loaded = load(folder)
    assert (loaded.server.port, loaded.server.host) == (2, "localhost")
    (folder / "40-c.yaml").write_text("- a")
    assert run(["check"]) == 2
    assert "40-c.yaml: must be a mapping" in capsys.readouterr().err
