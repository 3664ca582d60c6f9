"""The imports of the project, and the layers that they must respect: ``python -m tests.layers`` lists the breaches.

A folder is a layer. A module imports from its own layer and from lower ones, and no modules import each other in a
circle. Both rules hold for imports under ``TYPE_CHECKING`` too: a type that is named upwards joins two modules as
firmly as a call.
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("calibrators", "gating", "proxy")

#: The layers of the proxy, the lowest first; those of one line do not import each other.
LAYERS: Final[tuple[tuple[str, ...], ...]] = (
    ("exceptions",),
    ("metrics", "records", "config"),
    ("server",),
    ("storage", "surfaces"),
    ("upstreams", "clients"),
    ("requests",),
    ("control",),
    ("offline",),
    ("gateway",),
    ("admin",),
    ("app",),
    ("integrations",),
    ("demo",),
    ("cli",),
)
_LEVELS: Final = {name: level for level, names in enumerate(LAYERS) for name in names}


class Import(NamedTuple):
    """One imported module, with the place of its import statement."""

    path: Path
    line: int
    importer: str
    imported: str
    #: Whether only type checkers execute the import.
    typing_only: bool

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{self.line}: {self.importer} imports {self.imported}"


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the file of every module."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


NAMES: Final = frozenset(name for name, _ in modules())


def imports_of(name: str, path: Path) -> Iterator[Import]:
    """Yield the imports of one file; relative ones are refused."""
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
    """Return the imported module: ``from proxy.surfaces import sse`` imports ``proxy.surfaces.sse``."""
    return name if name in NAMES else parent


def all_imports() -> list[Import]:
    """Return the imports of the whole project."""
    return [found for name, path in modules() for found in imports_of(name, path)]


def within(name: str, package: str) -> bool:
    """Return whether a module is a package, or inside it."""
    return name == package or name.startswith(f"{package}.")


def level(name: str) -> int | None:
    """Return the number of a proxy module's layer, the lowest first; None for ``proxy`` itself."""
    folder = name.split(".")[1:2]
    return _LEVELS[folder[0]] if folder else None


def upward(found: Iterable[Import]) -> list[Import]:
    """Return the imports of a higher layer of the proxy, or of another package of the same layer."""
    return [each for each in found if _is_upward(each)]


def _is_upward(found: Import) -> bool:
    if not (within(found.importer, "proxy") and within(found.imported, "proxy")):
        return False
    ours, theirs = level(found.importer), level(found.imported)
    if ours is None or theirs is None:
        return False
    return theirs > ours or (theirs == ours and found.importer.split(".")[1] != found.imported.split(".")[1])


def circle(found: Iterable[Import]) -> list[str]:
    """Return the names of modules that import each other in a circle, the first one again at the end; else nothing.

    A package's ``__init__`` that collects the names of its modules is no circle: the modules do not import the package.
    """
    graph: dict[str, set[str]] = {}
    for each in found:
        if each.imported in NAMES and each.imported != each.importer:
            graph.setdefault(each.importer, set()).add(each.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return []


def main() -> int:
    """Print every breach of the layers, and the first circle; return 1 where there is one."""
    found = all_imports()
    breaches = upward(found)
    for each in breaches:
        print(each, "(for types)" if each.typing_only else "")
    names = circle(found)
    if names:
        print("a circle:", " <- ".join(names))
    print(f"{len(breaches)} breaches", file=sys.stderr)
    return 1 if breaches or names else 0


if __name__ == "__main__":
    sys.exit(main())
