"""`idk evaluate` at size: killed again and again, it asks every question, keeps each answer once, and does not grow.

    python -m tests.benchmarks.bench_evaluate [--questions 100000] [--concurrency 64] [--kills 2]

starts an upstream on loopback that counts the requests for each question, prints the measurements and writes them
to tests/benchmarks/EVALUATE.md. The exit status is 1 where a question was lost, kept twice, or
asked again though it was not in flight at a kill.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.measure import memory_kb

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_NUMBER = re.compile(rb"question number (\d+)")
#: Seconds between two looks at the memory.
PACE = 0.5
#: The last tenth may need so much more than the second: what its ids take, twice over.
BYTES_FOR_AN_ID = 400
SLACK_MB = 15.0


def completion(number: int) -> bytes:
    """Return the response to a question with logprobs; answers to even questions are right."""
    said = str(number if number % 2 == 0 else number + 1)
    tokens = [{"token": said, "logprob": -0.1, "bytes": list(said.encode()), "top_logprobs": []}]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": said},
        "finish_reason": "stop",
        "logprobs": {"content": tokens},
    }
    body = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


class Counting(asyncio.Protocol):
    """One connection of the upstream: answers whole requests and counts them by their question."""

    def __init__(self, asked: Counter[int]) -> None:
        self._asked = asked
        self._in = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._in += data
        while (end := self._in.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._in, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._in) < whole:
                return
            number = _NUMBER.search(self._in, end, whole)
            assert number is not None
            self._asked[int(number[1])] += 1
            self._transport.write(completion(int(number[1])))
            self._in = self._in[whole:]


@dataclass
class Seen:
    """What was seen of one whole evaluation. ``memory`` holds (records asked for, MB) of the last run."""

    questions: int
    concurrency: int
    asked: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    seconds: float = 0.0
    memory: list[tuple[int, float]] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    status: int = -1

    @property
    def again(self) -> int:
        """How many requests came beyond one for each question."""
        return self.asked.total() - len(self.asked)

    def grown_mb(self) -> float:
        """Return the growth of memory in MB between a tenth of the last run and its end."""
        return self.memory[-1][1] - self.memory[len(self.memory) // 10][1] if self.memory else 0.0

    def broken(self) -> list[str]:
        """Return a sentence for each promise that the measurements do not keep."""
        wrong = []
        if self.status != 0:
            wrong.append(f"the last run ended with status {self.status}")
        if sorted(self.records) != list(range(self.questions)):
            twice = len(self.records) - len(set(self.records))
            wrong.append(
                f"{len(set(self.records)):,} records of {self.questions:,} questions, {twice:,} twice"
            )
        if self.again > self.kills * self.concurrency:
            wrong.append(f"{self.again:,} requests more than there are questions, with {self.kills} kills")
        if self.grown_mb() > SLACK_MB + self.questions * BYTES_FOR_AN_ID / 1e6:
            wrong.append(f"it grew by {self.grown_mb():.0f} MB")
        return wrong


async def evaluate(folder: Path, seen: Seen, kills: int) -> None:
    """Ask all questions in ``folder``, ending the process ``kills`` times on the way."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Counting(seen.asked), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (folder / "idk.yaml").write_text(
        json.dumps(
            {
                "upstreams": {"local": {"base_url": f"http://127.0.0.1:{port}/v1"}},
                "routes": [{"name": "support", "models": ["m"], "upstream": "local", "mode": "observe"}],
            }
        ),
        encoding="utf-8",
    )
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for number in range(seen.questions):
            row = {"id": f"q{number}", "question": f"question number {number}", "answers": [str(number)]}
            file.write(json.dumps(row) + "\n")
    started = time.perf_counter()
    for stop in [seen.questions * (turn + 1) // (kills + 1) for turn in range(kills)]:
        await run(folder, seen, stop)
    await run(folder, seen, None)
    seen.seconds = time.perf_counter() - started
    server.close()
    with (folder / "records.jsonl").open("rb") as lines:
        seen.records = [int(json.loads(line)["id"][1:]) for line in lines]


async def run(folder: Path, seen: Seen, stop: int | None) -> None:
    """Run `idk evaluate` once and kill it after ``stop`` questions."""
    files = ("--config", "idk.yaml", "--data", "questions.jsonl", "--out", "records.jsonl")
    options = ("--route", "support", "--concurrency", str(seen.concurrency))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy.cli.main", "evaluate", *files, *options, cwd=folder
    )
    seen.memory = []
    ended = asyncio.ensure_future(process.wait())
    while not ended.done():
        await asyncio.wait([ended], timeout=PACE)
        if stop is not None and len(seen.asked) >= stop and not ended.done():
            process.kill()
            seen.kills += 1
            await ended
        elif held := memory_kb(process.pid, "VmRSS"):  # 0 where it has ended in between
            seen.memory.append((len(seen.asked), held / 1000))
    seen.status = ended.result()


def report(seen: Seen) -> str:
    """Return the measurements as Markdown."""
    early = seen.memory[len(seen.memory) // 10] if seen.memory else (0, 0.0)
    last = seen.memory[-1] if seen.memory else (0, 0.0)
    options = f"--questions {seen.questions} --concurrency {seen.concurrency} --kills {seen.kills}"
    under_way = seen.kills * seen.concurrency
    rows = {
        "questions": f"{seen.questions:,}",
        "SIGKILLs on the way": f"{seen.kills}",
        "records at the end": f"{len(seen.records):,}",
        "questions with a record": f"{len(set(seen.records)):,}",
        "questions asked": f"{len(seen.asked):,}",
        "requests beyond one for each": f"{seen.again:,}; up to {under_way:,} were in flight at the kills",
        "time in all": f"{seen.seconds:.0f} s",
        f"memory of the last run after {early[0]:,} questions": f"{early[1]:.0f} MB",
        "memory of the last run at the end": f"{last[1]:.0f} MB",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# `idk evaluate` at size

`python -m tests.benchmarks.bench_evaluate {options}`; Python {platform.python_version()},
{platform.machine()}. The upstream answers at once, from the process that measures.

| | |
| --- | --- |
{table}

A question that was under way when the process was killed has no record, and is asked again: its answer was never
kept. Memory holds the ids of the questions, and no answer.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and keep the table; 1 where it is not as promised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("EVALUATE.md"))
    options = parser.parse_args(argv)
    seen = Seen(options.questions, options.concurrency)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(evaluate(Path(folder), seen, options.kills))
    text = report(seen)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    for line in seen.broken():
        print(line, file=sys.stderr)
    return 1 if seen.broken() else 0


if __name__ == "__main__":
    sys.exit(main())
