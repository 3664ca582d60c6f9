"""What is fuzzed: how inputs are made, and what must hold of each of them.

Of every input there is a result, or an error that the project defines (one line where a person reads it); no other
exception; and no answer passes a gate by evidence that is missing, misplaced or no number.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import yaml
from hypothesis import strategies as st

from calibrators import CALIBRATORS
from gating import SCORERS, Certificate, Gate, Policy
from gating.combine import Single
from gating.gate import Uncalibrated
from gating.risk import upper_bound
from gating.types import Evidence, GatingError
from proxy.app import build
from proxy.config import parse
from proxy.control.policies import load_policy
from proxy.exceptions import ConfigError, HttpError, UpstreamGarbage
from proxy.gateway.passthrough import _Upload, form_model
from proxy.records import Answer, Question, Record, graded, lines
from proxy.surfaces import OVER_CHAT, SURFACES, sse
from proxy.surfaces.contract import Ask
from tests.fuzz.making import ANY, as_json, cut, nearly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from proxy.surfaces.contract import Choice, Surface


@dataclass(frozen=True, slots=True)
class Target:
    """Inputs, as bytes, and what checks one."""

    inputs: st.SearchStrategy[bytes]
    check: Callable[[bytes], None]


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="idk-fuzz-"))


def _file(content: bytes) -> Path:
    path = _folder() / "input"
    path.write_bytes(content)
    return path


def _one_line(exc: Exception) -> None:
    assert str(exc)
    assert "\n" not in str(exc), str(exc)


# idk.yaml

_CONFIG: Final = {
    "server": {"host": "127.0.0.1", "port": 8080, "retention": {"days": 3, "decisions": 10}, "cors_origins": ["*"]},
    "keys": [{"name": "app", "sha256": "0" * 64, "routes": ["a"], "tokens_per_minute": 5}],
    "upstreams": {
        "u": {"base_url": "http://127.0.0.1:9/v1", "formats": ["chat"], "breaker": {"failures": 3, "open_s": 1}},
        "v": {"base_url": "https://h.example/v1", "auth": "forward"},
        "both": {"of": ["u", "v"]},
        "drawn": {"of": {"u": 1, "v": 0.5}},
    },
    "routes": [
        {
            "name": "a", "models": ["gpt*"], "upstream": "u", "mode": "enforce", "scorers": ["mean_logprob"],
            "score_threshold": -0.5, "params": {"temperature": 0}, "on_low": "escalate", "escalate_to": "b",
            "budget": {"samples": 2, "timeout_s": 1}, "sampling": {"temperature": 1.0, "wait": "band"},
        },
        {
            "name": "b", "models": ["*"], "upstream": "both", "mode": "enforce", "scorers": ["agreement"],
            "samples": 3,
            "score_threshold": 0.5,
            "rag": {"context": "(?s)<c>(.*?)</c>", "rescue": True, "template": "{context} {question}"},
            "embeddings": {"upstream": "u", "model": "e"},
        },
    ],
}  # fmt: skip
_YAML: Final = st.one_of(
    nearly(_CONFIG, 4).map(
        lambda tree: yaml.safe_dump(_plain(tree), allow_unicode=True).encode("utf-8", "replace")
    ),
    nearly(_CONFIG, 4).map(as_json),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.text(alphabet="{}[]:,-&*!|>'\"%@`#?\n \tab01.~", max_size=60).map(str.encode),
)


def _plain(value: Any) -> Any:
    """Return the value without numbers that no YAML writer accepts."""
    return json.loads(json.dumps(value))


def check_config(content: bytes) -> None:
    """Parsed and built, or refused in one line."""
    try:
        config = parse(content.decode("utf-8", "replace"), "idk.yaml")
        if any(upstream.litellm for upstream in config.upstreams.values()):
            return  # LiteLLM's import takes seconds
        parts = build(config, folder=_folder(), environ={})
    except ConfigError as exc:
        _one_line(exc)
        return
    asyncio.run(parts.aclose())
    for route in parts.routes.routes:
        if route.gate is not None and route.holds:
            _gates_nothing_bad(route.gate)


# Evidence and gates

_BAD: Final = [
    Evidence("Paris"),
    Evidence("Paris", token_logprobs=[]),
    Evidence("Paris", token_logprobs=[math.nan], top_logprobs=[[math.nan]]),
    Evidence("Paris", token_logprobs=[-0.1, math.nan], top_logprobs=[[-0.1], [math.nan]]),
    Evidence("Paris", token_logprobs=[None], top_logprobs=[[None]]),  # type: ignore[list-item] # as upstreams have it
    Evidence("Paris", token_logprobs=[0.5], top_logprobs=[[0.5]]),
    Evidence("Paris", token_logprobs=[math.inf], top_logprobs=[[math.inf]]),
    Evidence("Paris", features={"x": math.nan}, p_true=math.nan, verbalised=math.nan),
    Evidence("", token_logprobs=[-0.1]),
]
_FROM_LOGPROBS: Final = [
    name for name, scorer in SCORERS.items() if scorer.needs and scorer.needs <= {"logprobs", "top_logprobs"}
]


def _gates_nothing_bad(gate: Gate) -> None:
    for evidence in _BAD:
        decision = gate.decide(evidence)
        assert not decision.served or gate.on_unmeasured == "answer" or not evidence.answer, (gate, evidence)
        _sound(decision)


def _sound(decision: Any) -> None:
    for value in (decision.confidence, decision.threshold):
        assert value is None or 0.0 <= value <= 1.0, decision
    assert decision.score is None or not math.isnan(decision.score), decision
    if decision.reason == "confident" and decision.threshold is not None:
        assert decision.confidence >= decision.threshold


# policy.json


@cache
def _policies() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    scores = rng.uniform(-4, 4, size=60)
    correct = (rng.random(60) < 1 / (1 + np.exp(-scores))).astype(float)
    made = []
    for calibrator in CALIBRATORS.values():
        certificate = Certificate(0.2, 0.1, errors=1, answered=40, total=60, bound=upper_bound(1, 40, 0.1))
        policy = Policy(
            "p", Single(SCORERS["mean_logprob"]), calibrator().fit(scores, correct), threshold=0.8,
            certificate=certificate, fingerprint={"model": "m", "temperature": 0.0}, fitted_on={"fit": 60},
        )  # fmt: skip
        made.append(json.loads(json.dumps(policy.to_dict())))
    return made


_POLICY: Final = st.deferred(
    lambda: st.sampled_from(_policies()).flatmap(lambda base: nearly(base, 3)).map(as_json)
)


def check_policy(content: bytes) -> None:
    """Loaded, saved the same, and a gate by it says nothing of what it cannot measure; or refused in one line."""
    try:
        policy = load_policy(_file(content), "--policy")
        gate = Gate(policy)
    except (ConfigError, GatingError) as exc:
        _one_line(exc)
        return
    if policy.certificate is not None:
        own = policy.certificate
        assert own.bound * (1 + 1e-6) >= upper_bound(own.errors, own.answered, own.delta)
        assert own.bound <= own.target_risk
    _gates_nothing_bad(gate)
    msgspec.json.encode(policy.to_dict())  # as it goes into a store, and its name into every answer
    for value in (-0.01, -1.0, -50.0, -9999.0, -math.inf):
        _sound(gate.decide(Evidence("Paris", token_logprobs=[value], top_logprobs=[[value, -5.0]])))
    again = json.loads(json.dumps(policy.to_dict()))
    assert Policy.load(again).to_dict() == policy.to_dict()


# records.jsonl

_RECORD: Final = {
    "id": "q1", "group": "q1", "question": "Where?", "answer": "Paris", "token_logprobs": [-0.01, -0.2],
    "top_logprobs": [[-0.01, -4.6], [-0.2, -3.0]], "samples": ["Paris", "Lyon"],
    "closed_book": {"answer": "Paris", "token_logprobs": [-0.3]}, "features": {"own": 0.7, "p_true": 0.5},
    "label": "correct", "condition": "relevant", "context": ["It is Paris."], "made_with": {"model": "m"},
    "propensity": 0.5, "matched": "correct", "open_book": {"answer": "Paris", "label": "correct"},
    "answers": ["Paris"],
}  # fmt: skip
_RECORDS: Final = st.lists(nearly(_RECORD, 3).map(as_json), min_size=1, max_size=3).map(b"\n".join)


def check_records(content: bytes) -> None:
    """Read, and counted, and scored by every scorer; or refused in one line that names the line."""
    path = _file(content)
    for kind in (Record, Question):
        try:
            list(lines(path, kind))
        except ConfigError as exc:
            _one_line(exc)
    with suppress(ConfigError):
        graded(path)
    try:
        answers = [answer for answer, _ in lines(path, Answer)]
    except ConfigError:
        return
    for answer in answers:
        evidence = answer.evidence()
        for scorer in SCORERS.values():
            decision = Gate(Uncalibrated(scorer, -0.5)).decide(evidence)
            _sound(decision)
            if scorer.name in _FROM_LOGPROBS and decision.served:
                tops = [value for top in answer.top_logprobs or [] for value in top]
                read = tops if "top_logprobs" in scorer.needs else answer.token_logprobs
                assert read
                assert all(isinstance(value, float) and value <= 1e-6 for value in read)


# Event streams

_EVENTS: Final = st.lists(
    st.sampled_from([
        b"data: {}", b"data:{}", b"data", b"data:", b": comment", b"event: x", b"id: 1", b"retry: 1", b"data: [DONE]",
        b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xff", b" data: x", b"DATA: x", b"data : x",
    ]) | st.binary(max_size=8),
    max_size=20,
).map(b"".join)  # fmt: skip


def _by_the_standard(content: bytes) -> list[bytes]:
    """Return the payloads by WHATWG HTML 9.2.6, with lines joined by a space."""
    text = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    payloads, data = [], []
    for line in text.split(b"\n")[:-1]:
        field, _, value = line.partition(b":")
        if field == b"data" and b":" in line:
            data.append(value.removeprefix(b" "))
        elif not line and data:
            payloads.append(b" ".join(data))
            data = []
    return payloads


def check_sse(content: bytes) -> None:
    """However it is cut, the payloads are the standard's."""
    for size in (1, 2, 3, 7, len(content) or 1):
        splitter = sse.Splitter(10_000)
        found = [
            payload
            for start in range(0, len(content), size)
            for payload in splitter.feed(content[start : start + size])
        ]
        # A last carriage return may be half of a line's end: what it ends comes with the next byte.
        expected = _by_the_standard(content.removesuffix(b"\r") if content.endswith(b"\r") else content)
        assert found[: len(expected)] == expected, (size, found, expected)
        assert len(found) - len(expected) <= 1
    with suppress(UpstreamGarbage):
        sse.Splitter(3).feed(content)


