"""The gate inside LiteLLM's proxy, as a custom guardrail.

In LiteLLM's ``config.yaml``::

    guardrails:
      - guardrail_name: idk
        litellm_params:
          guardrail: proxy.integrations.litellm.IdkGuardrail
          mode: [pre_call, post_call]
          default_on: true
          policy: /etc/idk/policy.json

``pre_call`` asks the model for the logprobs that the policy reads; ``post_call`` judges the answer, whole or streamed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import litellm
import msgspec
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks

from proxy.exceptions import ConfigError, HttpError
from proxy.integrations.judging import PolicyJudge
from proxy.surfaces import SURFACES
from proxy.surfaces.sse import DONE, Splitter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from proxy.surfaces.contract import Request

_CHAT: Final = SURFACES["chat"]
#: Calls of LiteLLM whose responses hold no answer of a model.
_HARMLESS: Final = (litellm.EmbeddingResponse, litellm.ImageResponse)
#: Where ``pre_call`` keeps what the client itself asked for, in the metadata that LiteLLM carries along.
_ASKED: Final = "idk_asked"
#: The request fields that decide what the client may see of an answer.
_SHOWN: Final = ("logprobs", "top_logprobs", "n", "response_format", "stream_options", "tools")
_MOST_EVENT_BYTES: Final = 20_000_000


class Withheld(HttpError):
    """A response that this guardrail cannot judge, and does not let pass."""

    status = 502
    type = "server_error"


class IdkGuardrail(CustomGuardrail):
    """Replaces uncertain answers by "I don't know.", by a policy file."""

    def __init__(
        self,
        policy: str | None = None,
        threshold: float | None = None,
        abstain_text: str = "I don't know.",
        **kwargs: Any,
    ) -> None:
        """Load ``policy``; raises ConfigError where there is none or it cannot be used."""
        if policy is None:
            raise ConfigError(
                "guardrails: idk: litellm_params.policy is missing; name a policy file of `idk tune`"
            )
        self._judge = PolicyJudge.load(policy, threshold=threshold)
        self._abstain_text = abstain_text
        super().__init__(**kwargs)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Ask for the logprobs that the policy reads, and remember what the client asked for."""
        if "messages" not in data or not self._runs(data, GuardrailEventHooks.pre_call):
            return data
        shown = {name: data[name] for name in _SHOWN if data.get(name) is not None}
        tops = max(self._judge.top_logprobs, int(data.get("top_logprobs") or 0))
        metadata = {**(data.get("metadata") or {}), _ASKED: shown}
        return {**data, "logprobs": True, "metadata": metadata} | ({"top_logprobs": tops} if tops else {})

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> Any:
        """Return the judged response; raises Withheld for one that is no chat completion."""
        if isinstance(response, _HARMLESS) or not self._runs(data, GuardrailEventHooks.post_call):
            return response
        if not isinstance(response, litellm.ModelResponse):
            raise Withheld(f"idk judges chat completions only, not {type(response).__name__}")
        request = _request_of(data)
        ask = self._judge.ask(request)
        completion = _CHAT.read(response.model_dump_json(exclude_none=True).encode(), ask)
        verdict = self._judge.verdict(completion, self._abstain_text)
        rendered: dict[str, Any] = json.loads(_CHAT.render(request, ask, completion, verdict))
        return litellm.ModelResponse(**rendered)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Hold the stream until its verdict, and yield the judged chunks; raises HttpError where it has no choice."""
        if not self._runs(request_data, GuardrailEventHooks.post_call):
            async for chunk in response:
                yield chunk
            return
        request = _request_of(request_data)
        ask = self._judge.ask(request)
        reader = _CHAT.stream(request, ask, hold=True, watch=None)
        async for chunk in response:
            reader.feed(b"data: %b\n\n" % chunk.model_dump_json(exclude_none=True).encode())
        reader.feed(b"data: %b\n\n" % DONE)
        completion = reader.completion()
        judged = reader.finish(completion, self._judge.verdict(completion, self._abstain_text))
        for event in Splitter(_MOST_EVENT_BYTES).feed(judged):
            if event != DONE:
                yield litellm.ModelResponseStream(**json.loads(event))

    def _runs(self, data: Mapping[str, Any], event: GuardrailEventHooks) -> bool:
        return self.should_run_guardrail(data=data, event_type=event) is True


def _request_of(data: Mapping[str, Any]) -> Request:
    """Return the client's request as the surface reads one: what it asked for decides what it is shown."""
    metadata = data.get("metadata") or {}
    shown = metadata.get(_ASKED) if isinstance(metadata, dict) else None
    fields = shown if isinstance(shown, dict) else {name: data[name] for name in _SHOWN if data.get(name)}
    body = {"model": str(data.get("model") or ""), "messages": [{}], **fields}
    return _CHAT.parse(msgspec.json.encode(body, enc_hook=_plain))


def _plain(value: Any) -> Any:
    """Encode a pydantic object, as a ``response_format`` may be, by its type alone."""
    return {"type": "json_schema"} if isinstance(value, type) else str(value)
