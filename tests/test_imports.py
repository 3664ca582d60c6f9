"""Who may import whom: floors between packages, floors inside the proxy, one importer for a foreign library."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGES = ("calibrators", "gating", "proxy")

#: The proxy's floors from the ground up. A module stands on the floor of the longest name that is its own or
#: its package's, and imports from its own floor and those below. What is named nowhere stands just below
#: ``proxy.app``: it may use all the parts, and no part may use it.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "proxy",
        "proxy.exceptions",
        "proxy.config",
        "proxy.metrics",
        "proxy.surfaces.contract",
        "proxy.surfaces.sse",
        "proxy.server.asgi",
        "proxy.server.large_bodies",
        "proxy.server.json_budget",
    ),
    (
        "proxy.upstreams",
        "proxy.storage",
        "proxy.requests.route",
        "proxy.clients.authentication",
        "proxy.records",
        "proxy.requests.prompt.context",
        "proxy.requests.prompt.prompting",
        "proxy.requests.prompt.examples",
    ),
    ("proxy.requests.exchange", "proxy.requests.upstream_call"),
    ("proxy.requests.evidence", "proxy.requests.remedies"),
    ("proxy.requests.pipeline",),
    ("proxy.surfaces",),
    (),
    ("proxy.app",),
    ("proxy.cli", "proxy.demo", "proxy.server.workers"),
)
UNNAMED = FLOORS.index(())
#: They use nothing of the proxy but its exceptions, and whoever likes uses them.
APART = ("proxy.demo.embedded", "proxy.demo.questions", "proxy.offline.progress")

#: The modules (or packages) that alone import a foreign library.
IMPORTERS: dict[str, tuple[str, ...]] = {
    "aiohappyeyeballs": ("proxy.upstreams.lean",),
    "aiohttp": ("proxy.upstreams.aiohttp_transport",),
    "httptools": ("proxy.upstreams.lean", "proxy.server.protocol"),
    "jinja2": ("proxy.offline.report.page",),
    "litellm": ("proxy.upstreams.litellm",),
    "markupsafe": ("proxy.offline.report",),
    "playwright": ("proxy.demo.pictures",),
    "prometheus_client": ("proxy.metrics",),
    "yaml": ("proxy.config",),
    "onnxruntime": ("proxy.requests.evidence.minilm",),
    "opentelemetry": ("proxy.gateway.tracing",),
    "pythonjsonlogger": ("proxy.server.logs",),
    "tokenizers": ("proxy.requests.evidence.minilm",),
    "uvicorn": ("proxy.server.protocol", "proxy.server.workers", "proxy.server.logs"),
    "xllamacpp": ("proxy.demo.embedded",),
    "re2": (
        "proxy.requests.prompt.context",
        "proxy.requests.prompt.prompting",
    ),
    "redis": ("proxy.storage.redis",),
    "cryptography": ("proxy.storage.sealing",),
    "sqlite3": ("proxy.storage.sqlite",),
}
#: Of the lower packages.
LIBRARIES = {"calibrators": {"numpy"}, "gating": {"numpy"}}
#: What reads a clock, a file, a network or chance on its own has no place below the proxy.
IMPURE = {"time", "random", "secrets", "os", "pathlib", "socket", "asyncio", "threading", "subprocess", "io"}


class Import(NamedTuple):
    """One import statement's module."""

    path: Path
    line: int
    importer: str
    imported: str
    #: Only for type checkers: it runs never.
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.importer} imports {self.imported}"


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(name: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import absolutely"
            found = [_module(f"{node.module}.{alias.name}", str(node.module)) for alias in node.names]
        else:
            continue
        for imported in dict.fromkeys(found):
            yield Import(path, node.lineno, name, imported, id(node) in guarded)


def _module(name: str, parent: str) -> str:
    """``from proxy import sse`` imports proxy.surfaces.sse, ``from proxy.surfaces.sse import event`` does too."""
    return name if name in NAMES else parent


NAMES = frozenset(name for name, _ in modules())
IMPORTS = [found for name, path in modules() for found in imports_of(name, path)]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def floor(name: str) -> int:
    """The number of a module's floor; the bare package stands for itself alone."""
    if any(within(name, each) for each in APART):
        return 0
    entries = [
        (len(entry), level)
        for level, names in enumerate(FLOORS)
        for entry in names
        if name == entry or (entry != "proxy" and within(name, entry))
    ]
    return max(entries)[1] if entries else UNNAMED


def breaches(found: Iterator[Import]) -> None:
    lines = [str(each) for each in found]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def test_there_is_something_to_check():
    assert len(IMPORTS) > 200
    assert {name.partition(".")[0] for name in NAMES} == set(PACKAGES)


def test_calibrators_below_gating_below_proxy():
    """Not even for type checkers: a lower package must make sense without a higher one."""

    def upward(found: Import) -> bool:
        ours, theirs = (name.partition(".")[0] for name in (found.importer, found.imported))
        return theirs in PACKAGES and PACKAGES.index(theirs) > PACKAGES.index(ours)

    breaches(found for found in IMPORTS if upward(found))


@pytest.mark.parametrize("package", LIBRARIES)
def test_the_lower_packages_need_numpy_alone(package):
    allowed = LIBRARIES[package] | set(PACKAGES) | sys.stdlib_module_names

    def foreign(found: Import) -> bool:
        library = found.imported.partition(".")[0]
        return library not in allowed or (library in IMPURE and not found.typing_only)

    breaches(found for found in IMPORTS if within(found.importer, package) and foreign(found))


def test_the_proxys_floors():
    """Types may be named upwards: a name that only a type checker reads joins nothing."""

    breaches(
        found
        for found in IMPORTS
        if within(found.importer, "proxy")
        and within(found.imported, "proxy")
        and not found.typing_only
        and floor(found.imported) > floor(found.importer)
    )


def test_the_check_itself_sees_a_breach(tmp_path):
    """In an innocent tree of our own the tests above would pass whatever they did."""
    path = tmp_path / "innocent.py"
    path.write_text("import numpy\n\ndef late():\n    from proxy import app\n")
    found = list(imports_of("proxy.surfaces.contract", path))
    assert [(each.line, each.imported) for each in found] == [(1, "numpy"), (4, "proxy.app")]
    assert (
        floor("proxy.app")
        > floor("proxy.gateway.passthrough")
        > floor("proxy.surfaces.chat.surface")
        > floor("proxy.requests.pipeline")
    )
    assert (
        floor("proxy.requests.pipeline")
        > floor("proxy.requests.evidence.base")
        > floor("proxy.requests.upstream_call")
    )
    assert (
        floor("proxy.requests.upstream_call")
        > floor("proxy.upstreams.lean")
        > floor("proxy.surfaces.contract")
    )


@pytest.mark.parametrize("library", IMPORTERS)
def test_one_importer_for_a_foreign_library(library):
    breaches(
        found
        for found in IMPORTS
        if within(found.imported, library)
        and not found.typing_only
        and not any(within(found.importer, home) for home in IMPORTERS[library])
    )
