"""The command ``idk``: every command by name, its module imported only when it runs."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import typer

from proxy.cli.edge import status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where each command is, in the order in which help tells them: a function, or ``app`` with commands of its own.
COMMANDS: Mapping[str, str] = {
    "init": "init:init",
    "serve": "serve:serve",
    "check": "check:check",
    "doctor": "doctor:doctor",
    "evaluate": "evaluate:evaluate",
    "tune": "tune:tune",
    "score": "score:score",
    "report": "report:report",
    "label": "label:app",
    "policy": "policy:app",
    "key": "key:app",
    "demo": "demo:demo",
    "demo-loop": "demo_loop:demo_loop",
    "demo-rag": "demo_rag:demo_rag",
}


def application(first: str | None) -> typer.Typer:
    """The command line with the one command that ``first`` names, else (for help, or a slip) with all of them."""
    app = typer.Typer(
        name="idk",
        help='The proxy that lets a language model say "I don\'t know.".',
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_group)
    for name in [first] if first is not None and first in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(f"proxy.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _group() -> None:
    """Without it a single command would take the place of the group."""


def main() -> NoReturn:
    """Run the command line: exit 0 on success, 1 on a failed run, 2 on bad usage or a bad configuration."""
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (the process's own by default); gives the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return status_of(lambda: application(given[0] if given else None)(given, prog_name="idk"))


if __name__ == "__main__":
    main()
