"""The secrets of an upstream, and their removal from texts that leave the proxy."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.exceptions import without_credentials


@dataclass(frozen=True, slots=True)
class Secrets:
    """An upstream's API key and address, which no message to a client may contain."""

    api_key: str | None
    authority: str

    def redact(self, text: str) -> str:
        """Return ``text`` with the key, the address and anything that looks like a key replaced."""
        host = self.authority.partition(":")[0]
        for secret in (self.api_key, self.authority, host if "." in host else None):
            if secret:
                text = text.replace(secret, "[redacted]")
        return without_credentials(text)
