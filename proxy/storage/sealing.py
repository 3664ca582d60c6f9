"""Texts at rest: sealed with AES-256-GCM where the environment holds a key.

A sealed text is ``b"s1" + nonce (12 bytes) + ciphertext and tag``; an open one is ``b"o1" + text``.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from proxy.exceptions import ConfigError, StoreError, StoreRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEALED, _OPEN = b"s1", b"o1"
_NONCE_BYTES = 12
#: Of a key: what is shorter can be guessed.
LEAST_KEY = 16


class Sealer:
    """Seals and opens with one key; without a key texts stay readable."""

    def __init__(self, key: str | None = None) -> None:
        """``key``: any secret of at least 16 characters; AES's key is its SHA-256."""
        self._cipher: Any = None
        if key is not None:
            self._cipher = _cipher(hashlib.sha256(key.encode()).digest())

    def seal(self, text: bytes) -> bytes:
        """For the store."""
        if self._cipher is None:
            return _OPEN + text
        nonce = os.urandom(_NONCE_BYTES)
        return _SEALED + nonce + bytes(self._cipher.encrypt(nonce, text, None))

    def open(self, kept: bytes) -> bytes:
        """What was sealed; raises StoreRefused without the key that it was sealed with."""
        kind, rest = kept[:2], kept[2:]
        if kind == _OPEN:
            return rest
        if kind != _SEALED:
            raise StoreError(
                "a kept text is neither open nor sealed; was the store written by something else?"
            )
        if self._cipher is None:
            raise StoreRefused("kept texts are sealed; set the variable that server.audit_key_env names")
        from cryptography.exceptions import InvalidTag

        try:
            return bytes(self._cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], None))
        except InvalidTag as exc:
            raise StoreRefused(
                "kept texts are sealed with another key than the one that server.audit_key_env names"
            ) from exc


def sealer_of(name: str | None, environ: Mapping[str, str]) -> Sealer:
    """The sealer for the key in the variable ``name``; open where it is not set. Raises ConfigError."""
    key = None if name is None else environ.get(name) or None
    if key is not None and len(key) < LEAST_KEY:
        raise ConfigError(
            f"server.audit_key_env: {name} holds fewer than {LEAST_KEY} characters; use a longer secret"
        )
    return Sealer(key)


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as exc:
        raise ConfigError(
            "server.audit_key_env: sealing needs a library; pip install 'idk-proxy[seal]'"
        ) from exc
    return AESGCM(key)
