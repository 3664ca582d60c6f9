"""SVG elements and plots; markupsafe escapes every attribute and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Value = str | float

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 30, 40, 56


def element(name: str, *children: str, **attributes: Value) -> Markup:
    """Return ``<name …>children</name>``; ``class_`` becomes class, and ``stroke_width`` stroke-width."""
    pairs = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, pairs, Markup("").join(children))


def _plain(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def drawing(name: str, title: str, description: str, *parts: str, height: int = HEIGHT) -> Markup:
    """Return a complete picture; screen readers read ``title`` and ``description``."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        *parts,
        role="img",
        viewBox=f"0 0 {WIDTH} {height}",
        aria_labelledby=f"{name}-title {name}-desc",
        class_=f"drawing {name}",
    )


def path(points: Iterable[tuple[float, float]], class_: str, *, closed: bool = False) -> Markup:
    """Return a line through ``points``, given in pixels."""
    steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return element("path", d=f"M{steps}{'Z' if closed else ''}", class_=class_)


@dataclass(frozen=True, slots=True)
class Plot:
    """The plot area: x over [0, 1], y over [``low``, ``high``]."""

    high: float = 1.0
    low: float = 0.0

    def x(self, share: float) -> float:
        """Return the position of a share in pixels from the left."""
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the position of a value in pixels from the top, clipped to the area."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(
        self,
        x_title: str,
        y_title: str,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
    ) -> Markup:
        """Return the horizontal rules, the tick labels of both axes, and both titles."""
        left, right, foot = self.x(0), self.x(1), HEIGHT - BOTTOM
        rules = [
            element("line", x1=left, x2=right, y1=self.y(at), y2=self.y(at), class_="rule")
            for at, _ in y_ticks
        ]
        beside = [
            element("text", text, x=left - 8, y=self.y(at) + 4.5, class_="tick end") for at, text in y_ticks
        ]
        below = [
            element("text", text, x=self.x(at), y=foot + 20, class_="tick middle") for at, text in x_ticks
        ]
        titles = [
            element("text", y_title, x=0, y=16, class_="axis"),
            element("text", x_title, x=right, y=HEIGHT - 6, class_="axis end"),
        ]
        return Markup("").join([*rules, *beside, *below, *titles])

    def upright(self, share: float, class_: str) -> Markup:
        """Return a vertical line over the whole height."""
        at = self.x(share)
        return element("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, class_=class_)

    def level(self, value: float, class_: str) -> Markup:
        """Return a horizontal line over the whole width."""
        at = self.y(value)
        return element("line", x1=self.x(0), x2=self.x(1), y1=at, y2=at, class_=class_)

    def beside(self, share: float, y: float, text: str, class_: str, gap: float = 8) -> Markup:
        """Return text next to a position, on the side that has room."""
        right_half = share > 0.5
        place = self.x(share) + (-gap if right_half else gap)
        return element("text", text, x=place, y=y, class_=f"{class_} {'end' if right_half else 'start'}")