# Answers and their logprobs


def _token(text: str, logprob: Any) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": logprob,
        "bytes": None,
        "top_logprobs": [{"token": text, "logprob": logprob}],
    }


_LOGPROB: Final[st.SearchStrategy[Any]] = st.sampled_from(
    [
        -0.1,
        -0.01,
        0,
        0.0,
        -0.0,
        -9999.0,
        -9999,
        -math.inf,
        math.inf,
        math.nan,
        None,
        "-0.1",
        "",
        True,
        1e-9,
        0.5,
        1,
        [],
        {},
    ]
)


@st.composite
def _chats(draw: st.DrawFn) -> bytes:
    tokens = draw(
        st.lists(st.sampled_from(["Par", "is", " ", "", "д", "\ufffd", "<|im_end|>", "x"]), max_size=4)
    )
    logprobs = [draw(st.just(-0.1) | _LOGPROB) for _ in tokens]
    content = draw(st.just("".join(tokens)) | st.sampled_from(["Paris", "", "Lyon", None, "Paris "]))
    read: Any = {"content": [_token(text, value) for text, value in zip(tokens, logprobs, strict=True)]}
    base = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content}, "logprobs": read,
            "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }  # fmt: skip
    return as_json(draw(nearly(base, 2)))


_ASKED: Final = b'{"model":"m","messages":[{"role":"user","content":"?"}]}'
_ASK: Final = Ask(None, {}, logprobs=True, top_logprobs=1, alternatives=1, gate_tools=True)


