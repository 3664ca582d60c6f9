"""The command ``idk import``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path  # noqa: TC003 - typer reads the annotations when it runs
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.cli.output import print_json, print_line
from proxy.exceptions import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def import_records(
    file: Annotated[Path, typer.Argument(help="A table (CSV, TSV), JSON Lines, or another tool's results.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the records.")],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="promptfoo, lm-eval, openai-evals or table. [default: by the content]"),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Take a field from this column; may be repeated."),
    ] = None,
    questions: Annotated[
        bool,
        typer.Option("--questions", help="Write questions for `idk evaluate` in place of graded records."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Turn graded answers of another tool into records, and say what could not be used."""
    import msgspec

    from proxy import records
    from proxy.offline.importing import FORMATS, Unused, detect

    records.check_outputs({"--out": out}, {"FILE": file})
    name = format_ or detect(file)
    if name not in FORMATS:
        raise ConfigError(f"--format: {name!r} is not a format; use one of {', '.join(FORMATS)}")
    kind: type[records.Question] | type[records.Record] = records.Question if questions else records.Record
    unused: Counter[str] = Counter()
    ids: set[str] = set()

    def lines() -> Iterator[bytes]:
        for entry in FORMATS[name].read(file, _columns(columns or ())):
            if isinstance(entry, Unused):
                unused[entry.reason] += 1
                continue
            try:
                read = msgspec.convert(entry.fields, kind)
            except msgspec.ValidationError as exc:
                unused[str(exc)] += 1
                continue
            if read.id in ids:
                unused["the id occurs twice"] += 1
                continue
            ids.add(read.id)
            yield records.encoded(read)

    records.write_lines(out, _not_empty(lines(), file, name, unused))
    if as_json:
        print_json({"format": name, "imported": len(ids), "unused": unused})
        return
    print_line(f"{out}: {len(ids):,} {'questions' if questions else 'records'} from {file} ({name})")
    for reason, count in unused.most_common():
        print_line(f"  not used: {count:,}: {reason}")


def _columns(given: list[str] | tuple[str, ...]) -> Mapping[str, str]:
    pairs = [each.partition("=") for each in given]
    for field, equals, column in pairs:
        if not (field and equals and column):
            raise ConfigError(f"--map: {field!r} must be FIELD=COLUMN, for example answer=model_output")
    return {field: column for field, _, column in pairs}


def _not_empty(lines: Iterator[bytes], file: Path, name: str, unused: Counter[str]) -> Iterator[bytes]:
    """Yield the lines; raise RunError where there is none, so that no empty file is written."""
    first = next(lines, None)
    if first is None:
        reason = f": {unused.most_common(1)[0][0]}" if unused else ""
        raise RunError(f"{file}: no entry can be used as {name}{reason}; nothing is written")
    yield first
    yield from lines
