"""The canonical fields and values by which requests are compared with a policy's labels.

Every field of a request that is not in the table's ``INERT`` class is compared: also fields that the table does not
know, since servers accept many undocumented ones. Fields have one name across wire formats: the system prompt is
``system``, whether it is a message, ``instructions`` or Anthropic's ``system``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gating.fingerprint import LIMIT
from proxy.exceptions import UNREADABLE
from proxy.server.bodies import decode
from proxy.surfaces.field_table import INERT, OPENED, PINNED, SAMPLING, SPELLINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from proxy.surfaces.contract import Request

#: The canonical names of the table. A field outside it is compared as well, and counted as ``other``.
KNOWN: Final = INERT | frozenset(SAMPLING) | PINNED | {LIMIT, "upstream"}
#: The values of the label ``field`` of ``idk_unmatched_total``.
COMPARED: Final = (*sorted((KNOWN - INERT) | {"model"}), "other")
#: Values that every server treats like an absent field.
_LIKE_ABSENT: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "n": (1,), "best_of": (1,), "stop": ([], ""), "tools": ([],), "logit_bias": ({},), "echo": (False,),
        "response_format": ({"type": "text"},), "suffix": ("",), "modalities": (["text"],),
        "use_beam_search": (False,), "images": ([],),
    }
)  # fmt: skip
#: The fields of each wire format that hold the conversation, which ``_conversation`` reads.
_CONVERSATION: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "chat": frozenset({"messages"}),
        "messages": frozenset({"messages", "system"}),
        "responses": frozenset({"input", "instructions"}),
        "completions": frozenset({"prompt"}),
    }
)
#: The roles whose turns are the conversation itself. All other text steers the model like a system prompt.
_TURNS: Final = frozenset({"user", "assistant", "tool", "function"})
_TEXT_PARTS: Final = frozenset(
    {"text", "input_text", "output_text", "refusal", "tool_use", "tool_result", "thinking"}
)
_EARLIER_ITEMS: Final = frozenset(
    {"function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning"}
)
_MESSAGE_FIELDS: Final = frozenset(
    {"role", "content", "name", "type", "id", "status", "tool_calls", "tool_call_id", "function_call", "refusal",
     "cache_control", "annotations", "audio", "phase"}
)  # fmt: skip
#: Fields beside the conversation that a sample inherits, and the formats that leave the content of an answer open.
_SAMPLED: Final = frozenset({"model", "tools", "functions"})
_FREE_FORMATS: Final = ({"type": "json_object"}, {"type": "text"})
#: Longer values are kept as a hash.
_LONGEST: Final = 64
_HASHED, _AS_JSON = "sha256:", "json:"
_ANY: Final = msgspec.json.Decoder(Any)


def request_fields(
    request: Request, format_name: str, params: Mapping[str, Any], *, instructions: Request | None = None
) -> dict[str, Any]:
    """Return the fields of a request that shape its answer, by canonical name, with canonical values.

    ``params`` are the route's own parameters, which replace the client's. ``instructions`` is the request without the
    passages of its context, whose system text counts (None: the request itself).
    """
    format_name = "chat" if request.origin is not None else format_name
    spoken = _CONVERSATION.get(format_name, frozenset())
    raw = {name: decode(_ANY, value) for name, value in request.fields.items() if _matters(name, spoken)}
    found: dict[str, Any] = {}
    for name, value in _members({**raw, **params}):
        canonical = SPELLINGS.get(name, name)
        if value is None or canonical in INERT or value in _LIKE_ABSENT.get(canonical, ()):
            continue
        if canonical == LIMIT:
            found[LIMIT] = max(value, found.get(LIMIT, 0)) if isinstance(value, int | float) else value
            continue
        # Two spellings of one field in one request: which one holds is the server's choice.
        found[canonical if canonical not in found else name] = _canonical(canonical, value)
    return found | dict(_conversation(instructions or request, spoken))


def limit_of(fields: Mapping[str, Any]) -> Any:
    """Return the length limit of a request, as a fingerprint holds it."""
    return fields.get(LIMIT, "the upstream's limit")


def sample_request(request: Request, format_name: str, settled: Mapping[str, Any]) -> Request:
    """Return the request of a sample: the conversation, and of the other fields those that are known to be harmless.

    ``settled`` are the fields (canonical) whose values are the policy's own; samples inherit them. All others could
    make samples agree with each other whatever the model knows.
    """
    format_name = "chat" if request.origin is not None else format_name
    kept = _CONVERSATION.get(format_name, frozenset()) | _SAMPLED

    def inherits(name: str, value: msgspec.Raw) -> bool:
        if name in kept or SPELLINGS.get(name, name) == LIMIT:
            return True
        return all(
            SPELLINGS.get(member, member) in settled or inner in _FREE_FORMATS
            for member, inner in _members({name: decode(_ANY, value)})
        )

    fields = {name: value for name, value in request.fields.items() if inherits(name, value)}
    return msgspec.structs.replace(request, fields=fields)


def label_of(field: str) -> str:
    """Return the field as a label of metrics: ``other`` for fields outside the table."""
    return field if field in KNOWN else "other"


def pinned(request: Request, values: Mapping[str, Any]) -> Request:
    """Return the request with these values of sampling fields; None removes a field."""
    fields = {
        name: value for name, value in request.fields.items() if SPELLINGS.get(name, name) not in values
    }
    spelled = {SPELLINGS.get(name, name): name for name in request.fields}
    fields |= {
        spelled.get(name, name): msgspec.Raw(msgspec.json.encode(value))
        for name, value in values.items()
        if value is not None
    }
    sampling = {name: value for name, value in request.sampling.items() if name not in values}
    sampling |= {name: value for name, value in values.items() if value is not None and name in SAMPLING}
    seed = values.get("seed", request.seed)
    return msgspec.structs.replace(request, fields=fields, sampling=sampling, seed=seed)


def _matters(name: str, spoken: frozenset[str]) -> bool:
    return name not in INERT and name not in spoken


def _members(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in raw.items():
        if name in OPENED and isinstance(value, Mapping):
            for member, inner in value.items():
                yield f"{name}.{member}", inner
        else:
            yield name, value


def _canonical(name: str, value: Any) -> Any:
    """Return a value that compares: numbers and short texts as they are, all else as JSON or its hash."""
    if name == "stop":
        value = sorted(map(str, value)) if isinstance(value, list) else [value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return (
            value if len(value) <= _LONGEST and not value.startswith((_HASHED, _AS_JSON)) else _hashed(value)
        )
    return _short(value)


def _short(value: Any) -> str:
    text = msgspec.json.encode(value, order="deterministic").decode()
    return _AS_JSON + text if len(text) <= _LONGEST else _hashed(value)


def _hashed(value: Any) -> str:
    encoded = msgspec.json.encode(value, order="deterministic")
    return _HASHED + hashlib.sha256(encoded).hexdigest()[:16]


# The conversation


def _conversation(request: Request, spoken: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield the system text, a prefill, the kinds of media, and whether there are earlier turns."""
    turns = list(_turns(request, spoken))
    steering = [text for role, text, _ in turns if role not in _TURNS]
    steering = [text for text in steering if text]
    if steering:
        yield "system", _hashed(steering)
    spoken_turns = [(role, text) for role, text, _ in turns if role in _TURNS]
    if spoken_turns and spoken_turns[-1][0] == "assistant":
        yield "prefill", _hashed(spoken_turns[-1][1])
        spoken_turns.pop()
    if any(role != "user" for role, _ in spoken_turns):
        yield "earlier_turns", True
    extras = sorted({extra for _, _, extras in turns for extra in extras})
    media = [name for name in extras if not name.startswith(".")]
    if media:
        yield "media", _short(media)
    unknown = [name for name in extras if name.startswith(".")]
    if unknown:
        yield "message_fields", _short(unknown)


