"""``records.jsonl`` and ``questions.jsonl``: read line by line, written so that a crash loses no line.

Whatever is wrong in a file is one line that names the file, the line in it and the mend.
"""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from gating.relatedness import words_of
from gating.types import Evidence, GatingError
from proxy.exceptions import UNREADABLE, ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path
    from typing import BinaryIO

    from gating.grading import Label
    from gating.relatedness import Words
    from gating.tuning import Graded

_BOM = b"\xef\xbb\xbf"
_PLACE = re.compile(r"^(.*) - at `\$\.?(.*)`$", re.DOTALL)
#: Of one line: an answer of 100,000 tokens with its alternatives is shorter.
MAX_LINE_BYTES = 100_000_000

#: Of a vector's coordinates.
_DIGITS = 6
#: Choices are lettered from A to Z.
MOST_CHOICES = 26


#: What passages can be to a question: its own, another's, both, its own with a false answer, or none at all;
#: ``context`` are passages of which nobody knows what they are. A ``rescued`` answer was asked for without them
#: because the one with them was withheld: it is of no group, and nothing is tuned on it.
Condition = Literal["none", "relevant", "irrelevant", "mixed", "counterfactual", "context", "rescued"]


class Observed(Struct, frozen=True, kw_only=True):
    """What was observed of one answer; any of it may be absent."""

    answer: str
    token_logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None
    samples: list[str] | None = None
    #: Of the answer and its samples, in this order: vectors (see ``turned``), and numbers of what they mean.
    embeddings: list[list[float]] | None = None
    meanings: list[int] | None = None
    closed_book: Observed | None = None
    features: dict[str, float] | None = None
    label: Literal["correct", "incorrect", "abstained"] | None = None

    def evidence(self, *, context: bool | None = None, words: Words | None = None) -> Evidence:
        """For scorers; what the model said of itself stands among a record's features.

        ``context``: whether the question was asked with passages, None where nobody knows; ``words`` those of
        the question.
        """
        features = dict(self.features or {})
        return Evidence(
            answer=self.answer,
            token_logprobs=self.token_logprobs,
            top_logprobs=self.top_logprobs,
            samples=self.samples or (),
            embeddings=self.embeddings,
            meanings=self.meanings,
            p_true=features.pop("p_true", None),
            verbalised=features.pop("verbalised", None),
            closed_book=None if self.closed_book is None else self.closed_book.evidence(),
            features=features,
            context=context,
            words=words,
        )


def turned(vectors: Sequence[Sequence[float]]) -> list[list[float]] | None:
    """The vectors (n, d) turned so that their first coordinates hold all of them, (n, min(n, d)).

    No length and no angle between them changes, and a record holds dozens of numbers where it would hold
    thousands. None where they differ in length or one is not finite: nobody could compare them.
    """
    import numpy as np

    if len(set(map(len, vectors))) != 1:
        return None
    triangle = np.linalg.qr(np.array(vectors, dtype=np.float64).T).R.T
    return triangle.round(_DIGITS).tolist() if np.isfinite(triangle).all() else None


class Answer(Observed, frozen=True, kw_only=True):
    """One line of answers that may still want a label."""

    id: str
    group: str | None = None
    question: str | None = None
    #: What the passages were to the question, "none" where there were none.
    condition: Condition | None = None
    #: The passages themselves.
    context: list[str] | None = None
    #: The answer with passages and the one without, each with a label of its own; the former is ``answer`` again.
    open_book: Observed | None = None
    #: The label by the rules, where a judge gave the other one.
    matched: Literal["correct", "incorrect", "abstained"] | None = None
    #: What the answer was made with: the fingerprint of the route that asked.
    made_with: dict[str, Any] | None = None
    #: The probability in (0, 1] with which it was drawn from the traffic; None where nobody drew it.
    propensity: float | None = None

    def evidence(self, *, context: bool | None = None, words: Words | None = None) -> Evidence:
        """As ``Observed``; whether there were passages, and their words, are read from the record itself."""
        if context is None and self.condition is not None:
            context = None if self.condition == "rescued" else self.condition != "none"
        return super().evidence(context=context, words=words or words_of(self.question, self.context or ()))


class Record(Answer, frozen=True, kw_only=True):
    """One line of graded answers."""

    label: Literal["correct", "incorrect", "abstained"]

    @property
    def without(self) -> tuple[Evidence, Label] | None:
        """The graded answer to the same question without its passages, where it had some."""
        closed = self.closed_book
        if closed is None or closed.label is None or self.condition in (None, "none", "rescued"):
            return None
        return replace(closed.evidence(context=False), rescued=True), closed.label


class Message(Struct, frozen=True):
    """One turn of a question that is given as a conversation."""

    role: str
    content: str


