"""A run of an evaluation: many questions are asked, and their records are appended to a file.

Only ids are kept in memory, and at most ``concurrency`` questions are in flight. Each record is written as soon as
its answer has arrived, so that a killed run continues where it stopped. A question whose call failed gets no record,
since a failure is not a wrong answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.exceptions import HttpError, RunError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.offline.evaluation.asker import Asker
    from proxy.records import Appender, Question

#: After this many failures in a row the upstream counts as down, and the run stops.
MOST_FAILURES_IN_A_ROW = 20


@dataclass(slots=True)
class Run:
    """One run over a file of questions; ``done`` holds the ids that have a record.

    ``labels`` counts the outcomes of the new records, and ``disputed`` those on which judge and rules differ.
    """

    asker: Asker
    sink: Appender
    done: set[str]
    told: Callable[[str], None]
    labels: Counter[str] = field(default_factory=Counter)
    disputed: int = 0
    failed: set[str] = field(default_factory=set)
    last_error: str = ""
    _in_a_row: int = 0

    async def ask_all(self, questions: Callable[[], Iterable[Question]], concurrency: int) -> None:
        """Ask every question without a record, and ask those whose call failed once more at the end.

        ``questions`` opens the file each time it is called. Raises RunError where questions are left without an
        answer, or where the upstream is down.
        """
        await self._pass(questions(), concurrency)
        if self.failed:
            again, self.failed = self.failed, set()
            await self._pass((one for one in questions() if one.id in again), concurrency)
        if self.failed:
            raise RunError(
                f"{len(self.failed):,} questions have no answer ({self.last_error}); the other answers are "
                "written; run the same command again to ask the rest"
            )

    async def _pass(self, questions: Iterable[Question], concurrency: int) -> None:
        waiting = iter(question for question in questions if question.id not in self.done)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(self._work(waiting))
        except ExceptionGroup as stopped:  # the first is the cause: the other workers were cancelled
            raise stopped.exceptions[0] from None

    async def _work(self, waiting: Iterator[Question]) -> None:
        for question in waiting:  # the iterator is shared: each worker takes the next question
            try:
                record = await self.asker.record(question)
            except HttpError as exc:
                self._failed(question, exc)
                continue
            self.sink.append(record)
            self.done.add(question.id)
            self.labels[record.label] += 1
            self.disputed += record.matched not in (None, record.label)
            self._in_a_row = 0
            self.told(record.label)

    def _failed(self, question: Question, exc: HttpError) -> None:
        self.failed.add(question.id)
        name = self.asker.route.upstream.name
        self.last_error = exc.described(name) if isinstance(exc, UpstreamError) else exc.message
        self._in_a_row += 1
        if self._in_a_row >= MOST_FAILURES_IN_A_ROW:
            raise RunError(
                f"{self._in_a_row} calls in a row failed: {self.last_error}; the answers so far are written; "
                "run the same command again to continue"
            )
