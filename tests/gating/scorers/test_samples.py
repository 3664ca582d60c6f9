"""The scorers of samples: against lm-polygraph's and uqlm's own numbers, and what must hold of any samples."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating import SCORERS, Evidence, Unmeasured
from gating.gate import source_of
from gating.scorers import SampleScorer
from gating.scorers.agreement import weakest_first
from gating.scorers.sentences import MOST_SENTENCES

# Made by running the files named under "origin" of lm-polygraph, uqlm and rouge-score on drawn words.
ORACLE = json.loads(Path(__file__).with_name("data").joinpath("sample_scorers.json").read_text())
AGREEMENT = [
    *("agreement", "agreement_exact", "agreement_jaccard", "agreement_embedding", "agreement_judge"),
]
ALL = [*AGREEMENT, "semantic_entropy", "degree", "cocoa"]
BY_TEXT = [name for name in ALL if name not in ("agreement_embedding", "agreement_judge")]
DECLINED = "I don't know."

TEXTS = st.sampled_from(
    [
        *(
            "Paris",
            "paris!",
            "Lyon",
            "the city of Paris",
            "42",
            "42.0",
            "It is 42.",
            "B",
            "C. wind",
            DECLINED,
        ),
        *("Paris is in France. It has 2 rivers.", "Paris is in France. It has 3 rivers.", "…"),
    ]
)
ANSWERS = st.sampled_from(["Paris", "42", "B", "Paris is in France. It has 2 rivers.", "3 * 14 = 42"])
VECTORS = st.lists(st.floats(0.1, 9.0), min_size=3, max_size=3)


@st.composite
def evidences(draw, least=1, most=6):
    rows = draw(st.lists(st.tuples(TEXTS, VECTORS, st.integers(0, 2)), min_size=least, max_size=most))
    return whole(draw(ANSWERS), rows)


def whole(answer, rows):
    return Evidence(
        answer,
        token_logprobs=[-0.3, -0.5],
        samples=[text for text, _, _ in rows],
        embeddings=[[1.0, 2.0, 3.0], *(vector for _, vector, _ in rows)],
        meanings=[0, *(meaning for _, _, meaning in rows)],
    )


def rows_of(evidence):
    return list(zip(evidence.samples, evidence.embeddings[1:], evidence.meanings[1:], strict=True))


def score(name, answer, *samples, **more):
    return SCORERS[name].score(Evidence(answer, samples=samples, **more))


def reason(name, answer, *samples, **more):
    found = score(name, answer, *samples, **more)
    assert isinstance(found, Unmeasured), found
    return found.reason


@pytest.mark.parametrize("name", ORACLE["cases"][0]["expected"])
def test_the_numbers_are_those_of_others(name):
    for case in ORACLE["cases"]:
        logprobs, vectors = case["token_logprobs"], case["embeddings"]
        evidence = Evidence(case["answer"], logprobs, samples=case["samples"], embeddings=vectors)
        assert SCORERS[name].score(evidence) == pytest.approx(case["expected"][name], abs=1e-12), case


def test_needs_name_the_source():
    sources = {name: source_of(SCORERS[name].needs) for name in [*ALL, "p_true", "verbalised"]}
    assert sources == dict.fromkeys(ALL, "samples") | {
        "cocoa": "logprobs+samples",
        "p_true": "p_true",
        "verbalised": "none",
    }
    assert all(isinstance(SCORERS[name], SampleScorer) for name in ALL)
    assert not isinstance(SCORERS["p_true"], SampleScorer)


@given(evidences(), st.randoms(use_true_random=False))
def test_the_order_of_the_samples_changes_nothing(evidence, random):
    rows = rows_of(evidence)
    random.shuffle(rows)
    shuffled = whole(evidence.answer, rows)
    for name in ALL:
        if name != "semantic_entropy":  # clusters are met greedily, as in Farquhar et al.
            assert SCORERS[name].score(shuffled) == SCORERS[name].score(evidence), name


@given(evidences())
def test_scores_lie_in_their_range(evidence):
    m = 1 + len(evidence.samples)
    ranges = dict.fromkeys(AGREEMENT, (0.0, 1.0)) | {
        "semantic_entropy": (-math.log(m) - 1e-12, 0.0),
        "degree": (1 / m - 1e-12, 1.0),
        "cocoa": (-0.4, 0.0),
    }
    for name, (low, high) in ranges.items():
        assert low <= SCORERS[name].score(evidence) <= high, name


@given(evidences(), st.integers(0, 5))
def test_a_sample_that_says_the_answer_never_lowers_agreement(evidence, place):
    rows = rows_of(evidence)
    rows[place % len(rows)] = (evidence.answer, evidence.embeddings[0], 0)
    raised = whole(evidence.answer, rows)
    for name in [*AGREEMENT, "cocoa"]:
        assert SCORERS[name].score(raised) >= SCORERS[name].score(evidence) - 1e-12, name


@given(evidences(), st.integers(0, 6))
def test_bounds_hold_whatever_samples_come(evidence, seen):
    rows, k = rows_of(evidence), len(evidence.samples)
    before = whole(evidence.answer, rows[: min(seen, k)])
    for name in ALL:
        low, high = SCORERS[name].bounds(before, k)
        assert low - 1e-12 <= SCORERS[name].score(evidence) <= high + 1e-12, name


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_votes_are_bounded_without_rounding(samples):
    """An exact bound may decide at an exact threshold, so that not the last bit may be off."""
    for seen in range(len(samples) + 1):
        low, high = SCORERS["agreement"].bounds(Evidence("Paris", samples=samples[:seen]), len(samples))
        assert low <= score("agreement", "Paris", *samples) <= high


@pytest.mark.parametrize("name", ALL)
def test_without_samples_or_an_answer_nothing_is_measured(name):
    more = {"token_logprobs": [-0.1], "embeddings": [[1.0], [1.0]], "meanings": [0, 0]}
    assert reason(name, "Paris", **more) == "no samples"
    assert reason(name, DECLINED, DECLINED, **more) == "the answer declines"
    assert SCORERS[name].bounds(Evidence(DECLINED), 3) == Unmeasured("the answer declines")
    if name in BY_TEXT:
        assert reason(name, "…", "Paris", **more) == "the answer has no words"


@pytest.mark.parametrize("name", AGREEMENT)
def test_samples_that_all_decline_are_the_least_confidence(name):
    more = {"embeddings": [[1.0], [1.0], [1.0]], "meanings": [0, 0, 0]}
    assert score(name, "Paris", DECLINED, "I'm not sure.", **more) == 0.0
    long = "Paris is large. It lies at the Seine."
    assert score(name, long, DECLINED, DECLINED, **more) == 0.0


def test_a_declined_sample_is_like_nothing_even_its_like():
    samples = [DECLINED] * 3
    assert score("semantic_entropy", "Paris", *samples) == pytest.approx(-math.log(4))
    assert score("semantic_entropy", "Paris", *samples, meanings=[0, 0, 0, 0]) == pytest.approx(-math.log(4))
    assert score("degree", "Paris", *samples) == pytest.approx(1 / 4)
    assert score("cocoa", "Paris", *samples, token_logprobs=[-0.5]) == -0.5


@pytest.mark.parametrize(
    ("answer", "sample", "expected"),
    [
        ("Paris", "paris.", 1.0),
        ("Paris", "Paris, France", 0.5),
        ("3,840", "3840.0", 1.0),
        ("18", "The answer is 18.", 1.0),
        ("The answer is 18", "18", 1.0),
        ("18", "The answer is 19.", 0.0),
        ("18", "many", 0.0),
        ("1969", "In 1969, Apollo 11 landed.", 1.0),
        ("Apollo 11", "Apollo 12", 0.0),
        ("5 apples", "6 apples", 0.0),
        ("July 1969", "20 July 1969", 2 / 3),
        ("B", "B. weather patterns", 1.0),
        ("The answer is B", "b", 1.0),
        ("B. weather", "C. weather", 0.0),
        ("B. weather patterns", "B. magnetic patterns", 0.5),
        ("18", DECLINED, 0.0),
    ],
)
def test_agreement_fits_the_kind_of_answer(answer, sample, expected):
    assert score("agreement", answer, sample) == pytest.approx(expected)
    assert score("agreement_exact", answer, sample) == float(expected == 1.0)


def test_a_long_answer_is_worth_its_weakest_sentence():
    answer = "Paris is the capital of France. The tower is 330 metres high.\n- It opened in 1889."
    samples = ["The tower is 300 metres high. It opened in 1889. Paris is the capital of France.", answer]
    weakest = pytest.approx((1 / 9 + 1) / 2)  # of the first sample one other sentence shares one word of nine
    assert score("agreement", answer, *samples) == weakest
    assert weakest_first(Evidence(answer, samples=samples)) == [
        ("The tower is 330 metres high.", weakest),
        ("Paris is the capital of France.", 1.0),
        ("- It opened in 1889.", 1.0),
    ]
    assert score("agreement", answer, "Something else.") == 0.0
    assert weakest_first(Evidence("Paris", samples=["Paris"])) == []
    assert weakest_first(Evidence(answer)) == []
    declined = "I don't know.\nI'm not sure."
    assert weakest_first(Evidence(declined, samples=["Paris"])) == []
    assert reason("agreement", declined, "Paris") == "the answer declines"
    assert score("agreement", "word " * 40, "word " * 30 + "other") == 0.5


def test_a_long_answer_that_ends_in_a_number_is_that_number():
    answer = "She eats 3 of 16 eggs. So 16 - 3 - 4 = 9 are left. At $2 each that is 9 * 2 = 18."
    samples = ["16 - 7 = 9 eggs, and 9 * 2 = 18.\nThe answer is 18.", "18", "13 * 2 = 26", DECLINED]
    assert score("agreement", answer, *samples) == 0.5
    assert weakest_first(Evidence(answer, samples=samples))[0][1] < 0.5


def test_what_is_too_long_to_compare_is_said():
    answer = "It is so. " * (MOST_SENTENCES + 1)
    assert reason("agreement", answer, "It is so.") == "the answer has 501 sentences; up to 500 are compared"
    assert reason("cocoa", answer, "It is so.", token_logprobs=[-0.1]).startswith("the answer has 501")
    short = "It is so. It was not."
    assert score("agreement", short, answer + "It was not.") == pytest.approx(1 / 5)  # its end is not read


def test_what_comes_with_the_samples_must_fit_them():
    assert reason("agreement_embedding", "Paris", "Lyon") == "no embeddings"
    assert reason("agreement_judge", "Paris", "Lyon") == "no meanings"
    wrong = "1 meanings for an answer and 1 samples"
    assert reason("agreement_judge", "Paris", "Lyon", meanings=[0]) == wrong
    assert reason("semantic_entropy", "Paris", "Lyon", meanings=[0]) == wrong
    vectors = {"embeddings": [[1.0, 0.0], [1.0]]}
    assert reason("agreement_embedding", "Paris", "Lyon", **vectors) == "the embeddings differ in length"
    for bad in ([0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]):
        found = reason("agreement_embedding", "Paris", "Lyon", embeddings=[[1.0, 0.0], bad])
        assert found == "an embedding is zero or not finite"
    assert score("agreement_embedding", "Paris", "Lyon", embeddings=[[1.0, 0.0], [-1.0, 0.1]]) == 0.0
    assert reason("cocoa", "Paris", "Paris") == "no token logprobs"


def test_a_judge_may_find_different_words_equal():
    meanings = [4, 4, 7, 4]
    assert score("agreement_judge", "JFK", "Kennedy", "Nixon", "he", meanings=meanings) == pytest.approx(
        2 / 3
    )
    expected = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert score("semantic_entropy", "JFK", "Kennedy", "Nixon", "he", meanings=meanings) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("name", ["p_true", "verbalised"])
def test_given_probabilities_stand_as_they_are(name):
    scorer = SCORERS[name]
    assert scorer.score(Evidence("Paris", **{name: 0.25})) == 0.25
    assert scorer.score(Evidence("Paris", **{name: 1})) == 1.0
    for bad in (None, math.nan, -0.1, 1.1):
        assert isinstance(scorer.score(Evidence("Paris", **{name: bad})), Unmeasured)
