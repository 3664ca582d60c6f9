"""The table of request fields, over all wire formats and the servers that speak them.

Sources: OpenAI's OpenAPI document 2.3.0, Anthropic's API reference, and the documentation of vLLM's OpenAI-compatible
server, of llama.cpp's server, of OpenRouter and of Ollama.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fields that change neither the answer nor its confidence, or that the proxy sets itself.
INERT: Final = frozenset(
    {
        "model", "idk", "stream", "stream_options", "logprobs", "top_logprobs", "n_probs", "prompt_logprobs",
        "user", "metadata", "store", "include", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options", "background", "request_id", "priority", "keep_alive",
        "timings_per_token", "return_progress", "usage", "session_id", "trace",
        "return_token_ids", "return_tokens_as_token_ids", "response_fields", "id_slot", "cache_prompt",
        "cache_control", "include_usage", "reasoning.summary", "reasoning.generate_summary",
    }
)  # fmt: skip
#: Sampling fields, which ``match: pin`` replaces by the policy's value.
SAMPLING: Final = (
    "temperature", "top_p", "top_k", "min_p", "top_a", "typical_p", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "repeat_last_n", "length_penalty", "seed", "mirostat", "mirostat_tau", "mirostat_eta",
    "dynatemp_range", "dynatemp_exponent", "xtc_probability", "xtc_threshold", "dry_multiplier", "dry_base",
    "dry_allowed_length", "dry_penalty_last_n", "tfs_z",
)  # fmt: skip
#: Other fields that shape an answer, or decide which model gives it.
PINNED: Final = frozenset(
    {
        "n", "best_of", "use_beam_search", "logit_bias", "stop", "stop_token_ids", "bad_words", "ignore_eos",
        "min_tokens", "allowed_token_ids", "skip_special_tokens", "spaces_between_special_tokens", "samplers",
        "sampler_seq", "grammar", "json_schema", "response_format", "structured_outputs", "guided_json",
        "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend", "guided_whitespace_pattern",
        "prediction", "tools", "tool_choice", "parallel_tool_calls", "max_tool_calls", "web_search_options",
        "reasoning_effort", "reasoning", "thinking", "thinking_budget_tokens", "reasoning_budget", "think",
        "verbosity", "modalities", "audio", "moderation", "suffix", "echo", "add_generation_prompt",
        "continue_final_message", "chat_template", "chat_template_kwargs", "documents", "add_special_tokens",
        "mm_processor_kwargs", "truncate_prompt_tokens", "truncation", "context_management", "conversation",
        "previous_response_id", "prompt", "models", "provider", "route", "transforms", "plugins", "preset",
        "options", "format", "raw", "template", "context", "images", "system", "lora", "lora_request", "mcp_servers",
        "container", "logits_processors", "extra_body", "extra_headers", "vllm_xargs", "kv_transfer_params",
        "cache_salt", "include_stop_str_in_output", "post_sampling_probs",
        "logprobs_mode", "n_keep", "n_discard", "n_indent", "t_max_predict_ms", "dry_sequence_breakers", "num_ctx",
        "prefill", "media", "earlier_turns", "message_fields", "inference_geo",
    }
)  # fmt: skip
#: Other spellings of fields; those with a dot are inside an object.
SPELLINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_completion_tokens": "max_tokens", "max_output_tokens": "max_tokens", "n_predict": "max_tokens",
        "num_predict": "max_tokens", "max_tokens_to_sample": "max_tokens", "max_length": "max_tokens",
        "max_new_tokens": "max_tokens",
        "stop_sequences": "stop", "functions": "tools", "function_call": "tool_choice",
        "repeat_penalty": "repetition_penalty", "typ_p": "typical_p", "output_format": "response_format",
        "text.format": "response_format", "text.verbosity": "verbosity", "output_config.format": "response_format",
        "output_config.effort": "reasoning_effort", "reasoning.effort": "reasoning_effort",
        "reasoning.max_tokens": "thinking_budget_tokens", "repetition_context_size": "repeat_last_n",
    }
)  # fmt: skip
#: Objects whose members are separate fields.
OPENED: Final = frozenset({"text", "output_config", "reasoning"})
#: Every name that some server gives a meaning at the top level of a request.
NAMES: Final = (
    INERT
    | frozenset(SAMPLING)
    | PINNED
    | SPELLINGS.keys()
    | {"max_tokens", "messages", "input", "instructions"}
)
