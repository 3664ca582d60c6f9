"""The benchmark's own arithmetic and bytes: what it compares has to be what it says it is."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import bodies
from tests.benchmarks.hotspots import by_function
from tests.benchmarks.load import Run, Scenario
from tests.benchmarks.results import Results, Sample, added, cpu_ratio
from tests.benchmarks.targets import TARGETS


def payload(model: str) -> bytes:
    return b"".join(bodies.replies()[model].frames).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(("model", "size"), [("bench-small", 900), ("bench-large", 31_000)])
def test_bodies_have_the_size_that_the_tables_name(model: str, size: int) -> None:
    assert len(payload(model)) == pytest.approx(size, rel=0.03)


@pytest.mark.parametrize("model", ["bench-small", "bench-large"])
def test_tokens_concatenate_to_the_answer(model: str) -> None:
    choice = json.loads(payload(model))["choices"][0]
    assert "".join(t["token"] for t in choice["logprobs"]["content"]) == choice["message"]["content"]


def test_stream_says_the_same_as_the_whole_answer() -> None:
    lines = payload("bench-large/stream").splitlines()
    chunks = [json.loads(line[6:])["choices"][0] for line in lines if line.startswith(b"data: {")]
    assert "".join(c["delta"].get("content", "") for c in chunks) == bodies.LARGE_ANSWER
    assert sum(c["logprobs"] is not None for c in chunks) == bodies.TOKENS


def sample(requests: int, cpu_s: float | None, p50: float = 100.0) -> Sample:
    return Sample(Run(requests, 0, 1.0, p50, p50), cpu_s)


def test_ratios_are_taken_within_a_round_and_the_middle_one_counts() -> None:
    results = Results({}, {})
    key = Scenario("bench-large", stream=False, asks=False, concurrency=16)
    for ours, base in [(0.2, 0.1), (0.9, 0.3), (0.4, 0.1)]:
        results.rounds.append({("idk", key): sample(100, ours), ("nginx", key.asking): sample(100, base)})
    figure = results.against("idk", "nginx", key, cpu_ratio)
    assert figure is not None
    assert (figure.middle, figure.least, figure.most, figure.n) == pytest.approx((3.0, 2.0, 4.0, 3))


def test_a_run_without_an_answer_gives_no_figure() -> None:
    assert cpu_ratio(sample(0, 0.5), sample(100, 0.1)) is None
    assert added("total_p50")(sample(0, 0.5, 0.0), sample(100, None)) is None


def test_targets_are_unknown_where_nothing_was_measured() -> None:
    assert [target.measure(Results({}, {})) for target in TARGETS] == [None] * len(TARGETS)


def test_profile_counts_a_recursive_function_once() -> None:
    own, within, total = by_function(["main (a.py:1);f (a.py:2);f (a.py:3) 4", "main (a.py:9) 1"])
    assert (own["f (a.py)"], within["f (a.py)"], within["main (a.py)"], total) == (4, 4, 5, 5)
