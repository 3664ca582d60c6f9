"""Construction of upstreams from the configuration; API keys come from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError
from proxy.upstreams.attempts import Attempts
from proxy.upstreams.breaker import Breaker
from proxy.upstreams.group import make_group
from proxy.upstreams.http import HTTP_FORMATS, HttpUpstream
from proxy.upstreams.http1 import PoolLimits, make_transport
from proxy.upstreams.origin import Origin
from proxy.upstreams.retry import Backoff
from proxy.upstreams.secrets import Secrets
from proxy.upstreams.transport import Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config import Upstream
    from proxy.metrics import Metrics, UpstreamMetrics
    from proxy.upstreams.client import UpstreamClient
    from proxy.upstreams.http import TraceContext


def make_upstreams(
    configs: Mapping[str, Upstream],
    environ: Mapping[str, str],
    metrics: Metrics,
    context: TraceContext | None = None,
) -> dict[str, UpstreamClient]:
    """Return every upstream by name, groups included; opens no connection. Raises ConfigError."""
    counters = {name: metrics.upstream(name) for name in configs}
    single: dict[str, UpstreamClient] = {
        name: make_upstream(name, config, environ, counters[name], context)
        for name, config in configs.items()
        if config.of is None
    }
    groups: dict[str, UpstreamClient] = {
        name: make_group(name, config.of, single, counters)
        for name, config in configs.items()
        if config.of is not None
    }
    return single | groups


def make_upstream(
    name: str,
    config: Upstream,
    environ: Mapping[str, str],
    metrics: UpstreamMetrics,
    context: TraceContext | None = None,
) -> UpstreamClient:
    """Return one upstream; opens no connection. Raises ConfigError where its key is missing or its URL is wrong."""
    api_key = _api_key(name, config, environ)
    attempts = Attempts(
        Backoff(config.max_retries, patience_s=config.timeout_s),
        Breaker(config.breaker.failures, config.breaker.open_s),
        metrics,
    )
    gives_logprobs = config.logprobs != "none"
    if config.litellm is not None:
        from proxy.upstreams.litellm import LiteLLMUpstream  # its library takes seconds to import

        secrets = Secrets(api_key, "")
        return LiteLLMUpstream(
            name, config, secrets=secrets, gives_logprobs=gives_logprobs, attempts=attempts
        )
    base_url = config.base_url or ""
    try:
        origin = Origin.parse(base_url)
    except ConfigError as exc:
        raise ConfigError(f"upstreams.{name}.{exc}") from exc
    timeouts = Timeouts(connect_s=config.connect_timeout_s, write_s=config.timeout_s, read_s=config.timeout_s)
    return HttpUpstream(
        name,
        make_transport(base_url, timeouts, limits=PoolLimits(max_connections=config.max_connections)),
        secrets=Secrets(api_key, origin.authority),
        forwards_credentials=config.auth == "forward",
        gives_logprobs=gives_logprobs,
        attempts=attempts,
        formats=HTTP_FORMATS if config.formats is None else config.formats,
        context=context,
    )


def _api_key(name: str, config: Upstream, environ: Mapping[str, str]) -> str | None:
    if config.api_key_env is None:
        return None
    api_key = environ.get(config.api_key_env, "").strip()
    if not api_key:
        raise ConfigError(
            f"upstreams.{name}.api_key_env: {config.api_key_env} is not in the environment; set it to the key"
        )
    return api_key
