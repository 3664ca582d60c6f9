"""Where an upstream is: a base URL taken apart once, when the configuration is read."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.exceptions import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A base URL's parts: ``prefix`` is its path without the last slash, ``authority`` the host header."""

    tls: bool
    host: str
    port: int
    authority: str
    prefix: str

    @classmethod
    def parse(cls, base_url: str) -> Origin:
        """Take ``base_url`` apart; raises ConfigError, which does not repeat it (it may hold a password)."""
        try:
            parts = urlsplit(base_url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode("ascii")
        except ValueError as error:
            raise ConfigError(_mend("it is not a URL")) from error
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise ConfigError(_mend("it needs http:// or https:// and a host"))
        if parts.username is not None or parts.password is not None:
            raise ConfigError(_mend("a password does not belong in it: use api_key_env"))
        if parts.query or parts.fragment:
            raise ConfigError(_mend("it must end with its path"))
        if not (parts.path.isascii() and parts.path.isprintable()) or " " in parts.path:
            raise ConfigError(_mend("its path must be percent-encoded"))
        default = _DEFAULT_PORTS[parts.scheme]
        name = f"[{host}]" if ":" in host else host
        return cls(
            tls=parts.scheme == "https",
            host=host,
            port=default if port is None else port,
            authority=name if port in {None, default} else f"{name}:{port}",
            prefix=parts.path.rstrip("/"),
        )


def _mend(what: str) -> str:
    return f"base_url: {what}; write it like https://api.example.com/v1"
