"""The section `routes`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proxy.config.evidence import Budget, Embeddings, Sampling
from proxy.config.kinds import Name, Probability, Seconds
from proxy.config.rag import Rag


class Fallback(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What judges an answer that the route's own gate could not measure: a raw score, without a confidence."""

    scorers: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1)]
    score_threshold: float


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests it takes, which upstream answers them, and how the answers are gated."""

    name: Name
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    upstream: Name
    model: str | None = None
    #: Sampling parameters set on every request to the upstream, over the client's own.
    params: dict[str, float | int] = msgspec.field(default_factory=dict)
    mode: Literal["enforce", "observe", "off"] = "observe"
    policy: str | None = None
    threshold: Probability | None = None
    scorers: tuple[str, ...] = ()
    score_threshold: float | None = None
    samples: Annotated[int, Meta(ge=0, le=64)] = 0
    sampling: Sampling = Sampling()
    #: Judges what is unmeasured, as where the upstream gives no logprobs; null: on_unmeasured decides.
    fallback: Fallback | None = None
    #: The route whose model says which samples mean the same, for agreement_judge.
    judge: Name | None = None
    #: For agreement_embedding.
    embeddings: Embeddings | None = None
    #: The model is told to answer only if it is surer than this, and what a mistake then costs; null: it is not.
    confidence_prompt: Annotated[float, Meta(gt=0.0, lt=1.0)] | None = None
    on_low: Literal["abstain", "escalate"] = "abstain"
    escalate_to: Name | None = None
    on_unmeasured: Literal["abstain", "answer"] = "abstain"
    #: The most that a whole request may take, retries, samples and remedies included; a client that says (by
    #: x-stainless-timeout) that it waits less is told in time.
    deadline_s: Seconds | None = None
    #: An answer that its length limit cut off: scored as it stands, or unmeasured.
    on_length: Literal["score", "unmeasured"] = "score"
    #: Whether a tool call is gated by the tokens of its arguments; else it passes, being no answer.
    gate_tools: bool = False
    abstain_text: Annotated[str, Meta(min_length=1)] = "I don't know."
    allow_override: bool = False
    #: The share of requests whose answers are kept for labelling, drawn at random whatever the gate says.
    audit: Probability = 0.0
    #: What happens, beyond the revoked certificate, when labels say that the risk is over its target.
    on_alarm: Literal["warn", "tighten", "abstain"] = "warn"
    #: What happens when confidences move: a warning, a revoked certificate, or nothing goes out any more.
    on_drift: Literal["warn", "revoke", "abstain"] = "warn"
    budget: Budget = Budget()
    rag: Rag = Rag()


def lower(route: Route) -> Route:
    """The route as its fallback judges; it has none itself."""
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
