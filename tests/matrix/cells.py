"""The matrix: its axes, what each cell must do, and its table for the documentation.

``python -m tests.matrix.cells`` writes docs/explanation/matrix.md.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.surfaces import OVER_CHAT, SURFACES
from tests.fakes import Said, answer, calls_tool, error, says
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes import Reply

RESULT: Final = Path(__file__).parents[2] / "docs" / "explanation" / "matrix.md"
UNKNOWN: Final = "I don't know."
#: The words that must not get out where the answer is withheld.
SECRET: Final = "Lyonaise"
#: Surfaces at an upstream that speaks their format, and surfaces that are served over chat completions.
UPSTREAMS: Final = ("its own format", "chat completions")
OUTCOMES: Final = ("answer", "abstain", "unmeasured", "upstream error", "upstream's refusal")
EVIDENCE: Final = ("logprobs", "samples")
#: A gated tool call is a separate shape: the route asks for it, not the request.
GATED_CALL: Final = "gated tool call"


@dataclass(frozen=True, slots=True)
class Cell:
    """One way that a request can go."""

    surface: str
    upstream: str
    shape: str
    stream: bool
    outcome: str
    evidence: str

    def __str__(self) -> str:
        kind = "stream" if self.stream else "whole"
        return f"{self.surface} over {self.upstream}, {self.shape}, {kind}, {self.outcome}, {self.evidence}"

    @property
    def chats(self) -> bool:
        """Whether the upstream is asked for a chat."""
        return self.surface == "chat" or self.upstream == "chat completions"

    @property
    def fields(self) -> dict[str, object] | str:
        """The request's further fields, or why there are none."""
        return DOORS[self.surface].shapes["tool call" if self.shape == GATED_CALL else self.shape]

    @property
    def absent(self) -> str | None:
        """Why the format has no such cell; None where it has."""
        if isinstance(self.fields, str):
            return self.fields
        if self.outcome == "upstream's refusal" and not DOORS[self.surface].refusals:
            return "the format has no refusals"
        if self.shape in ("tool call", GATED_CALL) and self.outcome == "upstream's refusal":
            return "a refusal is no call"
        return None

    @property
    def expected(self) -> str:
        """What the client must see: answered, withheld, error, refusal, or the call."""
        if self.outcome == "upstream error":
            return "error"
        if self.outcome == "upstream's refusal":
            return "refusal"
        if self.shape == "tool call":
            return "call"
        measured = self.chats or DOORS[self.surface].logprobs or self.evidence == "samples"
        if self.shape == GATED_CALL:
            # Only a chat's logprobs hold the tokens of a call, and samples of text say nothing of one.
            passes = self.outcome == "answer" and self.chats and self.evidence == "logprobs"
            return "call" if passes else "withheld"
        return "answered" if self.outcome == "answer" and measured else "withheld"


def cells() -> Iterator[Cell]:
    """Yield every combination, with every surface of the tables."""
    shapes = [*dict.fromkeys(itertools.chain(*(door.shapes for door in DOORS.values()))), GATED_CALL]
    for surface in SURFACES:
        upstreams = UPSTREAMS if surface in OVER_CHAT else UPSTREAMS[:1]
        for axes in itertools.product(upstreams, shapes, (False, True), OUTCOMES, EVIDENCE):
            yield Cell(surface, *axes)


def said(cell: Cell) -> Reply:
    """Return the reply of the upstream in a cell."""
    if cell.outcome == "upstream error":
        return error(429, "slow down")
    if cell.outcome == "upstream's refusal":
        return answer(says(message={"refusal": "I cannot."}))
    sure = cell.outcome == "answer"
    one = replace(_call(sure) if "call" in cell.shape else _words(sure), finish_reason=_reason(cell))
    if cell.outcome == "unmeasured":
        one = replace(one, logprobs="null")
    return answer(*[one] * (2 if cell.shape == "two choices" else 1))


def _reason(cell: Cell) -> str:
    if "call" in cell.shape:
        return "tool_calls"
    return "length" if cell.shape == "cut by its length" else "stop"


def _words(sure: bool) -> Said:
    return says("Par", "is", logprob=-0.01) if sure else says(SECRET, "!", logprob=-3.0)


def _call(sure: bool) -> Said:
    """Return a call whose argument tokens are among the logprobs, as with vLLM."""
    city = "Paris" if sure else SECRET
    arguments = f'{{"city": "{city}"}}'
    call = calls_tool("weather", arguments)
    return replace(
        says(*[arguments], logprob=-0.01 if sure else -3.0), message={**call.message, "content": None}
    )


def table() -> str:
    """Return the matrix as Markdown: a line for each surface, upstream and shape, whole and streamed."""
    lines = [
        "# What is gated",
        "",
        "Every surface in every shape, whole and streamed alike; the test that runs these cells keeps this page.",
        "",
        f"| surface | upstream speaks | shape | evidence | {' | '.join(OUTCOMES)} |",
        f"| --- | --- | --- | --- | {' | '.join('---' for _ in OUTCOMES)} |",
    ]
    found = [cell for cell in cells() if not cell.stream]
    for (surface, upstream, shape, evidence), group in itertools.groupby(
        sorted(found, key=lambda c: (c.surface, c.upstream, c.shape, c.evidence, OUTCOMES.index(c.outcome))),
        key=lambda c: (c.surface, c.upstream, c.shape, c.evidence),
    ):
        row = [(cell.absent and "–") or cell.expected for cell in group]
        lines.append(f"| {surface} | {upstream} | {shape} | {evidence} | {' | '.join(row)} |")
    absent = sorted(
        {
            (cell.surface, cell.shape, cell.absent)
            for cell in found
            if cell.absent and cell.outcome == "answer"
        }
    )
    lines += ["", "–: " + "; ".join(f"{surface}, {shape}: {why}" for surface, shape, why in absent) + "."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(table())
    print(f"written to {RESULT}")
