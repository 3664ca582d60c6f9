"""The output of commands: escaped lines, JSON, tables' cells, and errors as one line and an exit status."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import msgspec

from proxy.exceptions import ConfigError, HttpError, RunError, escaped

__all__ = ["cell", "escaped", "escaped_json", "exit_status", "print_error", "print_json", "print_line"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text


def cell(text: str, style: str = "") -> Text:
    """Return the text for a table or console of rich, escaped and without markup."""
    from rich.text import Text

    return Text(escaped(text), style=style)


def print_line(line: str) -> None:
    """Print one line on standard output, escaped."""
    print(escaped(line))


def print_json(value: object) -> None:
    """Print a value as one line of JSON on standard output, with control characters in JSON's own escapes."""
    print(escaped_json(msgspec.json.encode(value).decode()))


def escaped_json(text: str) -> str:
    """Escape what JSON allows inside texts and a terminal obeys, such as U+009B or a change of writing direction."""
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def exit_status(work: Callable[[], object]) -> int:
    """Run a command and return its exit status; print one line on standard error where it failed.

    The status is 0 on success, 1 for a failed run, 2 for bad usage or a bad configuration, and 130 after Ctrl-C.
    """
    try:
        work()
    except ConfigError as exc:
        return _failed(exc, 2)
    except (RunError, HttpError) as exc:
        return _failed(exc, 1)
    except KeyboardInterrupt:
        return 130
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0
    return 0


def print_error(line: str) -> None:
    """Print one line on standard error, escaped."""
    print(f"idk: {escaped(' '.join(line.split()))}", file=sys.stderr)


def _failed(exc: Exception, status: int) -> int:
    print_error(str(exc))
    return status
