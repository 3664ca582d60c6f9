"""The sections of `idk.yaml` as frozen types: every key with its type, its bounds and its default.

The comment above a key (``#:``) is its description in the reference of the configuration.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

Name = Annotated[
    str,
    Meta(
        pattern=r"^(?!\.{1,2}\Z)[A-Za-z0-9_.\-]{1,64}\Z",
        title="name",
        description="1 to 64 of the letters, digits, `_`, `.` and `-`, other than `.` and `..`",
    ),
]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, Meta(ge=0.0)]
Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the store keeps decisions: everything has a maximum age, and unlabelled decisions a maximum number.

    Decisions of the audit sample do not count towards that number.
    """

    days: Annotated[float, Meta(gt=0.0, le=36_500.0)] = 90.0
    decisions: Annotated[int, Meta(ge=1)] = 1_000_000


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address on which the proxy listens, and the settings that apply to every request."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080
    #: Number of worker processes.
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    #: Allows requests without a key on a public address.
    open: bool = False
    #: Reads client keys from the store as well (`idk key create`); without any key, every request is rejected.
    stored_keys: bool = False
    store: str = "sqlite:///idk.db"
    #: In place of store: name of the environment variable that holds the URL, which may contain a password.
    store_env: Annotated[str, Meta(min_length=1)] | None = None
    #: Name of the environment variable that holds the key for the page at /admin.
    admin_key_env: str = "IDK_ADMIN_KEY"
    #: In place of admin_key_env: a file with the key, which is read again on a reload.
    admin_key_file: Annotated[str, Meta(min_length=1)] | None = None
    #: Addresses and networks of reverse proxies whose Forwarded and X-Forwarded-* headers count.
    trusted_proxies: tuple[str, ...] = ()
    #: Whether questions and answers are stored with the decisions.
    log_text: bool = False
    #: Format of the proxy's log: lines for a person, or JSON for a log collector.
    log: Annotated[Literal["console", "json"], Meta(title="log format")] = "console"
    #: Name of the environment variable with the key that encrypts stored texts; while it is unset, texts are stored
    #: in plain form.
    audit_key_env: str = "IDK_AUDIT_KEY"
    retention: Retention = Retention()
    #: Maximum size of a request body.
    max_body_bytes: Annotated[int, Meta(ge=1_024)] = 20_000_000
    #: Maximum number of JSON strings in a gated request, keys included; see ``proxy.server.json_budget``.
    max_body_strings: Annotated[int, Meta(ge=1_024)] = 32_000
    #: Maximum size of the request line and all headers together.
    max_head_bytes: Annotated[int, Meta(ge=1_024)] = 65_536
    #: Maximum number of headers in a request.
    max_headers: Annotated[int, Meta(ge=8)] = 128
    #: Maximum time to receive the head of a request, and then its body, which gets one more second for every 1,000
    #: bytes. A client may also stop reading its answer for at most this long.
    receive_timeout_s: Seconds = 60.0
    #: Maximum size of one upstream answer; a stream that is held until its verdict uses a small multiple of it.
    max_answer_bytes: Annotated[int, Meta(ge=1_024)] = 20_000_000
    #: Maximum number of JSON strings in an answer of more than 250,000 bytes, keys included; see
    #: ``proxy.server.json_budget``.
    max_answer_strings: Annotated[int, Meta(ge=1_024)] = 200_000
    #: Maximum number of requests in flight in one process; further requests get 503 with retry-after.
    max_in_flight: Annotated[int, Meta(ge=1)] = 4_096
    #: Whether each gated request has an OpenTelemetry span (OTEL_EXPORTER_OTLP_ENDPOINT names the collector); if not,
    #: the client's trace context is forwarded to the upstream unchanged.
    opentelemetry: bool = False
    #: Origins whose pages may call the API (CORS), or "*"; none by default.
    cors_origins: tuple[str, ...] = ()
    #: How long a server that shuts down waits for requests in flight.
    drain_s: Seconds = 30.0
    #: How long a server that shuts down still accepts requests while its readiness probe fails, so that a load
    #: balancer stops sending traffic first.
    drain_lead_s: Annotated[float, Meta(ge=0.0, le=3_600.0)] = 0.0
    #: Interval between the comment lines on a stream whose answer is held.
    keepalive_s: Seconds = 5.0


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client key, identified by its SHA-256 hash."""

    name: Name
    sha256: Annotated[
        str,
        Meta(
            pattern=r"^[0-9a-f]{64}\Z",
            title="SHA-256 hash",
            description="64 hexadecimal digits in lower case (printf %s KEY | sha256sum)",
        ),
    ]
    #: Routes that the key may use; null for all.
    routes: tuple[Name, ...] | None = None
    #: Maximum number of requests in 60 seconds, over all replicas that share the store.
    requests_per_minute: Annotated[int, Meta(ge=1)] | None = None
    #: Maximum number of tokens in 60 seconds, over all replicas that share the store.
    tokens_per_minute: Annotated[int, Meta(ge=1)] | None = None


class Breaker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The circuit breaker of an upstream: when a failing upstream gets no more requests, and for how long."""

    #: Consecutive failures that open the breaker: no connection, no answer in time, or status 5xx. 0 disables it.
    failures: Annotated[int, Meta(ge=0)] = 50
    #: How long the breaker stays open before one request tries the upstream again.
    open_s: Seconds = 5.0


