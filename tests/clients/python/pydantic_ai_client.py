"""Pydantic AI over chat completions: whole, streamed, and with a native schema."""

from __future__ import annotations

import asyncio

import pydantic
from common import BASE_URL, JSON_PROMPTS, MODEL, PROMPTS, show
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key="none"))


class City(pydantic.BaseModel):
    """An answer with a schema."""

    name: str


async def streamed(agent, prompt):
    async with agent.run_stream(prompt) as run:
        return await run.get_output()


async def parsed(prompt):
    try:
        run = await Agent(model, output_type=NativeOutput(City), retries=0).run(prompt)
    except Exception as exc:  # what it raises, and with which words, is what is looked at
        said = f"{exc} {exc.__cause__}"
        return {"refusal": "I don't know." if "I don't know." in said else said}
    return {"name": run.output.name}


async def main():
    agent = Agent(model)
    show(
        whole={case: (await agent.run(prompt)).output for case, prompt in PROMPTS.items()},
        streamed={case: await streamed(agent, prompt) for case, prompt in PROMPTS.items()},
        parsed={case: await parsed(prompt) for case, prompt in JSON_PROMPTS.items()},
    )


asyncio.run(main())
