"""The configuration file `idk.yaml`: its sections as frozen, typed values, how it is read, and how it is checked."""

from proxy.config.reading import error_prefix, for_upstream, load, parse, with_server
from proxy.config.sections import (
    Budget,
    Config,
    Embeddings,
    Example,
    Key,
    Rag,
    Route,
    Server,
    Upstream,
    fallback_of,
)

__all__ = [
    "Budget",
    "Config",
    "Embeddings",
    "Example",
    "Key",
    "Rag",
    "Route",
    "Server",
    "Upstream",
    "error_prefix",
    "fallback_of",
    "for_upstream",
    "load",
    "parse",
    "with_server",
]