class Question(Struct, frozen=True, kw_only=True):
    """One line of questions, either as ``question`` or as ``messages``."""

    id: str
    answers: list[str]
    question: str | None = None
    messages: list[Message] | None = None
    group: str | None = None
    context: list[str] | None = None
    choices: list[str] | None = None
    #: What the passages are to the question; without it they are its own.
    condition: Condition | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be asked or graded."""
        if (self.question is None) == (self.messages is None):
            raise ValueError("give either question or messages")
        if not self.answers:
            raise ValueError("answers: name at least one accepted answer")
        if len(self.choices or ()) > MOST_CHOICES:
            raise ValueError(f"choices: at most {MOST_CHOICES}, one for each letter")


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


_Line = TypeVar("_Line", bound=_Identified)


def lines(path: Path, kind: type[_Line]) -> Iterator[tuple[_Line, bytes]]:
    """Every line of the file as ``kind``, with its own bytes; empty ones are left out.

    Raises ConfigError where the file cannot be read, a line is not what it should be, or an id stands twice.
    """
    return ((read, line) for _, read, line in numbered(path, kind))


def numbered(path: Path, kind: type[_Line]) -> Iterator[tuple[int, _Line, bytes]]:
    """``lines`` with the line's number in the file, from 1, in front."""
    decoder = msgspec.json.Decoder(kind)
    seen: set[str] = set()
    for number, line in numbered_lines(path):
        try:
            read = decoder.decode(line)
        except UNREADABLE as exc:
            raise ConfigError(f"{path}, line {number}: {_problem(exc)}") from exc
        if read.id in seen:
            raise ConfigError(f"{path}, line {number}: the id {read.id!r} stands twice; ids are unique")
        seen.add(read.id)
        yield number, read, line


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold anything, with their numbers from 1; raises ConfigError."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_bounded(file, path), start=1):
                content = line.removeprefix(_BOM) if number == 1 else line
                if content.strip():
                    yield number, content
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: no such file") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def _bounded(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            raise ConfigError(f"{path}: a line is over {MAX_LINE_BYTES} bytes; put one record on each line")
        yield line


def _problem(exc: Exception) -> str:
    """What msgspec says, with the key in front."""
    if not isinstance(exc, msgspec.ValidationError):
        return f"not JSON: {exc}; NaN and Infinity are none, write null"
    found = _PLACE.match(str(exc))
    message, place = (found[1], found[2]) if found else (str(exc), "")
    if place == "label":
        message += "; a label is correct, incorrect or abstained"
    return f"{place}: {message}" if place else message


def graded(path: Path) -> tuple[Graded, dict[str, Any]]:
    """Every record of the file as numbers, and the fingerprint that all of them carry (empty where none does).

    Raises ConfigError.
    """
    from gating.tuning import Collector

    collector = Collector()
    made_with: dict[str, Any] | None = None
    for number, record, _ in numbered(path, Record):
        if record.condition == "rescued":
            continue
        theirs = record.made_with or {}
        if made_with is None:
            made_with = theirs
        elif theirs != made_with:
            raise ConfigError(
                f"{path}, line {number}: record {record.id!r} was made with {_in_words(theirs)}, those before it with "
                f"{_in_words(made_with)}; tune from records of one kind, or remove made_with from all of them"
            )
        try:
            collector.add(record.evidence(), record.label, record.group or record.id, without=record.without)
        except GatingError as exc:
            raise ConfigError(f"{path}, line {number}: record {record.id!r}: {exc}") from exc
    if not len(collector):
        raise ConfigError(f"{path}: holds no records; `idk evaluate` writes them")
    return collector.graded(), made_with or {}


class _Answered(Struct, frozen=True):
    id: str
    made_with: dict[str, Any] | None = None


def answered(path: Path, made_with: dict[str, Any]) -> set[str]:
    """The ids in a file of records that is to be continued; raises ConfigError where it holds another kind."""
    ids: set[str] = set()
    for number, record, _ in numbered(path, _Answered):
        if record.made_with != made_with:
            raise ConfigError(
                f"{path}, line {number}: holds an answer made with {_in_words(record.made_with or {})}, and this "
                f"run would add some made with {_in_words(made_with)}; give another --out"
            )
        ids.add(record.id)
    return ids


def _in_words(made_with: dict[str, Any]) -> str:
    return msgspec.json.encode(made_with).decode() if made_with else "nothing that it says"


def write(path: Path, text: str) -> None:
    """A whole file, or the old one stays; raises ConfigError."""
    write_lines(path, text.encode().splitlines())


def write_lines(path: Path, content: Iterable[bytes]) -> None:
    """Write the lines beside the file and move them into its place at the end; raises ConfigError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.writelines(line + b"\n" for line in content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc
    finally:
        beside.unlink(missing_ok=True)


def encoded(record: Struct) -> bytes:
    """One line, without its end."""
    return msgspec.json.encode(record)


class Appender:
    """Appends lines to a file, unbuffered: a killed process leaves at most one half line, at the end."""

    def __init__(self, path: Path) -> None:
        """Open ``path`` for this process alone and cut the half line of an earlier one; raises ConfigError."""
        self._path = path
        try:
            self._file = path.open("a+b", buffering=0)
        except OSError as exc:
            raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            self._file.close()
            raise ConfigError(f"{path}: another command is writing it; wait for its end") from exc
        _cut_half_line(self._file)

    def append(self, record: Struct) -> None:
        """Write one record; raises RunError."""
        rest = encoded(record) + b"\n"
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as exc:
            raise RunError(f"{self._path}: cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _cut_half_line(file: FileIO) -> None:
    end = place = file.seek(0, os.SEEK_END)
    while place > 0:
        start = max(0, place - 65_536)
        file.seek(start)
        found = file.read(place - start).rfind(b"\n")
        if found >= 0:
            place = start + found + 1
            break
        place = start
    if place != end:
        file.truncate(place)
