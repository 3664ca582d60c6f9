"""The command line `idk`: the table of commands, of which only the requested one is imported."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.core import TyperGroup

from proxy.cli.output import exit_status

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The commands in the order of the help text: "module:function", or "module:app" for a group of subcommands.
COMMANDS: Mapping[str, str] = {
    "init": "init:init",
    "serve": "serve:serve",
    "check": "check:check",
    "doctor": "doctor:doctor",
    "import": "import_command:import_records",
    "evaluate": "evaluate:evaluate",
    "tune": "tune:tune",
    "score": "score:score",
    "report": "report:report",
    "label": "label:app",
    "policy": "policy:app",
    "key": "key:app",
    "store": "store:app",
    "demo": "demo:demo",
    "demo-loop": "demo_loop:demo_loop",
    "demo-rag": "demo_rag:demo_rag",
}


class _Group(TyperGroup):
    """A group whose help shows the whole first paragraph of each command; click cuts it off after one line."""

    def format_commands(self, ctx: typer.Context, formatter: object) -> None:  # type: ignore[override]
        rows = [
            (name, " ".join((command.help or "").split("\n\n")[0].split()))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):  # type: ignore[attr-defined]
            formatter.write_dl(rows)  # type: ignore[attr-defined]


def application(first: str | None) -> typer.Typer:
    """Return the command line with only the command ``first``; with all commands where it names none of them."""
    app = typer.Typer(
        name="idk",
        cls=_Group,
        help='A proxy that lets a language model say "I don\'t know.".',
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name in [first] if first is not None and first in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(f"proxy.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, cls=_Group)
        else:
            app.command(name)(found)
    return app


def _print_version(given: bool) -> None:
    if given:
        from importlib.metadata import version

        print(f"idk {version('idk-proxy')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that come before a command; typer needs this function to keep a single command in a group."""


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Run a command with ``arguments``, by default those of the process, and return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    completing = "_IDK_COMPLETE" in os.environ  # the shell asks for completions, which may be of any command
    first = given[0] if given and not completing else None
    return exit_status(lambda: application(first)(given, prog_name="idk"))


if __name__ == "__main__":
    main()
