"""Hostile bodies do not block the loop, by processor time, with a bound far above tests/HOSTILE.md's figures."""

from __future__ import annotations

import pytest

from tests.benchmarks import hostile_answers
from tests.benchmarks.bench_hostile import ATTACKS, run
from tests.matrix.doors import DOORS

#: Of the worst of them without bounds on a body's shape: two seconds.
MOST_S = 0.6


@pytest.mark.parametrize("surface", DOORS)
def test_no_body_keeps_the_loop(surface):
    seen = list(run((surface,)))
    assert len(seen) >= len(ATTACKS)
    for each in seen:
        assert each.kept.most.whole_s < MOST_S, each
        assert each.status in ("200", "400", "404", "413"), each


@pytest.mark.parametrize("form", hostile_answers.FORMS)
def test_no_answer_keeps_the_loop(form):
    seen = list(hostile_answers.run((form,)))
    assert len(seen) >= len(hostile_answers.STREAMED) + 10
    for each in seen:
        assert each.kept.most.whole_s < MOST_S, each
        assert each.status in ("200", "502"), each
