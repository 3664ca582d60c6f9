"""Access to the admin page: sessions, the key, and the limit on wrong keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from proxy.admin.access import COOKIE, MAX_FAILURES, SESSION_S, AdminAccess, check_admin_key
from proxy.exceptions import ConfigError, Forbidden, HttpError, NotFound, StoreError, Unauthorized
from proxy.metrics import Metrics
from proxy.server.forwarded import TrustedProxies
from proxy.storage import Sealer, make_store
from proxy.storage.link import StoreLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEY = "the key of the admins"


def request(address: str = "10.0.0.1", **headers: str) -> Request:
    given = {"host": "idk:8080", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/admin", "query_string": b"", "client": (address, 1),
        "scheme": "http", "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    return Request(scope)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[StoreLink]:
    made = StoreLink(make_store("sqlite:///idk.db", tmp_path, Sealer()), Metrics())
    yield made
    await made.aclose()


def access(link: StoreLink | None = None, **given: Any) -> AdminAccess:
    return AdminAccess(KEY, "IDK_ADMIN_KEY", link, **given)


async def test_a_session_is_valid_on_every_worker_until_it_expires(link: StoreLink) -> None:
    clock = Clock()
    token = await access(link, clock=clock).log_in(KEY, request())
    other = access(link, clock=clock)
    await other.authorize(request(cookie=f"{COOKIE}={token}"))
    clock.now += SESSION_S + 1
    with pytest.raises(Unauthorized):
        await other.authorize(request(cookie=f"{COOKIE}={token}"))


async def test_logging_out_ends_the_session_on_every_worker(link: StoreLink) -> None:
    one, other = access(link), access(link)
    token, second = await one.log_in(KEY, request()), await one.log_in(KEY, request())
    await one.log_out(request(cookie=f"{COOKIE}={token}"))
    for each in (one, other):
        with pytest.raises(Unauthorized):
            await each.authorize(request(cookie=f"{COOKIE}={token}"))
        await each.authorize(request(cookie=f"{COOKIE}={second}"))
    await one.log_out(request(cookie=f"{COOKIE}=forged"))  # ends nothing


async def test_a_session_is_refused_while_the_store_cannot_say_that_it_has_not_ended(
    link: StoreLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = access(link)
    token = await guard.log_in(KEY, request())

    async def fails(*_: object) -> bool:
        raise StoreError("down")

    monkeypatch.setattr(link.store, "session_ended", fails)
    with pytest.raises(StoreError):
        await guard.authorize(request(cookie=f"{COOKIE}={token}"))


@pytest.mark.parametrize("token", ["", "x", "..", "x.aaaaaa.{}", "é.aaaaaa.00"])
async def test_no_other_token_is_a_session(token: str) -> None:
    guard = access()
    known = await guard.log_in(KEY, request())
    with pytest.raises(Unauthorized):
        await guard.authorize(request(cookie=f"{COOKIE}={token.format(known.rpartition('.')[2])}"))
    with pytest.raises(Unauthorized):
        await AdminAccess("another key of theirs", "IDK_ADMIN_KEY").authorize(
            request(cookie=f"{COOKIE}={known}")
        )


async def test_the_key_is_accepted_as_a_bearer_token() -> None:
    guard = access()
    await guard.authorize(request(authorization=f"Bearer {KEY}"))
    with pytest.raises(Unauthorized):
        await guard.authorize(request(authorization="Bearer other"))
    with pytest.raises(Unauthorized):
        await guard.authorize(request())


async def test_an_address_that_guesses_must_wait_and_the_right_key_always_opens() -> None:
    clock, wall = Clock(), Clock()
    guard = access(clock=wall, steady=clock)
    for _ in range(MAX_FAILURES):
        with pytest.raises(Unauthorized):
            await guard.log_in("guess", request())
    with pytest.raises(HttpError) as refused:
        await guard.log_in("guess", request())
    assert refused.value.http_status == 429
    assert refused.value.retry_after_s == pytest.approx(60.0)
    await guard.log_in(KEY, request())  # the same address, behind which there may be many people
    wall.now += 3_600  # the machine's clock is set
    with pytest.raises(HttpError) as refused:
        await guard.log_in("guess", request())
    assert refused.value.http_status == 429
    with pytest.raises(Unauthorized):
        await guard.log_in("guess", request("10.0.0.2"))
    clock.now += 61
    with pytest.raises(Unauthorized):
        await guard.log_in("guess", request())


async def test_wrong_keys_are_counted_over_all_workers(link: StoreLink) -> None:
    workers = [access(link) for _ in range(3)]
    statuses = []
    for n in range(MAX_FAILURES + 2):
        with pytest.raises(HttpError) as refused:
            await workers[n % 3].log_in("guess", request())
        statuses.append(refused.value.http_status)
    assert statuses == [401] * MAX_FAILURES + [429] * 2
    await workers[0].log_in(KEY, request())


async def test_one_ipv6_network_is_one_address() -> None:
    guard = access()
    for n in range(MAX_FAILURES):
        with pytest.raises(Unauthorized):
            await guard.log_in("guess", request(f"2001:db8::{n + 1}"))
    with pytest.raises(HttpError) as refused:
        await guard.log_in("guess", request("2001:db8::ffff"))
    assert refused.value.http_status == 429


async def test_failures_are_counted_by_the_clients_address_behind_a_trusted_proxy() -> None:
    guard = access(proxies=TrustedProxies(["10.0.0.0/8"]))
    for _ in range(MAX_FAILURES):
        with pytest.raises(Unauthorized):
            await guard.log_in("guess", request(x_forwarded_for="192.0.2.1"))
    with pytest.raises(HttpError) as refused:
        await guard.log_in("guess", request(x_forwarded_for="192.0.2.1"))
    assert refused.value.http_status == 429
    with pytest.raises(Unauthorized):
        await guard.log_in("guess", request(x_forwarded_for="192.0.2.2"))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
async def test_other_sites_may_not_ask(headers: dict[str, str]) -> None:
    guard = access()
    token = await guard.log_in(KEY, request(origin="http://idk:8080", sec_fetch_site="same-origin"))
    with pytest.raises(Forbidden):
        await guard.authorize(request(cookie=f"{COOKIE}={token}", **headers))


@pytest.mark.parametrize("key", [None, ""])
async def test_without_a_key_the_page_is_off(key: str | None) -> None:
    guard = AdminAccess(key, "MY_KEY")
    with pytest.raises(NotFound, match="MY_KEY"):
        await guard.authorize(request(authorization="Bearer "))
    with pytest.raises(NotFound):
        await guard.log_in("", request())


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="IDK_ADMIN_KEY holds fewer than 16 characters"):
        check_admin_key("fifteen letters", "IDK_ADMIN_KEY")
    for key in (None, "", "sixteen letters!"):
        check_admin_key(key, "IDK_ADMIN_KEY")
