"""What a route puts around every question: its worked examples, and the confidence from which on to answer.

The words of the target are those of Kalai et al. 2025, "Why Language Models Hallucinate" (arXiv:2509.04664),
section 4.2: a model that is told what a wrong answer costs can weigh it. Whether it does is for the labels to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.requests.prompt.context import SEPARATOR, edited_last

if TYPE_CHECKING:
    from proxy.requests.route import Route
    from proxy.surfaces.contract import Request, Surface

TARGET = (
    "Answer only if you are > {target:g} confident, since mistakes are penalized {cost:g} points, while correct "
    'answers receive 1 point, and an answer of "I don\'t know" receives 0 points.'
)


def prompts(route: Route) -> bool:
    """Whether the route puts anything around its questions."""
    return route.examples is not None or route.config.confidence_prompt is not None


def prompted(route: Route, surface: Surface, request: Request) -> Request:
    """The request with the examples before its last question, and the target after it."""
    if route.examples is not None:
        request = route.examples.before(surface, request)
    target = route.config.confidence_prompt
    if target is None:
        return request
    words = TARGET.format(target=target, cost=round(target / (1.0 - target), 4))
    return edited_last(surface, request, lambda asked: f"{asked}{SEPARATOR}{words}")
