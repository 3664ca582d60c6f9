"""Reader of event logs of OpenAI evals (`oaieval MODEL EVAL`, files ``RUN_ID.jsonl``).

A sample has a ``sampling`` event with the prompt and the answer, and a ``match`` event with the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.offline.importing.result import Imported, Unused, label_of, objects, text_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def read(path: Path, columns: Mapping[str, str]) -> Iterator[Imported | Unused]:  # noqa: ARG001 - the signature of readers
    """Yield an entry for each sample, with the last verdict about it. Raises ConfigError."""
    sampled: dict[str, dict[str, Any]] = {}
    judged: dict[str, dict[str, Any]] = {}
    for event in objects(path):
        sample, data = event.get("sample_id"), event.get("data")
        if isinstance(sample, str) and isinstance(data, dict):
            if event.get("type") == "sampling":
                sampled.setdefault(sample, data)
            elif event.get("type") == "match":
                judged[sample] = data
    for sample in dict.fromkeys((*sampled, *judged)):
        yield _entry(sample, sampled.get(sample, {}), judged.get(sample))


def matches(first: Any) -> bool:
    """Return whether the first line looks like that of an event log."""
    return isinstance(first, dict) and ("spec" in first or {"run_id", "event_id", "type"} <= first.keys())


def _entry(sample: str, sampling: dict[str, Any], match: dict[str, Any] | None) -> Imported | Unused:
    if match is None:
        return Unused("the sample has no match event; only evals that match answers can be used")
    answer = _text(sampling.get("sampled")) or _text(match.get("sampled"))
    if answer is None:
        return Unused("the sample has no answer")
    label = label_of(match.get("correct"))
    if label is None:
        return Unused("the match event does not say whether the answer is correct")
    return Imported(
        {
            "answer": answer,
            "id": sample,
            "group": sample,
            "question": _question(sampling.get("prompt")),
            "label": label,
            "labelled_by": "grader",
        }
    )


def _text(value: Any) -> str | None:
    return text_in(value[0]) if isinstance(value, list) and value else text_in(value)


def _question(prompt: Any) -> str | None:
    """Return the last user message of a conversation, or a plain prompt."""
    if not isinstance(prompt, list):
        return text_in(prompt)
    messages = [each for each in prompt if isinstance(each, dict) and each.get("role") != "system"]
    return text_in(messages[-1].get("content")) if messages else None
