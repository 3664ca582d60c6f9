"""The second half: questions asked through the running proxy by the official client, as an app would."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gating.grading import grade
from proxy.demo.questions import SYSTEM_PROMPT
from proxy.demo.setting import GATED, MAX_TOKENS, OPEN
from proxy.exceptions import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import openai

    from gating.grading import Label
    from proxy.demo.questions import Question


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with what came back: the answer, its label, the confidence in [0, 1] or None, the decision."""

    question: Question
    answer: str
    label: Label
    confidence: float | None
    decision: str

    def served(self, threshold: float) -> bool:
        """Whether the gate lets the answer out at ``threshold``; the model's own "I don't know" is no answer."""
        return self.label != "abstained" and self.confidence is not None and self.confidence >= threshold


def client_of(base_url: str) -> openai.OpenAI:
    """The official client; what it takes to use the proxy is its base URL."""
    import openai

    # The environment's HTTP_PROXY is for the world outside: the way here is the loopback.
    loopback = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=base_url, api_key="unused", timeout=120.0, http_client=loopback)


def ask_openly(
    client: openai.OpenAI, questions: Sequence[Question], *, concurrency: int, told: Callable[[str], None]
) -> list[Asked]:
    """Through the observing route: every answer comes back, with what the gate would have done.

    Raises RunError where one does not.
    """

    def ask(question: Question) -> Asked:
        asked = _ask(client, OPEN, question)
        told(asked.label)
        return asked

    with ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(ask, questions))


def ask_gated(client: openai.OpenAI, questions: Sequence[Question]) -> list[Asked]:
    """Through the enforcing route: what an app sees. Raises RunError where no answer comes back."""
    return [_ask(client, GATED, question) for question in questions]


def _ask(client: openai.OpenAI, model: str, question: Question) -> Asked:
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
    said = (completion.model_extra or {})["idk"]["choices"][0]
    return Asked(
        question=question,
        answer=answer.strip(),
        label=grade(answer, question.answers),
        confidence=said["confidence"],
        decision=said["decision"],
    )