def _must_not_pass(choice: Any) -> bool:
    """Return whether a choice plainly has no evidence. This oracle knows nothing of how the choice is read."""
    try:
        content, tokens = choice["message"]["content"], choice["logprobs"]["content"]
        shown = [token.get("token", "") for token in tokens]
        values = [token.get("logprob") for token in tokens]
        spoken = "".join(shown)
    except (KeyError, TypeError, AttributeError):
        return True
    if any(token.get("bytes") is not None for token in tokens):
        return False  # they may say what the tokens' text does not
    if not isinstance(content, str) or content.strip() not in spoken:
        return "\ufffd" not in spoken
    good = [isinstance(v, int | float) and not isinstance(v, bool) and v <= 1e-6 for v in values]
    return spoken == content and not all(ok for ok, text in zip(good, shown, strict=True) if text.strip())


def _judged(choices: tuple[Choice, ...]) -> Iterator[tuple[Choice, str]]:
    for choice in choices:
        for name in _FROM_LOGPROBS:
            decision = Gate(Uncalibrated(SCORERS[name], -1e9)).decide(choice.evidence)
            _sound(decision)
            yield choice, decision.decision


def check_logprobs(content: bytes) -> None:
    """Read an answer whole and streamed: it is read or refused, and nothing passes without evidence."""
    chat = SURFACES["chat"]
    request = chat.parse(_ASKED)
    with suppress(HttpError):
        read = chat.read(content, _ASK)
        for place, choice in enumerate(read.choices):
            if choice.unreadable is not None:
                continue  # it is withheld without being judged
            raw = json.loads(content)["choices"][place]
            for _, decision in _judged((choice,)):
                assert decision == "abstain" or not _must_not_pass(raw) or choice.tool_call
    event = content.replace(b'"message"', b'"delta"')
    for hold in (True, False):
        with suppress(HttpError):
            reader = chat.stream(request, _ASK, hold=hold, watch=None)
            sent = reader.feed(b"data: " + event + b"\n\n")
            assert not (hold and sent)
            reader.feed(b"data: [DONE]\n\n")
            for choice, decision in _judged(reader.completion().choices):
                if choice.unreadable is not None:
                    continue
                same = [
                    each
                    for each in json.loads(content)["choices"]
                    if not isinstance(each, dict) or each.get("index", 0) == choice.index
                ]
                raw = same[0] if len(same) == 1 else None  # pieces of one answer are read together
                if raw is None:
                    continue
                assert decision == "abstain" or not _must_not_pass(raw) or choice.tool_call


