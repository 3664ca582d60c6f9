"""Questions asked through the running proxy with the official openai client, as an app would ask them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gating.grading import decided, grade
from proxy.demo.demo_proxy import GATED, MAX_TOKENS, OPEN
from proxy.demo.questions import SYSTEM_PROMPT
from proxy.exceptions import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import openai

    from gating.grading import Decided
    from proxy.demo.questions import Question


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """A question with its answer, the label of the answer, the confidence in [0, 1] or None, and the decision."""

    question: Question
    answer: str
    label: Decided
    confidence: float | None
    decision: str

    def served(self, threshold: float) -> bool:
        """Return whether the gate serves the answer at ``threshold``; the model's own "I don't know" is no answer."""
        return self.label != "abstained" and self.confidence is not None and self.confidence >= threshold


def client_of(base_url: str) -> openai.OpenAI:
    """Return the official client, which needs only the base URL of the proxy."""
    import openai

    # The proxy is on the loopback: HTTP_PROXY of the environment does not apply.
    loopback = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=base_url, api_key="unused", timeout=120.0, http_client=loopback)


def ask_observed(
    client: openai.OpenAI,
    questions: Sequence[Question],
    *,
    concurrency: int,
    on_answer: Callable[[str], None],
) -> list[GradedAnswer]:
    """Ask through the observing route, which returns every answer with the verdict that the gate would have given.

    Raises RunError where a question gets no answer.
    """

    def ask(question: Question) -> GradedAnswer:
        asked = _ask(client, OPEN, question)
        on_answer(asked.label)
        return asked

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(ask, questions))


def ask_gated(client: openai.OpenAI, questions: Sequence[Question]) -> list[GradedAnswer]:
    """Ask through the enforcing route, as an app does; raise RunError where a question gets no answer."""
    return [_ask(client, GATED, question) for question in questions]


def _ask(client: openai.OpenAI, model: str, question: Question) -> GradedAnswer:
    from openai import OpenAIError

    try:
        completion = client.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": SYSTEM_PROMPT},
                {"role": "user", "content": question.question},
            ],
            max_tokens=MAX_TOKENS,
        )
    except OpenAIError as exc:
        raise RunError(f"demo: {question.question!r} was not answered: {exc}") from exc
    answer = completion.choices[0].message.content or ""
    verdict = (completion.model_extra or {})["idk"]["choices"][0]
    return GradedAnswer(
        question=question,
        answer=answer.strip(),
        label=decided(grade(answer, question.answers)),
        confidence=verdict["confidence"],
        decision=verdict["decision"],
    )
