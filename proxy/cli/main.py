"""The command ``idk``: every command by name, its module imported only when it runs."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from proxy.cli import (
    check,
    demo,
    demo_loop,
    demo_rag,
    doctor,
    evaluate,
    init,
    key,
    label,
    policy,
    report,
    score,
    serve,
    tune,
)
from proxy.exceptions import ConfigError, HttpError, RunError

app = typer.Typer(
    name="idk",
    help='The proxy that lets a language model say "I don\'t know.".',
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.command("evaluate")(evaluate.evaluate)
app.command("tune")(tune.tune)
app.command("score")(score.score)
app.command("report")(report.report)
app.add_typer(label.app, name="label")
app.add_typer(policy.app, name="policy")
app.add_typer(key.app, name="key")
app.command("demo")(demo.demo)
app.command("demo-loop")(demo_loop.demo_loop)
app.command("demo-rag")(demo_rag.demo_rag)


def main() -> NoReturn:
    """Run the command line: exit 0 on success, 1 on a failed run, 2 on bad usage or a bad configuration."""
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Run with ``arguments`` (the process's own by default); gives the exit status."""
    try:
        app(arguments, prog_name="idk")
    except ConfigError as exc:
        return _complain(exc, 2)
    except (RunError, HttpError) as exc:
        return _complain(exc, 1)
    except KeyboardInterrupt:
        return 130
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0
    return 0


def _complain(exc: Exception, status: int) -> int:
    line = " ".join(str(exc).split())
    print(f"idk: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