_ANSWERS: Final[Mapping[str, Any]] = {
    "chat": {
        "id": "x", "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": {"content": [_token("x", -0.1)]},
            "message": {"content": "x", "refusal": None, "tool_calls": [
                {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ]},
        }], "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    },
    "completions": {
        "id": "x", "choices": [{"index": 0, "text": "x", "finish_reason": "stop", "logprobs": {
            "tokens": ["x"], "token_logprobs": [-0.1], "top_logprobs": [{"x": -0.1}], "text_offset": [0]
        }}], "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    },
    "responses": {
        "id": "x", "object": "response", "status": "completed", "error": None, "output": [{
            "type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "x", "annotations": [], "logprobs": [_token("x", -0.1)]}
            ],
        }], "usage": {"input_tokens": 1, "output_tokens": 2},
    },
    "messages": {
        "id": "x", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2},
    },
}  # fmt: skip
_REQUESTS: Final[Mapping[str, Any]] = {
    "chat": {
        "model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "?"}]}],
        "n": 1, "stream": False,
        "logprobs": True, "top_logprobs": 2, "temperature": 0.5, "seed": 1, "max_tokens": 5, "stop": ["x"],
        "response_format": {"type": "json_object"}, "stream_options": {"include_usage": True},
        "idk": {"threshold": 0.5}, "tools": [{"type": "function", "function": {"name": "f"}}],
    },
    "completions": {"model": "m", "prompt": ["?", "?"], "n": 1, "logprobs": 2, "echo": False,
    "best_of": 1, "idk": {}},
    "responses": {
        "model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "?"}]}],
        "instructions": "x",
        "tools": [{"type": "function", "name": "f", "parameters": {}}], "text": {"format": {"type": "text"}},
        "include": ["message.output_text.logprobs"], "reasoning": {"effort": "low"}, "metadata": {"a": "b"},
        "idk": {},
    },
    "messages": {
        "model": "m", "max_tokens": 5, "system": [{"type": "text", "text": "x"}], "stop_sequences": ["x"],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "?"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
        ],
        "tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "auto"}, "idk": {},
        "thinking": {"type": "disabled"},
    },
}  # fmt: skip


