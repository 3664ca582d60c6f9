"""Reader of lm-evaluation-harness samples (`lm_eval --log_samples`, files ``samples_TASK_….jsonl``).

Each line has the document, the model's responses and the value of each metric. Tasks that compare likelihoods of
choices have no generated answer, so their lines cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.offline.importing.result import Imported, Unused, label_of, objects, text_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Metrics that say whether an answer is right, in the order of preference.
_METRICS: Final = ("exact_match", "acc", "em", "contains", "pass@1")


def read(path: Path, columns: Mapping[str, str]) -> Iterator[Imported | Unused]:  # noqa: ARG001 - the signature of readers
    """Yield the samples; of several filters of a document only the first is used. Raises ConfigError."""
    seen: set[str] = set()
    for sample in objects(path):
        document = str(sample.get("doc_id"))
        if document in seen:
            yield Unused("the document occurs again, with another filter")
            continue
        seen.add(document)
        yield _entry(document, sample)


def matches(first: Any) -> bool:
    """Return whether the first line looks like a sample of the harness."""
    return isinstance(first, dict) and {"doc_id", "resps"} <= first.keys()


def _entry(document: str, sample: dict[str, Any]) -> Imported | Unused:
    answer = _first_text(sample.get("resps"))
    if answer is None:
        return Unused("the task compares likelihoods and generates no answer")
    label = next((label_of(sample[name]) for name in _METRICS if name in sample), None)
    if label is None:
        return Unused(f"no metric among {', '.join(_METRICS)} is 0 or 1")
    return Imported(
        {
            "answer": answer,
            "id": document,
            "group": str(sample.get("doc_hash") or document),
            "question": _prompt(sample.get("arguments")),
            "label": label,
            "labelled_by": "grader",
        }
    )


def _first_text(value: Any) -> str | None:
    """Return the first generated text of nested lists; the likelihood of a choice is a list of two, not a text."""
    while isinstance(value, list) and value:
        if len(value) == 2 and str(value[1]) in ("True", "False"):
            return None
        value = value[0]
    return text_in(value)


def _prompt(arguments: Any) -> str | None:
    """Return the prompt: the first argument of the first request, which is a list or (from 0.4.4 on) an object."""
    if isinstance(arguments, dict):
        arguments = [list(request.values()) for request in arguments.values() if isinstance(request, dict)]
    first = arguments[0] if isinstance(arguments, list) and arguments else None
    return text_in(first[0]) if isinstance(first, list) and first else None
