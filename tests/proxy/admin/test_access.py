"""Access to the admin page: sessions, the key, and the limit on wrong keys."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from proxy.admin.access import COOKIE, MAX_FAILURES, SESSION_S, AdminAccess
from proxy.exceptions import Forbidden, HttpError, NotFound, Unauthorized


def request(address: str = "10.0.0.1", **headers: str) -> Request:
    given = {"host": "idk:8080", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/admin", "query_string": b"", "client": (address, 1),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    return Request(scope)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_is_known_to_every_worker_until_it_ends():
    clock = Clock()
    word = AdminAccess("key", "IDK_ADMIN_KEY", clock).log_in("key", request())
    other = AdminAccess("key", "IDK_ADMIN_KEY", clock)
    other.authorize(request(cookie=f"{COOKIE}={word}"))
    clock.now += SESSION_S + 1
    with pytest.raises(Unauthorized):
        other.authorize(request(cookie=f"{COOKIE}={word}"))


@pytest.mark.parametrize("word", ["", "x", "..", "x.aaaaaa.{}", "é.aaaaaa.00"])
def test_no_other_word_opens_it(word):
    access = AdminAccess("key", "IDK_ADMIN_KEY")
    known = access.log_in("key", request())
    with pytest.raises(Unauthorized):
        access.authorize(request(cookie=f"{COOKIE}={word.format(known.rpartition('.')[2])}"))
    with pytest.raises(Unauthorized):
        AdminAccess("another", "IDK_ADMIN_KEY").authorize(request(cookie=f"{COOKIE}={known}"))


def test_the_key_itself_opens_it_as_a_bearer_token():
    access = AdminAccess("key", "IDK_ADMIN_KEY")
    access.authorize(request(authorization="Bearer key"))
    with pytest.raises(Unauthorized):
        access.authorize(request(authorization="Bearer other"))
    with pytest.raises(Unauthorized):
        access.authorize(request())


def test_an_address_that_guesses_must_wait_and_others_need_not():
    clock, wall = Clock(), Clock()
    access = AdminAccess("key", "IDK_ADMIN_KEY", wall, clock)
    word = access.log_in("key", request())
    for _ in range(MAX_FAILURES):
        with pytest.raises(Unauthorized):
            access.log_in("guess", request())
    with pytest.raises(HttpError) as refused:
        access.log_in("key", request())  # even the right one: else the answer would tell
    assert refused.value.http_status == 429
    assert refused.value.retry_after_s == pytest.approx(60.0)
    wall.now += 3_600  # the machine's clock is set
    with pytest.raises(HttpError):
        access.log_in("key", request())
    wall.now -= 3_600
    access.authorize(request(cookie=f"{COOKIE}={word}"))
    access.log_in("key", request("10.0.0.2"))
    clock.now += 61
    access.log_in("key", request())


def test_many_addresses_take_bounded_room():
    access = AdminAccess("key", "IDK_ADMIN_KEY")
    for number in range(5_000):
        with pytest.raises(Unauthorized):
            access.check_key("guess", f"10.0.{number // 256}.{number % 256}")
    assert len(access._failures) <= 4_096


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_other_sites_may_not_ask(headers):
    access = AdminAccess("key", "IDK_ADMIN_KEY")
    word = access.log_in("key", request(origin="http://idk:8080", sec_fetch_site="same-origin"))
    with pytest.raises(Forbidden):
        access.authorize(request(cookie=f"{COOKIE}={word}", **headers))


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_it_is_off(key):
    access = AdminAccess(key, "MY_KEY")
    with pytest.raises(NotFound, match="MY_KEY"):
        access.authorize(request(authorization="Bearer "))
    with pytest.raises(NotFound):
        access.log_in("", request())