def _turns(request: Request, spoken: frozenset[str]) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield each turn's role, its text, and what it holds beside text: media, and ``.name`` of unknown fields."""
    for name in ("instructions", "system", "messages", "input", "prompt"):
        if name not in spoken or name not in request.fields:
            continue
        try:
            value = decode(_ANY, request.fields[name])
        except UNREADABLE:
            value = "unreadable"
        if name in ("instructions", "system"):
            yield "system", _text(value), _media(value)
        elif isinstance(value, list) and name != "prompt":
            yield from map(_turn, value)
        elif name == "input":
            yield "user", _text(value), []


def _turn(message: Any) -> tuple[str, Any, list[str]]:
    if not isinstance(message, Mapping):
        return ("user", message, []) if isinstance(message, str) else ("unknown", message, [])
    kind = message.get("type", "message")
    if kind != "message" and "role" not in message:
        return ("tool", None, []) if kind in _EARLIER_ITEMS else ("tool", None, [str(kind)])
    role = message.get("role")
    content = message.get("content")
    unknown = [f".{name}" for name in message if name not in _MESSAGE_FIELDS]
    return str(role), _text(content), [*_media(content), *unknown]


def _text(content: Any) -> Any:
    """Return a turn's text; of a list of parts, the text of the parts, or the parts themselves if they have none."""
    if isinstance(content, list):
        parts = [part.get("text", part) if isinstance(part, Mapping) else part for part in content]
        return parts[0] if len(parts) == 1 else parts
    return content


def _media(content: Any) -> list[str]:
    if not isinstance(content, list):
        return []
    kinds: Iterable[Any] = (part.get("type") if isinstance(part, Mapping) else None for part in content)
    return [str(kind) for kind in kinds if kind is not None and kind not in _TEXT_PARTS]
