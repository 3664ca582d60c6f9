"""What a reader yields: an imported entry, or an entry that cannot be used and why; and helpers of several readers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.exceptions import UNREADABLE, ConfigError
from proxy.records.reading import numbered_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Words for labels in other tools' files, in lower case.
LABELS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("correct", "right", "true", "yes", "1", "1.0", "pass", "passed", "c"), "correct"),
    **dict.fromkeys(("incorrect", "wrong", "false", "no", "0", "0.0", "fail", "failed", "i"), "incorrect"),
    **dict.fromkeys(("abstained", "not_attempted", "declined", "refused"), "abstained"),
    "undecided": "undecided",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """The fields of a record or a question, from one entry of the file."""

    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unused:
    """An entry that cannot be used, with the reason in a few words."""

    reason: str


def label_of(value: object) -> str | None:
    """Return the label for another tool's verdict: a word, a truth value, or a score of 0 or 1; None for any other."""
    return LABELS.get(str(value).strip().lower())


def objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a JSON Lines file; raise ConfigError."""
    for number, line in numbered_lines(path):
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except UNREADABLE as exc:
            raise ConfigError(f"{path}, line {number}: is not a JSON object: {exc}") from exc


def whole(path: Path) -> Any:
    """Return the value of a JSON file; raise ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UNREADABLE as exc:
        raise ConfigError(f"{path}: is not JSON: {exc}") from exc


def text_in(value: object) -> str | None:
    """Return a text that is not blank; None for any other value."""
    return value if isinstance(value, str) and value.strip() else None
