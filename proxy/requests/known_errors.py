"""The messages of upstreams' errors that clients of a route that enforces may see.

An upstream's error message may repeat the model's output (llama.cpp's does if the output does not fit a grammar). On a
route that enforces, a client therefore gets a message only if it is a known one, and then only the sentence of the
table with the numbers of the upstream's message in it. The status, type, code and param are always sent.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.exceptions import UpstreamStatus

#: What a client gets in place of a message that is not known.
UNKNOWN: Final = "the upstream answered {status}; its message is not shown because this route enforces"

#: Patterns of messages, matched from their beginning, and what is shown; ``{}`` is replaced by the pattern's groups,
#: which are numbers. The messages are those of OpenAI, Azure, Anthropic, vLLM, llama.cpp, Ollama and OpenRouter.
_TABLE: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), shown)
    for pattern, shown in (
        (r"the upstream answered (\d{3})\Z", "the upstream answered {}"),
        (r"the upstream failed in the middle of its answer\Z", "the upstream failed in the middle of its answer"),
        (r"the upstream answered with an error\Z", "the upstream answered with an error"),
        (r"the upstream's response is (failed|cancelled)\Z", "the upstream's response is {}"),
        (
            r"This model's maximum context length is (\d+) tokens\b.*?(?:resulted in|requested) (\d+) tokens",
            "This model's maximum context length is {} tokens. However, you requested {} tokens.",
        ),
        (r"This model's maximum context length is (\d+) tokens", "This model's maximum context length is {} tokens."),
        (r"prompt is too long: (\d+) tokens > (\d+) maximum", "prompt is too long: {} tokens > {} maximum"),
        (
            r"(?:the )?request \((\d+) tokens\) exceeds the available context size \((\d+) tokens\)",
            "the request ({} tokens) exceeds the available context size ({} tokens)",
        ),
        (
            r"max_(?:completion_)?tokens is too large: (\d+)",
            "max_tokens is too large: {}",
        ),
        (r"Rate limit reached\b", "Rate limit reached"),
        (r"Rate limit exceeded\b", "Rate limit exceeded"),
        (r"(?:Too many requests|Requests? rate limited)\b", "Too many requests"),
        (r"You exceeded your current quota\b", "You exceeded your current quota"),
        (r"(?:Incorrect|Invalid) API key\b", "Incorrect API key provided"),
        (r"invalid x-api-key\b", "invalid x-api-key"),
        (r"You didn't provide an API key\b", "You didn't provide an API key"),
        (r"(?:Unauthorized|Authentication failed|Invalid authentication)\b", "Authentication failed"),
        (r"Insufficient credits\b", "Insufficient credits"),
        (r"Your credit balance is too low\b", "Your credit balance is too low"),
        (r"The model `?[\w./:-]{1,100}`? does not exist\b", "The model does not exist"),
        (r"model ['\"`]?[\w./:-]{1,100}['\"`]? not found\b", "The model was not found"),
        (r"(?:The server is )?(?:currently )?overloaded\b", "The upstream is overloaded"),
        (r"(?:The engine|That model) is currently overloaded\b", "The upstream is overloaded"),
        (r"Loading model\b", "Loading model"),
        (r"(?:Service (?:temporarily )?unavailable|Internal server error|Bad gateway|Gateway timeout)\b",
         "The upstream is not available"),
        (r"The server had an error while processing your request\b",
         "The server had an error while processing your request"),
        (r"Request timed out\b", "Request timed out"),
        (r"The response was filtered due to the prompt triggering\b",
         "The response was filtered by the upstream's content policy"),
        (r"Missing required parameter\b", "Missing required parameter"),
        (r"(?:Unsupported|Unrecognized|Unknown|Invalid|Extra) (?:parameter|value|inputs?|type)\b",
         "A parameter is not valid for the upstream"),
    )
)  # fmt: skip


def shown_to_client(exc: UpstreamStatus) -> UpstreamStatus:
    """Return the error that a client of a route that enforces gets in place of an upstream's."""
    return UpstreamStatus(
        _message(exc),
        status=exc.http_status,
        type=exc.error_type,
        param=exc.param,
        code=exc.code,
        retry_after_s=exc.retry_after_s,
    )


def _message(exc: UpstreamStatus) -> str:
    """Return the known form of a message, or that it is not known."""
    for pattern, shown in _TABLE:
        found = pattern.match(exc.message)
        if found is not None:
            return shown.format(*found.groups())
    return UNKNOWN.format(status=exc.http_status)
