"""OpenAI's own document as this proxy is held to it: valid as it says of itself, its models ours, ``idk`` added.

The document is not part of the project: IDK_OPENAPI names a file (JSON), else one beside the repository is used.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

FILE: Final = Path(
    os.environ.get("IDK_OPENAPI", Path(__file__).parents[2] / "../shared/spec/openai-paths.json")
)
#: Each gated path's request, its whole answer, and one event of its stream.
GATED: Final = {
    "/chat/completions": (
        "CreateChatCompletionRequest",
        "CreateChatCompletionResponse",
        "CreateChatCompletionStreamResponse",
    ),
    "/completions": ("CreateCompletionRequest", "CreateCompletionResponse", "CreateCompletionChunk"),
    "/responses": ("CreateResponse", "Response", "ResponseStreamEvent"),
}
#: The others of the document that the proxy answers or passes on.
OTHERS: Final = ("/models", "/models/{model}", "/embeddings")

_UNIT: Final = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: Final = {"type": "integer", "minimum": 0}
_OVERRIDE: Final = {
    "type": "object",
    "properties": {
        "threshold": _UNIT,
        "wrong_cost": {"type": "number", "minimum": 0, "maximum": 1_000},
        "context": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    },
    "additionalProperties": False,
}


def _whole(*, optional: Collection[str] = (), **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with exactly these fields; those of ``optional`` may be missing."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_CHOICE: Final = _whole(
    optional=("detail",),
    index=_COUNT,
    decision={"enum": ["answer", "abstain"]},
    # ``off``: a route that observes without any threshold.
    reason={
        "enum": [
            "confident",
            "below_threshold",
            "unmeasured",
            "upstream_abstained",
            "tool_call",
            "budget",
            "off",
        ]
    },
    confidence=_or_null(_UNIT),
    detail={"type": "string"},
    threshold=_or_null(_UNIT),
    score=_or_null({"type": "number"}),
    source={"enum": ["logprobs", "samples", "logprobs+samples", "p_true", "none"]},
)
#: The ``idk`` of every gated answer, where no remedy is set.
REPORT: Final = _whole(
    route={"type": "string"},
    mode={"enum": ["enforce", "observe"]},
    policy=_or_null({"type": "string"}),
    certified={"type": "boolean"},
    choices={"type": "array", "items": _CHOICE},
    extra=_whole(calls=_COUNT, prompt_tokens=_COUNT, completion_tokens=_COUNT),
)


def prepared(document: dict[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """Return the OpenAPI document of our paths, for a proxy whose routes take ``models``."""
    kept: dict[str, Any] = repaired(document)
    kept["paths"] = {path: kept["paths"][path] for path in (*GATED, *OTHERS)}
    kept["servers"] = [{"url": "/v1"}]
    kept.pop("security", None)  # this proxy has no keys
    schemas = kept["components"]["schemas"]
    schemas["Report"] = REPORT
    named = {"model": {"enum": list(models)}}
    for request, answer, _ in GATED.values():
        schemas[request] = _with(schemas[request], {**named, "idk": _OVERRIDE}, ["model"])
        # Of answers alone: an event of a stream may carry it, and the last one must.
        whole = f"Gated{answer}"
        schemas[whole] = _with(
            {"$ref": f"#/components/schemas/{answer}"},
            {"idk": {"$ref": "#/components/schemas/Report"}},
            ["idk"],
        )
    for path, (_, answer, _) in GATED.items():
        content = kept["paths"][path]["post"]["responses"]["200"]["content"]
        content["application/json"]["schema"] = {"$ref": f"#/components/schemas/Gated{answer}"}
        # A stream ends with a word that is not JSON; our own check in hooks.py reads it.
        content["text/event-stream"] = {}
    # Its chunks are said to be as the whole; those before the last one have no reason for an end yet.
    chunk = schemas["CreateCompletionChunk"] = copy.deepcopy(schemas["CreateCompletionResponse"])
    ended = chunk["properties"]["choices"]["items"]["properties"]
    ended["finish_reason"] = _or_null(ended["finish_reason"])
    schemas["CreateEmbeddingRequest"]["properties"] |= named
    kept["paths"]["/models/{model}"]["get"]["parameters"][0]["schema"] = named["model"]
    return kept


def _with(schema: Any, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"allOf": [schema, {"type": "object", "properties": properties, "required": required}]}


def repaired(schema: Any) -> Any:
    """Return the schema without ``nullable``, which OpenAPI had before 3.1 and JSON Schema does not define.

    Left in, it is ignored, and a null that the vendor sends is outside of the schema.
    """
    if isinstance(schema, list):
        return [repaired(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {name: repaired(value) for name, value in schema.items() if name != "nullable"}
    # A property may have that name too; its value is then a schema.
    if isinstance(schema.get("nullable"), dict):
        return rest | {"nullable": repaired(schema["nullable"])}
    return _or_null(rest) if schema.get("nullable") is True else rest


def read() -> dict[str, Any]:
    """Return the vendor's document, unchanged."""
    document: dict[str, Any] = json.loads(FILE.read_text())
    return document
