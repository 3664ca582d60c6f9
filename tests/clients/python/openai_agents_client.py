"""OpenAI's agents SDK over chat completions: a run's final output, streamed too."""

from __future__ import annotations

import asyncio

import openai
from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from common import BASE_URL, MODEL, PROMPTS, show

set_tracing_disabled(True)


async def main():
    client = openai.AsyncOpenAI(base_url=BASE_URL, api_key="none", max_retries=0)
    agent = Agent(name="a", model=OpenAIChatCompletionsModel(model=MODEL, openai_client=client))
    whole, streamed = {}, {}
    for case, prompt in PROMPTS.items():
        whole[case] = (await Runner.run(agent, prompt)).final_output
        run = Runner.run_streamed(agent, prompt)
        async for _ in run.stream_events():
            pass
        streamed[case] = run.final_output
    show(whole=whole, streamed=streamed)


asyncio.run(main())
