"""`idk check` says what every route would do, or what is wrong, without asking anyone."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run
from tests.proxy.policies import POLICY

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
