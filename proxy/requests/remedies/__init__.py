"""What may be done where a whole answer is withheld."""

from __future__ import annotations

from proxy.requests.remedies.base import Remedy, handed_on, kept
from proxy.requests.remedies.escalate import Escalate
from proxy.requests.remedies.rescue import Rescue

__all__ = ["Escalate", "Remedy", "Rescue", "handed_on", "kept"]
