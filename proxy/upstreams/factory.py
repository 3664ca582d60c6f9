"""Construction of upstreams from the configuration; API keys come from the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.config import api_key, base_url
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
    from pathlib import Path

    from proxy.config import Upstream
    from proxy.metrics import Metrics, UpstreamMetrics
    from proxy.upstreams.client import UpstreamClient
    from proxy.upstreams.http import TraceContext


@dataclass(frozen=True, slots=True)
class Access:
    """An upstream's address and API key, from the configuration, the environment or a file."""

    base_url: str | None
    api_key: str | None = field(repr=False)


def accesses(configs: Mapping[str, Upstream], environ: Mapping[str, str], folder: Path) -> dict[str, Access]:
    """Return the addresses and keys of all single upstreams; raise ConfigError where one is missing."""
    return {
        name: Access(base_url(name, config, environ), api_key(name, config, environ, folder))
        for name, config in configs.items()
        if config.of is None
    }


def make_upstreams(
    configs: Mapping[str, Upstream],
    given: Mapping[str, Access],
    metrics: Metrics,
    context: TraceContext | None = None,
) -> dict[str, UpstreamClient]:
    """Return every upstream by name, groups included; opens no connection. Raises ConfigError."""
    counters = {name: metrics.upstream(name) for name in configs}
    single: dict[str, UpstreamClient] = {
        name: make_upstream(name, config, given[name], counters[name], context)
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
    access: Access,
    metrics: UpstreamMetrics,
    context: TraceContext | None = None,
) -> UpstreamClient:
    """Return one upstream; opens no connection. Raises ConfigError where its URL is wrong."""
    attempts = Attempts(
        Backoff(config.max_retries, patience_s=config.timeout_s),
        Breaker(config.breaker.failures, config.breaker.open_s),
        metrics,
    )
    gives_logprobs = config.logprobs != "none"
    if config.litellm is not None:
        from proxy.upstreams.litellm import LiteLLMUpstream  # its library takes seconds to import

        secrets = Secrets(access.api_key, "")
        return LiteLLMUpstream(
            name,
            replace(config, base_url=access.base_url),
            secrets=secrets,
            gives_logprobs=gives_logprobs,
            attempts=attempts,
        )
    url = access.base_url or ""
    try:
        origin = Origin.parse(url)
    except ConfigError as exc:
        raise ConfigError(f"upstreams.{name}.{exc}") from exc
    timeouts = Timeouts(connect_s=config.connect_timeout_s, write_s=config.timeout_s, read_s=config.timeout_s)
    return HttpUpstream(
        name,
        make_transport(url, timeouts, limits=PoolLimits(max_connections=config.max_connections)),
        secrets=Secrets(access.api_key, origin.authority),
        forwards_credentials=config.auth == "forward",
        gives_logprobs=gives_logprobs,
        attempts=attempts,
        formats=HTTP_FORMATS if config.formats is None else config.formats,
        context=context,
    )