class Upstream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model server, called directly if it speaks OpenAI's format and through LiteLLM otherwise.

    A pool (``of``) combines several upstreams: a list is tried in its order, a mapping is drawn from by its weights,
    and after a failure the next one is tried.
    """

    of: tuple[Name, ...] | dict[Name, Weight] | None = None
    base_url: str | None = None
    #: In place of base_url: name of the environment variable that holds the address.
    base_url_env: Annotated[str, Meta(min_length=1)] | None = None
    litellm: str | None = None
    #: Name of the environment variable that holds the API key.
    api_key_env: str | None = None
    #: In place of api_key_env: a file with the API key, which is read again on a reload.
    api_key_file: Annotated[str, Meta(min_length=1)] | None = None
    #: Whether the proxy sends its own API key, or forwards the client's Authorization header.
    auth: Literal["key", "forward"] = "key"
    #: Wire formats that the upstream speaks; the others are translated to chat completions. The default is chat,
    #: completions and responses, and for LiteLLM chat alone.
    formats: (
        tuple[
            Annotated[Literal["chat", "completions", "responses", "messages"], Meta(title="wire format")], ...
        ]
        | None
    ) = None
    logprobs: Literal["auto", "native", "none"] = "auto"
    timeout_s: Seconds = 60.0
    connect_timeout_s: Seconds = 5.0
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    max_connections: Annotated[int, Meta(ge=1)] = 1_000
    #: On an upstream whose answers a route withholds (mode: enforce): whether batches, files and uploads, which
    #: return answers without a verdict, are forwarded.
    batches: Literal["refuse", "allow"] = "refuse"
    #: On such an upstream: further paths that are forwarded without a verdict, without /v1, for example /infill;
    #: `*` stands for one segment.
    pass_: tuple[
        Annotated[
            str,
            Meta(
                pattern=r"^(/([A-Za-z0-9_.:-]+|\*))+$",
                title="path",
                description="a path such as /infill or /conversations/*/items",
            ),
        ],
        ...,
    ] = msgspec.field(default=(), name="pass")
    #: Removed; kept so that a configuration that sets it gets a clear message.
    transport: str | None = None
    breaker: Breaker = Breaker()


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The maximum cost of one request's further calls."""

    #: Further samples of one request.
    samples: Annotated[int, Meta(ge=0, le=64)] = 8
    #: Tokens of one request's further calls, prompts included; null for no limit.
    tokens: Annotated[int, Meta(ge=1)] | None = None
    #: How long a verdict may wait for further calls after the answer has arrived.
    timeout_s: Seconds = 30.0
    #: Further calls of the route that may be in flight at the same time.
    concurrency: Annotated[int, Meta(ge=1)] = 32


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of further samples; the client's own parameters apply to its answer alone."""

    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.8
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    #: none: draw all samples together with the answer; band: draw all after the answer, if they can change the
    #: verdict; sequential: draw a few at a time until further ones cannot change it.
    wait: Literal["none", "band", "sequential"] = "none"
    #: Maximum probability that all samples would have led to another verdict than the samples that were drawn.
    level: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0


class Embeddings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model that turns texts into vectors: behind an upstream's ``/embeddings``, or inside the proxy."""

    upstream: Name | None = None
    model: Annotated[str, Meta(min_length=1)] | None = None
    #: In place of both: a model that runs inside the proxy (the extra ``embeddings``).
    local: Name | None = None


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worked example: a question, optionally with passages, and its answer, which may be "I don't know."."""

    question: Annotated[str, Meta(min_length=1)]
    answer: Annotated[str, Meta(min_length=1)]
    context: tuple[str, ...] = ()


class Rag(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the retrieved passages of a request are, and whether a withheld question is asked again without them.

    See ``proxy.requests.prompt.context``.
    """

    context: Annotated[str, Meta(min_length=1)] | None = None
    rescue: bool = False
    #: Template that puts passages from a request's ``idk`` field before its question.
    template: str | None = None
    #: Whether a question that is asked again says that passages may be irrelevant.
    instruct: bool = False
    #: Worked examples before every question: a file with one JSON object a line, or the examples themselves.
    examples: str | tuple[Example, ...] = ()


