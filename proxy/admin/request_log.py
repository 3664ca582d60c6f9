"""The request log of a route: its decisions, the newest first, by filters or by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.admin.schema import Log, LogEntry
from proxy.exceptions import BadRequest
from proxy.storage import DecisionQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.storage import AuditItem, DecisionRecord, Store

#: Entries of one page.
PAGE: Final = 10
_MAX_LENGTH: Final = 256
#: The decisions and reasons that entries can be filtered by.
DECISIONS: Final = ("answer", "partial", "abstain", "review", "rescue", "escalate")
REASONS: Final = (
    "confident", "below_threshold", "unmeasured", "upstream_abstained", "tool_call", "budget", "off",
)  # fmt: skip


async def entries(store: Store, route: str, parameters: Mapping[str, str]) -> Log:
    """Return a page of the log by the parameters of the URL; raises BadRequest and StoreError.

    ``id`` finds all choices of one request, by the request's or the completion's id. These have their texts from the
    audit sample too.
    """
    for name, value in parameters.items():
        if len(value) > _MAX_LENGTH:
            raise BadRequest(f"{name}: is longer than {_MAX_LENGTH} characters", param=name)
    wanted = parameters.get("id", "").strip()
    if wanted:
        found = [each for each in await store.decision(wanted) if each.route == route]
        items = [await store.audit_item(each.id, each.choice) for each in found]
        return Log(items=[_entry(*each) for each in zip(found, items, strict=True)], cursor=None)
    page = await store.decisions(
        DecisionQuery(
            route=route,
            decision=_choice(parameters, "decision", DECISIONS),
            reason=_choice(parameters, "reason", REASONS),
            cursor=parameters.get("cursor") or None,
            limit=PAGE,
        )
    )
    return Log(items=[_entry(each, None) for each in page.items], cursor=page.cursor)


def _choice(parameters: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = parameters.get(name) or None
    if value is not None and value not in known:
        raise BadRequest(f"{name}: use one of {', '.join(known)}", param=name)
    return value


def _entry(record: DecisionRecord, item: AuditItem | None) -> LogEntry:
    return LogEntry(
        id=record.id,
        choice=record.choice,
        at=record.at,
        mode=record.mode,
        decision=record.decision,
        reason=record.reason,
        detail=record.detail,
        confidence=record.confidence,
        threshold=record.threshold,
        policy=record.policy,
        certified=record.certified,
        key=record.key,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        extra_calls=record.extra_calls,
        question=record.question if item is None else item.answer.question,
        answer=record.answer if item is None else item.answer.answer,
    )
