"""LangChain's ChatOpenAI: whole, streamed and with structured output."""

from __future__ import annotations

import pydantic
from common import BASE_URL, JSON_PROMPTS, MODEL, PROMPTS, show
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import OpenAIRefusalError

chat = ChatOpenAI(base_url=BASE_URL, api_key="none", model=MODEL, max_retries=0)


class City(pydantic.BaseModel):
    """An answer with a schema."""

    name: str


def parsed(prompt):
    try:
        return {"name": chat.with_structured_output(City, method="json_schema").invoke(prompt).name}
    except OpenAIRefusalError as exc:
        return {"refusal": str(exc)}


show(
    whole={case: chat.invoke(prompt).content for case, prompt in PROMPTS.items()},
    streamed={case: "".join(c.content for c in chat.stream(prompt)) for case, prompt in PROMPTS.items()},
    parsed={case: parsed(prompt) for case, prompt in JSON_PROMPTS.items()},
)
