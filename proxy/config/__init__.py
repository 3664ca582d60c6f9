"""The configuration file `idk.yaml`: its sections as frozen, typed values, how it is read, and how it is checked."""

from proxy.config.checks import warnings
from proxy.config.reading import error_prefix, files_of, folder_of, for_upstream, load, parse, with_server
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
from proxy.config.values import admin_key, api_key, base_url, secret_files, store_url

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
    "admin_key",
    "api_key",
    "base_url",
    "error_prefix",
    "fallback_of",
    "files_of",
    "folder_of",
    "for_upstream",
    "load",
    "parse",
    "secret_files",
    "store_url",
    "warnings",
    "with_server",
]
