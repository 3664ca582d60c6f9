"""Every target: what is kept is replayed, and some new inputs are tried; `make fuzz` tries many more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.corpus import CORPUS, keep, kept
from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS, Target

if TYPE_CHECKING:
    from pathlib import Path

KEPT = [(name, path) for name in TARGETS for path in kept(name)]


@pytest.mark.parametrize(("name", "path"), KEPT, ids=[f"{name}-{path.name}" for name, path in KEPT])
def test_what_is_kept(name: str, path: Path):
    TARGETS[name].check(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_new_inputs(name: str):
    target = TARGETS[name]

    @settings(max_examples=40, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(target.inputs)
    def holds(content: bytes) -> None:
        target.check(content)

    holds()


def test_nothing_is_kept_for_a_target_that_is_not_there():
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)


def test_what_breaks_a_property_is_kept(tmp_path: Path):
    def check(content: bytes) -> None:
        if b"x" in content:
            raise ValueError("it has an x")

    broken = Target(TARGETS["form"].inputs, check)
    found = fuzz("form", broken, 30.0, tmp_path)
    assert found is not None
    assert b"x" in found.read_bytes()
    assert keep("form", found.read_bytes(), tmp_path) == found
    assert fuzz("form", Target(broken.inputs, lambda content: None), 0.0, tmp_path) is None