class Fallback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The raw score that decides about an answer which the route's own gate could not measure."""

    scorers: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1)]
    score_threshold: float


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The requests that a route takes, the upstream that answers them, and how their answers are gated."""

    name: Name
    #: Patterns for the request's model; the first route that matches takes the request.
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    upstream: Name
    #: Model name sent to the upstream in place of the client's.
    model: str | None = None
    #: Sampling parameters sent to the upstream in place of the client's.
    params: dict[str, float | int] = msgspec.field(default_factory=dict)
    mode: Annotated[Literal["enforce", "observe", "off"], Meta(title="mode")] = "observe"
    #: A policy's name in the store, or a file.
    policy: str | None = None
    #: Threshold on the confidence, in place of the policy's.
    threshold: Probability | None = None
    #: Without a policy: the scorer whose raw score is used.
    scorers: tuple[str, ...] = ()
    #: Without a policy: the threshold on the raw score.
    score_threshold: float | None = None
    #: Number of further samples of each answer.
    samples: Annotated[int, Meta(ge=0, le=64)] = 0
    sampling: Sampling = Sampling()
    #: Decides about answers that are unmeasured, for example without logprobs; null: on_unmeasured decides.
    fallback: Fallback | None = None
    #: The route whose model says which samples mean the same, for agreement_judge.
    judge: Name | None = None
    #: For agreement_embedding.
    embeddings: Embeddings | None = None
    #: Tells the model to answer only above this confidence, and what a mistake costs; null: no such instruction.
    confidence_prompt: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    #: What happens to an answer below the threshold.
    on_low: Literal["abstain", "escalate"] = "abstain"
    escalate_to: Name | None = None
    #: What happens to an answer for which the upstream gave no evidence. An answer that is unmeasured because of the
    #: request is always withheld.
    on_unmeasured: Literal["abstain", "answer"] = "abstain"
    #: What happens where a request differs from the requests that the policy was fitted on: strict leaves its answer
    #: unmeasured, lenient judges without certifying, pin sends the policy's value of sampling parameters.
    match: Literal["strict", "lenient", "pin"] = "strict"
    #: Whether the system prompt must be the one that the policy was fitted with.
    prompt: Literal["policy", "any"] = "policy"
    #: Maximum duration of a whole request, retries, samples and remedies included. A shorter timeout of the client
    #: (header x-stainless-timeout) takes precedence.
    deadline_s: Seconds | None = None
    #: Whether an answer that was cut off by its length limit is scored or counts as unmeasured.
    on_length: Literal["score", "unmeasured"] = "score"
    #: What an enforcing route does with a model's thoughts inside the content: they are removed, or sent unjudged.
    thoughts: Literal["remove", "pass"] = "remove"
    #: Whether a tool call is gated by the tokens of its arguments; otherwise it passes.
    gate_tools: bool = False
    abstain_text: Annotated[str, Meta(min_length=1)] = "I don't know."
    #: Whether a request may carry its own threshold.
    allow_override: bool = False
    #: The share of requests whose answers are kept for labelling, drawn at random before the verdict.
    audit: Probability = 0.0
    #: What happens, beyond the revoked certificate, when labels show that the risk is over its target.
    on_alarm: Literal["warn", "tighten", "abstain"] = "warn"
    #: What happens when confidences drift: a warning, a revoked certificate, or every answer is withheld.
    on_drift: Literal["warn", "revoke", "abstain"] = "warn"
    budget: Budget = Budget()
    rag: Rag = Rag()


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All sections of `idk.yaml`."""

    server: Server = Server()
    keys: tuple[Key, ...] = ()
    upstreams: dict[Name, Upstream]
    routes: Annotated[tuple[Route, ...], Meta(min_length=1)]


#: Every section, the file itself first and each before the sections inside it: the order of the reference.
SECTIONS: Final[tuple[type[Struct], ...]] = (
    Config, Route, Rag, Example, Embeddings, Fallback, Sampling, Budget, Upstream, Breaker, Key, Server, Retention,
)  # fmt: skip


def fallback_of(route: Route) -> Route:
    """Return the route with the scorer and the threshold of its fallback in place of its policy."""
    given = route.fallback
    if given is None:
        return route
    return msgspec.structs.replace(
        route,
        policy=None,
        threshold=None,
        scorers=given.scorers,
        score_threshold=given.score_threshold,
        fallback=None,
    )
