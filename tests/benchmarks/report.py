"""RESULTS.md and its picture, of one run."""

from __future__ import annotations

from html import escape
from math import log10
from typing import TYPE_CHECKING

from tests.benchmarks.load import Scenario
from tests.benchmarks.results import Results, Sample, Spread, added, spread
from tests.benchmarks.targets import TARGETS, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

NAMES = {
    ("bench-large", False): "31 KB",
    ("bench-small", False): "0.9 KB",
    ("bench-large", True): "stream of 64",
}
TENSORZERO = (
    "TensorZero's gateway is in none of the package registries used here (PyPI, npm, Debian): left out."
)
METHOD = """\
Each server runs on one core; the load and the upstream run on another. The upstream (upstream.c) answers with
fixed bytes in OpenAI's wire format: 0.9 KB (a short answer with its logprobs), 31 KB (64 tokens with logprobs and
five alternatives each), and the latter as a stream of 64 chunks 1 ms apart. Contenders take turns within each
round; figures are medians over the rounds, with least to greatest in brackets, and ratios are taken within a
round. CPU is user and system time of the server's processes over the requests answered. c is the number of
requests at a time. Streams are driven by client.c. "Asks" and "does not ask" is whether the client itself wants
logprobs; where it does not, idk asks for them and cuts them out of the answer. Contenders without a gate forward
the same bytes either way and are measured once. "Direct" is the load against the upstream itself. Every contender
had to give the right answer in every scenario before it was measured."""


