"""Anthropic's client on /v1/messages: whole and streamed."""

from __future__ import annotations

import anthropic
from common import BASE_URL, MODEL, PROMPTS, show

client = anthropic.Anthropic(base_url=BASE_URL.removesuffix("/v1"), api_key="none", max_retries=0)


def asks(prompt):
    return {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": prompt}]}


def whole(prompt):
    return "".join(block.text for block in client.messages.create(**asks(prompt)).content)


def streamed(prompt):
    with client.messages.stream(**asks(prompt)) as stream:
        return "".join(stream.text_stream)


show(
    whole={case: whole(prompt) for case, prompt in PROMPTS.items()},
    streamed={case: streamed(prompt) for case, prompt in PROMPTS.items()},
)
