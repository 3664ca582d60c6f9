"""Who is let in, for how long, and how often one may guess."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from proxy.admin.guard import COOKIE, FAILURES, SESSION_S, Guard
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
    word = Guard("key", "IDK_ADMIN_KEY", clock).log_in("key", request())
    other = Guard("key", "IDK_ADMIN_KEY", clock)
    other.check(request(cookie=f"{COOKIE}={word}"))
    clock.now += SESSION_S + 1
    with pytest.raises(Unauthorized):
        other.check(request(cookie=f"{COOKIE}={word}"))


@pytest.mark.parametrize("word", ["", "x", "..", "9999999999.00.{}", "9999999999.é.00"])
def test_no_other_word_opens_it(word):
    guard = Guard("key", "IDK_ADMIN_KEY")
    known = guard.log_in("key", request())
    with pytest.raises(Unauthorized):
        guard.check(request(cookie=f"{COOKIE}={word.format(known.rpartition('.')[2])}"))
    with pytest.raises(Unauthorized):
        Guard("another", "IDK_ADMIN_KEY").check(request(cookie=f"{COOKIE}={known}"))


def test_the_key_itself_opens_it_as_a_bearer_token():
    guard = Guard("key", "IDK_ADMIN_KEY")
    guard.check(request(authorization="Bearer key"))
    with pytest.raises(Unauthorized):
        guard.check(request(authorization="Bearer other"))
    with pytest.raises(Unauthorized):
        guard.check(request())


def test_an_address_that_guesses_must_wait_and_others_need_not():
    clock, wall = Clock(), Clock()
    guard = Guard("key", "IDK_ADMIN_KEY", wall, clock)
    word = guard.log_in("key", request())
    for _ in range(FAILURES):
        with pytest.raises(Unauthorized):
            guard.log_in("guess", request())
    with pytest.raises(HttpError) as refused:
        guard.log_in("key", request())  # even the right one: else the answer would tell
    assert refused.value.http_status == 429
    assert refused.value.retry_after_s == pytest.approx(60.0)
    wall.now += 3_600  # the machine's clock is set
    with pytest.raises(HttpError):
        guard.log_in("key", request())
    wall.now -= 3_600
    guard.check(request(cookie=f"{COOKIE}={word}"))
    guard.log_in("key", request("10.0.0.2"))
    clock.now += 61
    guard.log_in("key", request())


def test_many_addresses_take_bounded_room():
    guard = Guard("key", "IDK_ADMIN_KEY")
    for number in range(5_000):
        with pytest.raises(Unauthorized):
            guard.open("guess", f"10.0.{number // 256}.{number % 256}")
    assert len(guard._failures) <= 4_096


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
    guard = Guard("key", "IDK_ADMIN_KEY")
    word = guard.log_in("key", request(origin="http://idk:8080", sec_fetch_site="same-origin"))
    with pytest.raises(Forbidden):
        guard.check(request(cookie=f"{COOKIE}={word}", **headers))


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_it_is_off(key):
    guard = Guard(key, "MY_KEY")
    with pytest.raises(NotFound, match="MY_KEY"):
        guard.check(request(authorization="Bearer "))
    with pytest.raises(NotFound):
        guard.log_in("", request())
