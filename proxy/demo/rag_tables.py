"""The printed results of the demonstration with passages: a table and a summary, with counts and intervals."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from gating.risk import lower_bound, upper_bound
from proxy.demo.rag import GATES, Recovered, tally
from proxy.offline.evaluation.overrefusal import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from proxy.demo.rag import JudgedAnswer, RagPlan, Repeats

_CONDITIONS = {
    "none": "without passages",
    "relevant": "with its own passage",
    "irrelevant": "with another's passage",
}
#: Minimum number of cases to compare a share with a half: even four of four have a 95 % interval from .40 on.
FEWEST = 8
_TAIL = 0.025


def show(
    console: Console, found: Sequence[JudgedAnswer], repeats: Repeats, plan: RagPlan, *, asked: int
) -> None:
    """Print the table and the summary."""
    console.print(_table(found))
    console.print(
        f"  {plan.goal.description}\n  Each question is judged by gates that were fitted on other questions.\n"
        "  Intervals are exact, 95 %."
    )
    measured = _questions(found)
    if measured < asked:
        console.print(f"  The time limit was reached after {measured} of {asked} questions.")
    for line in (*_irrelevant(found), *_returned(found), *_dealt(repeats)):
        console.print(line)


def _questions(found: Sequence[JudgedAnswer]) -> int:
    """Count the questions; each was also asked without passages."""
    return sum(one.record.condition == "none" for one in found)


def _table(found: Sequence[JudgedAnswer]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("right", "wrong", "unknown", "wrong of answered"):
        table.add_column(name, justify="right")
    for condition, words in _CONDITIONS.items():
        table.add_section()
        n = tally(found, "alone", condition).n()
        table.add_row(f"[bold]{words}[/] ({n})")
        for gate, title in GATES.items():
            counts = tally(found, gate, condition)
            table.add_row(
                f"  {title}",
                *(str(counts.n(label=label)) for label in ("correct", "incorrect", "abstained")),
                share(counts.wrong.count, counts.wrong.n),
            )
    return table


def _irrelevant(found: Sequence[JudgedAnswer]) -> list[str]:
    """Describe the errors with another question's passage, and with passages of either kind."""
    before, after, rescued = (
        tally(found, gate, "irrelevant").wrong for gate in ("before", "after", "rescued")
    )
    counts = (
        "\nWith another question's passage, the gate without conditions serves\n"
        f"{before.count} wrong answers, the gate with conditions {after.count}, and with the rescue\n"
        f"{rescued.count}. Wrong among answered:"
    )
    lines = [counts, *(f"  {words}: {_answered(wrong)}" for words, wrong in _named(before, after, rescued))]
    both = [_with_passages(found, gate) for gate in ("before", "rescued")]
    return [
        *lines,
        "and with passages of either kind:",
        *(f"  {words}: {_answered(wrong)}" for words, wrong in _named(*both)),
    ]


def _named(*wrong: Share) -> list[tuple[str, Share]]:
    """Name the shares of two gates (the first and the last) or of three."""
    names = (GATES["before"], GATES["rescued"]) if len(wrong) == 2 else list(GATES.values())[1:]
    return list(zip(names, wrong, strict=True))


def _with_passages(found: Sequence[JudgedAnswer], gate: str) -> Share:
    parts = [tally(found, gate, condition).wrong for condition in ("relevant", "irrelevant")]
    return Share(sum(part.count for part in parts), sum(part.n for part in parts))


def _answered(wrong: Share) -> str:
    return share(wrong.count, wrong.n) if wrong.n else "nothing is answered"


def _returned(found: Sequence[JudgedAnswer]) -> list[str]:
    """Describe the questions that the rescue answers."""
    returned = Recovered.of(found)
    lines = [
        f"\nRight without passages and refused with another question's: {returned.refused} questions.",
        f"With the rescue {share(returned.right, returned.refused)} of them are answered correctly.",
    ]
    if returned.refused < FEWEST:
        lines.append(f"That is too few for a conclusion (fewer than {FEWEST}).")
    return lines


def _dealt(repeats: Repeats) -> list[str]:
    """Describe the results of other divisions, without intervals, since they share their answers."""
    rows = (("before", GATES["before"]), ("rescued", GATES["rescued"]))
    return [
        f"\nOver {repeats.ways} other random divisions of the same questions, wrong among answered:",
        *(f"  {words}: {_plain(repeats.wrong[gate])}" for gate, words in rows),
        f"With the rescue it is at most half in {repeats.halved} of them, not higher in {repeats.no_higher}.",
        f"Answered correctly by the rescue: {_plain(repeats.returned)}, at least half in {repeats.half_back}.",
    ]


def _plain(part: Share) -> str:
    return f"{100 * part.count / part.n:.0f} % ({part.count:,} of {part.n:,})" if part.n else "none"


def share(count: int, n: int) -> str:
    """Format a share with its counts and interval."""
    if not n:
        return "-"
    low, high = lower_bound(count, n, _TAIL), upper_bound(count, n, _TAIL)
    return f"{100 * count / n:.0f} % ({count}/{n}; {100 * low:.0f}-{100 * high:.0f})"


def figures(found: Sequence[JudgedAnswer], repeats: Repeats, plan: RagPlan) -> dict[str, Any]:
    """Return the results as JSON values."""
    returned = Recovered.of(found)
    return {
        "questions": _questions(found),
        "goal": asdict(plan.goal),
        "conditions": {
            condition: {gate: tally(found, gate, condition).to_dict() for gate in GATES}
            for condition in _CONDITIONS
        },
        "refused_though_right": {
            "n": returned.refused,
            "right": returned.right,
            "wrong": returned.wrong,
            "enough": returned.refused >= FEWEST,
        },
        "deals": {
            "ways": repeats.ways,
            "wrong": {gate: {"count": part.count, "n": part.n} for gate, part in repeats.wrong.items()},
            "returned": {"count": repeats.returned.count, "n": repeats.returned.n},
            "halved": repeats.halved,
            "no_higher": repeats.no_higher,
            "half_back": repeats.half_back,
        },
    }
