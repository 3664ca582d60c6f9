"""The table of import formats, and the detection of a file's format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from proxy.exceptions import UNREADABLE, ConfigError
from proxy.offline.importing import lm_eval, openai_evals, promptfoo, table
from proxy.records.reading import numbered_lines
from proxy.records.tables import DELIMITERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from proxy.offline.importing.result import Imported, Unused

    Reader = Callable[[Path, Mapping[str, str]], Iterator[Imported | Unused]]


class Format(NamedTuple):
    """A format: its reader, and whether the first JSON value of a file is of this format."""

    read: Reader
    matches: Callable[[Any], bool]


#: The formats by the names that `idk import --format` takes; the last one reads what no other one recognises.
FORMATS: Final[Mapping[str, Format]] = {
    "promptfoo": Format(promptfoo.read, promptfoo.matches),
    "lm-eval": Format(lm_eval.read, lm_eval.matches),
    "openai-evals": Format(openai_evals.read, openai_evals.matches),
    "table": Format(table.read, lambda _: True),
}


def detect(path: Path) -> str:
    """Return the name of a file's format; raise ConfigError where the file is empty or neither a table nor JSON."""
    if path.suffix.lower() in DELIMITERS:
        return "table"
    first = next((line for _, line in numbered_lines(path)), None)
    if first is None:
        raise ConfigError(
            f"{path}: is empty; expected a table (CSV, TSV), JSON Lines or JSON of {', '.join(FORMATS)}"
        )
    value = _value(first)
    if value is None:
        value = _value(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if value is not None:
        return next(name for name, each in FORMATS.items() if each.matches(value))
    raise ConfigError(
        f"{path}: is neither JSON Lines nor JSON; expected a table (.csv, .tsv), JSON Lines or JSON of "
        f"{', '.join(FORMATS)}"
    )


def _value(content: bytes) -> Any:
    """Return the JSON value; None for anything else."""
    try:
        return msgspec.json.decode(content)
    except UNREADABLE:
        return None
