"""The spellings with their values changed: nothing is released, and only broken framing or a missing choice fails.

Each value of an answer is replaced by values of every other type, removed, repeated or reordered, one at a time. A
fixed sample of the mutants of each file keeps this below a minute.
"""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import raw, stream
from tests.wire.spellings import FILES, PATHS, ROUTES, asked

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
ODD = (None, True, 0, -1, 1.5, "", "x", [], ["x"], [[]], {}, {"x": "y"})
#: The most mutants of one file.
MOST = 60


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from paths(item, (*at, key))


def mutants(value: Any) -> Iterator[Any]:
    """Yield the value with one change each."""
    for path in paths(value):
        for odd in ODD:
            yield changed(value, path, lambda parent, key, odd=odd: parent.__setitem__(key, odd))
        yield changed(value, path, lambda parent, key: parent.pop(key))
        yield changed(
            value, path, lambda parent, key: isinstance(parent, list) and parent.insert(key, parent[key])
        )
        yield changed(value, path, lambda parent, key: isinstance(parent, list) and parent.reverse())


def changed(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    """Return a copy of a value with a change at a path."""
    copy = json.loads(json.dumps(value))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return copy


def bodies(case: dict[str, Any]) -> list[bytes]:
    """Return a sample of the mutants of a case, as bytes of its upstream."""
    if "body" in case:
        found = [json.dumps(mutant).encode() for mutant in mutants(json.loads(case["body"]))]
    else:
        lines = [line.removeprefix("data:").strip() for line in case["stream"].splitlines()]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        found = [
            b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in mutant) + b"data: [DONE]\n\n"
            for mutant in mutants(events)
        ]
    return found if len(found) <= MOST else Random(0).sample(found, MOST)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("route", ["unsure", "observe"])
async def test_a_mutant(serving, upstream, name, route):
    case = CASES[name]
    answer = stream if "stream" in case else raw
    async with serving(ROUTES[route], upstream={"formats": [case["format"]]}) as proxy:
        for body in bodies(case):
            prompt = upstream.script(answer(body))
            reply = await proxy.ask(PATHS[case["format"]], asked(case, case["format"], prompt))
            if route == "unsure":
                assert b"Zan" not in reply.body, body
                assert b"zibar" not in reply.body, body
            if reply.status != 200:
                assert reply.status in (502, *range(400, 600)), body
                assert is_expected(case, body, reply.body), (body, reply.body)


def is_expected(case: dict[str, Any], body: bytes, got: bytes) -> bool:
    """Return whether a failure is one: no choice, more choices than asked for, a reported error, or no end."""
    known = (
        b"no choice",
        b"more choices",
        b"ended before",
        b"answered with an error",
        b"failed in",
        b"response is",
    )
    return any(word in got for word in known) or b'"error"' in body or b'"failed"' in body