def write(results: Results, directory: Path) -> Path:
    """Writes RESULTS.md and results.svg; the path of the former."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.svg").write_text(_picture(results))
    notes = directory / "NOTES.md"  # where the time goes (hotspots.py) and what was tried: kept by hand
    parts = [
        "# What the gate costs\n\nWritten by `make bench`.",
        "![CPU of one request](results.svg)",
        "## Summary\n\n" + _summary(results),
        "## Targets\n\nWhere the client may ask for logprobs or not, the worse of the two counts.\n\n"
        + _targets(results),
        notes.read_text().strip() if notes.exists() else "",
        *(_scenarios(results, *kind) for kind in NAMES),
        "## Left out\n\n" + "\n".join(f"- {line}" for line in [TENSORZERO, *_left_out(results)]),
        "## How\n\n" + METHOD,
        "## On what\n\n" + table(("what", "version"), results.facts.items()),
    ]
    path = directory / "RESULTS.md"
    path.write_text("\n\n".join(part for part in parts if part) + "\n")
    return path


def _summary(results: Results) -> str:
    large, small = Scenario("bench-large", False, True, 16), Scenario("bench-small", False, True, 16)
    stream = Scenario("bench-large", True, True, 16)
    one = Scenario("bench-large", False, True, 1)
    rows = []
    for name, title in results.titles.items():
        cpu = [_cell(results.figure(name, s, _cpu)) for s in _with_not_asking(large, small, stream)]
        times = [_cell(results.against(name, "direct", one, added(t))) for t in ("total_p50", "total_p99")]
        life = [_cell(spread([*of.get(name, ())])) for of in (results.rss_mb, results.start_s)]
        rows.append([title, *cpu, *times, *life])
    head = [f"CPU ms, {_label(s)}" for s in _with_not_asking(large, small, stream)]
    return table(
        ("c = 16", *head, "added p50 ms, c = 1, 31 KB", "added p99 ms", "RSS MB", "start to first 200, s"),
        rows,
    )


def _targets(results: Results) -> str:
    rows = []
    for target in TARGETS:
        figure = target.measure(results)
        found = (
            "not measured" if figure is None else _cell(figure, lambda v, unit=target.unit: _amount(v, unit))
        )
        bounds = [_amount(bound, target.unit) for bound in (target.reach, target.stretch)]
        verdicts = [_verdict(target, figure, bound) for bound in (target.reach, target.stretch)]
        sign = ">=" if target.at_least else "<="
        rows.append(
            [target.name, found, *(f"{sign} {b}: {v}" for b, v in zip(bounds, verdicts, strict=True))]
        )
    return table(("target", "measured", "reach", "stretch"), rows)


def _scenarios(results: Results, model: str, stream: bool) -> str:
    rows = []
    for name, title in results.titles.items():
        for asks in (True, False):
            scenarios = [Scenario(model, stream, asks, c) for c in (1, 16, 64)]
            if not any((name, s) in samples for samples in results.rounds for s in scenarios):
                continue
            times = ("total_p50", "total_p99", *(("first_p50", "first_p99") if stream else ()))
            rows.append([
                title,
                "yes" if asks else "no",
                *(_cell(results.figure(name, s, lambda sample: sample.rate)) for s in scenarios),
                *(_cell(results.figure(name, s, _cpu)) for s in scenarios),
                *(_cell(results.against(name, "direct", scenarios[0], added(t))) for t in times),
            ])  # fmt: skip
    unit = "streams/s" if stream else "requests/s"
    head = [f"{unit}, c = {c}" for c in (1, 16, 64)] + [f"CPU ms, c = {c}" for c in (1, 16, 64)]
    last = [
        "added p50 ms, c = 1",
        "added p99 ms",
        *(["added first chunk p50 ms", "p99 ms"] if stream else []),
    ]
    return f"## {NAMES[model, stream]}\n\n" + table(("", "asks", *head, *last), rows)


def _left_out(results: Results) -> Iterable[str]:
    yield from (f"{name}: {reason}" for name, reason in results.left_out.items())
    for name, count in results.errors.items():
        yield f"{name}: {count} requests failed; they are not among the requests counted, but their CPU is."


def _with_not_asking(*scenarios: Scenario) -> list[Scenario]:
    return [Scenario(s.model, s.stream, asks, s.concurrency) for s in scenarios for asks in (True, False)]


def _label(scenario: Scenario) -> str:
    return f"{NAMES[scenario.model, scenario.stream]}, {'asks' if scenario.asks else 'does not ask'}"


def _cpu(sample: Sample) -> float | None:
    return sample.cpu_ms


def _verdict(target: Target, figure: Spread | None, bound: float) -> str:
    if figure is None:
        return "unknown"
    return "met" if target.met(figure.middle, bound) else "**missed**"


def _amount(value: float, unit: str) -> str:
    if unit == "x":
        return f"1/{1 / value:.0f}" if 0 < value < 0.2 else f"{value:.2f}x"
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def _cell(figure: Spread | None, show: Callable[[float], str] = _number) -> str:
    if figure is None:
        return "–"
    if figure.n == 1:
        return show(figure.middle)
    return f"{show(figure.middle)} ({show(figure.least)}–{show(figure.most)})"


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _picture(results: Results) -> str:
    """Bars of CPU per request on a logarithmic scale, for the answer of 31 KB and for the stream."""
    panels = [Scenario("bench-large", stream, True, 16) for stream in (False, True)]
    titles = {name: title for name, title in results.titles.items() if name != "direct"}
    figures = [{name: results.figure(name, s, _cpu) for name in titles} for s in panels]
    known = [f.middle for panel in figures for f in panel.values() if f is not None and f.middle > 0]
    if not known:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n'
    low, span = log10(min(known)) - 0.3, log10(max(known)) - log10(min(known)) + 0.3
    left, width, row, top = 230, 250, 24, 56
    height = top + row * len(titles) + 12
    font = 'font-family="sans-serif" font-size="13"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + 2 * (width + 70)} {height}" {font}>',
        "<style>text{fill:#222}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>",
        '<text x="8" y="20" font-weight="bold">CPU of one request, ms (logarithmic), 16 at a time</text>',
    ]
    for i, (name, title) in enumerate(titles.items()):
        y = top + i * row
        lines.append(f'<text x="8" y="{y + 14}">{escape(title)}</text>')
        for k, panel in enumerate(figures):
            x, figure = left + k * (width + 70), panel[name]
            length = (
                0.0 if figure is None or figure.middle <= 0 else (log10(figure.middle) - low) / span * width
            )
            colour = "#c2410c" if name.startswith("idk") else "#64748b"
            lines.append(f'<rect x="{x}" y="{y}" width="{length:.0f}" height="{row - 6}" fill="{colour}"/>')
            text = "not measured" if figure is None else _number(figure.middle)
            lines.append(f'<text x="{x + length + 6:.0f}" y="{y + 14}">{text}</text>')
    for k, title in enumerate(("31 KB with logprobs", "stream of 64 chunks with logprobs")):
        lines.append(f'<text x="{left + k * (width + 70)}" y="{top - 12}">{title}</text>')
    return "\n".join([*lines, "</svg>\n"])
