"""The JSON Lines formats of records and questions: their types, reading and writing."""

from proxy.records.reading import answered, graded, lines, numbered, numbered_lines
from proxy.records.types import (
    MOST_CHOICES,
    Answer,
    Condition,
    Message,
    Observed,
    Question,
    Record,
    reduced_embeddings,
)
from proxy.records.writing import Appender, check_outputs, encoded, write, write_lines

__all__ = [
    "MOST_CHOICES",
    "Answer",
    "Appender",
    "Condition",
    "Message",
    "Observed",
    "Question",
    "Record",
    "answered",
    "check_outputs",
    "encoded",
    "graded",
    "lines",
    "numbered",
    "numbered_lines",
    "reduced_embeddings",
    "write",
    "write_lines",
]
