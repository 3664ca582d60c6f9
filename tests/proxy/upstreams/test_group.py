"""Groups of upstreams: the order, the weights, which errors lead to the next member, and the answering member."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from proxy.exceptions import UpstreamBusy, UpstreamCut, UpstreamStatus, UpstreamTimeout, UpstreamUnreachable
from proxy.metrics import Metrics
from proxy.upstreams.breaker import UpstreamOpen
from proxy.upstreams.group import make_group


class Whole:
    """A response of a member's transport."""

    status = 200
    headers = ((b"x-ratelimit-remaining", b"7"),)

    def __init__(self, text):
        self.text = text
        self.closed = False

    async def read(self, limit):
        return self.text[:limit]

    async def chunks(self):
        yield self.text

    async def pour(self, sink):
        sink(self.text)

    def close(self):
        self.closed = True


class Scripted:
    """A member with a fixed outcome; ``asked`` holds the credentials of its calls."""

    def __init__(self, name, outcome=None, *, gives_logprobs=True, forwards=False):
        self.name = name
        self.outcome = outcome
        self.gives_logprobs = gives_logprobs
        self.forwards_credentials = forwards
        self.asked = []

    async def post(self, path, body, credentials, *, fresh=False):
        self.asked.append(credentials)
        if self.outcome is not None:
            raise self.outcome
        return Whole(self.name.encode())

    async def relay(self, method, path, headers, body, credentials):
        return Whole(b"relayed by " + self.name.encode())

    def redact(self, text):
        return text.replace(self.name, "*")


def group(*clients, given=None, seed=0):
    metrics = Metrics()
    names = [client.name for client in clients]
    made = make_group(
        "main",
        given or names,
        dict(zip(names, clients, strict=True)),
        {n: metrics.upstream(n) for n in names},
    )
    made.random = Random(seed)
    return made, metrics


def failures(metrics, upstream, kind):
    return metrics.registry.get_sample_value(
        "idk_upstream_errors_total", {"upstream": upstream, "kind": kind}
    )


async def ask(asked):
    response = await asked.post("/chat/completions", b"{}", b"Bearer mine")
    try:
        return response.upstream, await response.read(100)
    finally:
        response.close()


async def test_the_first_answers_and_the_others_are_not_asked():
    first, second = Scripted("a"), Scripted("b")
    asked, _ = group(first, second)
    assert await ask(asked) == ("a", b"a")
    assert second.asked == []


@pytest.mark.parametrize("error", [
    UpstreamUnreachable("x"), UpstreamTimeout("x"), UpstreamBusy("x"), UpstreamOpen("x"),
    UpstreamStatus("x", status=429),
    UpstreamStatus("x", status=500), UpstreamStatus("x", status=501),
])  # fmt: skip
async def test_where_one_fails_the_next_is_asked_and_the_failure_counted(error):
    asked, metrics = group(Scripted("a", error), Scripted("b"))
    assert await ask(asked) == ("b", b"b")
    assert failures(metrics, "a", error.kind) == 1


@pytest.mark.parametrize("error", [
    UpstreamStatus("x", status=400), UpstreamStatus("x", status=401), UpstreamCut("generated, and lost"),
])  # fmt: skip
async def test_an_error_that_another_member_cannot_fix_is_returned(error):
    second = Scripted("b")
    asked, _ = group(Scripted("a", error), second)
    with pytest.raises(type(error)):
        await ask(asked)
    assert second.asked == []


async def test_the_last_ones_failure_is_the_answer():
    asked, _ = group(
        Scripted("a", UpstreamUnreachable("a is down")), Scripted("b", UpstreamTimeout("b is slow"))
    )
    with pytest.raises(UpstreamTimeout, match="b is slow"):
        await ask(asked)


async def test_weights_draw_the_first():
    asked, _ = group(
        Scripted("a"), Scripted("b"), Scripted("spare"), given={"a": 3.0, "b": 1.0, "spare": 0.0}
    )
    drawn = Counter([(await ask(asked))[0] for _ in range(2_000)])
    # 1,500 expected; five standard deviations of a binomial are 97.
    assert abs(drawn["a"] - 1_500) < 97
    assert drawn["spare"] == 0


async def test_one_of_weight_0_is_asked_when_all_others_failed():
    down = UpstreamUnreachable("x")
    asked, _ = group(
        Scripted("spare"), Scripted("a", down), Scripted("b", down), given={"spare": 0.0, "a": 1.0, "b": 1.0}
    )
    assert await ask(asked) == ("spare", b"spare")


async def test_an_answer_is_the_members_own():
    asked, _ = group(Scripted("a"))
    response = await asked.post("/x", b"", None)
    assert (response.status, response.headers) == (200, Whole.headers)
    assert [piece async for piece in response.chunks()] == [b"a"]
    response.close()
    assert response._response.closed


async def test_what_is_passed_through_goes_to_the_first():
    asked, _ = group(Scripted("a"), Scripted("b"))
    response = await asked.relay("GET", "/models", (), b"", None)
    assert await response.read(100) == b"relayed by a"
    await asked.aclose()


def test_what_it_can_is_what_any_can():
    asked, _ = group(Scripted("a", gives_logprobs=False), Scripted("b", forwards=True))
    assert asked.gives_logprobs
    assert asked.forwards_credentials
    assert not group(Scripted("a", gives_logprobs=False))[0].gives_logprobs
    assert asked.redact("a or b") == "* or *"
