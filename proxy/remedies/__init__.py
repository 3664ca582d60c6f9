"""What may be done where a whole answer is withheld."""

from __future__ import annotations

from proxy.remedies.base import Remedy, handed_on, kept
from proxy.remedies.escalate import Escalate
from proxy.remedies.rescue import Rescue

__all__ = ["Escalate", "Remedy", "Rescue", "handed_on", "kept"]
