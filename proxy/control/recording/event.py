"""A judged request in the recording queue, and its conversion to decision records and audit items."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from gating.types import Unmeasured
from proxy.records import Answer, Condition, Observed, reduced_embeddings
from proxy.requests.matching import made_with
from proxy.storage import AuditItem, DecisionRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gating.types import Evidence
    from proxy.requests.route import Route
    from proxy.surfaces.contract import Choice, Completion, Request, Verdict


class Event(msgspec.Struct, frozen=True, gc=False):
    """A judged request that waits to be recorded; ``request`` and ``completion`` are None where texts are not kept."""

    id: str
    at: float
    route: Route
    verdict: Verdict
    completion_id: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    request: Request | None
    completion: Completion | None
    #: Whether the request is in the audit sample.
    drawn: bool
    log_text: bool
    #: The name of the client's key.
    key: str | None = None
    #: Estimated bytes of its texts and evidence.
    size: int = 0
    #: Whether the request matched the policy's fingerprint.
    applies: bool = True
    #: The name of the request's wire format, and the request without the passages of its context.
    format: str = "chat"
    without: Request | None = None


def records_of(event: Event) -> tuple[list[DecisionRecord], list[AuditItem]]:
    """Return a decision record for each choice and, where the request was drawn, an audit item for each."""
    question = None if event.request is None else question_of(event.request)
    records = []
    for place, report in enumerate(event.verdict.report.choices):
        detail = event.verdict.decisions[place].detail
        answer = None if event.completion is None else event.completion.choices[place].evidence.answer
        first = place == 0  # token counts are of the whole request: stored once
        records.append(
            DecisionRecord(
                id=event.id,
                choice=report.index,
                at=event.at,
                route=event.route.name,
                mode=event.verdict.report.mode,
                decision=report.decision,
                reason=report.reason,
                source=report.source,
                policy=event.route.version,
                certified=event.verdict.report.certified,
                confidence=report.confidence,
                threshold=report.threshold,
                score=report.score,
                applies=event.applies,
                detail=detail,
                completion_id=event.completion_id,
                prompt_tokens=event.prompt_tokens if first else None,
                completion_tokens=event.completion_tokens if first else None,
                extra_calls=event.verdict.report.extra.calls if first else 0,
                extra_tokens=_extra_tokens(event) if first else 0,
                key=event.key,
                question=question if event.log_text else None,
                answer=answer if event.log_text else None,
            )
        )
    return records, _audit_items(event, records, question)


def _extra_tokens(event: Event) -> int:
    extra = event.verdict.report.extra
    return extra.prompt_tokens + extra.completion_tokens


def _audit_items(event: Event, records: list[DecisionRecord], question: str | None) -> list[AuditItem]:
    if not event.drawn or event.request is None or event.completion is None:
        return []
    config = event.route.config
    return [
        AuditItem(
            decision=_without_texts(record),
            propensity=config.audit,
            answer=_answer(record, choice, question, _made_with(event, choice)),
        )
        for record, choice in zip(records, event.completion.choices, strict=True)
    ]


def _made_with(event: Event, choice: Choice) -> dict[str, Any]:
    """Return the fingerprint of one answer; the model that gave it is known from the response."""
    if event.request is None or event.completion is None:
        raise AssertionError("an audit item needs the request and its answer")
    return made_with(
        event.route,
        event.request,
        event.format,
        without=event.without,
        cut=choice.finish_reason == "length",
        answered_by=event.completion.model,
    )


def _without_texts(record: DecisionRecord) -> DecisionRecord:
    """Return the record without its texts, which the audit item's answer holds already."""
    if record.question is None and record.answer is None:
        return record
    return msgspec.structs.replace(record, question=None, answer=None)


def _answer(
    record: DecisionRecord, choice: Choice, question: str | None, fingerprint: dict[str, Any]
) -> Answer:
    observed = observed_of(choice.evidence)
    # Repeated questions must fall on the same side of every split.
    group = None if question is None else hashlib.sha256(question.encode()).hexdigest()[:16]
    return Answer(
        id=record.id if record.choice == 0 else f"{record.id}:{record.choice}",
        group=group,
        question=question,
        made_with=fingerprint,
        condition="rescued" if record.decision == "rescue" else _CONDITIONS[choice.evidence.context],
        **msgspec.structs.asdict(observed),
    )


#: The condition of a live answer by whether it had passages; how they relate to the question is not known.
_CONDITIONS: Mapping[bool | None, Condition | None] = {None: None, False: "none", True: "context"}


def observed_of(evidence: Evidence) -> Observed:
    """Convert evidence to the form of ``records.jsonl``; unusable parts are left out."""
    logprobs = evidence.token_logprobs
    known = {"p_true": evidence.p_true, "verbalised": evidence.verbalised}
    features = {
        **evidence.features, **{name: value for name, value in known.items() if value is not None}
    }  # fmt: skip
    return Observed(
        answer=evidence.answer,
        token_logprobs=None if logprobs is None or isinstance(logprobs, Unmeasured) else list(logprobs),
        top_logprobs=None
        if evidence.top_logprobs is None
        else [list(place) for place in evidence.top_logprobs],
        samples=list(evidence.samples) or None,
        embeddings=None if evidence.embeddings is None else reduced_embeddings(evidence.embeddings),
        meanings=None if evidence.meanings is None else list(evidence.meanings),
        closed_book=None if evidence.closed_book is None else observed_of(evidence.closed_book),
        features=features or None,
    )


def question_of(request: Request) -> str | None:
    """Return the question as a person should read it to label the answer; None without text.

    That is the user's text where there is a single turn beside instructions, else every turn with its role.
    """
    for name in ("messages", "input", "prompt"):
        raw = request.fields.get(name)
        if raw is not None:
            return _spoken(msgspec.json.decode(raw))
    return None


def _spoken(asked: Any) -> str | None:
    if isinstance(asked, str):
        return asked
    if not isinstance(asked, list):
        return None
    turns = [
        (str(turn.get("role", "")), text)
        for turn in asked
        if isinstance(turn, dict) and (text := _text(turn.get("content")))
    ]
    spoken = [(role, text) for role, text in turns if role not in ("system", "developer")]
    if len(spoken) == 1:
        return spoken[0][1]
    return "\n".join(f"{role}: {text}" for role, text in spoken) or None


def _text(content: Any) -> str:
    """Return the text of a turn: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
