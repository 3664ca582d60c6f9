"""Reader of promptfoo's results (`promptfoo eval --output results.json`).

Each result has the prompt, the provider's response and ``success``, which says whether all assertions passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.exceptions import ConfigError
from proxy.offline.importing.result import Imported, Unused, text_in, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def read(path: Path, columns: Mapping[str, str]) -> Iterator[Imported | Unused]:  # noqa: ARG001 - the signature of readers
    """Yield the results of all tests; results of one test have the same group. Raises ConfigError."""
    results = _results(whole(path))
    if results is None:
        raise ConfigError(f"{path}: is not a results file of promptfoo; expected the field results.results")
    for place, result in enumerate(results, start=1):
        yield _entry(place, result) if isinstance(result, dict) else Unused("the result is not an object")


def matches(value: Any) -> bool:
    """Return whether a JSON value looks like promptfoo's results."""
    return _results(value) is not None


def _results(value: Any) -> list[Any] | None:
    inner = value.get("results") if isinstance(value, dict) else None
    found = inner.get("results") if isinstance(inner, dict) else None
    return found if isinstance(found, list) else None


def _entry(place: int, result: dict[str, Any]) -> Imported | Unused:
    response = result.get("response")
    output = response.get("output") if isinstance(response, dict) else None
    answer = text_in(output)
    if answer is None:
        return Unused("the provider gave no text (an error, or JSON)")
    if not isinstance(result.get("success"), bool):
        return Unused("the result was not graded")
    prompt = result.get("prompt")
    question = text_in(prompt.get("raw")) if isinstance(prompt, dict) else None
    test = result.get("testIdx")
    return Imported(
        {
            "answer": answer,
            "id": str(result.get("id") or place),
            "group": None if test is None else f"test-{test}",
            "question": question,
            "label": "correct" if result["success"] else "incorrect",
            "labelled_by": "grader",
        }
    )
