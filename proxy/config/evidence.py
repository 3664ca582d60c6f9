"""What a route asks for beside the answer, and the most that it may cost."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.config.kinds import Name, Seconds


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that one request may cost beyond its own answer."""

    #: Further samples of one request.
    samples: Annotated[int, Meta(ge=0, le=64)] = 8
    #: Tokens of one request's further calls, prompts included; null for no bound.
    tokens: Annotated[int, Meta(ge=1)] | None = None
    #: How long a verdict may wait for other calls once the answer is there.
    timeout_s: Seconds = 30.0
    #: Further calls that a route has under way at one time.
    concurrency: Annotated[int, Meta(ge=1)] = 32


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How further samples are drawn; what the client asks for holds for its answer alone."""

    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.8
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    #: none: all of them with the answer; band: all after it, where they can change the verdict; sequential: a few
    #: at a time, until the others cannot.
    wait: Literal["none", "band", "sequential"] = "none"
    #: The chance, at most, that all the samples would have decided otherwise than those that were drawn.
    level: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0


class Embeddings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turns texts into vectors: a model behind an upstream's ``/embeddings``, or one of the proxy's own."""

    upstream: Name | None = None
    model: Annotated[str, Meta(min_length=1)] | None = None
    #: In place of both: a model that works in the proxy itself (the extra ``embeddings``).
    local: Name | None = None
