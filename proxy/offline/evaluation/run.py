"""Many questions into a file of records.

Only ids are kept in memory, and at most ``concurrency`` questions are under way. A record is written whole as
soon as its answer is there, so that a run that was killed goes on where it stopped. A question whose call
failed gets no record: it is no wrong answer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.exceptions import HttpError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.offline.evaluation.asker import Asker
    from proxy.records import Appender, Question

#: An upstream that fails so often in a row is down: the rest would fail too.
MOST_FAILURES_IN_A_ROW = 20


@dataclass(slots=True)
class Run:
    """One run over a file of questions. ``done`` are the ids that have a record.

    Of the new records ``labels`` counts the outcomes, ``disputed`` those where a judge and the rules differ.
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
        """Every question without a record, and those whose call failed once more at the end.

        ``questions`` opens the file anew. Raises RunError where some still have none, or the upstream is down.
        """
        await self._pass(questions(), concurrency)
        if self.failed:
            again, self.failed = self.failed, set()
            await self._pass((one for one in questions() if one.id in again), concurrency)
        if self.failed:
            raise RunError(
                f"{len(self.failed):,} questions have no answer ({self.last_error}); the others are written, "
                "and the same command asks these again"
            )

    async def _pass(self, questions: Iterable[Question], concurrency: int) -> None:
        waiting = iter(question for question in questions if question.id not in self.done)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(self._work(waiting))
        except ExceptionGroup as stopped:  # the first says why: the other workers were cancelled with it
            raise stopped.exceptions[0] from None

    async def _work(self, waiting: Iterator[Question]) -> None:
        for question in waiting:  # shared by all workers: each takes the next one
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
        self.last_error = exc.message
        self._in_a_row += 1
        if self._in_a_row >= MOST_FAILURES_IN_A_ROW:
            raise RunError(
                f"{self._in_a_row} calls in a row failed: {exc.message}; what was answered is written, and the "
                "same command goes on from there"
            )
