"""The reference pages that are generated from the code when the site is built, so that they cannot be outdated."""

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
CDN = re.compile(r"https://unpkg\.com/[\w@./-]+")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Remove the theme's addresses of libraries that it would load from a CDN; no page uses them."""
    for script in Path(config.site_dir, "assets", "javascripts").glob("bundle.*.min.js"):
        script.write_text(CDN.sub("", script.read_text(encoding="utf-8")), encoding="utf-8")


def pages() -> dict[str, str]:
    """Return the generated pages: path below docs/ -> Markdown."""
    sys.path.insert(0, str(ROOT))
    return {
        "reference/configuration.md": configuration(),
        "reference/metrics.md": metrics(),
        "reference/commands.md": commands(),
    }


def configuration() -> str:
    """Describe every key of idk.yaml, from the types in ``proxy/config`` and their comments."""
    from proxy.config.sections import SECTIONS

    lines = [
        "# Configuration",
        "",
        (
            "Every key of `idk.yaml`, generated from the types that read it. Unknown keys are refused with the nearest "
            "known key. Secrets come from the environment, by the name of a variable. `idk check` checks a file."
        ),
    ]
    for section in SECTIONS:
        doc = " ".join((inspect.getdoc(section) or "").split())
        doc = re.sub(r"``(.+?)``", r"`\1`", doc)
        lines += ["", f"## {section.__name__}", "", doc, ""]
        lines += ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
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
                each.target.id.rstrip("_"),
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
    if isinstance(value, ast.Call) and (given := [k.value for k in value.keywords if k.arg == "default"]):
        text = ast.unparse(given[0])
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
    """List every metric family of the registry with its type, labels and help text."""
    from proxy.metrics import Metrics

    lines = [
        "# Metrics",
        "",
        (
            "Everything that `/metrics` exposes, generated from the registry. Label values come from the configuration "
            "only, and the metrics of several workers are summed. Rules and alerts are in `deploy/prometheus`, the "
            "dashboard in `deploy/grafana/idk.json`."
        ),
        "",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    registry = Metrics().registry
    for metric in sorted(registry._collector_to_names, key=lambda each: str(each._name)):  # type: ignore[attr-defined]
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Print the help text of each command and of each of its subcommands."""
    lines = [
        "# Commands",
        "",
        (
            "The exit status is 0 on success, 1 if the work failed, and 2 for bad usage or a bad configuration, with "
            "one line that says where the problem is and how to fix it. `--json` prints a machine-readable result."
        ),
    ]
    for name, text in help_texts():
        lines += ["", f"{'#' * (name.count(' ') + 1)} {name}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def help_texts() -> Iterator[tuple[str, str]]:
    """Yield each command, as "idk policy push", with its help text; a group comes before its subcommands."""
    import typer
    from typer.testing import CliRunner

    from proxy.cli.main import COMMANDS, application

    run = CliRunner()
    for name in COMMANDS:
        app = application(name)
        command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
        for path in ([name], *([name, each] for each in getattr(command, "commands", ()))):
            printed = run.invoke(app, [*path, "--help"], prog_name="idk", env={"COLUMNS": "100"}).output
            yield f"idk {' '.join(path)}", printed.strip()
