"""LlamaIndex's OpenAILike: whole and streamed."""

from __future__ import annotations

from common import BASE_URL, MODEL, PROMPTS, show
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(model=MODEL, api_base=BASE_URL, api_key="none", is_chat_model=True, max_retries=0)


def asks(prompt):
    return [ChatMessage(role="user", content=prompt)]


def streamed(prompt):
    return "".join(chunk.delta or "" for chunk in llm.stream_chat(asks(prompt)))


show(
    whole={case: llm.chat(asks(prompt)).message.content for case, prompt in PROMPTS.items()},
    streamed={case: streamed(prompt) for case, prompt in PROMPTS.items()},
)
