"""An upstream that fails again and again is left alone, and tried again one request at a time."""

from __future__ import annotations

import pytest

from proxy.exceptions import UpstreamBusy, UpstreamStatus, UpstreamTimeout, UpstreamUnreachable
from proxy.upstreams.breaker import Breaker, UpstreamOpen

FAILURES = [UpstreamUnreachable("x"), UpstreamTimeout("x"), UpstreamStatus("x", status=503)]
REFUSALS = [UpstreamStatus("x", status=status) for status in (400, 401, 404, 429)]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def opened(failures=3, open_s=10.0):
    clock = Clock()
    breaker = Breaker(failures, open_s, clock)
    for _ in range(failures):
        breaker.enter()
        breaker.failed(FAILURES[0])
    return breaker, clock


@pytest.mark.parametrize("failure", FAILURES)
def test_failures_in_a_row_open_it(failure):
    breaker = Breaker(3, 10.0, Clock())
    for _ in range(3):
        assert not breaker.is_open
        breaker.enter()
        breaker.failed(failure)
    assert breaker.is_open
    with pytest.raises(UpstreamOpen) as refused:
        breaker.enter()
    assert (refused.value.http_status, refused.value.retry_after_s) == (503, 10.0)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_request_is_no_failure_and_ends_a_row(refusal):
    breaker = Breaker(2, 10.0, Clock())
    for failure in [FAILURES[0], refusal, FAILURES[0], refusal]:
        breaker.enter()
        breaker.failed(failure)
    assert not breaker.is_open


def test_waiting_for_a_connection_is_no_failure():
    breaker = Breaker(2, 10.0, Clock())
    for _ in range(3):
        breaker.enter()
        breaker.failed(UpstreamBusy("x"))
    assert not breaker.is_open
    for failure in [FAILURES[0], UpstreamBusy("x"), FAILURES[0]]:
        breaker.enter()
        breaker.failed(failure)
    assert breaker.is_open  # nor does it end a row


def test_a_trial_that_found_no_connection_lets_another_try():
    breaker, clock = opened()
    clock.now = 10.0
    breaker.enter()
    breaker.failed(UpstreamBusy("x"))
    breaker.enter()


def test_an_answer_ends_a_row():
    breaker = Breaker(2, 10.0, Clock())
    for _ in range(3):
        breaker.failed(FAILURES[0])
        breaker.succeeded()
    assert not breaker.is_open


def test_after_its_time_one_request_tries_and_its_answer_closes_it():
    breaker, clock = opened()
    clock.now = 10.0
    breaker.enter()
    with pytest.raises(UpstreamOpen):
        breaker.enter()
    breaker.succeeded()
    breaker.enter()
    breaker.enter()


def test_a_failed_try_opens_it_anew():
    breaker, clock = opened()
    clock.now = 10.0
    breaker.enter()
    breaker.failed(FAILURES[1])
    clock.now = 19.9
    with pytest.raises(UpstreamOpen):
        breaker.enter()
    clock.now = 20.0
    breaker.enter()


def test_a_try_that_was_given_up_lets_another_try():
    breaker, clock = opened()
    clock.now = 10.0
    breaker.enter()
    breaker.cancelled()
    breaker.enter()


def test_none_opens_without_a_limit():
    breaker = Breaker(0, 10.0, Clock())
    for _ in range(1_000):
        breaker.enter()
        breaker.failed(FAILURES[0])
    assert not breaker.is_open
