"""The usage that a client sees counts every token that was paid for, in whatever names its format has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.surfaces.contract import Extra


def counted(usage: Mapping[str, Any], extra: Extra) -> dict[str, Any]:
    """``usage`` with ``extra`` in it; what the upstream did not count stays as it is."""
    more = {
        "prompt_tokens": extra.prompt_tokens,
        "completion_tokens": extra.completion_tokens,
        "input_tokens": extra.prompt_tokens,
        "output_tokens": extra.completion_tokens,
        "total_tokens": extra.prompt_tokens + extra.completion_tokens,
    }
    return {
        name: value + more[name] if name in more and isinstance(value, int) else value
        for name, value in usage.items()
    }


def with_usage(body: bytes, extra: Extra) -> bytes:
    """An answer or a chunk whose usage counts ``extra`` too; one without usage stays as it is."""
    fields = msgspec.json.decode(body, type=dict[str, Raw])
    try:
        usage = msgspec.json.decode(fields.get("usage", b"null"), type=dict[str, Any] | None)
    except msgspec.DecodeError:
        return body
    return msgspec.json.encode({**fields, "usage": counted(usage, extra)}) if usage else body
