"""CSV and TSV files and JSON arrays as lines of JSON, so that every command reads them like JSON Lines."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.exceptions import UNREADABLE, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: The separators of tables by the suffix of the file.
DELIMITERS: Final[Mapping[str, str]] = {".csv": ",", ".tsv": "\t"}
#: Separates the entries of a list in one cell, for these fields; a JSON array works too.
_SEPARATOR: Final = "|"
_LISTS: Final = ("answers", "context", "choices", "samples")
#: The longest cell: as the longest line of JSON Lines.
_MAX_CELL: Final = 100_000_000
#: A JSON array is read as a whole, so its size is limited.
_MAX_ARRAY_BYTES: Final = 1_000_000_000


def rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table as mappings from column to cell, with their line numbers; raise ConfigError.

    Empty cells are left out.
    """
    csv.field_size_limit(_MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            if not names:
                raise ConfigError(f"{path}: is empty; the first line of a table names its columns")
            if len(set(names)) < len(names):
                raise ConfigError(f"{path}, line 1: names a column twice; column names must be unique")
            reader.fieldnames = names
            for row in reader:
                if None in row or None in row.values():
                    raise ConfigError(
                        f"{path}, line {reader.line_num}: has another number of cells than the first line; put cells "
                        "that contain the separator in double quotes"
                    )
                yield reader.line_num, {name: cell for name, cell in row.items() if cell}
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not UTF-8 text; save the table as CSV in UTF-8") from exc
    except csv.Error as exc:
        raise ConfigError(f"{path}: is not a table with the separator {delimiter!r}: {exc}") from exc


def table_lines(path: Path, kind: type[msgspec.Struct]) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of a CSV or TSV file as JSON of the fields of ``kind``; rows without an id get their number."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for place, (number, row) in enumerate(rows(path, DELIMITERS[path.suffix.lower()]), start=1):
        values = {name: _value(name, cell, fields[name]) for name, cell in row.items() if name in fields}
        if not values:
            raise ConfigError(
                f"{path}, line 1: no column is named {', '.join(map(repr, fields))}; rename the columns, or map them "
                "with `idk import --map FIELD=COLUMN`"
            )
        yield number, msgspec.json.encode({"id": str(place), **values})


def array_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the entries of a JSON array, numbered from 1; raise ConfigError."""
    try:
        if path.stat().st_size > _MAX_ARRAY_BYTES:
            raise ConfigError(f"{path}: is a JSON array of over 1 GB; write one object a line (JSON Lines)")
        entries = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=list[msgspec.Raw])
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UNREADABLE as exc:
        raise ConfigError(f"{path}: is neither JSON Lines nor a JSON array: {exc}") from exc
    yield from enumerate((bytes(entry) for entry in entries), start=1)


def is_array(path: Path) -> bool:
    """Return whether the file begins like a JSON array in place of JSON Lines."""
    try:
        if not path.is_file():  # a FIFO can be read only once
            return False
        with path.open("rb") as file:
            return file.read(4_096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    except OSError:  # reported by the reader
        return False


def _value(name: str, cell: str, type_: Any) -> Any:
    """Return a cell as a value of its field: text as it is, other types as JSON, and the entries of lists."""
    if _is_text(type_):
        return cell
    try:
        value = msgspec.json.decode(cell)
    except UNREADABLE:
        value = cell
    if name in _LISTS and not isinstance(value, list):
        return [each.strip() for each in cell.split(_SEPARATOR)]
    return value


def _is_text(type_: Any) -> bool:
    """Return whether a field takes any text, so that a cell such as 12 stays text."""
    try:
        msgspec.convert("text of any kind", type_)
    except msgspec.ValidationError:
        return False
    return True
