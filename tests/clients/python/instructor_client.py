"""Instructor in its JSON-schema mode: an abstention is a refusal, which it raises."""

from __future__ import annotations

import instructor
import openai
import pydantic
from common import BASE_URL, JSON_PROMPTS, MODEL, show


class City(pydantic.BaseModel):
    """An answer with a schema."""

    name: str


client = instructor.from_openai(
    openai.OpenAI(base_url=BASE_URL, api_key="none", max_retries=0), mode=instructor.Mode.JSON_SCHEMA
)


def parsed(prompt):
    try:
        city = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": prompt}],
            response_model=City,
            max_retries=0,
        )
    except Exception as exc:  # what it raises, and with which words, is what is looked at
        return {"refusal": "I don't know." if "I don't know." in str(exc) else str(exc)}
    return {"name": city.name}


show(parsed={case: parsed(prompt) for case, prompt in JSON_PROMPTS.items()})
