"""The section `upstreams`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.config.kinds import Name, Seconds, Weight


class Breaker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an upstream that fails again and again is left alone."""

    #: In a row: no connection, no answer in time, or the upstream's own failure (5xx). 0 never opens it.
    failures: Annotated[int, Meta(ge=0)] = 50
    #: How long it is left alone before one request tries it again.
    open_s: Seconds = 5.0


class Upstream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model server: called directly where it speaks OpenAI's format, else through LiteLLM.

    Or several of them as one (``of``): asked in the order of a list, or drawn by the weights of a mapping, the
    next where one fails.
    """

    of: tuple[Name, ...] | dict[Name, Weight] | None = None
    base_url: str | None = None
    litellm: str | None = None
    api_key_env: str | None = None
    auth: Literal["key", "forward"] = "key"
    #: The wire formats that it speaks itself; the others are translated to chat completions. By default what a
    #: server of OpenAI's format has (chat, completions, responses), through LiteLLM chat alone.
    formats: tuple[Literal["chat", "completions", "responses", "messages"], ...] | None = None
    logprobs: Literal["auto", "native", "none"] = "auto"
    timeout_s: Seconds = 60.0
    connect_timeout_s: Seconds = 5.0
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    max_connections: Annotated[int, Meta(ge=1)] = 1_000
    transport: Literal["lean", "aiohttp"] = "lean"
    breaker: Breaker = Breaker()
