"""Reading and changing the fields of a client's request that several formats share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from proxy.exceptions import UNREADABLE, BadRequest
from proxy.server.bodies import check_utf8, decode, is_at
from proxy.surfaces.field_table import NAMES

if TYPE_CHECKING:
    from proxy.surfaces.contract import Ask, Request

T = TypeVar("T")
_KEY: Final = re.compile(rb'[\s{,]*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*')
_END: Final = re.compile(rb"\s*}?\s*\Z")
_TWICE: Final = "the body has two fields of one name; send each field once"
_NAME: Final = msgspec.json.Decoder(str)

#: The sampling parameters of OpenAI's chat completions and completions.
OPENAI_SAMPLING: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
#: Sampling parameters of the client's answer. Samples are drawn with the route's, or with the model's defaults.
_NOT_FOR_SAMPLES: Final = ("temperature", "top_p")
#: Response formats with which the client parses the answer.
_JSON_FORMATS: Final = ("json_schema", "json_object")


class Override(Struct, forbid_unknown_fields=True):
    """The ``idk`` field of a request."""

    threshold: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    wrong_cost: Annotated[float, Meta(ge=0.0, le=1e9)] | None = None
    context: list[str] | None = None
    verbose: bool = False


class Format(Protocol):
    """The part of a request that names the format of the answer."""

    type: str


class RequestDecoder(Generic[T]):
    """Decodes the body of a client's request into a struct and the encoded value of every field."""

    def __init__(self, struct: type[T]) -> None:
        self._struct = msgspec.json.Decoder(struct)
        self._fields = msgspec.json.Decoder(dict[str, Raw])

    def __call__(self, body: bytes) -> tuple[T, dict[str, Raw]]:
        """Return the struct and the fields; raises BadRequest, which names the field that is wrong."""
        try:
            check_utf8(body)
            read, fields = decode(self._struct, body), self._fields.decode(body)
        except msgspec.ValidationError as exc:
            message, _, place = str(exc).partition(" - at `$")
            param = place.rstrip("`").lstrip(".") or None
            raise BadRequest(f"{param or 'the body'}: {message}", param=param) from exc
        except UNREADABLE as exc:
            raise BadRequest(f"the body is not JSON: {exc}") from exc
        _check_names(fields, body)
        return read, fields


def _check_names(fields: dict[str, Raw], body: bytes) -> None:
    """Raise BadRequest on names that servers may read differently: in another case, or twice.

    Servers in Go read ``Model`` as ``model``. Of two fields of one name, some servers take the first and some the last.
    """
    for name in fields:
        if name not in NAMES and name.casefold() in NAMES:
            raise BadRequest(
                f"{name}: write {name.casefold()}; some servers would read it as that", param=name
            )
    place = 0
    for name, value in fields.items():
        found = _KEY.match(body, place)
        if (
            found is None
            or (found[1] != b'"%b"' % name.encode() and _NAME.decode(found[1]) != name)
            or not is_at(body, found.end(), value)
        ):
            raise BadRequest(_TWICE)
        place = found.end() + len(memoryview(value))
    if _END.match(body, place) is None:
        raise BadRequest(_TWICE)


def is_text(value: Raw) -> bool:
    """Return whether an encoded value is a string, without a copy of it."""
    return bytes(memoryview(value)[:1]) == b'"'


def threshold_of(override: Override | None) -> float | None:
    """Return the threshold that a request brings, given as such or as the cost of a wrong answer."""
    if override is None:
        return None
    if override.threshold is not None and override.wrong_cost is not None:
        raise BadRequest("idk: give either threshold or wrong_cost", param="idk")
    if override.wrong_cost is not None:
        return override.wrong_cost / (1.0 + override.wrong_cost)
    return override.threshold


def asks_for_json(response_format: Format | None) -> bool:
    """Return whether the client will parse the answer as JSON."""
    return response_format is not None and response_format.type in _JSON_FORMATS


def with_route(request: Request, ask: Ask) -> dict[str, Raw]:
    """Return the client's fields with the route's model and parameters, and without ``idk``."""
    fields = dict(request.fields)
    fields.pop("idk", None)
    if ask.model is not None:
        fields["model"] = Raw(msgspec.json.encode(ask.model))
    for name, value in ask.params.items():
        fields[name] = Raw(msgspec.json.encode(value))
    return fields


def drop_sampling(fields: dict[str, Raw], ask: Ask) -> None:
    """Remove the client's sampling parameters from a request for samples, unless they are the route's."""
    for name in _NOT_FOR_SAMPLES:
        if name not in ask.params:
            fields.pop(name, None)
