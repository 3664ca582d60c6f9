"""The page's paths in a real process: who gets in, what is said, what a change comes to."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.admin_store import ROUTE, config, fill
from tests.e2e.proxies import Proxy, wait_until, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes import FakeUpstream

KEY = "the key of the admins"
AT = f"/admin/api/routes/{ROUTE}"


def without_key() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "IDK_ADMIN_KEY"}


@pytest.fixture(scope="module")
def proxy(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("admin")
    fill(folder, decisions=400, drawn=100, labelled=60)
    write_config(folder, config(upstream.base_url))
    with Proxy(cwd=folder, env=without_key() | {"IDK_ADMIN_KEY": KEY}) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, headers={"authorization": f"Bearer {KEY}"}, timeout=20) as client:
        yield client


def figures(client: httpx.Client) -> dict[str, Any]:
    return client.get(AT).raise_for_status().json()


def test_it_is_off_without_a_key(upstream, tmp_path):
    write_config(
        tmp_path,
        {**config(upstream.base_url), "routes": [{"name": "a", "models": ["*"], "upstream": "fake"}]},
    )
    with Proxy(cwd=tmp_path, env=without_key()) as running:
        for path in ("/admin", "/admin/", "/admin/admin.js", "/admin/api/routes", "/admin/api/session"):
            response = httpx.get(running.url + path, headers={"authorization": "Bearer x"})
            assert response.status_code == 404, path
            assert "set IDK_ADMIN_KEY" in response.json()["error"]["message"]


def test_a_session_is_opened_with_the_key_and_kept_in_a_cookie_of_this_page_alone(proxy):
    with httpx.Client(base_url=proxy.url) as client:
        assert client.get("/admin/api/session").json() == {"open": False}
        assert client.get(AT).status_code == 401
        answer = client.post("/admin/api/session", json={"key": KEY})
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "Path=/admin", "SameSite=strict"} <= set(cookie.split("; "))
        assert KEY not in cookie
        assert client.get(AT).status_code == 200
        assert client.get("/admin/api/session").json() == {"open": True}
        assert client.get(AT, headers={"origin": "https://evil.example"}).status_code == 403
        client.delete("/admin/api/session")
        assert client.get(AT).status_code == 401


def test_what_the_page_is_made_of_runs_nothing_else(client):
    for path in ("/admin", "/admin/"):
        page = client.get(path)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    named = re.findall(r'(?:href|src)="(/admin/[^"]+)"', page.text)
    assert len(named) == 5
    for path in named:
        assert client.get(path).headers["x-content-type-options"] == "nosniff"
    assert "style=" not in page.text
    assert "Leon Sorokin" in client.get("/admin/vendor/uplot-LICENSE.txt").text
    for path in (
        "/admin/index.html",
        "/admin/../doors.py",
        "/admin/%2e%2e/doors.py",
        "/admin/api",
        "/admin/vendor",
    ):
        assert client.get(path).status_code == 404, path


def test_the_figures_of_a_route(client):
    found = figures(client)
    assert (found["policy"], found["version"], found["threshold"], found["certified"]) == (
        "support@2",
        2,
        0.8,
        True,
    )
    assert found["sample"] == {"drawn": 100, "labelled": 60, "fresh": True}
    assert found["fixed"] is None
    assert [change["version"] for change in found["history"]] == [2, 1]
    (in_force,) = [point for point in found["curve"] if point["threshold"] == 0.8]
    assert "certified ≤ 10 %" in in_force["words"]
    assert found["quality"]["n"] == 60
    assert 180 <= sum(sum(minute["decisions"].values()) for minute in found["hour"]) <= 220
    listed = client.get("/admin/api/routes").json()
    assert [(each["name"], each["policy"]) for each in listed] == [(ROUTE, "support@2"), ("other", None)]
    other = client.get("/admin/api/routes/other").json()
    assert other["threshold"] is None
    assert "no policy" in other["fixed"]


def test_questions_on_either_side(client):
    near = client.get(f"{AT}/near", params={"confidence": 0.8}).json()
    sides = [item["confidence"] >= 0.8 for item in near]
    assert sides == sorted(sides)
    assert sides.count(True) == 5
    assert near[0]["question"].startswith("What is the capital")


def test_the_queue_and_labels(client):
    queue = client.get(f"{AT}/queue").json()
    assert len(queue["items"]) == 25
    far = [abs(item["confidence"] - 0.8) for item in queue["items"]]
    assert far == sorted(far)
    following = client.get(f"{AT}/queue", params={"after": queue["after"]}).json()
    assert len(following["items"]) == 15
    first = queue["items"][0]
    body = {"id": first["id"], "choice": 0, "label": "incorrect", "who": "ada"}
    assert client.post(f"{AT}/labels", json=body).json() == {"changed": True}
    assert first["id"] not in [each["id"] for each in client.get(f"{AT}/queue").json()["items"]]
    assert figures(client)["sample"]["labelled"] == 61
    assert client.post(f"{AT}/labels", json={**body, "label": None}).json() == {"changed": True}
    assert figures(client)["sample"]["labelled"] == 60
    assert client.post(f"{AT}/labels", json={**body, "id": "idk-none"}).status_code == 404
    assert client.post("/admin/api/routes/other/labels", json=body).status_code == 404


@pytest.mark.parametrize(("path", "body", "status"), [
    ("threshold", {"threshold": 1.5, "version": 2, "who": "ada"}, 400),
    ("threshold", {"threshold": 0.7, "version": 2, "who": ""}, 400),
    ("threshold", {"threshold": 0.7, "version": 2}, 400),
    ("threshold", {"threshold": 0.7, "version": 1, "who": "ada"}, 409),
    ("threshold", {"threshold": 0.8, "version": 2, "who": "ada"}, 400),
    ("rollback", {"version": 9, "in_force": 2, "who": "ada"}, 409),
    ("rollback", {"version": 2, "in_force": 2, "who": "ada"}, 400),
    ("labels", {"id": "x", "choice": 0, "label": "maybe", "who": "ada"}, 400),
])  # fmt: skip
def test_what_makes_no_sense_changes_nothing(client, path, body, status):
    before = figures(client)["history"]
    response = client.post(f"{AT}/{path}", json=body)
    assert response.status_code == status, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert figures(client)["history"] == before


def test_a_form_of_another_site_is_no_json(client):
    response = client.post(f"{AT}/threshold", content=b'{"threshold": 0.7, "version": 2, "who": "ada"}')
    assert response.status_code == 400
    for path in (f"{AT}/near?confidence=nan", f"{AT}/near?confidence=2", f"{AT}/near", f"{AT}/queue?after=x"):
        assert client.get(path).status_code == 400, path
    assert client.get("/admin/api/routes/nobody").status_code == 404


def test_a_threshold_is_applied_without_its_certificate_and_rolled_back_with_it(client):
    done = client.post(f"{AT}/threshold", json={"threshold": 0.6, "version": 2, "who": "grace"}).json()
    assert (done["policy"], done["certified"]) == ("support@3", False)
    wait_until(lambda: figures(client)["policy"] == "support@3", "the new version is in force")
    found = figures(client)
    assert (found["threshold"], found["certified"], found["certificate"]) == (0.6, False, None)
    assert (found["history"][0]["who"], found["history"][0]["version"]) == ("grace", 3)
    assert found["sample"]["fresh"] is False  # labels of other versions: the policy may have seen them
    assert not any("certified ≤" in point["words"] for point in found["curve"])
    back = client.post(f"{AT}/rollback", json={"version": 2, "in_force": 3, "who": "grace"}).json()
    assert (back["policy"], back["certified"]) == ("support@2", True)
    wait_until(lambda: figures(client)["certified"], "the old version is in force")
    assert figures(client)["history"][0]["action"] == "rollback"


def test_wrong_keys_are_counted(client):
    """Wrong keys are limited for a minute; the right key still opens the page."""
    keys = [client.post("/admin/api/session", json={"key": "guess"}).status_code for _ in range(6)]
    assert keys == [401] * 5 + [429]
    assert client.get(AT).status_code == 200


def test_the_request_log_is_filtered_paged_and_searched(client):
    first = client.get(f"{AT}/log").json()
    assert len(first["items"]) == 10
    assert [each["at"] for each in first["items"]] == sorted(
        (each["at"] for each in first["items"]), reverse=True
    )
    second = client.get(f"{AT}/log", params={"cursor": first["cursor"]}).json()
    assert {each["id"] for each in first["items"]}.isdisjoint(each["id"] for each in second["items"])
    abstained = client.get(f"{AT}/log", params={"decision": "abstain", "reason": "below_threshold"}).json()[
        "items"
    ]
    assert {(each["decision"], each["reason"]) for each in abstained} == {("abstain", "below_threshold")}
    one = first["items"][0]
    (found,) = client.get(f"{AT}/log", params={"id": one["id"]}).json()["items"]
    assert (found["id"], found["confidence"]) == (one["id"], one["confidence"])
    assert client.get(f"{AT}/log", params={"id": "unknown"}).json() == {"items": [], "cursor": None}
    for wrong in ({"decision": "maybe"}, {"reason": "x"}, {"id": "x" * 300}):
        assert client.get(f"{AT}/log", params=wrong).status_code == 400
    assert client.get(f"{AT}/log", headers={"authorization": ""}).status_code == 401
