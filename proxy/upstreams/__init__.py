"""The upstreams: made from the configuration, the secrets taken from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.exceptions import ConfigError
from proxy.upstreams.attempts import Attempts
from proxy.upstreams.breaker import Breaker
from proxy.upstreams.http import HTTP_FORMATS, HttpUpstream, Secrets
from proxy.upstreams.origin import Origin
from proxy.upstreams.pool import members_of
from proxy.upstreams.retry import Backoff
from proxy.upstreams.transport import Timeouts
from proxy.upstreams.transports import make_transport

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
    """Every upstream by its name, those made of others too; opens nothing. Raises ConfigError."""
    counted = {name: metrics.upstream(name) for name in configs}
    made: dict[str, UpstreamClient] = {
        name: make_upstream(name, config, environ, counted[name], context)
        for name, config in configs.items()
        if config.of is None
    }
    pools: dict[str, UpstreamClient] = {
        name: members_of(name, config.of, made, counted)
        for name, config in configs.items()
        if config.of is not None
    }
    return made | pools


def make_upstream(
    name: str,
    config: Upstream,
    environ: Mapping[str, str],
    metrics: UpstreamMetrics,
    context: TraceContext | None = None,
) -> UpstreamClient:
    """One upstream; opens nothing. Raises ConfigError where its key is not in the environment."""
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
        timeouts = Timeouts(
            connect_s=config.connect_timeout_s, write_s=config.timeout_s, read_s=config.timeout_s
        )
        transport = make_transport(
            config.transport, base_url, timeouts, max_connections=config.max_connections
        )
    except ConfigError as exc:
        raise ConfigError(f"upstreams.{name}.{exc}") from exc
    return HttpUpstream(
        name,
        transport,
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
