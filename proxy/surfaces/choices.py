"""What chat completions and the older completions share: an envelope with choices, and OpenAI's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import Raw

from proxy.exceptions import BadRequest
from proxy.server.errors import error_body
from proxy.surfaces.chat import wire
from proxy.surfaces.json_bytes import with_field
from proxy.surfaces.usage import with_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import Ask, Completion, Request, Verdict

#: The sampling parameters that change how sure an answer looks.
SAMPLING: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_JSON_FORMATS: Final = ("json_schema", "json_object")


class Format(Protocol):
    """What a request says of its answer's form."""

    type: str


class ChoicesSurface:
    """The part of a surface that is the same for both; a surface says how its logprobs and abstentions look."""

    def __init__(self) -> None:
        self._fields = msgspec.json.Decoder(dict[str, Raw])

    def _for_client(self, request: Request, ask: Ask) -> Callable[[bytes], bytes] | None:
        """What to make of an upstream's bytes so that the logprobs are the client's own; None: nothing."""
        raise NotImplementedError

    def _abstention(self, index: int, text: str, *, json_answer: bool) -> Mapping[str, object]:
        """The choice that stands for a withheld one."""
        raise NotImplementedError

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """The upstream's bytes with ``idk`` in them; rebuilt only where something is withheld."""
        body = completion.body
        cut = self._for_client(request, ask)
        if cut is not None and len(verdict.withheld) < len(completion.choices):
            body = cut(body)
        if verdict.withheld:
            body = self._withhold(body, request, verdict)
        if verdict.report.extra.calls:
            body = with_usage(body, verdict.report.extra)
        return with_field(body, b"idk", msgspec.json.encode(verdict.report))

    def _withhold(self, body: bytes, request: Request, verdict: Verdict) -> bytes:
        fields = self._fields.decode(body)
        choices = msgspec.json.decode(fields["choices"], type=list[dict[str, Raw]])
        kept = {name: fields[name] for name in wire.ENVELOPE if name in fields}
        rendered: list[Mapping[str, Any]] = [
            self._abstention(report.index, verdict.abstain_text, json_answer=request.json_answer)
            if report.index in verdict.withheld
            else choice
            for choice, report in zip(choices, verdict.report.choices, strict=True)
        ]
        return msgspec.json.encode({**kept, "choices": rendered})

    def ungated(self, request: Request) -> None:
        """Return None: the client gets the upstream's bytes."""
        return

    def error(self, exc: HttpError) -> bytes:
        """OpenAI's error object."""
        return error_body(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """OpenAI's SDKs raise on an event whose data has an ``error``."""
        return b"data: " + error_body(exc) + b"\n\n"


def threshold_of(override: wire.Override | None) -> float | None:
    if override is None:
        return None
    if override.threshold is not None and override.wrong_cost is not None:
        raise BadRequest("idk: give either threshold or wrong_cost", param="idk")
    if override.wrong_cost is not None:
        return override.wrong_cost / (1.0 + override.wrong_cost)
    return override.threshold


def asks_for_json(response_format: Format | None) -> bool:
    """Whether the client will parse the answer."""
    return response_format is not None and response_format.type in _JSON_FORMATS


def with_route(request: Request, ask: Ask) -> dict[str, Raw]:
    """The client's fields without ``idk``, with the route's model and parameters."""
    fields = dict(request.fields)
    fields.pop("idk", None)
    if ask.model is not None:
        fields["model"] = Raw(msgspec.json.encode(ask.model))
    for name, value in ask.params.items():
        fields[name] = Raw(msgspec.json.encode(value))
    return fields
