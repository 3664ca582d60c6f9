"""What may be done where a whole answer is withheld."""

from __future__ import annotations

from proxy.remedies.base import Remedy, handed_on, kept

__all__ = ["Remedy", "handed_on", "kept"]
