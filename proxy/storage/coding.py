"""What backends keep as bytes: JSON for what may be read by anyone, sealed JSON for texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from proxy.exceptions import UNREADABLE, StoreError
from proxy.storage.types import AuditItem, DecisionRecord

if TYPE_CHECKING:
    from proxy.storage.sealing import Sealer

_Kind = TypeVar("_Kind")
_encode = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """A decision in two parts; ``text`` is None where none is kept."""

    body: bytes
    text: bytes | None


def encode(value: object) -> bytes:
    """As JSON."""
    return _encode(value)


def decode(kept: bytes | str, kind: type[_Kind]) -> _Kind:
    """A value of ``kind``; raises StoreError where the store holds something else."""
    try:
        return msgspec.json.decode(kept, type=kind)
    except UNREADABLE as exc:
        raise StoreError(f"what the store holds is no {kind.__name__}: {exc}") from exc


def keep_decision(record: DecisionRecord, sealer: Sealer) -> Kept:
    """The two parts of a decision."""
    if record.question is None and record.answer is None:
        return Kept(_encode(record), None)
    text = sealer.seal(_encode((record.question, record.answer)))
    return Kept(_encode(msgspec.structs.replace(record, question=None, answer=None)), text)


def read_decision(body: bytes | str, text: bytes | None, sealer: Sealer) -> DecisionRecord:
    """The decision of its two parts."""
    record = decode(body, DecisionRecord)
    if text is None:
        return record
    question, answer = decode(sealer.open(text), tuple[str | None, str | None])
    return msgspec.structs.replace(record, question=question, answer=answer)


def keep_audit(item: AuditItem, sealer: Sealer) -> bytes:
    """An audit item: question, answer and evidence, sealed whole."""
    return sealer.seal(_encode(item))


def read_audit(kept: bytes, place: int, sealer: Sealer) -> AuditItem:
    """The item, with its place in the order in which the sample was drawn."""
    return msgspec.structs.replace(decode(sealer.open(kept), AuditItem), place=place)
