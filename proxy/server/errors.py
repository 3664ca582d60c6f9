"""Errors in OpenAI's format, which every part of the proxy that is not bound to another format answers with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from proxy.exceptions import HttpError


def error_body(exc: HttpError) -> bytes:
    """Encode an error as OpenAI's error object."""
    return msgspec.json.encode(
        {"error": {"message": exc.message, "type": exc.error_type, "param": exc.param, "code": exc.code}}
    )
