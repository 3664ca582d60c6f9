"""Reading of JSON Lines files; every error is one line that names the file, the line in it and the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from gating.fingerprint import ANSWERED_BY, FIELDS, is_complete, settings, without_answer
from gating.types import GatingError
from proxy.exceptions import UNREADABLE, ConfigError
from proxy.records import strict_json
from proxy.records.tables import DELIMITERS, array_lines, is_array, table_lines
from proxy.records.types import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from gating.tuning import Graded

_BOM: Final = b"\xef\xbb\xbf"
#: The largest line: an answer of 100,000 tokens with its alternatives is shorter.
MAX_LINE_BYTES: Final = 100_000_000
#: What to do about a wrong value of a field, where msgspec's message does not say it.
_HINTS: Final = {"label": "a label is correct, incorrect, abstained or undecided"}


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


_Line = TypeVar("_Line", bound=_Identified)


def lines(path: Path, kind: type[_Line]) -> Iterator[tuple[_Line, bytes]]:
    """Yield every line of the file, decoded as ``kind``, with its bytes; empty lines are skipped.

    Raises ConfigError where the file cannot be read, a line does not fit ``kind``, or an id occurs twice.
    """
    return ((read, line) for _, read, line in numbered(path, kind))


def numbered(
    path: Path, kind: type[_Line], *, max_line_bytes: int = MAX_LINE_BYTES, half_line: bool = False
) -> Iterator[tuple[int, _Line, bytes]]:
    """Yield what ``lines`` yields, with the number of the line in the file (from 1) in front.

    ``half_line`` skips a last line that has no line break and is not JSON, as a killed run leaves it.
    """
    decoder = msgspec.json.Decoder(kind)
    seen: set[str] = set()
    for number, line in _json_lines(path, kind, max_line_bytes):
        try:
            read = decoder.decode(line)
            strict_json.check_line(line)
        except (*UNREADABLE, ValueError) as exc:
            half = isinstance(exc, msgspec.DecodeError) and not isinstance(exc, msgspec.ValidationError)
            if half_line and half and not line.endswith(b"\n"):
                return
            raise ConfigError(f"{path}, line {number}: {_problem(exc, line, kind)}") from exc
        if read.id in seen:
            raise ConfigError(f"{path}, line {number}: the id {read.id!r} occurs twice; ids must be unique")
        seen.add(read.id)
        yield number, read, line


def _json_lines(path: Path, kind: type[_Line], max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield the entries of JSON Lines, a JSON array, or a CSV or TSV file as JSON; raises ConfigError."""
    if path.suffix.lower() in DELIMITERS:
        return table_lines(path, kind)  # type: ignore[arg-type] # every kind is a struct
    return array_lines(path) if is_array(path) else numbered_lines(path, max_line_bytes=max_line_bytes)


def numbered_lines(path: Path, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1; raises ConfigError."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_bounded(file, path, max_line_bytes), start=1):
                content = line.removeprefix(_BOM) if number == 1 else line
                if content.strip():
                    yield number, content
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def _bounded(file: BinaryIO, path: Path, most: int) -> Iterator[bytes]:
    while line := file.readline(most + 1):
        if len(line) > most:
            raise ConfigError(f"{path}: a line is over {most} bytes; put one record on each line")
        yield line


def _problem(exc: Exception, line: bytes, kind: type[object]) -> str:
    """Describe why a line could not be decoded, with the name of the field in front."""
    if not isinstance(exc, msgspec.ValidationError):
        if not isinstance(exc, msgspec.DecodeError):  # of strict_json
            return str(exc) or type(exc).__name__
        return f"not JSON: {exc}; JSON has no NaN and no Infinity, write null"
    try:
        values = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return str(exc)
    # msgspec names the place only inside its message: each field by itself shows which one is wrong.
    for field in msgspec.structs.fields(kind):  # type: ignore[arg-type] # every kind is a struct
        try:
            if field.encode_name in values:
                msgspec.json.decode(values[field.encode_name], type=field.type)
        except msgspec.ValidationError as problem:
            hint = _HINTS.get(field.encode_name)
            return f"{field.encode_name}: {problem}" + (f"; {hint}" if hint else "")
    return str(exc)


def graded(path: Path) -> tuple[Graded, dict[str, Any]]:
    """Return the records of the file as numbers, and the fingerprint that all of them share ({} without one).

    Raises ConfigError.
    """
    from gating.tuning import Collector

    collector = Collector()
    made_with: dict[str, Any] | None = None
    answered_by: set[str] = set()
    for number, record, _ in numbered(path, Record):
        if record.condition == "rescued":
            continue
        theirs = record.made_with or {}
        if made_with is None:
            made_with = theirs
        elif is_complete(theirs) != is_complete(made_with) or settings(theirs) != settings(made_with):
            raise ConfigError(
                f"{path}, line {number}: record {record.id!r} was made with {_as_text(theirs)}, and the records "
                f"before it with {_as_text(made_with)}; tune from records of one kind, or remove made_with from all "
                "of them"
            )
        answered_by.update(theirs.get(ANSWERED_BY) or ())
        try:
            collector.add(
                record.evidence(),
                record.label,
                record.group or record.id,
                without=record.without,
                fields=theirs.get(FIELDS),
            )
        except GatingError as exc:
            raise ConfigError(f"{path}, line {number}: record {record.id!r}: {exc}") from exc
    if not len(collector):
        raise ConfigError(f"{path}: holds no records; `idk evaluate` writes them")
    return collector.graded(), _shared(made_with or {}, answered_by)


def _shared(made_with: dict[str, Any], answered_by: set[str]) -> dict[str, Any]:
    """Return the fingerprint of all records; tuning adds the request fields."""
    if not is_complete(made_with):
        return made_with
    models = {ANSWERED_BY: sorted(answered_by)} if answered_by else {}
    return settings(made_with) | models | {FIELDS: made_with[FIELDS]}


class _Answered(Struct, frozen=True):
    id: str
    made_with: dict[str, Any] | None = None


def answered(path: Path, made_with: dict[str, Any]) -> set[str]:
    """Return the ids in a file that a run continues.

    Raises ConfigError where a record of the file was made with something else than this run's ``made_with``.
    """
    ids: set[str] = set()
    for number, record, _ in numbered(path, _Answered, half_line=True):
        if without_answer(record.made_with or {}) != without_answer(made_with):
            raise ConfigError(
                f"{path}, line {number}: holds an answer made with {_as_text(record.made_with or {})}, and this "
                f"run would add answers made with {_as_text(made_with)}; give another --out"
            )
        ids.add(record.id)
    return ids


def _as_text(made_with: dict[str, Any]) -> str:
    return msgspec.json.encode(made_with).decode() if made_with else "unknown parameters"
