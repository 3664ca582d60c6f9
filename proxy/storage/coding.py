"""Encoding of stored values: JSON for metadata, sealed JSON for questions, answers and evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from proxy.exceptions import UNREADABLE, StoreError
from proxy.storage.types import AuditItem, DecisionRecord

if TYPE_CHECKING:
    from proxy.storage.sealing import Sealer

_Type = TypeVar("_Type")
_encode = msgspec.json.Encoder().encode


class EncodedDecision(NamedTuple):
    """An encoded decision; ``text`` holds its sealed question and answer, or None where they are not stored."""

    body: bytes
    text: bytes | None


def encode(value: object) -> bytes:
    """Return ``value`` as JSON."""
    return _encode(value)


def decode(stored: bytes | str, kind: type[_Type]) -> _Type:
    """Return the stored value as ``kind``; raises StoreError where it has another form."""
    try:
        return msgspec.json.decode(stored, type=kind)
    except UNREADABLE as exc:
        raise StoreError(f"the store contains a value that is not a valid {kind.__name__}: {exc}") from exc


def encode_decision(record: DecisionRecord, sealer: Sealer) -> EncodedDecision:
    """Return the encoded decision, its texts separate from the rest."""
    if record.question is None and record.answer is None:
        return EncodedDecision(_encode(record), None)
    text = sealer.seal(_encode((record.question, record.answer)))
    return EncodedDecision(_encode(msgspec.structs.replace(record, question=None, answer=None)), text)


def decode_decision(body: bytes | str, text: bytes | None, sealer: Sealer) -> DecisionRecord:
    """Return the decision for its encoded parts."""
    record = decode(body, DecisionRecord)
    if text is None:
        return record
    question, answer = decode(sealer.open(text), tuple[str | None, str | None])
    return msgspec.structs.replace(record, question=question, answer=answer)


def encode_audit(item: AuditItem, sealer: Sealer) -> bytes:
    """Return an audit item, sealed as a whole because it contains texts."""
    return sealer.seal(_encode(item))


def decode_audit(stored: bytes, place: int, sealer: Sealer) -> AuditItem:
    """Return the audit item with its position in the order of sampling."""
    return msgspec.structs.replace(decode(sealer.open(stored), AuditItem), place=place)
