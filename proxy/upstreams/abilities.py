"""Request parameters that a model of an upstream does not accept; remembered for ten minutes.

Deployments change: a server is updated, or a gateway routes to another one. A rejected parameter is therefore sent
again after ten minutes, at the cost of one rejected request.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import UpstreamStatus

#: The parameters that the proxy adds to requests.
Parameter = Literal["logprobs", "top_logprobs", "n", "seed"]
#: Seconds for which a rejection is remembered.
REMEMBER_S: Final = 600.0
#: The number of remembered rejections is limited because clients choose the names of models.
_MAX_ENTRIES: Final = 1_024
#: Statuses with which servers reject a parameter.
_REFUSALS: Final = frozenset({400, 404, 422, 501})


class Abilities:
    """The parameters that each model of one upstream accepts; unknown models accept all."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._refused: dict[tuple[str, Parameter], float] = {}

    def takes(self, model: str, parameter: Parameter) -> bool:
        """Return whether ``parameter`` may be sent to ``model``."""
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
        """Remember that ``model`` rejected or ignored ``parameter``."""
        self._refused.pop((model, parameter), None)
        self._refused[(model, parameter)] = self._clock() + REMEMBER_S
        while len(self._refused) > _MAX_ENTRIES:
            del self._refused[next(iter(self._refused))]


def is_refusal(exc: UpstreamStatus) -> bool:
    """Return whether the upstream rejected the request, possibly because of a parameter."""
    return exc.http_status in _REFUSALS


def refuses(exc: UpstreamStatus, parameter: Parameter) -> bool:
    """Return whether the upstream rejected the request and its error names ``parameter``."""
    return is_refusal(exc) and parameter in f"{exc.message} {exc.param}".lower()
