"""The layers of the project, circles among its modules, and the one importer of each foreign library."""

from __future__ import annotations

import sys

import pytest

from tests.layers import (
    LAYERS,
    NAMES,
    PACKAGES,
    ROOT,
    Import,
    all_imports,
    circle,
    imports_of,
    level,
    upward,
    within,
)

IMPORTS = all_imports()

#: The modules (or packages) that alone import a foreign library; ``proxy.integrations`` may import its hosts.
IMPORTERS: dict[str, tuple[str, ...]] = {
    "aiohappyeyeballs": ("proxy.upstreams.http1",),
    "httptools": ("proxy.upstreams.http1", "proxy.server"),
    "itsdangerous": ("proxy.admin.access",),
    "jinja2": ("proxy.offline.report.page",),
    "litellm": ("proxy.upstreams.litellm", "proxy.integrations"),
    "markupsafe": ("proxy.offline.report",),
    "playwright": ("proxy.demo.screenshots",),
    "prometheus_client": ("proxy.metrics",),
    "yaml": ("proxy.config",),
    "onnxruntime": ("proxy.requests.evidence.minilm",),
    "opentelemetry": ("proxy.gateway.tracing",),
    "pythonjsonlogger": ("proxy.server.logs",),
    "tokenizers": ("proxy.requests.evidence.minilm",),
    "uvicorn": ("proxy.server",),
    "xllamacpp": ("proxy.demo.embedded",),
    "re2": ("proxy.requests.prompt",),
    "redis": ("proxy.storage.redis",),
    "cryptography": ("proxy.storage.sealing",),
    "sqlite3": ("proxy.storage.sqlite",),
}
#: The foreign libraries of the lower packages.
LIBRARIES = {"calibrators": {"numpy"}, "gating": {"numpy"}}
#: Modules that read a clock, a file, a network or randomness: the lower packages are given those as arguments.
IMPURE = {"time", "random", "secrets", "os", "pathlib", "socket", "asyncio", "threading", "subprocess", "io"}


def refuse(found: list[Import]) -> None:
    """Fail with a line for each import."""
    if found:
        pytest.fail("\n".join(map(str, found)), pytrace=False)


def test_there_is_something_to_check():
    assert len(IMPORTS) > 200
    assert {name.partition(".")[0] for name in NAMES} == set(PACKAGES)


def test_every_layer_is_a_folder_or_a_file():
    names = [name for layer in LAYERS for name in layer]
    present = {
        path.stem
        for path in (ROOT / "proxy").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert len(names) == len(set(names))
    assert present - {"__init__"} <= set(names)


def test_calibrators_below_gating_below_proxy():
    """A lower package makes sense without a higher one, for type checkers too."""

    def is_upward(found: Import) -> bool:
        ours, theirs = (name.partition(".")[0] for name in (found.importer, found.imported))
        return theirs in PACKAGES and PACKAGES.index(theirs) > PACKAGES.index(ours)

    refuse([found for found in IMPORTS if is_upward(found)])


@pytest.mark.parametrize("package", LIBRARIES)
def test_the_lower_packages_need_numpy_alone(package):
    allowed = LIBRARIES[package] | set(PACKAGES) | sys.stdlib_module_names

    def foreign(found: Import) -> bool:
        library = found.imported.partition(".")[0]
        return library not in allowed or (library in IMPURE and not found.typing_only)

    refuse([found for found in IMPORTS if within(found.importer, package) and foreign(found)])


def test_the_layers_of_the_proxy():
    refuse(upward(IMPORTS))


def test_no_circle_among_modules():
    assert circle(IMPORTS) == []


def test_the_checks_see_a_breach(tmp_path):
    """Without a breach in the project, the tests above could pass whatever they checked."""
    path = tmp_path / "innocent.py"
    path.write_text("import numpy\n\ndef late():\n    from proxy import app\n")
    found = list(imports_of("proxy.surfaces.contract", path))
    assert [(each.line, each.imported) for each in found] == [(1, "numpy"), (4, "proxy.app")]
    assert [each.imported for each in upward(found)] == ["proxy.app"]
    sideways = Import(path, 1, "proxy.storage.store", "proxy.surfaces.sse", typing_only=True)
    assert upward([sideways]) == [sideways]
    there = Import(path, 1, "proxy.config", "proxy.exceptions", typing_only=True)
    back = Import(path, 1, "proxy.exceptions", "proxy.config", typing_only=True)
    assert circle([there]) == []
    assert set(circle([there, back])) == {"proxy.config", "proxy.exceptions"}
    assert level("proxy") is None


@pytest.mark.parametrize("library", IMPORTERS)
def test_one_importer_for_a_foreign_library(library):
    refuse(
        [
            found
            for found in IMPORTS
            if within(found.imported, library)
            and not found.typing_only
            and not any(within(found.importer, home) for home in IMPORTERS[library])
        ]
    )
