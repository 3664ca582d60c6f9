"""Pages that are made from the code when the site is built: they cannot say what is not so."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Path below docs/ -> its Markdown."""
    sys.path.insert(0, str(ROOT))
    return {
        "reference/configuration.md": configuration(),
        "reference/metrics.md": metrics(),
        "reference/commands.md": commands(),
    }


def configuration() -> str:
    """Return the reference of idk.yaml, made from the types and comments of ``proxy/config/sections.py``."""
    from proxy.config.sections import SECTIONS

    lines = [
        "# Configuration",
        "",
        (
            "Every key of `idk.yaml`, made from the types that read it. Unknown keys are refused with the nearest "
            "known one; secrets come from the environment, by name."
        ),
    ]
    for section in SECTIONS:
        doc = " ".join((inspect.getdoc(section) or "").split())
        doc = re.sub(r"``(.+?)``", r"`\1`", doc)
        lines += ["", f"## {section.__name__}", "", doc, ""]
        lines += ["| key | value | default | |", "| --- | --- | --- | --- |"]
        lines += [f"| `{key}` | {kind} | {default} | {said} |" for key, kind, default, said in _keys(section)]
    return "\n".join(lines) + "\n"


def _keys(section: type) -> Iterator[tuple[str, str, str, str]]:
    text = inspect.getsource(section)
    source = text.splitlines()
    node = next(each for each in ast.parse(text).body if isinstance(each, ast.ClassDef))
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            comments = []
            line = each.lineno - 2
            while source[line].strip().startswith("#:"):
                comments.append(source[line].strip()[2:].strip())
                line -= 1
            said = " ".join(reversed(comments)).replace("|", "\\|")
            default = "required" if each.value is None else _default(each.value)
            yield (
                each.target.id,
                _kind(ast.unparse(each.annotation)),
                default,
                re.sub(r"``(.+?)``", r"`\1`", said),
            )


def _default(value: ast.expr) -> str:
    text = ast.unparse(value)
    if "default_factory" in text:
        return "empty"
    if re.fullmatch(r"[A-Z]\w+\(\)", text):
        return f"see {text[:-2]}"
    plain = {"None": "null", "True": "true", "False": "false", "()": "[]"}.get(text, text.strip("'"))
    return f"`{plain}`".replace("|", "\\|")


def _kind(annotation: str) -> str:
    annotated = re.sub(r"Annotated\[(.*?), Meta\((.*?)\)\]", _with_bounds, annotation)
    plain = re.sub(
        r"Literal\[(.*?)\]", lambda found: found[1].replace("'", "`").replace(", ", " or "), annotated
    )
    return (
        plain.replace("tuple[", "list[")
        .replace(", ...]", "]")
        .replace(" | None", " or null")
        .replace("|", "or")
    )


def _with_bounds(found: re.Match[str]) -> str:
    """Write the bounds of a type in parentheses; the words of its error messages are left out."""
    bounds = re.sub(r"(title|description)='.*?'", "", found[2]).strip(", ")
    return f"{found[1]} ({bounds})" if bounds else found[1]


def metrics() -> str:
    """Every family of the registry, in its own words."""
    from proxy.metrics import Metrics

    lines = [
        "# Metrics",
        "",
        (
            "What `/metrics` says, made from the registry. Labels take values from the configuration only; several "
            "workers are summed. Rules and alerts: `deploy/prometheus`; dashboard: `deploy/grafana/idk.json`."
        ),
        "",
        "| metric | kind | labels | |",
        "| --- | --- | --- | --- |",
    ]
    registry = Metrics().registry
    for metric in sorted(registry._collector_to_names, key=lambda each: str(each._name)):  # type: ignore[attr-defined]
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """What each command says of itself with ``--help``."""
    from typer.testing import CliRunner

    from proxy.cli.main import COMMANDS, application

    run = CliRunner()
    lines = [
        "# Commands",
        "",
        "Exit status 0 is success, 1 a run that failed, 2 bad usage or a bad configuration.",
    ]
    for name in COMMANDS:
        said = run.invoke(
            application(name), [name, "--help"], prog_name="idk", env={"COLUMNS": "100"}
        ).output.strip()
        lines += ["", f"## idk {name}", "", "```text", said, "```"]
    return "\n".join(lines) + "\n"
