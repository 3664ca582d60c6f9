"""How long hostile requests and answers keep the event loop; ``python -m tests.benchmarks.bench_hostile``.

Writes HOSTILE.md; ``loop_watch`` says how it is measured.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks import hostile_answers
from tests.benchmarks.loop_watch import status, tried, watched
from tests.fakes import FakeUpstream, answer, says
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.loop_watch import Kept

RESULT: Final = Path(__file__).parents[1] / "HOSTILE.md"
MOST: Final = 20_000_000
EMOJI: Final = "\N{GRINNING FACE}"


@dataclass(frozen=True, slots=True)
class Attack:
    """One kind of body: its prompt, and further fields as JSON text; sent so often at once."""

    prompt: Callable[[], str] = lambda: "?"
    fields: Callable[[], str] = lambda: ""
    at_once: int = 1
    #: Whether it is written without escapes.
    utf8: bool = False


def _repeated(name: str, item: str) -> str:
    count = (MOST - 1_000) // (len(item) + 1)
    return f'"{name}":[' + ",".join([item] * count) + "]"


ATTACKS: Final[dict[str, Attack]] = {
    "a text of 20 MB": Attack(lambda: "x" * (MOST - 1_000)),
    "a text of escapes": Attack(lambda: "\n" * (MOST // 2 - 1_000)),
    "as many escapes as may be": Attack(lambda: "\n" * 1_575_000 + "x" * (MOST - 3_151_000)),
    "as many escapes as may be, eight at once": Attack(
        lambda: "\n" * 1_575_000 + "x" * (MOST - 3_151_000), at_once=8
    ),
    "a text beyond ASCII": Attack(lambda: "д" * (MOST // 6 - 1_000)),
    "a text in UTF-8": Attack(lambda: "д" * (MOST // 2 - 1_000), utf8=True),
    "the most text in UTF-8": Attack(lambda: "д" * 8_190_000, utf8=True),
    "a text and an emoji": Attack(lambda: "x" * (MOST - 1_000) + EMOJI, utf8=True),
    "as many bytes of memory as may be": Attack(lambda: "x" * 4_090_000 + EMOJI, utf8=True),
    "as many bytes of memory as may be, eight at once": Attack(
        lambda: "x" * 4_090_000 + EMOJI, utf8=True, at_once=8
    ),
    "a text for the context's pattern": Attack(lambda: "<c>" + "a" * (MOST - 1_000)),
    "a passage of 20 MB": Attack(lambda: "<c>" + "b" * (MOST - 1_000) + "</c>?"),
    "two million passages": Attack(lambda: "<c>b</c>" * (MOST // 8 - 1_000)),
    "instructions of 20 MB": Attack(fields=lambda: '"instructions":"' + "i" * (MOST - 1_000) + '"'),
    "a million keys": Attack(fields=lambda: ",".join(f'"{number}":1' for number in range(MOST // 12))),
    "30,000 keys": Attack(fields=lambda: ",".join(f'"{number}":1' for number in range(30_000))),
    "numbers": Attack(fields=lambda: _repeated("x", "1")),
    "250,000 numbers": Attack(fields=lambda: '"x":[' + "1," * 250_000 + "1]"),
    "objects": Attack(fields=lambda: _repeated("x", "{}")),
    "tools": Attack(fields=lambda: _repeated("tools", '{"type":"function","function":{"name":"f"}}')),
    "4,000 tools": Attack(
        fields=lambda: '"tools":[' + ",".join(['{"type":"function","name":"f"}'] * 4_000) + "]"
    ),
    "lists in lists": Attack(fields=lambda: '"x":' + "[" * 5_000_000 + "]" * 5_000_000),
    "lists in lists, nearly too deep": Attack(fields=lambda: '"x":' + "[" * 900 + "]" * 900),
    "a model of 20 MB": Attack(fields=lambda: '"model":"' + "m" * (MOST - 1_000) + '"'),
}


def body_of(surface: str, model: str, attack: Attack, upstream: FakeUpstream) -> bytes:
    """Return a request body whose prompt selects the fake upstream's behaviour."""
    prompt = attack.prompt()
    upstream.script(answer(says("Par", "is")), prompt=prompt)
    whole = json.dumps({"model": model, **DOORS[surface].asks(prompt)}, ensure_ascii=not attack.utf8)
    fields = attack.fields()
    return (f"{whole[:-1]},{fields}}}" if fields else whole).encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """What one attack did."""

    surface: str
    model: str
    name: str
    sent: int
    status: str
    kept: Kept


def run(surfaces: tuple[str, ...] = tuple(DOORS), names: tuple[str, ...] = tuple(ATTACKS)) -> Iterator[Seen]:
    """Run every attack on every surface, direct and translated."""
    with FakeUpstream() as upstream, watched(upstream.base_url) as url:
        for surface in surfaces:
            for model in ("direct", "translated") if surface not in ("chat", "completions") else ("direct",):
                for name in names:
                    attack = ATTACKS[name]
                    body = body_of(surface, model, attack, upstream)
                    send = partial(_sent, url + DOORS[surface].path, body, attack.at_once)
                    told, kept = tried(url, send)
                    yield Seen(surface, model, name, len(body), told, kept)


def _sent(url: str, body: bytes, at_once: int) -> str:
    """Send the request and return the outcome."""
    with ThreadPoolExecutor(at_once) as clients:
        sent = [clients.submit(status, url, body) for _ in range(at_once)]
    return ", ".join(sorted({each.result() for each in sent}))


def main() -> None:
    """Write the tables."""
    lines = [
        "# How long hostile requests and answers keep the event loop",
        "",
        "Written by `make bench-hostile`: the longest that anything kept the loop, which everything else waits for:",
        "the lesser of the time and of the processor time between two turns of a timer. Where that is over 25 ms, the",
        "least and the most of three tries, and what of the most the process was in the kernel: where memory is",
        "handed out, 20 MB in five thousand pages, no other request is processed. At the default bounds, on two shared",
        "cores.",
        "",
        "| surface | upstream | request | bytes | status | longest, ms | in the kernel |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    print(*lines, sep="\n")
    for seen in run():
        row = f"| {seen.surface} | {seen.model} | {seen.name} | {seen.sent:,} | {seen.status} |"
        lines.append(f"{row} {seen.kept.cells} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        "An upstream that misbehaves, whole or streamed:",
        "",
        "| format | client asks for | answer | bytes | status | longest, ms | in the kernel |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    print(*lines[-5:], sep="\n")
    for told in hostile_answers.run():
        asked = "a stream" if told.streamed else "all at once"
        row = f"| {told.form} | {asked} | {told.name} | {told.sent:,} | {told.status} |"
        lines.append(f"{row} {told.kept.cells} |")
        print(lines[-1], flush=True)
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
