"""Answers of an upstream that misbehaves, and how long they keep the loop of the proxy before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from proxy.server.json_budget import ANSWER_OTHERS
from tests.benchmarks.loop_watch import status, tried, watched
from tests.fakes import FakeUpstream, raw, stream
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.benchmarks.loop_watch import Kept

#: Of one answer; the default bound is above.
MOST: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Form:
    """An answer of one format around the JSON text of its list of ``parts``, and one part around a text.

    ``tokens`` puts the JSON of tokens and their logprobs into a part; None where the format has none. ``begin`` and
    ``end`` stand around the events of a stream.
    """

    whole: Callable[[str], str]
    part: Callable[[str], str]
    tokens: Callable[[str], str] | None
    token: str
    event: Callable[[str], bytes]
    begin: bytes
    end: bytes


def _envelope(name: str, parts: str, **fields: Any) -> str:
    return f'{{"id":"x","model":"m",{json.dumps(fields)[1:-1]},"{name}":[{parts}]}}'


def _chat_part(text: str, more: str = "") -> str:
    return f'{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"{text}"}}{more}}}'


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


_DONE: Final = _event("[DONE]")
_TOKEN: Final = '{"token":"x","logprob":-0.1,"bytes":[120],"top_logprobs":[]}'
FORMS: Final[Mapping[str, Form]] = {
    "chat": Form(
        whole=lambda parts: _envelope("choices", parts, object="chat.completion"),
        part=_chat_part,
        tokens=lambda tokens: _chat_part("x", f',"logprobs":{{"content":[{tokens}]}}'),
        token=_TOKEN,
        event=lambda text: _event(
            '{"id":"x","choices":[{"index":0,"delta":{"content":"' + text + '"},'
            '"logprobs":{"content":[' + _TOKEN + "]}}]}"
        ),
        begin=b"",
        end=_event('{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}') + _DONE,
    ),
    "completions": Form(
        whole=lambda parts: _envelope("choices", parts, object="text_completion"),
        part=lambda text: f'{{"index":0,"finish_reason":"stop","text":"{text}"}}',
        tokens=lambda numbers: (
            f'{{"index":0,"finish_reason":"stop","text":"x","logprobs":{{"token_logprobs":[{numbers}],'
            f'"tokens":[{numbers.replace("-0.1", chr(34) + "x" + chr(34))}]}}}}'
        ),
        token="-0.1",
        event=lambda text: _event(
            '{"id":"x","choices":[{"index":0,"text":"' + text + '","logprobs":{"token_logprobs":[-0.1],'
            '"tokens":["' + text + '"]}}]}'
        ),
        begin=b"",
        end=_event('{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}') + _DONE,
    ),
    "responses": Form(
        whole=lambda parts: _envelope("output", parts, object="response", status="completed"),
        part=lambda text: (
            '{"type":"message","id":"m","status":"completed","role":"assistant","content":'
            f'[{{"type":"output_text","annotations":[],"text":"{text}"}}]}}'
        ),
        tokens=lambda tokens: (
            '{"type":"message","id":"m","status":"completed","role":"assistant","content":'
            f'[{{"type":"output_text","annotations":[],"text":"x","logprobs":[{tokens}]}}]}}'
        ),
        token=_TOKEN,
        event=lambda text: _event(
            '{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"'
            + text
            + '","logprobs":['
            + _TOKEN
            + "]}"
        ),
        begin=_event('{"type":"response.created","response":{"id":"x","model":"m","output":[]}}'),
        end=_event(
            '{"type":"response.completed","response":{"id":"x","model":"m","status":"completed","output":[]}}'
        ),
    ),
    "messages": Form(
        whole=lambda parts: _envelope(
            "content", parts, type="message", role="assistant", stop_reason="end_turn"
        ),
        part=lambda text: f'{{"type":"text","text":"{text}"}}',
        tokens=None,
        token="",
        event=lambda text: _event(
            '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"' + text + '"}}'
        ),
        begin=_event(
            '{"type":"message_start","message":{"id":"x","model":"m","role":"assistant","content":[]}}'
        )
        + _event('{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'),
        end=_event('{"type":"content_block_stop","index":0}')
        + _event('{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}')
        + _event('{"type":"message_stop"}'),
    ),
}


def _repeated(item: str, most: int = MOST - 2_000) -> str:
    return ",".join([item] * (most // (len(item) + 1)))


def _beside(form: Form, field: str) -> bytes:
    """Return an ordinary answer with one more field."""
    return f"{form.whole(form.part('x'))[:-1]},{field}}}".encode()


def _keys(n: int) -> str:
    return "{" + ",".join(f'"{number}":1' for number in range(n)) + "}"


def _tokens(form: Form, token: str | None = None, most: int = MOST - 2_000) -> bytes | None:
    return (
        None
        if form.tokens is None
        else form.whole(form.tokens(_repeated(token or form.token, most))).encode()
    )


def _no_number(form: Form) -> str:
    return form.token.replace("-0.1", "-Infinity")


def _most(item: str) -> int:
    """Return the bytes of as many items as the limit allows, with commas."""
    each = max(item.count('"') // 2, 4 * item.count("{"), 2)
    return (199_000 // each) * (len(item) + 1)


def _tool_calls(form: Form, n: int) -> bytes | None:
    calls = ",".join(['{"id":1}'] * n)
    part = _chat_part("x").replace('"content":"x"', f'"tool_calls":[{calls}]')
    return form.whole(part).encode() if form is FORMS["chat"] else None


def _alternatives(form: Form) -> bytes | None:
    if form.token != _TOKEN:
        return None
    tops = _repeated('{"token":"x","logprob":-0.1,"bytes":[120]}', 900)
    return _tokens(form, _TOKEN.replace("[]", f"[{tops}]"))


#: Whole answers; None where the format has no such thing.
WHOLE: Final[Mapping[str, Callable[[Form], bytes | None]]] = {
    "a text of 20 MB": lambda form: form.whole(form.part("x" * (MOST - 2_000))).encode(),
    "a text of escapes": lambda form: form.whole(form.part(r"\n" * (MOST // 2 - 2_000))).encode(),
    "a text in UTF-8": lambda form: form.whole(form.part("д" * (MOST // 2 - 2_000))).encode(),
    "parts without number": lambda form: form.whole(_repeated(form.part("x"))).encode(),
    "empty parts": lambda form: form.whole(_repeated("{}")).encode(),
    "tokens without number": _tokens,
    "tokens with twenty alternatives each": _alternatives,
    "tokens of which none is a number": lambda form: _tokens(form, _no_number(form)),
    "a million keys": lambda form: _beside(form, f'"x":{_keys(1_300_000)}'),
    "an id of a million keys": lambda form: _beside(form, f'"id":{_keys(1_300_000)}'),
    "numbers": lambda form: _beside(form, f'"x":[{_repeated("1")}]'),
    "objects": lambda form: _beside(form, f'"x":[{_repeated("{}")}]'),
    "tool calls without number": lambda form: _tool_calls(form, 2_000_000),
    "lists in lists": lambda form: _beside(form, '"x":' + "[" * 5_000_000 + "]" * 5_000_000),
    "no JSON": lambda form: b"x" * MOST,
    # As many as may be, by ``proxy.server.json_budget``.
    "the most escapes": lambda form: form.whole(form.part(r"\n" * 1_590_000 + "x" * 16_000_000)).encode(),
    "the most parts": lambda form: form.whole(_repeated(form.part("x"), _most(form.part("x")))).encode(),
    "the most tokens": lambda form: _tokens(form, most=_most(form.token)),
    "the most tokens, none a number": lambda form: _tokens(form, _no_number(form), _most(_no_number(form))),
    "the most text in UTF-8": lambda form: form.whole(form.part("д" * 7_990_000)).encode(),
    "the most keys": lambda form: _beside(form, f'"x":{_keys(199_000)}'),
    "an id of the most keys": lambda form: _beside(form, f'"id":{_keys(199_000)}'),
    "an id of the most objects": lambda form: _beside(form, f'"id":[{",".join(["{}"] * 49_900)}]'),
    "an id of the most numbers": lambda form: _beside(
        form, f'"id":[{",".join(["1"] * (ANSWER_OTHERS * 200_000 - 10_000))}]'
    ),
    "the most tool calls": lambda form: _tool_calls(form, 49_900),
}
#: Streams, in the pieces in which they are sent.
STREAMED: Final[Mapping[str, Callable[[Form], list[bytes]]]] = {
    "100,000 events at once": lambda form: [form.begin + form.event("x") * 100_000 + form.end],
    "an event of 20 MB": lambda form: [form.event("x" * MOST)],
    "events of 900 KB": lambda form: [form.event("x" * 900_000)] * 20,
    "events of 60,000 keys": lambda form: [_event(_keys(60_000))] * 20,
    "an event of 600,000 keys": lambda form: [_event(_keys(600_000))],
    "an event of the most keys": lambda form: [form.begin, _event(_keys(119_000)), form.end],
    "comments": lambda form: [form.begin + b":\n\n" * (MOST // 3 - 9) + form.end],
    "empty lines": lambda form: [form.begin + b"\n" * (MOST - 2_000) + form.end],
}


@dataclass(frozen=True, slots=True)
class Told:
    """What one answer did."""

    form: str
    streamed: bool
    name: str
    sent: int
    status: str
    kept: Kept


def run(forms: tuple[str, ...] = tuple(FORMS)) -> Iterator[Told]:
    """Send every answer in every format to a client of the same surface; chat answers to the other surfaces too."""
    with FakeUpstream() as upstream, watched(upstream.base_url) as url:
        for surface in forms:
            for model in ("direct", "translated") if surface in ("responses", "messages") else ("direct",):
                form = surface if model == "direct" else "chat"
                name = form if model == "direct" else f"chat, for {surface}"
                for told in _each(upstream, url, surface, model, FORMS[form]):
                    yield Told(name, *told)


def _each(
    upstream: FakeUpstream, url: str, surface: str, model: str, form: Form
) -> Iterator[tuple[bool, str, int, str, Kept]]:
    whole = ((False, name, make(form)) for name, make in WHOLE.items())
    streamed = ((True, name, make(form)) for name, make in STREAMED.items())
    for streams, name, made in (*whole, *streamed):
        if made is None:
            continue
        pieces = [made] if isinstance(made, bytes) else made
        prompt = upstream.script(stream(*pieces) if streams else raw(made))  # type: ignore[arg-type] # as streams says
        body = json.dumps({"model": model, "stream": streams, **DOORS[surface].asks(prompt)}).encode()
        told, kept = tried(url, partial(status, url + DOORS[surface].path, body))
        yield streams, name, sum(map(len, pieces)), told, kept
