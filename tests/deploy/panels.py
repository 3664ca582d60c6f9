"""Drawing the panels of deploy/grafana/idk.json as one SVG, from Prometheus' answers to their queries."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import Markup

from proxy.offline.report.svg import element

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Width of one of Grafana's 24 columns and height of a row of its grid, in pixels.
COLUMN, ROW = 40, 30
PAD, FOOT, LEFT = 8, 34, 52
COLOURS: Final = ("#24539c", "#b5451b", "#3f7d4e", "#8a5aa8", "#b08900", "#2a8c95", "#a33b6b", "#6b6f76")
STYLE: Final = """
svg{background:#f1efe9;font:11px system-ui,sans-serif}.panel{fill:#fff;stroke:#dedbd2}
.title{font-weight:600;fill:#22252a}.tick,.legend,.none{fill:#6b6f76}.rule{stroke:#e8e5dd}.big{font-size:26px;fill:#24539c}.end{text-anchor:end}
.middle{text-anchor:middle}.line{fill:none;stroke-width:1.5;stroke-linejoin:round}.cell{fill:#24539c}
"""
#: The approximate width of a letter of the legend, in pixels.
LETTER: Final = 6.2


class Series(NamedTuple):
    """One line of a panel: its name, and (seconds, value) in the order of time."""

    name: str
    points: list[tuple[float, float]]
    labels: Mapping[str, str]

    @classmethod
    def of(cls, target: Mapping[str, Any], answer: Mapping[str, Any]) -> Series:
        """Read one series of Prometheus' answer, named by the target's legend."""
        labels = answer["metric"]
        legend = target.get("legendFormat") or ", ".join(labels.values())
        name = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)
        return cls(name, [(float(at), float(value)) for at, value in answer["values"]], labels)

    @property
    def known(self) -> list[tuple[float, float]]:
        """The points whose value is finite."""
        return [point for point in self.points if math.isfinite(point[1])]


def said(value: float, unit: str) -> str:
    """Format a value with its unit."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"
    return f"{value:.3g}" + ("/s" if unit == "reqps" else "")


class Area(NamedTuple):
    """The place of a panel in pixels, with its unit and its time range."""

    x: float
    y: float
    width: float
    height: float
    unit: str
    start: float
    end: float

    def across(self, at: float) -> float:
        """Return the x coordinate of a time."""
        return self.x + LEFT + (at - self.start) / (self.end - self.start) * (self.width - LEFT - PAD)

    def up(self, share: float) -> float:
        """Return the y coordinate of a share of the plot's height, from the bottom."""
        return self.y + self.height - FOOT - share * (self.height - FOOT - 30)


def stat(area: Area, series: Sequence[Series]) -> Markup:
    """Draw the newest value."""
    values = [each.known[-1][1] for each in series if each.known]
    text = said(values[0], area.unit) if values else "no data"
    return element("text", text, class_="big middle", x=area.x + area.width / 2, y=area.y + area.height - 30)


def timeseries(area: Area, series: Sequence[Series]) -> Markup:
    """Draw a line for each series over time."""
    values = [value for each in series for _, value in each.known]
    if not values:
        return nothing(area)
    top = max(*values, 0.0) or 1.0
    parts = [_rule(area, share, said(share * top, area.unit)) for share in (0.0, 0.5, 1.0)]
    for place, each in enumerate(series):
        points = [(area.across(at), area.up(value / top)) for at, value in each.known]
        if points:
            steps = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            parts.append(element("path", d=steps, class_="line", stroke=COLOURS[place % len(COLOURS)]))
    return Markup("").join([*parts, _times(area), _legend(area, [each.name for each in series])])


def heatmap(area: Area, series: Sequence[Series]) -> Markup:
    """Draw buckets over time; darker cells hold more observations."""
    bounded = sorted(
        (each for each in series if each.labels["le"] != "+Inf"), key=lambda s: float(s.labels["le"])
    )
    if not bounded:
        return nothing(area)
    below: dict[float, float] = {}
    cells: list[tuple[float, int, float]] = []
    for place, each in enumerate(bounded):
        for at, value in each.known:
            cells.append((at, place, value - below.get(at, 0.0)))
            below[at] = value
    most = max(count for _, _, count in cells) or 1.0
    times = sorted({at for at, _, _ in cells})
    width = (area.across(times[-1]) - area.across(times[0])) / max(1, len(times) - 1)
    times.pop(0)  # a cell ends at its time, so the first cell would begin before the run
    tall = 1 / len(bounded)
    parts = [
        element(
            "rect", class_="cell", x=area.across(at) - width, y=area.up((place + 1) * tall), width=width + 0.4,
            height=area.up(place * tall) - area.up((place + 1) * tall), opacity=math.sqrt(count / most),
        )
        for at, place, count in cells
        if count > 0 and at in times
    ]  # fmt: skip
    low = [
        _tick(area, place * tall, each.labels["le"])
        for place, each in enumerate(bounded, 1)
        if place % 5 == 0
    ]
    return Markup("").join([*parts, *low, _times(area)])


def table(area: Area, series: Sequence[Series]) -> Markup:
    """Draw a table with a row of labels for each series."""
    if not series:
        return nothing(area)
    columns = sorted({label for each in series for label in each.labels})
    wide = (area.width - 2 * PAD) / len(columns)
    rows = [columns, *([each.labels.get(label, "") for label in columns] for each in series)]
    return Markup("").join(
        element(
            "text", text, class_="legend" if line else "tick",
            x=area.x + PAD + place * wide, y=area.y + 44 + 20 * line,
        )
        for line, row in enumerate(rows)
        for place, text in enumerate(row)
    )  # fmt: skip


def nothing(area: Area) -> Markup:
    """Draw the note of a panel without data."""
    x, y = area.x + area.width / 2, area.y + area.height / 2
    return element("text", "no data in this run", class_="none middle", x=x, y=y)


#: The drawing function of each panel type of the dashboard.
DRAWN: Final[Mapping[str, Callable[[Area, Sequence[Series]], Markup]]] = {
    "stat": stat,
    "timeseries": timeseries,
    "heatmap": heatmap,
    "table": table,
}


def drawn(panels: Sequence[tuple[Mapping[str, Any], Sequence[Series]]], start: float, end: float) -> str:
    """Draw all panels in their places on the dashboard."""
    parts = [element("style", Markup(STYLE))]
    for panel, series in panels:
        at = panel["gridPos"]
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short")
        area = Area(at["x"] * COLUMN, at["y"] * ROW, at["w"] * COLUMN, at["h"] * ROW, unit, start, end)
        size = {"x": area.x + 3, "y": area.y + 3, "width": area.width - 6, "height": area.height - 6}
        title = element("text", panel["title"], class_="title", x=area.x + PAD + 4, y=area.y + 21)
        parts += [element("rect", class_="panel", rx=4, **size), title, DRAWN[panel["type"]](area, series)]
    high = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _ in panels) * ROW
    label = "Panels of the dashboard, drawn from what Prometheus answered"
    return _whole(Markup("").join(parts), label, high)


def _whole(inside: Markup, label: str, high: int) -> str:
    box = f"0 0 {24 * COLUMN} {high}"
    xmlns = "http://www.w3.org/2000/svg"
    return element("svg", inside, xmlns=xmlns, role="img", aria_label=label, viewBox=box) + "\n"


def _rule(area: Area, share: float, text: str) -> Markup:
    y = area.up(share)
    line = element("line", class_="rule", x1=area.x + LEFT, x2=area.x + area.width - PAD, y1=y, y2=y)
    return line + _tick(area, share, text)


def _tick(area: Area, share: float, text: str) -> Markup:
    return element("text", text, class_="tick end", x=area.x + LEFT - 4, y=area.up(share) + 4)


def _times(area: Area) -> Markup:
    """Draw the start and the end of the time axis."""
    y = area.y + area.height - FOOT + 13
    last = f"{(area.end - area.start) / 60:.0f} min"
    return element("text", "0", class_="tick", x=area.x + LEFT, y=y) + element(
        "text", last, class_="tick end", x=area.x + area.width - PAD, y=y
    )


def _legend(area: Area, names: Sequence[str]) -> Markup:
    """Draw as many names of the legend as fit."""
    parts, x, y = [], area.x + PAD + 4, area.y + area.height - 8
    for place, name in enumerate(names):
        wide = 22 + LETTER * len(name)
        if x + wide > area.x + area.width - 60:
            parts.append(element("text", f"and {len(names) - place} more", class_="legend", x=x, y=y))
            break
        parts.append(element("rect", x=x, y=y - 8, width=8, height=8, fill=COLOURS[place % len(COLOURS)]))
        parts.append(element("text", name, class_="legend", x=x + 11, y=y))
        x += wide
    return Markup("").join(parts)
