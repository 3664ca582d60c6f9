"""Ways to another answer when a whole answer is withheld."""

from __future__ import annotations

from proxy.requests.remedies.escalate import Escalate
from proxy.requests.remedies.rescue import Rescue

__all__ = ["Escalate", "Rescue"]
