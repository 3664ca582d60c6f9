"""Upstreams: the model servers that answer requests, built from the configuration by ``make_upstreams``."""

from proxy.upstreams.factory import Access, accesses, make_upstream, make_upstreams

__all__ = ["Access", "accesses", "make_upstream", "make_upstreams"]
