"""LiteLLM's SDK as a client: whole and streamed."""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches a list from the network

import litellm
from common import BASE_URL, MODEL, PROMPTS, show


def asks(prompt, **more):
    return litellm.completion(
        model=f"openai/{MODEL}",
        messages=[{"role": "user", "content": prompt}],
        base_url=BASE_URL,
        api_key="none",
        max_retries=0,
        **more,
    )


def streamed(prompt):
    return "".join(chunk.choices[0].delta.content or "" for chunk in asks(prompt, stream=True))


show(
    whole={case: asks(prompt).choices[0].message.content for case, prompt in PROMPTS.items()},
    streamed={case: streamed(prompt) for case, prompt in PROMPTS.items()},
)
