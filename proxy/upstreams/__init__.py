"""Upstreams: the model servers that answer requests, built from the configuration by ``make_upstreams``."""

from proxy.upstreams.factory import make_upstream, make_upstreams

__all__ = ["make_upstream", "make_upstreams"]
