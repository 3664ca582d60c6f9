"""When an upstream is asked again, and after how long."""

from __future__ import annotations

import email.utils
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exceptions import UpstreamCut, UpstreamStatus, UpstreamTimeout, UpstreamUnreachable
from proxy.upstreams.retry import Backoff, retry_after


@given(st.integers(0, 10), st.integers())
def test_waits_grow_with_full_jitter_and_are_as_many_as_the_retries(retries, seed):
    delays = list(Backoff(retries, 60.0, Random(seed)).delays())
    assert len(delays) == retries + 1
    assert delays[-1] is None
    for attempt, delay in enumerate(delays[:-1]):
        assert 0.0 <= delay <= min(0.5 * 2**attempt, 8.0)


def test_jitter_is_spread():
    delays = [next(Backoff(1, 60.0, random).delays()) for random in map(Random, range(200))]
    assert min(delays) < 0.05
    assert max(delays) > 0.45


PASSING = UpstreamStatus("busy", status=429)


@pytest.mark.parametrize(("delay", "error", "wait"), [
    (0.25, PASSING, 0.25), (0.25, UpstreamUnreachable("x"), 0.25), (None, PASSING, None),
    (0.25, UpstreamStatus("busy", status=429, retry_after_s=3.0), 3.0),
    (0.25, UpstreamStatus("busy", status=429, retry_after_s=0.0), 0.0),
    (0.25, UpstreamStatus("busy", status=429, retry_after_s=10.0), 10.0),
    (0.25, UpstreamStatus("busy", status=429, retry_after_s=10.1), None),
    (None, UpstreamStatus("busy", status=429, retry_after_s=3.0), None),
    (0.25, UpstreamStatus("no", status=400), None), (0.25, UpstreamStatus("no", status=401, retry_after_s=1.0), None),
    (0.25, UpstreamTimeout("slow"), None), (0.25, UpstreamCut("cut"), None),
])  # fmt: skip
def test_how_long_to_wait(delay, error, wait):
    assert Backoff(2, 10.0).wait(delay, error) == wait


@pytest.mark.parametrize(("headers", "seconds"), [
    ([], None), ([(b"retry-after", b"3")], 3.0), ([(b"retry-after", b"0")], 0.0), ([(b"retry-after", b"1.5")], 1.5),
    ([(b"retry-after-ms", b"250")], 0.25), ([(b"retry-after-ms", b"250"), (b"retry-after", b"9")], 0.25),
    ([(b"retry-after-ms", b"x"), (b"retry-after", b"9")], 9.0), ([(b"retry-after", b"-1")], None),
    ([(b"retry-after", b"nan")], None), ([(b"retry-after", b"inf")], None), ([(b"retry-after", b"soon")], None),
    ([(b"retry-after", b"")], None), ([(b"retry-after", b"\xff")], None),
    ([(b"retry-after", b"Fri, 31 Dec 1999 23:59:59 GMT")], 0.0),
])  # fmt: skip
def test_what_an_upstream_asks_for(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_to_come():
    date = email.utils.formatdate(time.time() + 100, usegmt=True).encode()
    assert 90 < retry_after([(b"retry-after", date)]) <= 100


@given(st.binary(max_size=30))
def test_any_header_is_seconds_or_nothing(value):
    seconds = retry_after([(b"retry-after", value)])
    assert seconds is None or 0 <= seconds < float("inf")
