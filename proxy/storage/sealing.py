"""Encryption of stored texts with AES-256-GCM, where the environment has a key.

A sealed text is ``b"s1" + nonce (12 bytes) + ciphertext and tag``; an unsealed one is ``b"o1" + text``.
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
#: The minimum length of a key; shorter ones can be guessed.
MIN_KEY_LENGTH = 16


class Sealer:
    """Encrypts texts with the first of its keys and decrypts with any; without a key, texts are stored unencrypted."""

    def __init__(self, *keys: str | None) -> None:
        """Derive each AES key as the SHA-256 of a secret of at least 16 characters; None is no key."""
        self._ciphers = [_cipher(hashlib.sha256(key.encode()).digest()) for key in keys if key is not None]

    def seal(self, text: bytes) -> bytes:
        """Return ``text`` in the form in which it is stored."""
        if not self._ciphers:
            return _OPEN + text
        nonce = os.urandom(_NONCE_BYTES)
        return _SEALED + nonce + bytes(self._ciphers[0].encrypt(nonce, text, None))

    def open(self, stored: bytes) -> bytes:
        """Return the original text; raises StoreRefused where the key is missing or wrong."""
        kind, rest = stored[:2], stored[2:]
        if kind == _OPEN:
            return rest
        if kind != _SEALED:
            raise StoreError("a stored text has an unknown form; the store may belong to another program")
        if not self._ciphers:
            raise StoreRefused(
                "stored texts are sealed; set the environment variable named by server.audit_key_env"
            )
        from cryptography.exceptions import InvalidTag

        for cipher in self._ciphers:
            try:
                return bytes(cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], None))
            except InvalidTag:
                continue
        raise StoreRefused(
            "stored texts are sealed with a key other than the ones named by server.audit_key_env"
        )


def sealer_of(name: str | None, environ: Mapping[str, str]) -> Sealer:
    """Return the sealer for the keys in the variable ``name``, without a key where it is unset. Raises ConfigError.

    The variable holds one key, or several separated by commas or white space: the first seals, all open.
    """
    text = None if name is None else environ.get(name) or None
    if text is None:
        return Sealer()
    if len(text) < MIN_KEY_LENGTH:
        raise ConfigError(
            f"server.audit_key_env: {name} holds fewer than {MIN_KEY_LENGTH} characters; use a longer secret"
        )
    keys = text.replace(",", " ").split()
    # A single key may contain commas or spaces; it is no list then, since its parts are too short to be keys.
    if len(keys) > 1 and all(len(key) >= MIN_KEY_LENGTH for key in keys):
        return Sealer(*keys, text)
    return Sealer(text)


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as exc:
        raise ConfigError(
            "server.audit_key_env: the library for sealing is missing; pip install 'idk-proxy[seal]'"
        ) from exc
    return AESGCM(key)
