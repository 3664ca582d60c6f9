"""What the demonstration with passages shows: one table, and what it comes to, with counts and intervals."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from gating.risk import lower_bound, upper_bound
from proxy.demo.rag import GATES, Returned, tally
from proxy.offline.evaluation.overrefusal import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from proxy.demo.rag import Dealt, Outcome, Plan

_CONDITIONS = {
    "none": "without passages",
    "relevant": "with its own passage",
    "irrelevant": "with another's passage",
}
#: Fewer cases than this tell nothing of a share of a half: even all of four leave .40 in the 95 % interval.
FEWEST = 8
_TAIL = 0.025


def show(console: Console, found: Sequence[Outcome], dealt: Dealt, plan: Plan, *, asked: int) -> None:
    """Everything."""
    console.print(_table(found))
    console.print(
        f"  {plan.goal.words}\n  Each question is judged by gates that were fitted on others. Intervals are\n"
        "  exact, 95 %."
    )
    measured = _questions(found)
    if measured < asked:
        console.print(f"  The time was over after {measured} of {asked} questions.")
    for line in (*_irrelevant(found), *_returned(found), *_dealt(dealt)):
        console.print(line)


def _questions(found: Sequence[Outcome]) -> int:
    """How many were answered; each was asked without passages too."""
    return sum(one.record.condition == "none" for one in found)


def _table(found: Sequence[Outcome]) -> Table:
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


def _irrelevant(found: Sequence[Outcome]) -> list[str]:
    """What becomes of the errors with another question's passage, and with passages of either kind."""
    before, after, rescued = (
        tally(found, gate, "irrelevant").wrong for gate in ("before", "after", "rescued")
    )
    told = (
        "\nWith another's passage the gate without conditions, which was fitted without\n"
        f"passages, lets out {before.count} wrong answers, the gate with conditions {after.count}, with the\n"
        f"rescue {rescued.count}. Wrong among answered:"
    )
    lines = [told, *(f"  {words}: {_answered(wrong)}" for words, wrong in _named(before, after, rescued))]
    both = [_with_passages(found, gate) for gate in ("before", "rescued")]
    return [
        *lines,
        "and with passages of either kind:",
        *(f"  {words}: {_answered(wrong)}" for words, wrong in _named(*both)),
    ]


def _named(*wrong: Share) -> list[tuple[str, Share]]:
    """The first gate's, the last one's, and between them, where three are given, the second's."""
    names = (GATES["before"], GATES["rescued"]) if len(wrong) == 2 else list(GATES.values())[1:]
    return list(zip(names, wrong, strict=True))


def _with_passages(found: Sequence[Outcome], gate: str) -> Share:
    parts = [tally(found, gate, condition).wrong for condition in ("relevant", "irrelevant")]
    return Share(sum(part.count for part in parts), sum(part.n for part in parts))


def _answered(wrong: Share) -> str:
    return share(wrong.count, wrong.n) if wrong.n else "nothing is answered"


def _returned(found: Sequence[Outcome]) -> list[str]:
    """What the rescue brings back."""
    returned = Returned.of(found)
    lines = [
        f"\nRight without passages and refused with another's: {returned.refused} questions.",
        f"Of them {share(returned.right, returned.refused)} come back right.",
    ]
    if returned.refused < FEWEST:
        lines.append(f"That is too few to tell: fewer than {FEWEST} cases.")
    return lines


def _dealt(dealt: Dealt) -> list[str]:
    """What other ways to deal the same questions come to: no intervals, since they share their answers."""
    rows = (("before", GATES["before"]), ("rescued", GATES["rescued"]))
    return [
        f"\nOver {dealt.ways} other ways to deal the same questions, wrong among answered:",
        *(f"  {words}: {_plain(dealt.wrong[gate])}" for gate, words in rows),
        f"With the rescue at most half of it in {dealt.halved} of them, no higher in {dealt.no_higher}.",
        f"Come back right: {_plain(dealt.returned)}, at least half in {dealt.half_back}.",
    ]


def _plain(part: Share) -> str:
    return f"{100 * part.count / part.n:.0f} % ({part.count:,} of {part.n:,})" if part.n else "none"


def share(count: int, n: int) -> str:
    """A share with its counts and interval."""
    if not n:
        return "-"
    low, high = lower_bound(count, n, _TAIL), upper_bound(count, n, _TAIL)
    return f"{100 * count / n:.0f} % ({count}/{n}; {100 * low:.0f}-{100 * high:.0f})"


def figures(found: Sequence[Outcome], dealt: Dealt, plan: Plan) -> dict[str, Any]:
    """The same as plain JSON values."""
    returned = Returned.of(found)
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
            "ways": dealt.ways,
            "wrong": {gate: {"count": part.count, "n": part.n} for gate, part in dealt.wrong.items()},
            "returned": {"count": dealt.returned.count, "n": dealt.returned.n},
            "halved": dealt.halved,
            "no_higher": dealt.no_higher,
            "half_back": dealt.half_back,
        },
    }
