"""OpenAI's client: whole, streamed, and parsed by a schema."""

from __future__ import annotations

import openai
import pydantic
from common import BASE_URL, JSON_PROMPTS, MODEL, PROMPTS, show

client = openai.OpenAI(base_url=BASE_URL, api_key="none", max_retries=0)


class City(pydantic.BaseModel):
    """An answer with a schema."""

    name: str


def asks(prompt):
    return [{"role": "user", "content": prompt}]


def whole(prompt):
    return client.chat.completions.create(model=MODEL, messages=asks(prompt)).choices[0].message.content


def streamed(prompt):
    chunks = client.chat.completions.create(model=MODEL, messages=asks(prompt), stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def parsed(prompt):
    message = (
        client.chat.completions.parse(model=MODEL, messages=asks(prompt), response_format=City)
        .choices[0]
        .message
    )
    return {"name": message.parsed.name} if message.parsed else {"refusal": message.refusal}


show(
    whole={case: whole(prompt) for case, prompt in PROMPTS.items()},
    streamed={case: streamed(prompt) for case, prompt in PROMPTS.items()},
    parsed={case: parsed(prompt) for case, prompt in JSON_PROMPTS.items()},
)
