"""Whether a request is like those that a route's policy was fitted on, and what a difference does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gating.fingerprint import (
    ANSWERED_BY,
    FIELDS,
    LIMIT,
    Difference,
    answered_by_other,
    cut_differs,
    is_complete,
)
from gating.gate import ELSEWHERE
from gating.policy import OF_SAMPLES, OF_VECTORS, Policy
from proxy.requests.fields import limit_of, pinned, request_fields, sample_request
from proxy.surfaces.field_table import SAMPLING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.requests.route import Route
    from proxy.surfaces.contract import Completion, Request

#: How many differences ``detail`` names.
_MOST_NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class Match:
    """How a request compares with the labels of its route's policy.

    ``applies`` says whether the policy judges it at all, ``certified`` whether the certificate covers it. ``replaced``
    are the sampling fields whose values the policy's replaced (``match: pin``).
    """

    applies: bool = True
    certified: bool = True
    differences: tuple[Difference, ...] = ()
    replaced: tuple[Difference, ...] = ()
    #: The request's fields by canonical name; empty if the policy does not compare them.
    fields: Mapping[str, Any] | None = None
    closed: bool = False

    @property
    def detail(self) -> str | None:
        """A sentence on each difference, with both values; None if there is none."""
        if self.closed:
            return "the policy is suspended, because an alarm was raised (on_alarm, on_drift)"
        told = [str(each) for each in self.differences]
        told += [
            f"{each.field}: the policy's value ({_shown(each.fitted)}) was used in place of {_shown(each.live)}"
            for each in self.replaced
        ]
        if not told:
            return None if self.applies else ELSEWHERE
        more = f"; and {len(told) - _MOST_NAMED} more" if len(told) > _MOST_NAMED else ""
        return "; ".join(told[:_MOST_NAMED]) + more


#: The match of a request on a route that compares nothing.
MATCHES: Final = Match()
_CLOSED: Final = Match(applies=False, certified=False, closed=True)


def _shown(value: Any) -> Any:
    return "none" if value is None else value


def match_of(route: Route, request: Request, format_name: str, without: Request | None) -> Match:
    """Compare a request with the labels of the route's policy; ``without`` is the request without passages."""
    if route.closed:
        return _CLOSED
    policy = _policy_of(route)
    if policy is None or not policy.fingerprint:
        return MATCHES
    config = route.config
    fields = request_fields(request, format_name, config.params, instructions=without)
    live = _own(route, request) | {FIELDS: fields}
    found = policy.differences(live, ignored=("system",) if config.prompt == "any" else ())
    replaced: tuple[Difference, ...] = ()
    if config.match == "pin" and route.holds and is_complete(policy.fingerprint):
        constant = {name for name in SAMPLING if name not in _varied(policy) and name not in config.params}
        replaced = tuple(each for each in found if each.field in constant)
        found = tuple(each for each in found if each.field not in constant)
    return Match(
        applies=not found or config.match == "lenient",
        certified=not found,
        differences=found,
        replaced=replaced,
        fields=fields,
    )


def with_policys_values(request: Request, match: Match) -> Request:
    """Return the request with the policy's values of the sampling fields that it replaces."""
    return pinned(request, {each.field: each.fitted for each in match.replaced})


def match_of_answer(route: Route, match: Match, completion: Completion, *, cut: bool) -> Match:
    """Return the match with what only the answer shows: a length limit that cut it off, and the model that gave it."""
    policy = _policy_of(route)
    if policy is None or match.fields is None or not is_complete(policy.fingerprint):
        return match
    if cut:
        difference = cut_differs(policy.fingerprint, limit_of(match.fields))
        if difference is not None:
            lenient = route.config.match == "lenient"
            found = (*match.differences, difference)
            match = replace(match, applies=match.applies and lenient, certified=False, differences=found)
    if answered_by_other(policy.fingerprint, completion.model):
        other = Difference("model", completion.model, ", ".join(policy.fingerprint[ANSWERED_BY]))
        match = replace(match, certified=False, differences=(*match.differences, other))
    return match


def request_for_samples(route: Route, match: Match | None, request: Request, format_name: str) -> Request:
    """Return the request of a sample: of the client's parameters, only those whose values are the policy's."""
    policy = _policy_of(route)
    settled: dict[str, Any] = {}
    if (
        policy is not None
        and is_complete(policy.fingerprint)
        and match is not None
        and match.fields is not None
    ):
        unlike = {each.field for each in (*match.differences, *match.replaced)}
        compared = policy.fingerprint[FIELDS].keys() | _varied(policy)
        settled = {name: value for name, value in match.fields.items() if name in compared - unlike}
        settled |= {each.field: each.fitted for each in match.replaced}
    return sample_request(request, format_name, settled)


def made_with(
    route: Route,
    request: Request,
    format_name: str,
    *,
    without: Request | None = None,
    cut: bool = False,
    answered_by: str | None = None,
) -> dict[str, Any]:
    """Return the fingerprint of an answer: what it was made with, as far as its confidence depends on it."""
    fields = request_fields(request, format_name, route.config.params, instructions=without)
    limit = {LIMIT: limit_of(fields)} if cut else {}
    own = _own(route, request)
    if answered_by is not None:
        own[ANSWERED_BY] = [answered_by]
    return own | {FIELDS: {name: value for name, value in fields.items() if name != LIMIT} | limit}


def _policy_of(route: Route) -> Policy | None:
    rule = route.gate.rule if route.gate is not None else None
    return rule if isinstance(rule, Policy) else None


def _varied(policy: Policy) -> set[str]:
    return {name for each in policy.fingerprint.get("combinations", ()) for name in each["values"]}


def _own(route: Route, request: Request) -> dict[str, Any]:
    """Return what the route's settings contribute to a fingerprint."""
    config = route.config
    found: dict[str, Any] = {"upstream": config.upstream, "model": config.model or request.model}
    if config.rag.template is not None:
        found["template"] = config.rag.template
    if route.examples is not None:
        found["examples"] = route.examples.digest
    if config.confidence_prompt is not None:
        found["confidence_prompt"] = config.confidence_prompt
    if config.samples:
        drawn = (config.samples, config.sampling.temperature, config.sampling.top_p)
        found |= dict(zip(OF_SAMPLES, drawn, strict=True))
        if config.embeddings is not None:
            given = config.embeddings
            found[OF_VECTORS] = given.local or f"{given.upstream}/{given.model}"
    return found
