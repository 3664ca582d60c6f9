"""The charts of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.offline.report.curves import BARS, LEVEL
from proxy.offline.report.formatting import count, percent, percent_at_most, several, ticks
from proxy.offline.report.svg import BOTTOM, HEIGHT, TOP, WIDTH, Plot, drawing, element, path

if TYPE_CHECKING:
    from markupsafe import Markup

    from gating.tuning import HeldOut
    from proxy.offline.report.curves import CurvePoint, Histogram, ReliabilityBin
    from proxy.offline.report.figures import ReportFigures

FIFTHS = [(place / 5, percent(place / 5)) for place in range(6)]
#: The least distance in pixels between two counts; closer ones are shown in the table only.
APART = 34


def risk_coverage_chart(figures: ReportFigures) -> Markup | None:
    """Draw risk against coverage with its band, threshold and certified target; None without labels."""
    curve, certificate = figures.curve, figures.policy.certificate
    if not curve:
        return None
    target = None if certificate is None else certificate.target_risk
    plot = Plot(high=_risk_axis(curve, target))
    high = [(plot.x(point.coverage), plot.y(point.interval[1])) for point in curve]
    low = [(plot.x(point.coverage), plot.y(point.interval[0])) for point in curve]
    parts = [
        path([*high, *reversed(low)], "band", closed=True),
        plot.axes(
            "share of questions answered",
            "share of answers wrong",
            FIFTHS,
            [(at, percent(at)) for at in ticks(plot.high)],
        ),
        path([(plot.x(point.coverage), plot.y(point.risk)) for point in curve], "curve"),
    ]
    if target is not None:
        parts += [
            plot.level(target, "target"),
            element(
                "text",
                f"target {percent_at_most(target)}",
                x=plot.x(0) + 6,
                y=plot.y(target) - 6,
                class_="note",
            ),
        ]
    said = "no threshold is chosen"
    gated = figures.gated
    if gated is not None and gated.coverage is not None and gated.risk is not None:
        said = f"the policy answers {percent(gated.coverage)}, {percent(gated.risk)} of them wrong"
        # The curve rises to the right, so the labels have room at the top.
        parts += [
            plot.upright(gated.coverage, "threshold"),
            element("circle", cx=plot.x(gated.coverage), cy=plot.y(gated.risk), r=6, class_="chosen"),
            plot.beside(gated.coverage, TOP + 14, f"answers {percent(gated.coverage)},", "label halo"),
            plot.beside(gated.coverage, TOP + 36, f"wrong {percent(gated.risk)} of them", "label halo"),
        ]
    last = curve[-1]
    return drawing(
        "risk-coverage",
        "Risk against coverage",
        f"Answering all that can be scored covers {percent(last.coverage)} with {percent(last.risk)} wrong; {said}. "
        f"The band holds {percent(LEVEL)} at each point.",
        *parts,
    )


def _risk_axis(curve: tuple[CurvePoint, ...], target: float | None) -> float:
    """Return the top of the axis for curve and target; the wide band of the first answers may be cut."""
    settled = [point.interval[1] for point in curve if point.coverage >= curve[-1].coverage / 3]
    top = max([*settled, *(point.risk for point in curve), 1.3 * (target or 0.0), 0.02])
    return min(ticks(top)[-1], 1.0)


def reliability_chart(bins: tuple[ReliabilityBin, ...]) -> Markup | None:
    """Draw confidence against the share of right answers, with counts; None without labels."""
    if not bins:
        return None
    plot = Plot()
    parts = [
        plot.axes("confidence", "share right", FIFTHS, FIFTHS),
        path([(plot.x(0), plot.y(0)), (plot.x(1), plot.y(1))], "ideal"),
    ]
    free_from = 0.0
    for one in bins:
        x, y = plot.x(one.confidence), plot.y(one.right)
        hint = f"{several(one.count, 'answer')} at {percent(one.confidence)}: {percent(one.right)} right"
        dot = [element("circle", element("title", hint), cx=x, cy=y, r=5, class_="dot")]
        if one.interval is not None:
            low, high = one.interval
            dot.insert(0, element("line", x1=x, x2=x, y1=plot.y(low), y2=plot.y(high), class_="whisker"))
        if x >= free_from:
            dot.append(
                element("text", count(one.count), x=x, y=HEIGHT - BOTTOM - 6, class_="count halo middle")
            )
            free_from = x + APART
        parts += dot
    worst = max(bins, key=lambda one: abs(one.confidence - one.right))
    return drawing(
        "reliability",
        "Reliability diagram",
        f"{several(len(bins), 'group')} of about equal size. Farthest from the diagonal: confidence "
        f"{percent(worst.confidence)}, right {percent(worst.right)} of {several(worst.count, 'answer')}.",
        *parts,
    )


def histogram_chart(bars: Histogram, threshold: float | None) -> Markup | None:
    """Draw right answers upwards and wrong ones downwards, by confidence; None without labels."""
    if not any(bars.right + bars.wrong):
        return None
    up, down = ticks(max(*bars.right, 1), 3), ticks(max(*bars.wrong, 1), 3)
    step = max(up[1], down[1], 1.0)
    marks = [place * step for place in range(-round(-(-down[-1] // step)), round(-(-up[-1] // step)) + 1)]
    plot = Plot(low=marks[0], high=marks[-1])
    parts = []
    if threshold is not None and threshold > 0:
        parts.append(
            element(
                "rect",
                x=plot.x(0),
                y=TOP,
                width=plot.x(threshold) - plot.x(0),
                height=HEIGHT - TOP - BOTTOM,
                class_="withheld",
            )
        )
    parts.append(
        plot.axes("confidence", "answers", FIFTHS, [(mark, count(round(abs(mark)))) for mark in marks])
    )
    for kind, counts, sign in (("right", bars.right, 1), ("wrong", bars.wrong, -1)):
        parts += [_bar(plot, place, sign * n, kind) for place, n in enumerate(counts) if n]
    parts.append(plot.level(0, "zero"))
    if threshold is not None:
        parts += [
            plot.upright(threshold, "threshold"),
            plot.beside(threshold, TOP + 14, f"threshold {threshold:.2f}", "label halo"),
        ]
    return drawing(
        "histogram",
        "Confidence of right and of wrong answers",
        f"{several(sum(bars.right), 'right answer')} drawn upwards, {several(sum(bars.wrong), 'wrong one')} "
        "downwards, by confidence in steps of 0.05.",
        *parts,
    )


def _bar(plot: Plot, place: int, n: int, kind: str) -> Markup:
    left, right = plot.x(place / BARS) + 1, plot.x((place + 1) / BARS) - 1
    top, foot = sorted((plot.y(0), plot.y(n)))
    hint = f"confidence {place / BARS:.2f} to {(place + 1) / BARS:.2f}: {abs(n)} {kind}"
    return element(
        "rect", element("title", hint), x=left, y=top, width=right - left, height=foot - top, class_=kind
    )


def outcome_chart(always: HeldOut, gated: HeldOut | None) -> Markup | None:
    """Draw right, wrong and withheld answers without and with the gate, as bars; None without answers."""
    rows = [("answering everything", always), *([] if gated is None else [("with the policy", gated)])]
    if not always.right + always.wrong + always.abstained:
        return None
    parts = []
    for place, (name, outcome) in enumerate(rows):
        y = 24 + 78 * place
        parts.append(element("text", name, x=0, y=y - 5, class_="label"))
        parts += _stack(outcome, y + 4)
    said = "; ".join(
        f"{name}: {several(one.right, 'right', 'right')}, {several(one.wrong, 'wrong', 'wrong')}, "
        f"{several(one.abstained, 'withheld', 'withheld')}"
        for name, one in rows
    )
    return drawing("outcomes", "Right, wrong, withheld", said, *parts, height=78 * len(rows))


def _stack(outcome: HeldOut, y: float) -> list[Markup]:
    n = outcome.right + outcome.wrong + outcome.abstained
    parts, x = [], 0.0
    for kind, amount in (
        ("right", outcome.right),
        ("wrong", outcome.wrong),
        ("abstained", outcome.abstained),
    ):
        width = WIDTH * amount / n
        if amount:
            parts.append(element("rect", x=x, y=y, width=max(width - 2, 1), height=34, rx=3, class_=kind))
        if width > 66:
            parts.append(element("text", percent(amount / n), x=x + 10, y=y + 22.5, class_=f"on-{kind}"))
        x += width
    return parts


def coverage_bar(coverage: float | None) -> Markup:
    """Draw a small decorative bar for a number in a table."""
    bar = (
        [element("rect", x=0, y=0, width=100 * coverage, height=6, rx=2, class_="share")] if coverage else []
    )
    return element(
        "svg",
        element("rect", x=0, y=0, width=100, height=6, rx=2, class_="track"),
        *bar,
        viewBox="0 0 100 6",
        class_="bar",
        aria_hidden="true",
        preserveAspectRatio="none",
    )
