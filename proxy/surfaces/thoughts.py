"""Thoughts of a model inside the content of its answer: what is thought, and what is the answer."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Tags around thoughts: DeepSeek, Qwen and others; Magistral; Cohere; Kimi; Seed-OSS.
_TAGS: Final = (
    (r"<(?:think|thinking|thought|thoughts|reason|reasoning)(?:\s[^<>]*)?>",
     r"</(?:think|thinking|thought|thoughts|reason|reasoning)\s*>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"◁think▷", r"◁/think▷"),
    (r"<seed:think>", r"</seed:think>"),
)  # fmt: skip
_OPEN: Final = re.compile("|".join(open_ for open_, _ in _TAGS), re.IGNORECASE)
_CLOSE: Final = re.compile("|".join(close for _, close in _TAGS), re.IGNORECASE)
_TAG: Final = re.compile(f"(?P<open>{_OPEN.pattern})|(?P<close>{_CLOSE.pattern})", re.IGNORECASE)
#: The channels of gpt-oss (OpenAI's "harmony" format); only the final one is the answer.
_CHANNEL: Final = re.compile(
    r"(?:<\|start\|>[^<]*)?<\|channel\|>\s*(?P<name>[\w-]+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|end\|>|<\|return\|>|<\|call\|>|<\|start\|>|<\|channel\|>|\Z)",
    re.DOTALL,
)
_CHANNEL_MARK: Final = "<|channel|>"
#: The longest mark, in characters, with some room for attributes.
_MARK_LENGTH: Final = 64
#: One of these characters is in every mark of a thought.
_MARKS: Final = ("<", "[", "◁")


#: Why an answer has no visible part.
NO_ANSWER: Final = "the content holds thoughts, and no answer after them"


class Visible(NamedTuple):
    """The visible part of an answer: ``text`` is None if the content holds thoughts alone, closed or not."""

    text: str | None
    has_thoughts: bool


def visible(content: str) -> Visible:
    """Return the answer inside ``content``, without the model's thoughts."""
    if not any(mark in content for mark in _MARKS):
        return Visible(content, has_thoughts=False)
    if _CHANNEL_MARK in content:
        return _final_channel(content)
    if _TAG.search(content) is None:
        return Visible(content, has_thoughts=False)
    return Visible(_outside_tags(content) or None, has_thoughts=True)


def begins_thought(text: str) -> bool:
    """Return whether ``text`` holds the mark of a thought."""
    return any(mark in text for mark in _MARKS) and (_CHANNEL_MARK in text or _TAG.search(text) is not None)


class MarkFinder:
    """Looks for the mark of a thought in a text that comes in pieces."""

    __slots__ = ("_recent",)

    def __init__(self) -> None:
        #: The last characters since one that may begin a mark; empty before.
        self._recent = ""

    def found_in(self, piece: str) -> bool:
        """Return whether ``piece`` completes a mark."""
        if not self._recent and "<" not in piece and "[" not in piece and "◁" not in piece:
            return False
        self._recent = (self._recent + piece)[-_MARK_LENGTH:]
        return begins_thought(self._recent)


def _outside_tags(content: str) -> str | None:
    """Return the text outside of the tags; None if the last thought is not closed.

    A closing tag without an opening one ends a thought that began in the prompt's template.
    """
    kept: list[str] = []
    depth, start = 0, 0
    for tag in _TAG.finditer(content):
        if tag["open"] is not None:
            if depth == 0:
                kept.append(content[start : tag.start()])
            depth += 1
        elif depth:
            depth -= 1
        else:
            kept.clear()
        start = tag.end()
    if depth:
        return None
    return "".join([*kept, content[start:]]).strip()


def _final_channel(content: str) -> Visible:
    """Return the text of gpt-oss's final channel."""
    final = [found["text"] for found in _CHANNEL.finditer(content) if found["name"] == "final"]
    return Visible("".join(final).strip() or None, has_thoughts=True)
