"""Reader of tables (CSV, TSV) and of JSON Lines or arrays with other field names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from proxy.exceptions import UNREADABLE, ConfigError
from proxy.offline.importing.result import Imported, Unused, label_of
from proxy.records.reading import numbered_lines
from proxy.records.tables import DELIMITERS, array_lines, is_array, rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def read(path: Path, columns: Mapping[str, str]) -> Iterator[Imported | Unused]:
    """Yield the entries, with each field taken from the column that ``columns`` names; raise ConfigError."""
    for place, entry in enumerate(_entries(path), start=1):
        fields = {field: entry[column] for field, column in columns.items() if column in entry}
        fields |= {name: value for name, value in entry.items() if name not in columns.values()}
        if "label" in fields:
            label = label_of(fields["label"])
            if label is None:
                yield Unused(f"the label {str(fields['label'])[:40]!r} is not known")
                continue
            fields["label"] = label
        yield Imported({"id": str(place), **fields, **_texts(fields)})


def _texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields in the form of records: ids as text, and accepted answers as a list."""
    found: dict[str, Any] = {
        name: str(fields[name])
        for name in ("id", "answer", "question", "group")
        if fields.get(name) is not None
    }
    for name in ("answers", "context", "choices", "samples"):
        value = fields.get(name)
        if isinstance(value, str):
            found[name] = [each.strip() for each in value.split("|")]
    return found


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() in DELIMITERS:
        for _, row in rows(path, DELIMITERS[path.suffix.lower()]):
            yield {name: _cell(cell) for name, cell in row.items()}
        return
    for number, line in array_lines(path) if is_array(path) else numbered_lines(path):
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except UNREADABLE as exc:
            raise ConfigError(f"{path}, entry {number}: is not a JSON object: {exc}") from exc


def _cell(cell: str) -> Any:
    """Return a cell that holds a JSON array or object as its value, and any other as text."""
    if cell[:1] in "[{":
        try:
            return msgspec.json.decode(cell)
        except UNREADABLE:
            return cell
    return cell
