"""What schemathesis checks beyond its own: every event of a stream, and that what is withheld stays so.

It is loaded by schemathesis in its own environment, and imports nothing of this project.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import schemathesis

_DOCUMENT: Final = json.loads(Path(os.environ["IDK_DOCUMENT"]).read_text())
#: Path -> the name of the schema of one event.
_EVENTS: Final = json.loads(os.environ["IDK_EVENTS"])
_WITHHELD: Final = os.environ["IDK_WITHHELD"]
_ENFORCING: Final = frozenset(json.loads(os.environ["IDK_ENFORCING"]))
_ROUTES: Final = json.loads(os.environ["IDK_ROUTES"])


def _validator(schema: Any) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": _DOCUMENT["components"]})


_VALID: Final = {path: _validator({"$ref": f"#/components/schemas/{name}"}) for path, name in _EVENTS.items()}
_REPORT: Final = _validator(_DOCUMENT["components"]["schemas"]["Report"])
_ERROR: Final = _validator({"$ref": "#/components/schemas/ErrorResponse"})


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Spread the requests over the routes, and half of them over streams: left alone, most would be the same.

    Which one follows from the request itself, so that one that failed fails again.
    """
    body = case.body
    if case.operation.path not in _VALID or not isinstance(body, dict) or body.get("model") not in _ROUTES:
        return
    number = zlib.crc32(json.dumps(body, sort_keys=True).encode())
    case.body = {**body, "model": _ROUTES[number % len(_ROUTES)]}
    if number % 3 and body.get("stream") is not True:
        case.body["stream"] = True


@schemathesis.check
def stream_conformance(ctx: Any, response: Any, case: Any) -> None:
    """Check that each event is one of the document's, that the stream ends properly and with the report."""
    kind = response.headers.get("content-type", [""])[0]
    if not kind.startswith("text/event-stream"):
        return
    blocks = [block for block in response.text.split("\n\n") if block and not block.startswith(":")]
    payloads = [block.partition("data: ")[2] for block in blocks]
    path = case.operation.path
    if path != "/responses":
        assert payloads[-1] == "[DONE]", f"the stream ends with {payloads[-1]!r}"
        payloads.pop()
    events = [json.loads(payload) for payload in payloads]
    assert events, "the stream says nothing"
    for event in events:
        problem = next(_VALID[path].iter_errors(event), None)
        assert problem is None, f"an event outside of the schema: {problem}\n{json.dumps(event)}"
    if path == "/responses":
        _numbered(blocks, events)
    last = events[-1].get("response", {}) if path == "/responses" else events[-1]
    problem = next(_REPORT.iter_errors(last.get("idk")), None)
    assert problem is None, f"the end has no idk, or another one: {problem}\n{json.dumps(events[-1])}"


def _numbered(blocks: list[str], events: list[dict[str, Any]]) -> None:
    names = [block.partition("\n")[0] for block in blocks]
    assert names == [f"event: {event['type']}" for event in events], "an event's name is not its type"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(len(events))), f"the events are numbered {numbers}"
    assert events[-1]["type"] in ("response.completed", "response.incomplete"), "the stream has no end"


@schemathesis.check
def nothing_withheld_gets_out(ctx: Any, response: Any, case: Any) -> None:
    """Check that on an enforcing route no response contains the words of an uncertain answer."""
    route = response.headers.get("x-idk-route", [""])[0]
    if route in _ENFORCING:
        assert _WITHHELD not in response.text, f"{route} let out what it withholds"


@schemathesis.check
def errors_are_the_vendors(ctx: Any, response: Any, case: Any) -> None:
    """Whatever was asked, an error has the vendor's shape; and every response has an id."""
    assert response.headers.get("x-request-id"), "no x-request-id"
    if response.status_code >= 400:
        problem = next(_ERROR.iter_errors(json.loads(response.text)), None)
        assert problem is None, f"an error of another shape: {problem}\n{response.text}"
