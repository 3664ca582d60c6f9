"""The section `server`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.config.kinds import Seconds


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the store forgets: by age everything, by number what is neither labelled nor in the audit sample."""

    days: Annotated[float, Meta(gt=0.0, le=36_500.0)] = 90.0
    decisions: Annotated[int, Meta(ge=1)] = 1_000_000


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the proxy listens, and what holds for every request."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    open: bool = False
    #: Whether clients' keys are in the store (`idk key create`): nothing is open until there is one.
    stored_keys: bool = False
    store: str = "sqlite:///idk.db"
    admin_key_env: str = "IDK_ADMIN_KEY"
    log_text: bool = False
    #: How the proxy's own log looks: lines for a person, or JSON for a collector.
    log: Literal["console", "json"] = "console"
    #: The variable with the key that kept texts are sealed with; where it is not set they are readable.
    audit_key_env: str = "IDK_AUDIT_KEY"
    retention: Retention = Retention()
    max_body_bytes: Annotated[int, Meta(ge=1_024)] = 20_000_000
    #: Of a gated request's JSON, keys included; see ``proxy.server.json_budget``.
    max_body_strings: Annotated[int, Meta(ge=1_024)] = 32_000
    #: Of a request's line and headers, names and values.
    max_head_bytes: Annotated[int, Meta(ge=1_024)] = 65_536
    max_headers: Annotated[int, Meta(ge=8)] = 128
    #: How long a request's head may take to come, and then its body, which wins a second with every 1,000 bytes;
    #: and how long a client may read nothing of its answer.
    receive_timeout_s: Seconds = 60.0
    #: Of one upstream's answer; a held stream costs at most a small multiple of it.
    max_answer_bytes: Annotated[int, Meta(ge=1_024)] = 20_000_000
    #: Of an answer over 250,000 bytes, keys included; see ``proxy.server.json_budget``.
    max_answer_strings: Annotated[int, Meta(ge=1_024)] = 200_000
    #: Requests under way at once in one process; over it the proxy answers 503 with retry-after.
    max_in_flight: Annotated[int, Meta(ge=1)] = 4_096
    #: Whether each gated request has a span (OTEL_EXPORTER_OTLP_ENDPOINT says where it goes);
    #: without, a client's own trace context goes on to upstreams as it came.
    opentelemetry: bool = False
    #: Origins whose pages may ask (CORS), or "*"; by default none.
    cors_origins: tuple[str, ...] = ()
    drain_s: Seconds = 30.0
    #: How long a server that is told to end listens on, not ready any more, so that a balancer turns away first.
    drain_lead_s: Annotated[float, Meta(ge=0.0, le=3_600.0)] = 0.0
    keepalive_s: Seconds = 5.0