def _doors(name: str) -> list[Surface]:
    return [surface for surface in (SURFACES[name], OVER_CHAT.get(name)) if surface is not None]


def check_request(content: bytes) -> None:
    """Give a client's body to every surface: it is read and sent on as strict JSON, or refused."""
    for name in SURFACES:
        for surface in _doors(name):
            with suppress(HttpError):
                request = surface.parse(content)
                for ask in (
                    _ASK,
                    Ask("m", {"temperature": 0.0}, False, 0),
                    Ask(None, {}, True, 5, 5, samples=2, usage=True),
                ):
                    sent = json.loads(surface.outgoing(request, ask))
                    assert "idk" not in sent
                surface.edited(request, lambda role, name, text: text + "!")
                surface.edited(request, lambda role, name, text: None if role == "user" else text)


def check_answer(content: bytes) -> None:
    """Give an upstream's body to every surface: it is read and judged, or refused as the upstream's failure."""
    for name in SURFACES:
        for surface in _doors(name):
            request = surface.parse(as_json(_REQUESTS[name]))
            with suppress(HttpError):
                for choice in surface.read(content, _ASK).choices:
                    list(_judged((choice,)))
            for hold in (True, False):
                with suppress(HttpError):
                    reader = surface.stream(request, _ASK, hold=hold, watch=None)
                    sent = reader.feed(b"data: " + content.replace(b'"message":', b'"delta":') + b"\n\n")
                    assert not (hold and sent)
                    reader.feed(b"data: [DONE]\n\n")
                    list(_judged(reader.completion().choices))


# Forms

_PIECE: Final = st.sampled_from([
    b"--b\r\n", b"--b--\r\n", b"\r\n--b\r\n", b"\r\n", b"\r\n\r\n",
    b'content-disposition: form-data; name="model"', b"m",
    b"Content-Disposition: form-data; name=model", b'content-disposition: form-data; name="file"; filename="model"',
    b"content-type: text/plain", b'name="model"', b"gpt", b"\xff", b"--", b":", b";",
])  # fmt: skip
_FORMS: Final = st.lists(_PIECE | st.binary(max_size=5), max_size=25).map(b"".join)


def check_form(content: bytes) -> None:
    """Read a form: its model is among its bytes or there is none, however the form is cut into pieces."""
    model = form_model(content, b"b")
    assert model is None or model.encode("utf-8", "surrogateescape") in content or "\ufffd" in model

    async def read(size: int) -> tuple[bytes, str | None]:
        pieces = [content[start : start + size] for start in range(0, len(content), size)] or [b""]

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        upload = _Upload(receive)
        head, found = await upload.head(65_536, b"b")
        assert b"".join([piece async for piece in upload.pieces(head)]) == content
        return head, found

    for size in (1, 3, 50, len(content) or 1):
        _, found = asyncio.run(read(size))
        assert found == model, size


TARGETS: Final[Mapping[str, Target]] = {
    "config": Target(cut(_YAML), check_config),
    "policy": Target(cut(_POLICY), check_policy),
    "records": Target(cut(_RECORDS), check_records),
    "sse": Target(_EVENTS, check_sse),
    "logprobs": Target(cut(_chats()), check_logprobs),
    "request": Target(
        cut(st.one_of(*(nearly(base, 3).map(as_json) for base in _REQUESTS.values()), ANY.map(as_json))),
        check_request,
    ),
    "answer": Target(
        cut(st.one_of(*(nearly(base, 3).map(as_json) for base in _ANSWERS.values()), ANY.map(as_json))),
        check_answer,
    ),
    "form": Target(_FORMS, check_form),
}
