"""Labelling: the order of the queue, agreement with a judge, and the export of a random sample."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sklearn.metrics import cohen_kappa_score

from proxy import records
from proxy.offline.labelling import agreement, block, export
from proxy.records import Answer, Observed
from proxy.storage import AuditItem, DecisionRecord, Label, Sealer, make_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from proxy.storage import Store


def item(number: int, confidence: float | None = 0.5, propensity: float = 1.0, model: str = "m") -> AuditItem:
    id_ = f"idk-{number}"
    return AuditItem(
        decision=DecisionRecord(
            id=id_, choice=0, at=float(number), route="r", mode="observe", decision="answer", reason="confident",
            source="logprobs", confidence=confidence,
        ),
        propensity=propensity,
        answer=Answer(
            id=id_, group=f"g{number}", question="?", answer="Paris", token_logprobs=[-0.1],
            made_with={"model": model}, closed_book=Observed(answer="Rome"),
        ),
    )  # fmt: skip


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = make_store("sqlite:///idk.db", tmp_path, Sealer())
    await opened.open()
    yield opened
    await opened.aclose()


async def put(store: Store, *items: AuditItem, labelled: set[int]) -> None:
    await store.add_decisions([each.decision for each in items], items)
    for number, each in enumerate(items):
        if number in labelled:
            await store.add_label(
                Label(id=each.decision.id, choice=0, label="correct", source="audit", at=0.0, who="ada")
            )


async def test_a_block_is_the_next_of_the_draw_with_the_unsure_first(store):
    await put(store, *[item(n, c) for n, c in enumerate([0.1, None, 0.75, 0.9, 0.79])], labelled={3})
    first = await block(store, "r", 0.8, size=3)
    assert [each.decision.id for each in first] == ["idk-2", "idk-0", "idk-1"]
    after = max(each.place for each in first)
    assert [each.decision.id for each in await block(store, "r", 0.8, after=after)] == ["idk-4"]
    assert await block(store, "elsewhere", None) == []


async def test_only_what_is_a_random_sample_is_exported(store, tmp_path):
    items = [item(n, model="old") for n in range(2)] + [item(n) for n in range(2, 8)]
    await put(store, *items, labelled={0, 1, 2, 3, 4, 6})
    found = await export(store, "r")
    assert [record.id for record in found.records] == ["idk-2", "idk-3", "idk-4"]
    assert (found.beyond, found.unlike, found.thinned) == (1, 2, 0)
    assert "1 drawn after the first answer without a label" in str(found)
    path = tmp_path / "records.jsonl"
    records.write_lines(path, [records.encoded(record) for record in found.records])
    graded, made_with = records.graded(path)
    assert made_with == {"model": "m"}
    assert len(graded) == 3
    line = json.loads(path.read_text().splitlines()[0])
    assert (line["propensity"], line["label"], line["closed_book"]["answer"]) == (1.0, "correct", "Rome")


async def test_a_changed_share_is_evened_out_by_lot(store):
    items = [item(n, propensity=0.5 if n < 400 else 0.1) for n in range(500)]
    await put(store, *items, labelled=set(range(500)))
    found = await export(store, "r")
    kept = {0.5: 0, 0.1: 0}
    for record in found.records:
        kept[record.propensity] += 1
    assert kept[0.1] == 100
    assert 50 < kept[0.5] < 115  # 400 · 0.1 / 0.5 = 80
    assert found.thinned == 400 - kept[0.5]
    assert (await export(store, "r")).records == found.records


async def test_nothing_labelled_is_nothing_exported(store):
    await put(store, item(0), labelled=set())
    assert (await export(store, "r")).records == []


def test_kappa_is_scikit_learns():
    judge = ["correct", "incorrect", "correct", "abstained", "correct", "incorrect", "correct"]
    person = ["correct", "incorrect", "incorrect", "abstained", "correct", "correct", "correct"]
    found = agreement(list(zip(judge, person, strict=True)))
    assert (found.n, found.same) == (7, 5)
    assert found.kappa == pytest.approx(cohen_kappa_score(judge, person))
    assert "kappa 0.50, n = 7" in str(found)


def test_kappa_is_undefined_where_chance_would_agree():
    assert agreement([("correct", "correct")] * 3).kappa is None
    assert agreement([]) == (0, 0, None)
    assert "no labelled answer in common" in str(agreement([]))
