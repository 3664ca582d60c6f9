"""The parts of an upstream's base URL, parsed once when the configuration is read."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.exceptions import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """The parts of a base URL: ``authority`` is the host header, ``prefix`` the path without its last slash."""

    tls: bool
    host: str
    port: int
    authority: str
    prefix: str

    @classmethod
    def parse(cls, base_url: str) -> Origin:
        """Parse ``base_url``; raises ConfigError, whose message omits the URL since it may contain a password."""
        try:
            parts = urlsplit(base_url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode("ascii")
        except ValueError as error:
            raise _error("it is not a URL") from error
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise _error("it needs http:// or https:// and a host")
        if parts.username is not None or parts.password is not None:
            raise _error("it must not contain a password; use api_key_env")
        if parts.query or parts.fragment:
            raise _error("it must not have a query or a fragment")
        if not (parts.path.isascii() and parts.path.isprintable()) or " " in parts.path:
            raise _error("its path must be percent-encoded")
        default = _DEFAULT_PORTS[parts.scheme]
        name = f"[{host}]" if ":" in host else host
        return cls(
            tls=parts.scheme == "https",
            host=host,
            port=default if port is None else port,
            authority=name if port in {None, default} else f"{name}:{port}",
            prefix=parts.path.rstrip("/"),
        )


def _error(problem: str) -> ConfigError:
    return ConfigError(f"base_url: {problem}; write it like https://api.example.com/v1")
