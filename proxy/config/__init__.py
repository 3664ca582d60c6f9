"""`idk.yaml` as frozen, typed values; whatever is wrong in it is one line that names file, key and mend."""

from proxy.config.evidence import Budget, Embeddings
from proxy.config.keys import Key
from proxy.config.rag import Example, Rag
from proxy.config.reading import for_upstream, load, naming, parse, with_server
from proxy.config.routes import Route, lower
from proxy.config.server import Server
from proxy.config.upstreams import Upstream
from proxy.config.whole import Config

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
    "for_upstream",
    "load",
    "lower",
    "naming",
    "parse",
    "with_server",
]
