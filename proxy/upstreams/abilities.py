"""What one model at one upstream was found not to take: remembered, and tried again after a while.

A deployment changes (a server is updated, a gateway routes elsewhere), so what was refused is asked for again
every ten minutes; one refused request in ten minutes is the price of not being wrong for ever.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import UpstreamStatus

#: The parameters that the proxy adds of its own accord.
Parameter = Literal["logprobs", "top_logprobs", "n", "seed"]
#: How long a refusal is believed.
BELIEVED_S: Final = 600.0
#: Clients choose the models' names, so their number is bounded.
_MOST: Final = 1_024
#: The statuses with which servers refuse a parameter.
_REFUSALS: Final = frozenset({400, 404, 422, 501})


class Abilities:
    """What each model of one upstream takes; a model of which nothing is known takes everything."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._refused: dict[tuple[str, Parameter], float] = {}

    def takes(self, model: str, parameter: Parameter) -> bool:
        """Whether it may be asked for."""
        if not self._refused:
            return True
        until = self._refused.get((model, parameter))
        if until is None:
            return True
        if self._clock() < until:
            return False
        del self._refused[(model, parameter)]
        return True

    def refuse(self, model: str, parameter: Parameter) -> None:
        """It was refused, or overlooked."""
        self._refused.pop((model, parameter), None)
        self._refused[(model, parameter)] = self._clock() + BELIEVED_S
        while len(self._refused) > _MOST:
            del self._refused[next(iter(self._refused))]


def is_refusal(exc: UpstreamStatus) -> bool:
    """Whether the request itself was refused, which another parameter may have been the reason for."""
    return exc.http_status in _REFUSALS


def refuses(exc: UpstreamStatus, parameter: Parameter) -> bool:
    """Whether the error names the parameter."""
    return is_refusal(exc) and parameter in f"{exc.message} {exc.param}".lower()
